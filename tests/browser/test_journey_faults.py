"""What goes wrong with a form: sent twice, too late, by somebody who may not any more, badly filled in, while a store is away."""

import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from playwright.sync_api import Browser, expect

from services.sessions import user_sessions
from tests import factories, stores
from tests.browser.conftest import World
from tests.browser.desk import Desk
from tests.browser.firefox import Firefox
from tests.browser.journey import Walk
from tests.live_server import LiveServer

Open = Callable[..., Walk]
SECRET = "a secret that no page may show again"


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


@pytest.fixture
def tom(open_browser: Open, desk: Desk, script: bool) -> Walk:
    return open_browser(desk.owner, script=script)


def fill_in(walk: Walk, desk: Desk, key: str = "API_KEY") -> None:
    """The form of a new credential, up to its button."""
    walk.go(f"{desk.base}/credentials/new")
    walk.sees("Add credential")
    walk.fill("Key", key)
    walk.fill("Value", SECRET)
    walk.fill("Note (optional)", "For the nightly build")


def has_what_was_typed(walk: Walk) -> None:
    """Going back shows it, without the secret."""
    walk.tab.go_back()
    walk.tab.get_by_role("heading", level=1, name="Add credential").wait_for()
    typed = {label: walk.tab.get_by_label(label, exact=True).input_value() for label in ("Key", "Note (optional)", "Value")}
    assert typed == {"Key": "API_KEY", "Note (optional)": "For the nightly build", "Value": ""}


def names(desk: Desk) -> list[str]:
    key = factories.make_api_key(desk.organization, desk.owner).raw_key
    return [item["name"] for item in desk.ask(key, "/credentials").json()["items"]]


def test_a_form_is_pressed_twice(tom: Walk, desk: Desk) -> None:
    """With script the second press goes nowhere. Without, both are sent; the browser shows the answer to the second."""
    tom.go(f"{desk.base}/agents/new")
    tom.sees("Create an agent")
    tom.fill("Name", "deploy-bot")
    tom.tab.get_by_role("button", name="Create agent").dblclick()
    tom.tab.wait_for_url(lambda url: not url.endswith("/new"))
    tom.go(f"{desk.base}/agents")
    tom.sees("Agents and keys")
    assert tom.row("deploy-bot").count() == 1


def test_a_question_is_answered_after_its_object_is_gone(tom: Walk, desk: Desk, open_browser: Open, script: bool) -> None:
    factories.make_credential("API_KEY", SECRET, organization=desk.organization)
    other = open_browser(desk.member("admin"), script=script)
    for walk in (tom, other):
        walk.go(f"{desk.base}/credentials")
        walk.choose("API_KEY", "Remove credential")
        walk.asks("Remove API_KEY from Northwind?")
    other.press("Remove credential")
    other.says("API_KEY was removed.")
    tom.press("Remove credential")
    tom.says("Nothing changed.")
    tom.sees("Credentials")


def test_a_form_is_sent_after_its_object_is_gone(tom: Walk, desk: Desk, open_browser: Open) -> None:
    factories.make_credential("API_KEY", SECRET, organization=desk.organization)
    tom.go(f"{desk.base}/credentials/API_KEY/value?scope=org")
    tom.sees("Replace the organization’s value")
    other = open_browser(desk.member("admin"))
    other.go(f"{desk.base}/credentials/API_KEY/remove")
    other.press("Remove credential")
    other.says("API_KEY was removed.")
    tom.fill("Value", SECRET)
    tom.press("Save value")
    tom.says("Nothing changed.")
    tom.sees("Credentials")
    assert names(desk) == []


def test_who_lost_the_role_meanwhile_changes_nothing(tom: Walk, desk: Desk, open_browser: Open, script: bool) -> None:
    lena = desk.member("admin", name="Lena Brandt")
    other = open_browser(lena, script=script)
    fill_in(other, desk)
    tom.go(f"{desk.base}/members")
    tom.choose("Lena Brandt", "Change role")
    tom.sees("Change the role of Lena Brandt")
    tom.tab.get_by_label("Member").check()
    tom.press("Save role")
    tom.says("Lena Brandt is now a member.")
    other.press("Add credential")
    other.tab.get_by_role("heading", level=1, name="Add credential").wait_for(state="detached")
    # What a member may do they did: the value is theirs alone.
    key = factories.make_api_key(desk.organization, desk.owner, agent=factories.make_agent(desk.organization, desk.owner)).raw_key
    assert desk.resolve(key, "API_KEY") is None
    other.go(f"{desk.base}/settings")
    other.sees("General")
    assert not other.tab.get_by_role("button", name="Save changes").count()


