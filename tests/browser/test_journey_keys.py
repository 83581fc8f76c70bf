"""Keys and access tokens: shown once, used over HTTP, revoked; and the sign-in again that making one asks for."""

from collections.abc import Callable

import requests

from infra import clock
from models import User
from tests import factories
from tests.browser.conftest import World
from tests.browser.desk import Desk
from tests.browser.journey import Walk

Open = Callable[..., Walk]


def shown(walk: Walk) -> str:
    return walk.tab.locator("output").inner_text()


def who(world: World, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return requests.get(f"{world.gatepost.url}/api/v1/whoami", headers=headers, timeout=60).status_code


def session_of(person: User, *, seconds_ago: int) -> str:
    clock.move(-seconds_ago)
    raw = factories.make_session(person)
    clock.move(0)
    return raw


def fill_in(walk: Walk, name: str, permission: str) -> None:
    walk.fill("Name", name)
    walk.tab.get_by_label("In 7 days").check()
    walk.tab.get_by_label(permission).check()


def test_an_agents_key_is_shown_once_works_and_is_revoked(open_browser: Open, world: World, script: bool) -> None:
    desk = Desk(world)
    agent = factories.make_agent(desk.organization, desk.owner, name="deploy-bot")
    tom = open_browser(desk.owner, script=script)
    here = f"{desk.base}/agents/{agent.id}"
    tom.go(here)
    tom.sees("deploy-bot")
    tom.follow("Create key")
    tom.sees("Create a key for deploy-bot")
    tom.press("Create key")
    tom.sees("Create a key for deploy-bot")
    tom.says("There is a problem")
    tom.forgive(422)
    fill_in(tom, "prod", "Read credential values")
    tom.press("Create key")
    tom.says("Copy your key now")
    tom.sees("prod")
    key = shown(tom)
    assert key.startswith("gpa_")
    assert f"GATEPOST_API_KEY={key}" in tom.tab.locator("pre[aria-label='Environment variables']").inner_text()
    assert who(world, key) == 200
    tom.tab.reload()
    tom.says("You’ve already seen this key. If you didn’t copy it, revoke it and create a new one.")
    tom.sees("prod")
    assert key not in tom.tab.content()
    tom.go(here)
    tom.row("prod").get_by_role("link", name="Revoke").click()
    tom.asks(f"Revoke key ‘prod’ (ends {key[-4:]})?")
    tom.says("deploy-bot last used it")
    tom.press("Revoke key")
    tom.says("Key revoked. deploy-bot has 0 left.")
    tom.sees("deploy-bot")
    assert who(world, key) == 401


def test_an_access_token_is_shown_once_works_and_is_revoked(open_browser: Open, world: World, script: bool) -> None:
    desk = Desk(world)
    tom = open_browser(desk.owner, width=390, script=script)
    tom.go("/account/tokens")
    tom.sees("Access tokens")
    tom.says("No access tokens")
    tom.follow("Create token")
    tom.sees("New access token")
    fill_in(tom, "backup script", "See your organizations")
    tom.tab.get_by_label("Organization", exact=True).select_option(desk.slug)
    tom.press("Create token")
    tom.says("Copy your token now")
    tom.sees("backup script")
    token = shown(tom)
    assert token.startswith("gpp_")
    assert who(world, token) == 200
    tom.tab.reload()
    tom.says("You’ve already seen this token. If you didn’t copy it, revoke it and create a new one.")
    assert token not in tom.tab.content()
    tom.follow("Revoke token")
    tom.asks("Revoke backup script?")
    tom.press("Revoke token")
    tom.says("Token revoked.")
    tom.sees("Access tokens")
    assert who(world, token) == 401


def test_a_token_asks_for_a_sign_in_of_the_last_ten_minutes_and_leads_back(open_browser: Open, world: World, script: bool) -> None:
    login = "nora" if script else "otto"
    walk = open_browser(script=script)
    walk.go("/account/tokens")
    walk.follow("Continue with Northwind SSO")
    walk.sign_in_upstream(login)
    walk.sees("Access tokens")
    walk.is_signed_in(session_of(world.person(f"{login}@example.com"), seconds_ago=700))
    walk.tab.reload()
    walk.follow("Create token")
    walk.sees("Confirm it’s you")
    walk.follow("Continue with Northwind SSO")
    walk.sign_in_upstream(login)
    walk.sees("New access token")
    fill_in(walk, "once more", "See your organizations")
    walk.press("Create token")
    walk.says("Copy your token now")
    assert who(world, shown(walk)) == 200
