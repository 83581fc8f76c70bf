"""Quotas: what counts, that the last place goes to one caller only, and that 0 disables."""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event, select

from errors import Conflict
from extensions import db
from infra import clock
from models import User
from services.access.quotas import QuotaReached
from services.accounts import bootstrap
from services.organizations import invitations, organizations, projects
from services.users import agents, api_keys
from services.vault import credential_declarations, credentials
from tests import factories, owner
from tests.fakes.smtp import FakeSmtp

pytestmark = pytest.mark.both_databases

AT_ONCE = 6
DAY = 86_400
LIMITS = {
    "max_credentials": "3",
    "max_agents": "3",
    "max_keys": "3",
    "max_projects": "3",
    "max_organizations": "3",
    "max_emails_per_day": "3",
}


class World:
    """One person who owns `acme`, and what each quota bounds: a call that makes the n-th of its kind."""

    def __init__(self, app: Flask, **columns: Any) -> None:
        self.app = app
        self.person = factories.make_user(personal=False, **columns)
        self.organization = factories.make_organization(owner=self.person, slug="acme")
        self.actor = factories.make_actor(self.person)
        beta = factories.make_organization(owner=factories.make_user(personal=False), slug="beta")
        factories.make_membership(beta, self.person, "admin")

    def make(self, quota: str, number: int) -> None:
        made: dict[str, Callable[[], Any]] = {
            "credentials": lambda: self.put("acme", f"NAME_{number}"),
            "own_credentials": lambda: self.put(None, f"NAME_{number}"),
            "declarations": lambda: self.declare(f"NAME_{number}"),
            "agents": lambda: agents.create(self.actor, "acme", name=f"bot {number}"),
            "keys": lambda: self.mint(f"key {number}"),
            "projects": lambda: projects.create(self.actor, name="App", slug=f"app-{number}", organization="acme"),
            "organizations": lambda: organizations.create(self.actor, name="Another", slug=f"another-{number}"),
            "emails": lambda: self.invite(("acme", "beta")[number % 2], f"guest{number}@example.com"),
        }
        with self.app.app_context():
            made[quota]()

    def put(self, slug: str | None, name: str) -> Any:
        return credentials.put(self.actor, slug, name, value="a-value", fields=None, scope=None)

    def declare(self, name: str) -> Any:
        return credential_declarations.put(self.actor, "acme", name, kind=None, set_by=None, note=None)

    def invite(self, slug: str, email: str) -> Any:
        return invitations.invite(self.actor, slug, email=email, role="member")

    def mint(self, name: str, owner_id: str = api_keys.SELF) -> Any:
        return api_keys.mint(self.actor, owner=owner_id, organization="acme", name=name, scopes=["orgs"])

    def is_refused(self, quota: str, number: int) -> bool:
        try:
            self.make(quota, number)
        except QuotaReached:
            return True
        return False


QUOTAS = ["credentials", "own_credentials", "declarations", "agents", "keys", "projects", "organizations", "emails"]


@pytest.fixture
def make_world(make_app: Callable[..., Flask], smtp: FakeSmtp) -> Callable[..., World]:
    return lambda **limits: World(make_app(mail_url=smtp.url, **{**LIMITS, **limits}))


@pytest.mark.parametrize("quota", QUOTAS)
def test_one_beyond_is_refused_and_leaves_nothing(make_world: Callable[..., World], quota: str) -> None:
    world = make_world()
    room = 2 if quota == "organizations" else 3  # one is there already
    assert [world.is_refused(quota, number) for number in range(room + 2)] == [False] * room + [True] * 2
    created = [row.action for row in owner.events(world.app) if row.action.split(".")[1] in ("created", "put")]
    assert len(created) == room


@contextmanager
def waiting_for_another() -> Iterator[None]:
    """Who is about to commit waits a moment for a second one that is: two that do not wait for each other would both commit."""
    both = threading.Barrier(2)

    def wait(_session: Any) -> None:
        with suppress(threading.BrokenBarrierError):
            both.wait(0.5)

    event.listen(db.session, "before_commit", wait)
    try:
        yield
    finally:
        event.remove(db.session, "before_commit", wait)


