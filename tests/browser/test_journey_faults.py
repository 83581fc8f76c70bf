"""What goes wrong with a form: sent twice, too late, by somebody who may not any more, badly filled in, while a store is away."""

import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.sync_api import expect

from tests import factories, stores
from tests.browser.conftest import World
from tests.browser.desk import Desk
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


def test_a_form_that_was_open_too_long(tom: Walk, desk: Desk) -> None:
    """Here because the person signed in anew meanwhile. Back there is everything that was typed, and the form is a fresh one."""
    fill_in(tom, desk)
    tom.context.clear_cookies()
    tom.is_signed_in(factories.make_session(desk.owner))
    tom.press("Add credential")
    tom.sees("This page was open too long")
    tom.says("Nothing was saved. Go back, reload and try again.")
    tom.forgive(400)
    assert SECRET not in tom.tab.content()
    assert names(desk) == []
    has_what_was_typed(tom)
    tom.fill("Value", SECRET)
    tom.press("Add credential")
    tom.says("API_KEY added.")
    assert names(desk) == ["API_KEY"]


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


@pytest.mark.parametrize("which", ["valkey", "postgresql"])
def test_a_store_is_away_while_a_form_is_sent(desk: Desk, open_browser: Open, lonely: Any, script: bool, which: str) -> None:
    """Nothing of what was typed is lost but the secret: the page says to try again, and going back shows it."""
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
    has_what_was_typed(walk)
    assert names(desk) == []
    walk.fill("Value", SECRET)
    walk.press("Add credential")
    walk.says("API_KEY added.")
    assert names(desk) == ["API_KEY"]