def test_who_was_taken_out_meanwhile_finds_nothing(tom: Walk, desk: Desk, open_browser: Open, script: bool) -> None:
    other = open_browser(desk.member("admin", name="Lena Brandt"), script=script)
    fill_in(other, desk)
    tom.go(f"{desk.base}/members")
    tom.choose("Lena Brandt", "Remove from Northwind")
    tom.asks("Remove Lena Brandt from Northwind?")
    tom.press("Remove")
    tom.says("Lena Brandt was removed from Northwind.")
    other.press("Add credential")
    other.sees("Nothing here")
    other.forgive(404)
    assert names(desk) == []


def comes_back_as_typed(walk: Walk) -> None:
    """The form itself is shown, without the secret."""
    walk.sees("Add credential")
    typed = {label: walk.tab.get_by_label(label, exact=True).input_value() for label in ("Key", "Note (optional)", "Value")}
    assert typed == {"Key": "API_KEY", "Note (optional)": "For the nightly build", "Value": ""}
    assert SECRET not in walk.tab.content()


def test_a_form_that_was_open_too_long(tom: Walk, desk: Desk) -> None:
    """Here because the person signed in anew meanwhile. The answer is the form with everything that was typed, and it is a fresh one."""
    fill_in(tom, desk)
    tom.context.clear_cookies()
    tom.is_signed_in(factories.make_session(desk.owner))
    tom.press("Add credential")
    tom.says("This form has expired. Nothing was saved: check what you entered and send it again.")
    tom.says("Paste the value again.")
    tom.forgive(400)
    comes_back_as_typed(tom)
    assert names(desk) == []
    tom.fill("Value", SECRET)
    tom.press("Add credential")
    tom.says("API_KEY added.")
    assert names(desk) == ["API_KEY"]


def test_a_form_is_sent_after_signing_out_in_another_tab(tom: Walk, desk: Desk) -> None:
    fill_in(tom, desk)
    other = tom.another_tab()
    other.go("/account")
    other.tab.locator("#sign-out").evaluate("form => form.submit()")
    other.sees("You’re signed out")
    tom.press("Add credential")
    tom.sees("Sign in")
    tom.says("You were signed out, so nothing was saved. Sign in to go back to the form.")
    tom.is_signed_in(factories.make_session(desk.owner))
    tom.tab.reload()  # as after the sign-in, which goes on to the same place
    comes_back_as_typed(tom)
    tom.tab.reload()
    comes_back_as_typed(tom)
    tom.fill("Value", SECRET)
    tom.press("Add credential")
    tom.says("API_KEY added.")
    assert names(desk) == ["API_KEY"]


def test_an_invitation_that_needs_a_fresh_sign_in_loses_no_address(tom: Walk, desk: Desk, world: World) -> None:
    """Two tabs, in which different people are to be invited as admins."""
    session = factories.make_session(desk.owner)
    with world.gatepost.app.app_context():
        record = user_sessions.find(session)
        assert record is not None
        user_sessions.save(session, replace(record, auth_time_ms=record.auth_time_ms - 3_600_000))
    tom.is_signed_in(session)
    tabs = {"pia@example.com\nzoe@example.com": tom, "ben@example.com": tom.another_tab()}
    for emails, tab in tabs.items():
        tab.go(f"{desk.base}/invitations/new")
        tab.fill("Email addresses", emails)
        tab.tab.get_by_label("Role").select_option("admin")
        tab.press("Send invitations")
        tab.sees("Confirm it’s you")
        tab.says("Sign in again to invite an admin.")
    with world.gatepost.app.app_context():
        session = user_sessions.start(factories.make_actor(desk.owner), user_id=desk.owner.id, provider="github", replaces=session)
    tom.is_signed_in(session)
    for emails, tab in tabs.items():
        tab.go(parse_qs(urlsplit(tab.tab.url).query)["next"][0])
        tab.sees("Invite people")
        tab.says("Nothing was saved yet. Check what you entered and send it again.")
        assert tab.tab.get_by_label("Email addresses").input_value() == emails
        assert tab.tab.get_by_label("Role").input_value() == "admin"
        tab.press("Send invitations")
        tab.tab.wait_for_url("**/invitations")
    assert all(tom.tab.get_by_text(email).count() for email in ("pia@example.com", "zoe@example.com"))


