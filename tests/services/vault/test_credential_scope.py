"""One pure function decides the scope: the whole table of actor, role and request."""

import uuid

import pytest

from errors import Conflict, Forbidden, Invalid
from services.access.actors import Actor, AgentInfo, UserInfo
from services.vault.credential_scope import read_order, write_scope

ANN = UserInfo(uuid.UUID(int=1), "ann@example.com", True, "Ann")
PERSON = Actor(type="user", id=str(ANN.id), user=ANN)
AGENT = Actor(type="agent", id="a", agent=AgentInfo(uuid.UUID(int=2), ANN, acts_for_owner=False))
FOR_OWNER = Actor(type="agent", id="b", agent=AgentInfo(uuid.UUID(int=3), ANN, acts_for_owner=True))
CLIENT = Actor(type="client", id="worker")


@pytest.mark.parametrize(
    ("role", "asked", "scope"),
    [
        ("owner", None, "org"),
        ("owner", "org", "org"),
        ("owner", "user", "user"),
        ("admin", None, "org"),
        ("admin", "org", "org"),
        ("admin", "user", "user"),
        ("member", None, "user"),
        ("member", "user", "user"),
        (None, None, "user"),
        (None, "user", "user"),
        ("something new", None, "user"),
    ],
)
def test_an_owners_or_admins_write_goes_to_the_organization_and_a_members_to_the_user(role, asked, scope):
    assert write_scope(PERSON, role, asked) == scope


@pytest.mark.parametrize("role", ["member", "something new", ""])
def test_a_member_who_asks_for_the_organizations_is_refused(role):
    with pytest.raises(Forbidden) as caught:
        write_scope(PERSON, role, "org")
    assert caught.value.code == "org_scope_requires_admin"


def test_organization_scope_needs_an_organization_and_does_not_fall_back_to_the_person():
    for decide in (write_scope, read_order):
        with pytest.raises(Invalid) as caught:
            decide(PERSON, None, "org")
        assert caught.value.fields == {"scope": "must be user: there is no organization here"}


@pytest.mark.parametrize("asked", ["", "Org", "organization", "both", "user ", "\0"])
@pytest.mark.parametrize("role", ["owner", "member", None])
def test_an_unknown_scope_is_a_wrong_field(role, asked):
    for decide in (write_scope, read_order):
        with pytest.raises(Invalid):
            decide(PERSON, role, asked)


@pytest.mark.parametrize("actor", [AGENT, FOR_OWNER])
@pytest.mark.parametrize("role", ["owner", "admin", "member", None])
@pytest.mark.parametrize("asked", [None, "org", "user", "odd"])
def test_an_agent_writes_nothing(actor, role, asked):
    with pytest.raises(Forbidden) as caught:
        write_scope(actor, role, asked)
    assert caught.value.code == "agents_cannot_manage_account"


@pytest.mark.parametrize("actor", [CLIENT, Actor(type="anonymous"), Actor.operator()])
def test_who_is_no_person_writes_nothing(actor):
    for asked in (None, "org", "user"):
        with pytest.raises(Forbidden):
            write_scope(actor, "owner", asked)


@pytest.mark.parametrize(
    ("set_by", "role", "asked", "outcome"),
    [
        ("both", "owner", None, "org"),
        ("both", "member", None, "user"),
        ("organization", "owner", None, "org"),
        ("organization", "owner", "user", "scope_not_allowed"),
        ("organization", "member", None, "scope_not_allowed"),
        ("organization", "member", "org", "org_scope_requires_admin"),
        ("person", "owner", None, "scope_not_allowed"),
        ("person", "owner", "org", "scope_not_allowed"),
        ("person", "owner", "user", "user"),
        ("person", "member", None, "user"),
    ],
)
def test_a_declaration_may_say_who_sets_a_credential(set_by, role, asked, outcome):
    if outcome in ("org", "user"):
        assert write_scope(PERSON, role, asked, set_by=set_by) == outcome
        return
    with pytest.raises((Conflict, Forbidden)) as caught:
        write_scope(PERSON, role, asked, set_by=set_by)
    assert caught.value.code == outcome


@pytest.mark.parametrize(
    ("actor", "role", "asked", "order"),
    [
        (PERSON, "owner", None, ("user", "org")),
        (PERSON, "member", None, ("user", "org")),
        (PERSON, None, None, ("user",)),
        (PERSON, "member", "org", ("org",)),
        (PERSON, "owner", "user", ("user",)),
        (AGENT, "member", None, ("org",)),
        (AGENT, "owner", "user", ()),
        (AGENT, None, None, ()),
        (FOR_OWNER, "member", None, ("user", "org")),
        (FOR_OWNER, "member", "user", ("user",)),
        (FOR_OWNER, "member", "org", ("org",)),
        (CLIENT, None, None, ()),
    ],
)
def test_resolution_reads_user_then_organization(actor, role, asked, order):
    assert read_order(actor, role, asked) == order


def test_what_is_declared_to_be_one_sides_is_read_from_that_side():
    assert read_order(PERSON, "member", set_by="organization") == ("org",)
    assert read_order(PERSON, "member", set_by="person") == ("user",)
    assert read_order(AGENT, "member", set_by="person") == ()
    assert read_order(FOR_OWNER, "member", set_by="person") == ("user",)
    assert read_order(PERSON, "member", "user", set_by="organization") == ("user",)
