"""Whoever runs the instance: a client with two secrets that overlap, and signing keys through their stages."""

import re
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
import requests
from playwright.sync_api import expect
from sqlalchemy import update

from extensions import db
from infra.clock import now
from models import SigningKey
from tests import factories
from tests.browser.conftest import World
from tests.browser.journey import Walk

Open = Callable[..., Walk]


@pytest.fixture
def rosa(open_browser: Open, script: bool) -> Walk:
    return open_browser(factories.make_user(name="Rosa Operator", is_admin=True), script=script)


def fact(walk: Walk, term: str) -> str:
    return walk.tab.locator(f"dt:text-is('{term}') + dd").inner_text()


def lets_in(world: World, client_id: str, secret: str) -> bool:
    """Whether the machine gets a token for this secret."""
    answer = requests.post(
        f"{world.gatepost.url}/oauth/token", data={"grant_type": "client_credentials"}, auth=(client_id, secret), timeout=60
    )
    assert answer.status_code in (200, 401), answer.text
    return answer.ok


def published(world: World) -> set[str]:
    """The keys that both processes of the server publish, by several askings."""
    url = f"{world.gatepost.url}/.well-known/jwks.json"
    return {key["kid"] for _ in range(6) for key in requests.get(url, timeout=60).json()["keys"]}


@pytest.mark.parametrize("width", [320, 704, 705, 1280])
def test_the_way_to_the_instance_is_there_at_every_width(rosa: Walk, width: int) -> None:
    rosa.tab.set_viewport_size({"width": width, "height": 720})
    rosa.go("/account")
    rosa.sees("Profile")
    links = rosa.tab.get_by_role("banner").get_by_role("link", name="Admin", exact=True)
    assert links.count() == (1 if width > 704 else 0), "in the bar where there is room"
    rosa.tab.get_by_role("banner").locator("details.menu > summary").last.click()
    link = links.filter(visible=True).last
    assert link.bounding_box()["height"] >= (44 if width <= 704 else 24)
    rosa.sees("Profile")
    link.click()
    rosa.sees("Overview")


def test_whoever_is_no_administrator_sees_no_way_there(open_browser: Open, script: bool) -> None:
    walk = open_browser(factories.make_user(), script=script)
    walk.tab.set_viewport_size({"width": 320, "height": 720})
    walk.go("/account")
    walk.tab.get_by_role("banner").locator("details.menu > summary").last.click()
    assert walk.tab.locator("a[href^='/admin']").count() == 0


def test_a_clients_secrets_overlap_while_they_change(rosa: Walk, world: World) -> None:
    rosa.go("/admin/clients")
    rosa.sees("OAuth clients")
    rosa.follow("Add client")
    rosa.sees("Add client")
    rosa.fill("Redirect addresses", "ftp://nowhere.example")
    rosa.press("Add client")
    rosa.tab.get_by_role("alert").get_by_role("link", name="Enter a name").wait_for()
    rosa.tab.get_by_role("alert").get_by_role("link", name="Line 1: use https, or http with 127.0.0.1").wait_for()
    rosa.sees("Add client")
    rosa.forgive(422)
    rosa.fill("Name", "Nightly report")
    rosa.tab.get_by_label("Service").check()
    rosa.fill("Redirect addresses", "")
    rosa.tab.get_by_label("See who people are").uncheck()
    rosa.tab.get_by_label("Keep working while people are away").uncheck()
    rosa.tab.get_by_label("Check access tokens").check()
    rosa.press("Add client")
    rosa.says("Copy your secret now")
    rosa.sees("Nightly report")
    first, client_id = rosa.tab.locator("output").inner_text(), fact(rosa, "Client ID")
    assert lets_in(world, client_id, first)
    rosa.tab.reload()
    rosa.says("You’ve already seen this secret.")
    rosa.follow("Back to Nightly report")
    rosa.sees("Nightly report")
    rosa.follow("Add a second secret")
    rosa.sees("Add a second secret to Nightly report")
    rosa.press("Add a second secret")
    rosa.says("Copy your secret now")
    second = rosa.tab.locator("output").inner_text()
    assert second != first
    assert lets_in(world, client_id, first)
    assert lets_in(world, client_id, second)
    rosa.follow("I’ve copied it")
    rosa.says("It has two secrets.")
    rosa.sees("Nightly report")
    rosa.press("Revoke the old secret")
    rosa.tab.get_by_role("status").first.wait_for()
    rosa.sees("Nightly report")
    assert not lets_in(world, client_id, first)
    assert lets_in(world, client_id, second)
    rosa.follow("Delete client")
    rosa.asks("Delete Nightly report?")
    rosa.press("Delete client")
    rosa.tab.wait_for_url("**/admin/clients")
    assert not lets_in(world, client_id, second)


def test_the_next_signing_key_waits_signs_and_the_old_one_is_retired(rosa: Walk, world: World) -> None:
    def row(state: str) -> str:
        return rosa.tab.get_by_role("row").filter(has=rosa.tab.get_by_text(state, exact=True)).first.locator("code").first.inner_text()

    with world.gatepost.app.app_context():
        db.session.execute(update(SigningKey).where(SigningKey.state == "next").values(created_at=now()))
        db.session.commit()
    rosa.go("/admin/keys")
    rosa.sees("Signing keys")
    signing, following = row("Signing"), row("Next")
    expect(rosa.tab.get_by_role("button", name="Make this the signing key")).to_be_disabled()
    rosa.says("when every service has had the key for 1 hour.")
    with world.gatepost.app.app_context():
        db.session.execute(update(SigningKey).where(SigningKey.kid == following).values(created_at=now() - timedelta(hours=2)))
        db.session.commit()
    rosa.tab.reload()
    rosa.says("It can sign now.")
    rosa.follow("Make this the signing key")
    rosa.sees(f"Make {following} the signing key?")
    rosa.press("Make this the signing key")
    rosa.says(f"{following} is now the signing key.")
    rosa.sees("Signing keys")
    assert row("Signing") == following
    assert row("Still accepted") == signing
    rosa.choose(signing, "Retire now")
    rosa.tab.get_by_role("heading", level=1, name=re.compile("^Retire ")).wait_for()
    rosa.press("Retire now")
    rosa.says(f"Type {signing} to confirm")
    rosa.forgive(422)
    rosa.tab.locator("main input[name=typed]").fill(signing)
    rosa.press("Retire now")
    rosa.says(f"{signing} retired. Tokens it signed are no longer accepted.")
    rosa.sees("Signing keys")
    deadline = time.monotonic() + 60  # each process of the server follows within ten seconds
    while signing in (known := published(world)) and time.monotonic() < deadline:
        rosa.tab.wait_for_timeout(500)
    assert following in known
    assert signing not in known


def test_who_runs_nothing_finds_no_pages_of_the_instance(open_browser: Open) -> None:
    walk = open_browser(factories.make_user())
    walk.go("/admin/keys")
    walk.tab.get_by_role("heading", level=1).wait_for()
    walk.sees(walk.tab.get_by_role("heading", level=1).inner_text())
    assert "/admin" not in walk.tab.locator("header").inner_html()
    walk.forgive(403)
    walk.forgive(404)
