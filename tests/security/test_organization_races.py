"""What somebody may do is decided when it is done: whoever lost their role meanwhile does nothing more with it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from flask import Flask
from werkzeug.test import TestResponse

from extensions import db
from infra.clock import now
from models import Invitation, Membership, Project
from services.access.actors import Actor
from services.database import row_security
from services.organizations import organizations, received_invitations
from tests import factories
from tests.api.company import Company
from tests.api.test_invitations import invite
from tests.api.test_members import role_of
from tests.api.test_orgs import audited

WRITES: dict[str, tuple[str, str, Any]] = {
    "rename": ("PATCH", "/orgs/acme", {"name": "Mine"}),
    "invite": ("POST", "/orgs/acme/invitations", {"email": "x@example.com", "role": "admin"}),
    "raise": ("PATCH", "/orgs/acme/members/{member}", {"role": "admin"}),
    "remove": ("DELETE", "/orgs/acme/members/{member}", None),
}


@pytest.fixture
def company(app: Flask) -> Company:
    return Company(app)


@contextmanager
def held(database: Any, company: Company, change: str, **values: Any) -> Iterator[psycopg.Connection[Any]]:
    """A transaction that has changed something and is not finished yet, as another request would be."""
    with psycopg.connect(database.owner_url.replace("+psycopg", "")) as connection:
        connection.execute("SELECT id FROM organizations WHERE id = %s FOR NO KEY UPDATE", [company.acme.id])
        connection.execute(change, {"organization": company.acme.id, **values})
        yield connection


def meanwhile(app: Flask, connection: Any, send: Callable[[], Any]) -> Any:
    """Send a request that has to wait for `connection`, then let it go on."""
    answers: list[TestResponse] = []
    thread = threading.Thread(target=lambda: answers.append(send()))
    thread.start()
    deadline = time.monotonic() + 8
    with app.app_context():
        while not db.session.scalar(db.text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
            db.session.rollback()
            assert time.monotonic() < deadline and thread.is_alive(), answers
            time.sleep(0.01)
    connection.commit()
    thread.join(10)
    return answers[0]


@pytest.fixture(autouse=True)
def _postgresql_only(database: Any) -> None:
    if database.kind != "postgresql":
        pytest.skip("SQLite has one writer at a time")


@pytest.mark.parametrize("name", WRITES)
def test_an_admin_who_is_being_demoted_changes_nothing(app: Flask, company: Company, database: Any, name: str) -> None:
    method, path, body = WRITES[name]
    demotion = "UPDATE memberships SET role = 'member' WHERE organization_id = %(organization)s AND user_id = %(user)s"
    with held(database, company, demotion, user=company.admin.user.id) as connection:
        answer = meanwhile(app, connection, lambda: company.admin.send(method, path.format(member=company.member.id), body))
    assert (answer.status_code, answer.json["error"]) == (403, "forbidden")
    assert role_of(app, company.acme, company.member.user) == "member"
    assert company.owner.get("/orgs/acme").json["name"] == "Acme"
    assert company.owner.get("/orgs/acme/invitations").json["items"] == []


@pytest.mark.parametrize("name", [*WRITES, "project"])
def test_nothing_is_written_into_an_organization_that_is_being_deleted(app: Flask, company: Company, database: Any, name: str) -> None:
    method, path, body = WRITES.get(name, ("POST", "/projects", {"name": "x", "slug": "web", "organization": "acme"}))
    with held(database, company, "UPDATE organizations SET deleted_at = now() WHERE id = %(organization)s") as connection:
        answer = meanwhile(app, connection, lambda: company.admin.send(method, path.format(member=company.member.id), body))
    assert (answer.status_code, answer.json["error"]) == (404, "not_found")
    with app.app_context():
        row_security.enter(organization_ids=[company.acme.id])
        assert [*db.session.scalars(db.select(Invitation)), *db.session.scalars(db.select(Project))] == []


def test_a_member_who_is_being_removed_makes_no_project(app: Flask, company: Company, database: Any) -> None:
    removal = "DELETE FROM memberships WHERE organization_id = %(organization)s AND user_id = %(user)s"
    with held(database, company, removal, user=company.member.user.id) as connection:
        body = {"name": "x", "slug": "web", "organization": "acme"}
        answer = meanwhile(app, connection, lambda: company.member.send("POST", "/projects", body))
    assert answer.status_code == 404


def test_an_invitation_that_is_being_revoked_lets_nobody_in(app: Flask, company: Company, database: Any) -> None:
    ann = company.person("ann@example.com", personal=True)
    token = invite(company).json["token"]
    revocation = "UPDATE invitations SET revoked_at = now() WHERE organization_id = %(organization)s"
    with held(database, company, revocation) as connection:
        answer = meanwhile(app, connection, lambda: ann.send("POST", "/invitations/accept", {"token": token}))
    assert answer.status_code == 410
    assert role_of(app, company.acme, ann.user) is None
    assert audited(app, "invitation.accepted") == []


@pytest.mark.parametrize("what", ["link", "both"])
def test_links_and_buttons_at_once_make_one_membership_and_one_event(app: Flask, company: Company, what: str) -> None:
    ann = factories.make_user(email="ann@example.com")
    made = invite(company).json
    barrier, failures = threading.Barrier(12), []

    def run(n: int) -> None:
        actor = factories.make_actor(ann)
        barrier.wait(10)
        with app.app_context():
            try:
                if what == "link" or n % 2:
                    assert received_invitations.accept_by_link(actor, made["token"]).slug == "acme"
                else:
                    assert received_invitations.accept(actor, made["id"]).slug == "acme"
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failures == []
    assert len(audited(app, "invitation.accepted")) == 1
    assert role_of(app, company.acme, ann) == "member"


def test_somebody_who_looks_while_they_are_being_invited_finds_it_the_next_time(app: Flask, company: Company, database: Any) -> None:
    """Whoever finds nothing takes the mark away that says where to look; not while an inviter is setting it."""
    ann = company.person("ann@example.com", personal=True, has_invitations=True)
    made = factories.make_invitation(company.acme, "ann@example.com", revoked_at=now())
    invites = "UPDATE users SET has_invitations = true WHERE id = %(user)s"
    with held(database, company, invites, user=ann.user.id) as connection:
        connection.execute("UPDATE invitations SET revoked_at = NULL")
        assert meanwhile(app, connection, lambda: ann.get("/session")).json["invitations"] == []
    assert [item["id"] for item in ann.get("/session").json["invitations"]] == [str(made.id)]


def test_a_personal_organization_that_exists_is_not_joined_again(app: Flask, company: Company) -> None:
    """It has its person's id: making it again must not open one that others own by now."""
    ann = factories.make_user(email="ann@example.com", name="Ann")
    with app.app_context():
        before = organizations.ensure_personal(Actor.operator(), ann.id)
        row_security.enter(organization_ids=[ann.id])
        db.session.execute(db.delete(Membership).where(Membership.user_id == ann.id))  # no door does this
        db.session.commit()
        assert organizations.ensure_personal(Actor.operator(), ann.id) == []
        assert [org.slug for org in before] == ["ann"]
