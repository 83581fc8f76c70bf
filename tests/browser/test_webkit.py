"""What WebKit does in a way of its own: what Back brings back, dialogs, the clipboard, redirects after a form, colors, dates.

It keeps whole pages for Back when they came over http, and asks for them again when they came over https.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from services.sessions import user_sessions
from tests import factories
from tests.browser.conftest import World
from tests.browser.desk import Desk
from tests.browser.journey import Program
from tests.browser.webkit import Window
from tests.live_server import LiveServer
from tests.stores import free_port

Open = Callable[..., Window]
SECRET = "a secret that no page may show again"
TYPED = {"Key": "API_KEY", "Note (optional)": "For the nightly build"}
over_both = pytest.mark.parametrize("scheme", ["http", "https"])


@pytest.fixture(scope="module")
def https(world: World, certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same Gatepost at a public URL of its own, over TLS."""
    environment = {**world.gatepost.server.env, "GATEPOST_PUBLIC_URL": f"https://127.0.0.1:{free_port()}"}
    arguments = ("--certfile", str(certificate[0]), "--keyfile", str(certificate[1]))
    server = LiveServer(tmp_path_factory.mktemp("https"), environment, workers=1, arguments=arguments)
    yield server.start().url
    server.stop()


@pytest.fixture
def scheme() -> str:
    return "http"


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world, name="Kestrel Works")


@pytest.fixture
def tom(open_window: Open, desk: Desk, scheme: str, request: pytest.FixtureRequest) -> Window:
    return open_window(desk.owner, at=request.getfixturevalue("https") if scheme == "https" else None)


def fill_in(window: Window, desk: Desk) -> None:
    """The form of a new credential, up to its button."""
    window.go(f"{desk.base}/credentials/new")
    window.sees("Add credential")
    for label, text in {**TYPED, "Value": SECRET}.items():
        window.fill(label, text)


def comes_back_as_typed(window: Window) -> None:
    """The form is shown, without the secret, and can be sent."""
    window.sees("Add credential")
    assert {label: window.value(label) for label in TYPED} == TYPED
    assert SECRET not in window.contents


def can_be_sent(window: Window) -> None:
    window.fill("Value", SECRET)
    window.press("Add credential")
    window.says("API_KEY added.")


def signed_in_an_hour_ago(world: World, desk: Desk) -> str:
    raw_session = factories.make_session(desk.owner)
    with world.gatepost.app.app_context():
        record = user_sessions.find(raw_session)
        assert record is not None
        user_sessions.save(raw_session, replace(record, auth_time_ms=record.auth_time_ms - 3_600_000))
    return raw_session


@over_both
def test_back_from_a_form_that_was_refused(tom: Window, desk: Desk) -> None:
    fill_in(tom, desk)
    tom.loses_its_cookies()
    tom.is_signed_in(factories.make_session(desk.owner))
    tom.press("Add credential")
    tom.says("This form has expired. Nothing was saved: check what you entered and send it again.")
    comes_back_as_typed(tom)
    tom.back()
    tom.says_no_more("This form has expired.")
    comes_back_as_typed(tom)
    can_be_sent(tom)


@over_both
def test_back_to_a_form_that_was_refused(tom: Window, desk: Desk) -> None:
    fill_in(tom, desk)
    tom.fill("Key", "not a key")
    tom.press("Add credential")
    tom.says("There is a problem")
    tom.fill("Key", TYPED["Key"])
    tom.follow("Cancel")
    tom.sees("Credentials")
    tom.back()
    comes_back_as_typed(tom)
    can_be_sent(tom)


@over_both
@pytest.mark.parametrize("place", ["here", "nowhere"])
def test_back_from_a_page_that_is_not_there(tom: Window, desk: Desk, place: str) -> None:
    fill_in(tom, desk)
    tom.go(f"{desk.base if place == 'here' else ''}/nothing")
    tom.sees("Nothing here")
    tom.back()
    comes_back_as_typed(tom)
    can_be_sent(tom)


@over_both
def test_back_from_the_question_whether_it_is_still_the_same_person(tom: Window, desk: Desk, world: World) -> None:
    agent = factories.make_agent(desk.organization, desk.owner, name="deploy-bot")
    tom.is_signed_in(signed_in_an_hour_ago(world, desk))
    tom.go(f"{desk.base}/agents/{agent.id}")
    tom.follow("Create key")
    tom.sees("Confirm it’s you")
    tom.back()
    tom.sees("deploy-bot")
    tom.go(f"{desk.base}/invitations/new")
    tom.fill("Email addresses", "pia@example.com")
    tom.select("Role", "Admin")
    tom.press("Send invitations")
    tom.sees("Confirm it’s you")
    tom.back()
    tom.sees("Invite people")
    assert (tom.value("Email addresses"), tom.value("Role")) == ("pia@example.com", "admin")


