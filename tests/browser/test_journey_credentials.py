"""Invited, joined, a value of one's own, the organization's overridden and in force again: what agents get, at each step."""

from collections.abc import Callable

import pytest

from tests import factories
from tests.browser.conftest import World
from tests.browser.desk import Desk
from tests.browser.journey import Walk

Open = Callable[..., Walk]
KEY = "DEPLOY_KEY"
SHARED, OWN = "the-organization's-own-value-1111", "a-value-of-my-very-own-2222"


def slots(walk: Walk, name: str = KEY) -> list[str]:
    """What the row says of the organization's value and of the person's."""
    return [" ".join(cell.inner_text().split()) for cell in walk.row(name).get_by_role("cell").all()[:2]]


def set_value(walk: Walk, value: str) -> None:
    walk.fill("Value", value)
    walk.press("Save value")


def create_key(walk: Walk, name: str) -> str:
    """On an agent's page; the key."""
    walk.follow("Create key")
    walk.tab.get_by_role("heading", level=1, name="Create a key for ").wait_for()
    walk.fill("Name", name)
    walk.tab.get_by_label("In 7 days").check()
    walk.tab.get_by_label("Read credential values").check()
    walk.press("Create key")
    walk.sees(name)
    walk.says("Copy your key now")
    return walk.tab.get_by_role("status").or_(walk.tab.locator("output")).first.inner_text()


def invite(walk: Walk, desk: Desk, email: str, role: str = "Member") -> str:
    """From the organization's first page; the link in the mail."""
    walk.go(desk.base)
    walk.sees("Members")
    walk.follow("Invite people")
    walk.sees("Invite people")
    walk.fill("Email addresses", email)
    walk.tab.get_by_label("Role").select_option(label=role)
    walk.press("Send invitations")
    walk.says(f"Sending the invitation to {email}.")
    walk.sees("Members")
    letter = desk.world.smtp.wait_for(to=email)
    return next(word for word in letter.get_content().split() if "/invitations/" in word)


def test_from_an_invitation_to_an_own_value_and_back_to_the_organizations(open_browser: Open, world: World, script: bool) -> None:
    desk, login = Desk(world), "sara" if script else "remy"
    tom, guest = open_browser(desk.owner, script=script), open_browser(width=390, script=script)
    link = invite(tom, desk, f"{login}@example.com")

    tom.go(f"{desk.base}/credentials")
    tom.sees("Credentials")
    tom.follow("Add credential")
    tom.sees("Add credential")
    tom.fill("Key", KEY)
    tom.fill("Value", SHARED)
    tom.press("Add credential")
    tom.says(f"{KEY} added. It’s used from the next request.")
    tom.sees("Credentials")

    guest.go(link)
    guest.sees("Sign in")
    guest.says("Tom Halvorsen invited you to Northwind")
    guest.follow("Continue with Northwind SSO")
    guest.sign_in_upstream(login)
    guest.sees("Join Northwind?")
    guest.says("Tom Halvorsen invited you.")
    guest.press("Accept invitation")
    guest.says("You joined Northwind as a member.")
    guest.sees("Credentials")
    organization, own = slots(guest)
    assert "Ends 1111" in organization
    assert "In use" in organization
    assert own.startswith("Yours Not set")

    guest.go(f"{desk.base}/agents")
    guest.sees("Agents and keys")
    guest.follow("Create an agent")
    guest.sees("Create an agent")
    guest.fill("Name", "deploy-bot")
    guest.tab.get_by_label("Acts for me").check()
    guest.press("Create agent")
    guest.says("deploy-bot created.")
    guest.sees("deploy-bot")
    key = create_key(guest, "laptop")
    assert desk.resolve(key, KEY) == SHARED

    guest.go(f"{desk.base}/credentials")
    guest.row(KEY).get_by_role("link", name="Set your own").first.click()
    guest.sees("Set your own value")
    set_value(guest, OWN)
    guest.says(f"{KEY} set. It’s used from the next request.")
    guest.sees("Credentials")
    organization, own = slots(guest)
    assert "In use" not in organization
    assert "In use" in own
    assert "Ends 2222" in own
    assert "Instead of the organization’s" in own
    assert desk.resolve(key, KEY) == OWN

    tom.go(f"{desk.base}/credentials")
    organization, own = slots(tom)  # what somebody else set is theirs
    assert "In use" in organization
    assert "Not set" in own

    guest.choose(KEY, "Remove your own value")
    guest.asks(f"Remove your value for {KEY}?")
    guest.says("The organization’s value is used instead.")
    guest.press("Remove value")
    guest.says(f"Your value for {KEY} was removed. The organization’s is used now.")
    guest.sees("Credentials")
    organization, own = slots(guest)
    assert "In use" in organization
    assert "Not set" in own
    assert desk.resolve(key, KEY) == SHARED


