"""An account at a vendor is connected, used, connected anew with another account, and disconnected."""

from collections.abc import Callable

import pytest

from tests import factories
from tests.browser.conftest import World
from tests.browser.desk import Desk
from tests.browser.journey import Walk

Open = Callable[..., Walk]


@pytest.fixture
def desk(world: World) -> Desk:
    world.vendor.account = {"id": 1, "name": "northwind-bot"}
    world.vendor.denies = False
    return Desk(world)


def connect(walk: Walk, desk: Desk, way: str = "For everyone here") -> None:
    walk.go(f"{desk.base}/connections/new")
    walk.sees("Add connection")
    walk.follow(way)


def token(desk: Desk, key: str) -> str | None:
    """What an agent gets of the only connection; None when there is none."""
    found = desk.ask(key, "/connections").json()["items"]
    return desk.ask(key, f"/connections/{found[0]['id']}/token", {}).json()["access_token"] if found else None


def test_a_vendor_is_connected_reconnected_as_another_and_disconnected(open_browser: Open, desk: Desk, world: World, script: bool) -> None:
    key = factories.make_api_key(desk.organization, desk.owner, agent=factories.make_agent(desk.organization, desk.owner)).raw_key
    tom = open_browser(desk.owner, script=script)
    tom.go(f"{desk.base}/connections")
    tom.sees("Connections")
    tom.follow("Add connection")
    tom.sees("Add connection")
    tom.follow("For everyone here")
    tom.says("Acme connected as northwind-bot.")
    tom.sees("Acme")
    assert world.vendor.is_live(token(desk, key))
    tom.follow("Done")
    tom.sees("Connections")
    tom.row("Acme").get_by_text("Connected").first.wait_for()

    world.vendor.account = {"id": 2, "name": "mayak"}
    tom.choose("Acme", "Reconnect")
    tom.sees("Use another Acme account?")
    tom.says("You connected as mayak, but this connection belonged to northwind-bot. Use mayak for everyone?")
    tom.press("Cancel")
    tom.sees("Nothing changed")
    tom.follow("Done")
    tom.row("Acme").get_by_text("northwind-bot").wait_for()
    tom.choose("Acme", "Reconnect")
    tom.sees("Use another Acme account?")
    tom.press("Use mayak")
    tom.says("Acme connected as mayak.")
    tom.follow("Done")
    tom.sees("Connections")
    tom.row("Acme").get_by_text("mayak").wait_for()
    assert world.vendor.is_live(token(desk, key))

    tom.row("Acme").get_by_role("link", name="Acme").click()
    tom.sees("Acme")
    tom.follow("Disconnect")
    tom.asks("Disconnect Acme?")
    tom.says("1 agent can use it now:")
    tom.press("Disconnect")
    tom.says("Acme disconnected.")
    tom.sees("Connections")
    assert token(desk, key) is None


def test_cancelled_at_the_vendor(open_browser: Open, desk: Desk, world: World, script: bool) -> None:
    tom = open_browser(desk.owner, script=script)
    world.vendor.denies = True
    connect(tom, desk)
    tom.says("You canceled at Acme")
    world.vendor.denies = False
    tom.follow("Connect again")
    tom.says("Acme connected as northwind-bot.")


def test_a_member_connects_for_themselves(open_browser: Open, desk: Desk) -> None:
    lena = open_browser(desk.member(name="Lena Brandt"), script=True)
    connect(lena, desk, "For yourself")
    lena.says("Acme connected as northwind-bot.")
    lena.follow("Done")
    lena.row("Acme").get_by_text("Yours").wait_for()
    tom = open_browser(desk.owner)
    tom.go(f"{desk.base}/connections")
    tom.says("No connections")