@pytest.mark.parametrize("quota", QUOTAS)
def test_the_last_place_goes_to_one_of_many_at_once(make_world: Callable[..., World], quota: str) -> None:
    world = make_world()
    for number in range(1 if quota == "organizations" else 2):
        world.make(quota, number)
    start = threading.Barrier(AT_ONCE)

    def try_it(number: int) -> bool:
        start.wait()
        return world.is_refused(quota, number)

    with waiting_for_another(), ThreadPoolExecutor(AT_ONCE) as pool:
        assert sorted(pool.map(try_it, range(10, 10 + AT_ONCE))) == [False] + [True] * (AT_ONCE - 1)


@pytest.mark.parametrize("quota", QUOTAS)
def test_zero_disables(make_world: Callable[..., World], quota: str) -> None:
    world = make_world(**dict.fromkeys(LIMITS, "0"))
    assert [world.is_refused(quota, number) for number in range(5)] == [False] * 5


# --- what counts --------------------------------------------------------------------------------------------------------------


def test_a_value_that_is_replaced_takes_no_place_and_a_removed_one_gives_it_back(make_world: Callable[..., World]) -> None:
    world = make_world(max_credentials="1")
    for _ in range(3):
        world.make("credentials", 1)
    assert world.is_refused("credentials", 2)
    with world.app.app_context():
        credentials.remove(world.actor, "acme", "NAME_1", scope=None)
    assert not world.is_refused("credentials", 2)


def test_a_name_that_is_declared_and_set_counts_once_and_ones_own_values_apart(make_world: Callable[..., World]) -> None:
    world = make_world(max_credentials="1")
    for quota in ("declarations", "credentials", "own_credentials"):
        assert not world.is_refused(quota, 1)
    assert [world.is_refused(quota, 2) for quota in ("declarations", "credentials", "own_credentials")] == [True] * 3
    with world.app.app_context(), pytest.raises(QuotaReached):
        credentials.add(world.actor, "acme", "NAME_2", kind="generic", set_by="both", note="", value="a-value")