def test_the_last_value_is_removed_and_agents_miss_it(open_browser: Open, world: World, script: bool) -> None:
    desk = Desk(world)
    factories.make_credential(KEY, SHARED, organization=desk.organization)
    key = factories.make_api_key(desk.organization, desk.owner, agent=factories.make_agent(desk.organization, desk.owner)).raw_key
    assert desk.resolve(key, KEY) == SHARED
    tom = open_browser(desk.owner, script=script)
    tom.go(f"{desk.base}/credentials/{KEY}")
    tom.sees(KEY)
    tom.follow("Remove credential")
    tom.asks(f"Remove {KEY} from Northwind?")
    tom.press("Remove credential")
    tom.says(f"{KEY} was removed.")
    tom.sees("Credentials")
    tom.says("No credentials yet")
    assert desk.resolve(key, KEY) is None


def test_a_link_is_opened_by_who_is_signed_in_already_and_only_by_its_person(open_browser: Open, world: World, script: bool) -> None:
    desk, maya, other = Desk(world), factories.make_user(), factories.make_user()
    tom = open_browser(desk.owner, script=script)
    link = invite(tom, desk, maya.email, "Admin")
    wrong = open_browser(other, script=script)
    wrong.go(link)
    wrong.sees(f"This invitation is for {maya.email}")
    wrong.forgive(403)
    right = open_browser(maya, script=script)
    right.go(link)
    right.sees("Join Northwind?")
    right.press("Accept invitation")
    right.says("You joined Northwind as an admin.")
    right.sees("Members")
    right.says("Tom Halvorsen")
    right.go(link)
    right.sees("You’re already a member of Northwind")
    right.follow("Go to Northwind")
    right.sees("Members")
    wrong.go(link)
    wrong.sees("This invitation is no longer valid")
    wrong.forgive(410)
    tom.go(f"{desk.base}/invitations")
    assert "Accepted" in tom.row(str(maya.email)).inner_text()


def test_an_invitation_is_answered_on_the_first_page_without_its_link(open_browser: Open, world: World, script: bool) -> None:
    desk, maya = Desk(world), factories.make_user(name="Maya Kovač")
    tom, guest = open_browser(desk.owner, script=script), open_browser(maya, width=390, script=script)
    guest.go("/account")
    guest.says("Go to Maya Kovač")
    first = invite(tom, desk, str(maya.email))
    guest.go("/account")
    guest.says("Tom Halvorsen invited you")
    guest.press("Decline")
    guest.says("Invitation declined.")
    guest.go(first)
    guest.sees("This invitation is no longer valid")
    guest.forgive(410)
    tom.go(f"{desk.base}/invitations")
    assert "Declined" in tom.row(str(maya.email)).inner_text()
    invite(tom, desk, str(maya.email))
    guest.go("/orgs")
    guest.press("Accept")
    guest.says("You joined Northwind as a member.")
    guest.sees("Credentials")


def test_a_link_is_copied_and_handed_over(open_browser: Open, world: World, script: bool) -> None:
    desk, maya = Desk(world), factories.make_user()
    tom, guest = open_browser(desk.owner, script=script), open_browser(maya, script=script)
    invite(tom, desk, str(maya.email))
    tom.row(str(maya.email)).get_by_label(f"Actions for {maya.email}").click()
    tom.press("Copy link")
    tom.sees("Invitation link")
    tom.says("Copy the link now")
    guest.go(tom.tab.locator("output").inner_text())
    guest.sees("Join Northwind?")


@pytest.mark.parametrize("role", ["member", "admin"])
def test_an_invitation_is_revoked_before_it_is_opened(open_browser: Open, world: World, role: str) -> None:
    desk, maya = Desk(world), factories.make_user()
    tom, guest = open_browser(desk.owner, script=role == "admin"), open_browser(maya)
    link = invite(tom, desk, maya.email, role.title())
    tom.choose(maya.email, "Revoke")
    tom.asks(f"Revoke the invitation of {maya.email}?")
    tom.press("Revoke invitation")
    tom.says("No invitations.")
    guest.go(link)
    guest.sees("This invitation is no longer valid")
    guest.forgive(410)