def test_what_is_wrong_is_said_first_and_beside_the_field(tom: Walk, desk: Desk) -> None:
    """What was typed stays, except the secret."""
    fill_in(tom, desk, key="not a key")
    tom.press("Add credential")
    tom.sees("Add credential")
    tom.forgive(422)
    assert tom.tab.title().startswith("Error: ")
    summary = tom.tab.get_by_role("alert")
    expect(summary).to_be_focused()
    expect(summary.get_by_role("heading")).to_have_text("There is a problem")
    text = "Use capital letters, numbers and underscores, starting with a letter"
    summary.get_by_role("link", name=text).click()
    field = tom.tab.get_by_label("Key", exact=True)
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(tom.tab.locator("#key-e")).to_contain_text(text)
    assert tom.tab.get_by_label("Note (optional)").input_value() == "For the nightly build"
    assert tom.tab.get_by_label("Value", exact=True).input_value() == ""
    tom.says("Paste the value again")
    assert SECRET not in tom.tab.content()


# --- a store is away --------------------------------------------------------------------------------------------------


class Valkey(stores.Valkey):
    """It answers nobody for a while, and forgets nothing."""

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


class Database:
    """A door of one Gatepost's own to the database of all, which may be shut."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.owner_url, url = environment["GATEPOST_DATABASE_OWNER_URL"], environment["GATEPOST_DATABASE_URL"]
        self.folder = stores._short_folder("gatepost-door-")
        self.door = self.folder / ".s.PGSQL.5432"
        self.behind = Path(url.partition("host=")[2], self.door.name)
        self.url = f"{url.partition('?')[0]}?host={self.folder}&application_name={self.folder.name}"
        self.go_on()

    def pause(self) -> None:
        self.door.unlink()
        with psycopg.connect(self.owner_url.replace("+psycopg", ""), autocommit=True) as owner:
            found = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s"
            assert owner.execute(found, [self.folder.name]).fetchall()

    def go_on(self) -> None:
        if not self.door.is_symlink():
            self.door.symlink_to(self.behind)


@pytest.fixture
def lonely(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveServer, dict[str, Any]]]:
    """A Gatepost on the same database, and its stores, which may be taken from it."""
    given = world.gatepost.server.env
    valkey, database = Valkey().start(), Database(given)
    url = f"http://127.0.0.1:{stores.free_port()}"
    environment = {
        **given,
        "GATEPOST_PUBLIC_URL": url,
        "GATEPOST_REDIS_URL": valkey.url,
        "GATEPOST_DATABASE_URL": database.url,
    }
    server = LiveServer(tmp_path_factory.mktemp("lonely"), environment, workers=1)
    try:
        yield server.start(), {"valkey": valkey, "postgresql": database}
    finally:
        valkey.go_on()
        server.stop()
        valkey.remove()
        shutil.rmtree(database.folder)


@pytest.mark.parametrize(("which", "by"), [("valkey", "back"), ("valkey", "button"), ("postgresql", "button")])
def test_a_store_is_away_while_a_form_is_sent(
    desk: Desk, open_browser: Open, browser: Browser | Firefox, lonely: Any, script: bool, which: str, by: str
) -> None:
    """Nothing of what was typed is lost but the secret: trying again shows it, and so does going back where the browser keeps it."""
    server, store = lonely[0], lonely[1][which]
    made = server.flask("users", "sign-in-link", desk.owner.email)
    walk = open_browser(script=script)
    walk.issuer = server.url
    walk.go(next(word for word in made.stdout.split() if "/login/link/" in word))
    walk.press("Sign in")
    walk.tab.wait_for_url(lambda url: "/login/" not in url)
    fill_in(walk, desk)
    store.pause()
    walk.press("Add credential")
    walk.sees("Temporarily unavailable")
    walk.forgive(503)
    assert SECRET not in walk.tab.content()
    store.go_on()
    if by == "back" and isinstance(browser, Firefox):  # it keeps nothing of a page that may not be stored
        walk.tab.go_back()
        fill_in(walk, desk)
    elif by == "back":
        has_what_was_typed(walk)
    else:
        walk.press("Try again")
        walk.says("There is a problem")
        walk.forgive(422)
        comes_back_as_typed(walk)
    assert names(desk) == []
    walk.fill("Value", SECRET)
    walk.press("Add credential")
    walk.says("API_KEY added.")
    assert names(desk) == ["API_KEY"]