@over_both
def test_after_signing_out_back_shows_nothing_private(tom: Window, desk: Desk) -> None:
    lena = desk.member(name="Lena Brandt")
    fill_in(tom, desk)
    tom.go(f"{desk.base}/members")
    tom.says("Lena Brandt")
    tom.open_menu()
    tom.press("Sign out")
    tom.sees("You’re signed out")
    for _ in range(2):
        tom.back()
        tom.sees("Sign in")
        private = [lena.name, desk.owner.name, desk.owner.email, desk.organization.name, SECRET, *TYPED.values()]
        assert [text for text in private if text in tom.contents] == []


@over_both
def test_a_key_that_was_shown_once_does_not_come_back(tom: Window, desk: Desk) -> None:
    agent = factories.make_agent(desk.organization, desk.owner, name="deploy-bot")
    tom.go(f"{desk.base}/agents/{agent.id}/keys/new")
    tom.fill("Name", "prod")
    tom.choose("In 7 days")
    tom.choose("Read credential values")
    tom.press("Create key")
    tom.says("Copy your key now")
    key = tom.secret()
    assert key.startswith("gpa_")
    tom.go(f"{desk.base}/agents")
    tom.sees("Agents and keys")
    tom.back()
    tom.says("You’ve already seen this key.")
    assert key not in tom.contents
    tom.go("/nothing")
    tom.sees("Nothing here")
    tom.back()
    tom.says("You’ve already seen this key.")
    assert key not in tom.contents


def test_a_question_is_asked_in_a_dialog(tom: Window, desk: Desk, world: World) -> None:
    factories.make_session(desk.owner, user_agent="curl/8.5.0")
    question = "Revoke curl 8.5.0?"

    def sessions() -> int:
        with world.gatepost.app.app_context():
            return len(user_sessions.list_for(desk.owner.id))

    tom.go("/account/sessions")
    for leave in (lambda: tom.follow("Keep it"), lambda: tom.type(Keys.ESCAPE)):
        tom.follow("Revoke")
        tom.sees(question)
        tom.has_focus_on("Keep it")
        leave()
        tom.says_no_more(question)
        tom.has_focus_on("Revoke")
        assert sessions() == 2
    tom.follow("Revoke")
    tom.sees(question)
    assert tom.at.endswith("/account/sessions")
    tom.press("Revoke session")
    tom.says("Session revoked.")
    assert sessions() == 1


def test_a_secret_is_copied(tom: Window, desk: Desk) -> None:
    tom.go("/account/tokens/new")
    tom.fill("Name", "backup script")
    tom.choose("In 7 days")
    tom.choose("See your organizations")
    tom.press("Create token")
    tom.says("Copy your token now")
    token = tom.secret()
    tom.press("Copy")
    tom.says("Copied")
    tom.go("/account/tokens/new")
    tom.fill("Name", Keys.CONTROL + "v")
    tom.holds("Name", token)


@pytest.mark.parametrize("kind", ["https", "127.0.0.1"])
def test_consent_leads_to_the_app(tom: Window, desk: Desk, make_program: Callable[..., Program], kind: str) -> None:
    program = make_program(kind, name="Quarterly", trusted=False)
    tom.go(program.authorize_url())
    tom.sees("Allow Quarterly to act for you?")
    tom.press("Allow")
    if kind == "https":
        tom.arrives_at(program.redirect_uri)
    else:
        tom.sees("You can close this window")
    assert program.userinfo(program.tokens())["email"] == desk.owner.email


@pytest.mark.parametrize("device", ["light", "dark"])
def test_the_theme_is_kept(open_window: Open, desk: Desk, device: str) -> None:
    """On pages with navigation and without, and until another one is chosen."""
    window = open_window(desk.owner, GTK_THEME="Adwaita:dark" if device == "dark" else "Adwaita")
    for theme, shown in {"Dark": "dark", "Light": "light", "Same as device": device}.items():
        window.go("/account")
        window.choose(theme)
        window.press("Save changes")
        window.says("Saved.")
        for path in ("/account", "/reauth"):
            window.go(path)
            assert window.theme() == shown, (theme, path)


def test_dates_that_were_not_chosen_are_said_to_be_none(tom: Window, desk: Desk) -> None:
    """An empty field for a date shows today's here, in gray."""
    tom.go(f"{desk.base}/audit")
    assert (tom.value("From any day"), tom.value("To any day")) == ("", "")
    tom.select("What kind", "Credentials")
    tom.says("Clear filters")
    assert (tom.value("From any day"), tom.value("To any day")) == ("", "")
    tom.go(f"{desk.base}/audit?from=2026-01-31")
    assert (tom.value("From"), tom.value("To any day")) == ("2026-01-31", "")


@over_both
def test_back_does_not_fill_in_a_secret(tom: Window, desk: Desk) -> None:
    fill_in(tom, desk)
    tom.follow("Cancel")
    tom.sees("Credentials")
    tom.back()
    comes_back_as_typed(tom)
    assert tom.value("Value") == ""