def test_two_who_add_and_put_one_name_at_once_do_not_wait_for_each_other(make_world: Callable[..., World]) -> None:
    world = make_world(max_credentials="100")

    def write(name: str, is_new: bool) -> None:
        with world.app.app_context(), suppress(Conflict):
            start.wait(60)
            if is_new:
                credentials.add(world.actor, "acme", name, kind="generic", set_by="both", note="", value="a-value")
            else:
                world.put("acme", name)

    for number in range(10):
        start = threading.Barrier(AT_ONCE)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(write, [f"NAME_{number}"] * AT_ONCE, [True, False] * (AT_ONCE // 2)))


def test_every_key_counts_that_the_list_shows_and_those_of_organizations_that_can_be_restored(make_world: Callable[..., World]) -> None:
    world = make_world(max_keys="2")
    agent = factories.make_agent(world.organization, world.person)
    factories.make_api_key(world.organization, factories.make_user())
    with world.app.app_context():
        world.mint("of the agent", str(agent.id))
        world.mint("of the person")
    clock.move(100 * DAY)  # both have expired, and are listed
    assert world.is_refused("keys", 1)
    with world.app.app_context():
        rows = api_keys.list_own(world.actor)
        assert len(rows) == 2
        api_keys.revoke(world.actor, str(rows[0].id))
    assert not world.is_refused("keys", 1)
    assert world.is_refused("keys", 2)
    with world.app.app_context():
        organizations.create(world.actor, name="Another", slug="another")
        organizations.delete(world.actor, "acme")
        with pytest.raises(QuotaReached):
            api_keys.mint(world.actor, owner=api_keys.SELF, organization="another", name="new", scopes=["orgs"])
    clock.move(108 * DAY)
    with world.app.app_context():
        organizations.unscoped_purge()
        api_keys.mint(world.actor, owner=api_keys.SELF, organization="another", name="new", scopes=["orgs"])


def test_organizations_count_that_one_owns_until_they_are_gone_for_good(make_world: Callable[..., World]) -> None:
    world = make_world(max_organizations="1")
    factories.make_membership(factories.make_organization(owner=factories.make_user()), world.person, "admin")
    assert world.is_refused("organizations", 1)
    with world.app.app_context():
        organizations.delete(world.actor, "acme")
    assert world.is_refused("organizations", 1)
    clock.move(8 * DAY)
    with world.app.app_context():
        organizations.unscoped_purge()
    assert not world.is_refused("organizations", 1)


def test_everybody_gets_a_personal_organization(make_world: Callable[..., World]) -> None:
    world = make_world(max_organizations="1")
    with world.app.app_context():
        newcomer = factories.make_user()
        assert [row.name for row in organizations.list_own(factories.make_actor(newcomer))] == [newcomer.name]
        with pytest.raises(QuotaReached):
            organizations.create(factories.make_actor(newcomer), name="Another", slug="another")


# --- the slug -----------------------------------------------------------------------------------------------------------------


def test_a_slug_changes_five_times_in_thirty_days(make_world: Callable[..., World]) -> None:
    world = make_world(**dict.fromkeys(LIMITS, "0"))

    def rename(now: str, to: str) -> None:
        with world.app.app_context():
            organizations.update(world.actor, now, {"slug": to})

    slugs = ["acme", "acme-1", "acme", "acme-2", "acme-3", "acme-4"]
    for number, (now, to) in enumerate(itertools.pairwise(slugs)):
        clock.move(number * DAY)
        rename(now, to)
        with world.app.app_context():
            organizations.update(world.actor, to, {"name": f"Acme {number}", "metadata": {"seen": number}})
    with pytest.raises(QuotaReached):
        rename("acme-4", "acme-5")
    with world.app.app_context():
        organizations.update(world.actor, "acme-4", {"slug": "acme-4", "name": "The same slug"})
        organizations.create(world.actor, name="Another", slug="another")
    rename("another", "another-1")
    clock.move(30 * DAY + 60)
    rename("acme-4", "acme-5")
    with pytest.raises(QuotaReached):
        rename("acme-5", "acme-6")


# --- emails to others -----------------------------------------------------------------------------------------------------------


def test_letters_of_one_person_count_in_all_organizations_and_when_sent_again(make_world: Callable[..., World], smtp: FakeSmtp) -> None:
    world = make_world()
    factories.make_organization(owner=world.person, slug="other")
    colleague = factories.make_user()
    factories.make_membership(world.organization, colleague, "admin")
    with world.app.app_context():
        sent = invitations.invite(world.actor, "acme", email="ann@example.com", role="member")
        invitations.resend(world.actor, "acme", str(sent.row.id))
        invitations.invite(world.actor, "other", email="ann@example.com", role="member")
        with pytest.raises(QuotaReached):
            invitations.invite(world.actor, "other", email="bob@example.com", role="member")
        with pytest.raises(QuotaReached):
            invitations.resend(world.actor, "acme", str(sent.row.id))
        invitations.revoke(world.actor, "acme", str(sent.row.id))
        with pytest.raises(QuotaReached):
            invitations.invite(world.actor, "acme", email="ann@example.com", role="member")
        invitations.invite(factories.make_actor(colleague), "acme", email="ann@example.com", role="member")
    assert len(smtp.letters) == 4
    clock.move(DAY + 1)
    assert not world.is_refused("emails", 1)


def test_all_of_a_list_are_invited_or_none(make_world: Callable[..., World], smtp: FakeSmtp) -> None:
    world = make_world()
    with world.app.app_context():
        with pytest.raises(QuotaReached):
            invitations.invite_all(world.actor, "acme", emails=[f"guest{number}@example.com" for number in range(4)], role="member")
        assert invitations.list_of(world.actor, "acme") == []
        invitations.invite_all(world.actor, "acme", emails=[f"guest{number}@example.com" for number in range(3)], role="member")
    assert len(smtp.letters) == 3


@pytest.mark.parametrize(("limit", "by_operator", "most"), [("200", False, 10), ("200", True, 12), ("4", False, 4), ("0", False, 12)])
def test_a_new_account_that_nobody_answers_for_sends_ten_letters_in_its_first_day(
    make_app: Callable[..., Flask], smtp: FakeSmtp, limit: str, by_operator: bool, most: int
) -> None:
    world = World(make_app(mail_url=smtp.url, max_emails_per_day=limit), created_by_operator=by_operator)
    assert [world.is_refused("emails", number) for number in range(12)].count(False) == most
    clock.move(DAY + 1)
    assert not world.is_refused("emails", 20)


def test_the_first_administrator_is_not_an_account_that_nobody_answers_for(make_app: Callable[..., Flask]) -> None:
    with make_app().app_context():
        bootstrap.bootstrap_link()
        assert [user.created_by_operator for user in db.session.scalars(select(User))] == [True]


def test_without_a_mail_server_nothing_is_sent_and_nothing_counts(make_app: Callable[..., Flask]) -> None:
    world = World(make_app(**LIMITS))
    assert [world.is_refused("emails", number) for number in range(5)] == [False] * 5
