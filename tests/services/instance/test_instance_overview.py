"""What the overview counts: sign-ins, refusals and refreshes by hour, from rows that are there anyway."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import insert, text, update

from errors import NotFound
from extensions import db
from infra.ids import first_uuid7, uuid7
from models import AuditEvent, RefreshToken
from services.access.actors import Actor
from services.database import row_security
from services.instance import instance_overview
from tests import factories, owner

NOW = (datetime.now(UTC) - timedelta(hours=1)).replace(minute=40, second=0, microsecond=0)


def _actor() -> Actor:
    return factories.make_actor(factories.make_user(is_admin=True))


def _id_at(moment: datetime) -> uuid.UUID:
    return uuid.UUID(int=first_uuid7(moment).int | uuid7().int & (1 << 62) - 1)


def _event(action: str, moment: datetime, organization_id: uuid.UUID | None = None) -> dict[str, Any]:
    values = {"actor_type": "user", "actor_id": "x", "outcome": "ok", "details": {}}
    return {"id": _id_at(moment), "at": moment, "action": action, "organization_id": organization_id, **values}


@pytest.mark.both_databases
def test_events_and_used_tokens_are_counted_by_hour_as_far_back_as_thirty_days(app: Flask, database: Any) -> None:
    actor, hour = _actor(), timedelta(hours=1)
    moments = [NOW, NOW - timedelta(minutes=39), NOW - timedelta(minutes=41), NOW - timedelta(days=29), NOW - timedelta(days=31)]
    organization = factories.make_organization()
    events = [_event("user_session.started", moment) for moment in moments]
    events += [_event("sign_in.refused", NOW, organization.id), _event("user_session.ended", NOW)]
    grants = [factories.make_grant(factories.make_user()) for _ in range(2)]
    with owner.session(app) as owners:
        owners.execute(text("DELETE FROM audit_events"))
        owners.execute(insert(AuditEvent), events)
        owners.execute(update(RefreshToken).where(RefreshToken.family_id == grants[0].id).values(used_at=NOW - 2 * hour))
    with app.app_context():
        found = instance_overview.activity(actor)
    this = NOW.replace(minute=0)
    assert found["sign_ins"] == {this: 2, this - hour: 1, this - timedelta(days=29): 1}
    assert found["refusals"] == {this: 1}
    assert found["refreshes"] == {this - 2 * hour: 1}


@pytest.mark.both_databases
def test_nothing_is_counted_for_who_is_no_administrator(app: Flask, database: Any) -> None:
    person = factories.make_actor(factories.make_user())
    for read in (instance_overview.activity, instance_overview.read):
        for actor in (person, replace(_actor(), credential_type="api_key"), Actor.operator()):
            with app.app_context(), pytest.raises(NotFound):
                read(actor)


@pytest.mark.both_databases
def test_the_overview_says_what_there_is(app: Flask, database: Any) -> None:
    factories.make_user(disabled_at=factories.now())
    factories.make_api_key(factories.make_organization(), factories.make_user())
    actor = _actor()
    with app.app_context():
        found = instance_overview.read(actor)
    assert [(store.name, store.is_ok) for store in found.stores] == [("database", True), ("redis", True)]
    assert found.stores[0].version.startswith("PostgreSQL " if database.kind == "postgresql" else "SQLite ")
    assert found.stores[1].version.split()[0] in ("Redis", "Valkey")
    expected = {"users": 3, "disabled": 1, "admins": 1, "keys": 1, "clients": 0}
    assert {name: found.counts[name] for name in expected} == expected


def test_both_counts_follow_the_primary_key(app: Flask, database: Any) -> None:
    """Under row-level security too: the comparison of ids is one that the planner trusts with rows that are not shown."""
    actor = _actor()
    with app.app_context():
        plans = []
        row_security.enter(user_id=actor.user.id, instance=True)  # type: ignore[union-attr]
        db.session.execute(text("SET LOCAL enable_seqscan = off"))
        for table, moment in (("audit_events", "at"), ("refresh_tokens", "used_at")):
            question = f"EXPLAIN SELECT count(*) FROM {table} WHERE id >= :first AND {moment} >= :since"
            plans.append("\n".join(db.session.scalars(text(question), {"first": first_uuid7(NOW), "since": NOW})))
    assert "pk_audit_events" in plans[0], plans[0]
    assert "Index Cond: (id >=" in plans[0], plans[0]
    assert "pk_refresh_tokens" in plans[1], plans[1]


@pytest.mark.both_databases
def test_a_provider_fails_from_its_fault_until_somebody_comes_in_again(make_app: Any, database: Any) -> None:
    set_up = {"issuer": "https://sso.example.com", "client_id": "x", "client_secret": "x"}
    ids = ("staff", "partners", "quiet", "old")
    app = make_app(**{f"oidc__{id}__{key}": value for id in ids for key, value in set_up.items()})
    actor, hour = _actor(), timedelta(hours=1)
    person = factories.make_user()
    factories.make_identity(person, provider="staff", last_sign_in_at=NOW - hour)
    factories.make_identity(factories.make_user(), provider="partners", last_sign_in_at=NOW)

    def refused(provider: str, code: str, moment: datetime) -> dict[str, Any]:
        return {**_event("sign_in.refused", moment), "details": {"provider": provider, "code": code, "proven": True}}

    events = [
        refused("staff", "provider_unavailable", NOW - 2 * hour),
        refused("staff", "provider_refused", NOW - hour / 2),
        refused("staff", "access_denied", NOW),
        refused("partners", "provider_refused", NOW - hour),
        {**_event("sign_in.refused", NOW), "details": {"provider": "quiet", "code": "provider_unavailable"}},
        refused("old", "provider_refused", NOW - 25 * hour),
    ]
    with owner.session(app) as owners:
        owners.execute(insert(AuditEvent), events)
    with app.app_context():
        states = {state.id: state for state in instance_overview.read(actor).providers}
    assert {id: state.fault for id, state in states.items()} == {"staff": "provider_refused", "partners": "", "quiet": "", "old": ""}
    assert states["staff"].fault_at == NOW - hour / 2
