"""Agents: pausing and resuming, by whom, and what stays written."""

import pytest

from errors import Forbidden, NotFound
from services.users import agents
from tests import factories, owner

pytestmark = pytest.mark.both_databases


@pytest.fixture
def acme(app):
    class Acme:
        boss, member, other = (factories.make_user(personal=False) for _ in range(3))
        organization = factories.make_organization(owner=boss, slug="acme")

    for user in (Acme.member, Acme.other):
        factories.make_membership(Acme.organization, user)
    Acme.agent = factories.make_agent(Acme.organization, Acme.member)
    return Acme


def _paused(app, acme, user) -> list[bool]:
    with app.app_context():
        return [row.paused_at is not None for row in agents.list_of(factories.make_actor(user), "acme")]


@pytest.mark.parametrize("who", ["boss", "member"])
def test_the_person_it_belongs_to_and_whoever_manages_agents_pause_and_resume(app, acme, who):
    actor = factories.make_actor(getattr(acme, who))
    for act, paused in ((agents.pause, True), (agents.pause, True), (agents.resume, False), (agents.resume, False)):
        with app.app_context():
            act(actor, "acme", str(acme.agent.id))
        assert _paused(app, acme, acme.other) == [paused]
    assert [event.action for event in owner.events(app) if event.target_type == "agent"] == ["agent.paused", "agent.resumed"]


@pytest.mark.parametrize("act", [agents.pause, agents.resume, agents.delete])
def test_another_member_may_not(app, acme, act):
    with app.app_context(), pytest.raises(Forbidden):
        act(factories.make_actor(acme.other), "acme", str(acme.agent.id))
    with app.app_context(), pytest.raises(NotFound):
        act(factories.make_actor(factories.make_user()), "acme", str(acme.agent.id))
    assert _paused(app, acme, acme.member) == [False]


def test_an_operator_is_no_person_to_own_an_agent(app, acme):
    with app.app_context(), pytest.raises(NotFound):
        agents.create(factories.make_actor(), "acme", name="bot")
