"""The last owner stays; two tabs on two organizations are both right."""

from collections.abc import Callable

from tests import factories
from tests.browser.conftest import World
from tests.browser.desk import Desk
from tests.browser.journey import Walk

Open = Callable[..., Walk]


def switch(walk: Walk, name: str) -> None:
    """By the menu in the top bar."""
    walk.tab.locator("header .menu > summary").first.click()
    walk.tab.locator("header .menu").first.get_by_role("link", name=name, exact=True).click()


def test_the_last_owner_stays_until_somebody_else_is_one(open_browser: Open, world: World, script: bool) -> None:
    desk = Desk(world)
    lena = desk.member(name="Lena Brandt")
    tom = open_browser(desk.owner, script=script)
    tom.go(f"{desk.base}/members")
    tom.sees("Members")
    tom.row("Tom Halvorsen").locator("details.menu > summary").click()
    tom.says("You’re the only owner. Make someone else an owner first.")
    assert not tom.row("Tom Halvorsen").get_by_role("link", name="Change role").count()
    tom.go(f"{desk.base}/leave")
    tom.sees("Leave Northwind?")
    tom.says("You’re the only owner")
    assert not tom.tab.get_by_role("button", name="Leave Northwind").count()
    tom.go(f"{desk.base}/members/{desk.owner.id}/role")
    tom.says("You’re the only owner")
    assert not tom.tab.get_by_role("button", name="Save role").count()
    tom.go("/account/delete")
    tom.sees("Delete your account?")
    tom.says("You’re the only owner")
    assert not tom.tab.get_by_role("button", name="Delete account").count()
    tom.tab.get_by_role("main").get_by_role("link", name="Northwind").click()

    tom.sees("Members")
    tom.choose("Lena Brandt", "Change role")
    tom.sees("Change the role of Lena Brandt")
    tom.tab.get_by_label("Owner").check()
    tom.press("Save role")
    tom.says("Lena Brandt is now an owner.")
    tom.sees("Members")
    tom.choose("Tom Halvorsen", "Leave Northwind")
    tom.asks("Leave Northwind?")
    tom.press("Leave Northwind")
    tom.sees("Organizations")
    tom.go(f"{desk.base}/members")
    tom.sees("Nothing here")
    tom.forgive(404)
    other = open_browser(lena, script=script)
    other.go(f"{desk.base}/members")
    other.sees("Members")
    other.row("Lena Brandt").get_by_text("Owner").first.wait_for()
    assert not other.row("Tom Halvorsen").count()


def test_two_tabs_on_two_organizations_are_both_right(open_browser: Open, world: World, script: bool) -> None:
    desk = Desk(world)
    fjord = factories.make_organization(owner=desk.owner, name="Fjord Labs")
    tom = open_browser(desk.owner, script=script)
    other = tom.another_tab()
    tom.go(f"{desk.base}/credentials/new")
    tom.sees("Add credential")
    other.go(f"{desk.base}/credentials")
    other.sees("Credentials")
    switch(other, "Fjord Labs")
    other.tab.wait_for_url(f"**/orgs/{fjord.slug}/credentials")
    other.sees("Credentials")
    other.follow("Add credential")
    other.sees("Add credential")

    tom.fill("Key", "IN_NORTHWIND")
    tom.fill("Value", "a value that is long enough")
    tom.press("Add credential")
    tom.says("IN_NORTHWIND added. It’s used from the next request.")
    tom.sees("Credentials")
    assert tom.tab.url.endswith(f"{desk.base}/credentials")
    other.fill("Key", "IN_FJORD")
    other.fill("Value", "another value, as long")
    other.press("Add credential")
    other.says("IN_FJORD added. It’s used from the next request.")
    assert other.tab.url.endswith(f"/orgs/{fjord.slug}/credentials")

    tom.tab.reload()
    tom.says("IN_NORTHWIND")
    assert not tom.row("IN_FJORD").count()
    key = factories.make_api_key(fjord, desk.owner, agent=factories.make_agent(fjord, desk.owner)).raw_key
    found = desk.ask(key, "/credentials/resolve", {"names": ["IN_NORTHWIND", "IN_FJORD"]}, organization=fjord).json()
    assert ([item["name"] for item in found["items"]], found["missing"]) == (["IN_FJORD"], ["IN_NORTHWIND"])
