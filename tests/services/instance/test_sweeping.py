"""Sweeping: what is expired goes, what is live or still needed stays, whatever the number of rows."""

import tracemalloc
import uuid
from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select, text

from extensions import db, redis
from infra.clock import now
from infra.ids import uuid7
from infra.secret_text import hash_secret
from models import (
    AccessToken,
    AuthorizationCode,
    EmailConfirmation,
    OAuthClient,
    Organization,
    RefreshFamily,
    RefreshToken,
    RevokedJwt,
    SignInLink,
    User,
)
from services.instance import sweeping
from tests import owner

both = pytest.mark.both_databases
HOUR = timedelta(hours=1)


@pytest.fixture
def context(app):
    with app.app_context():
        yield


class Rows:
    """One person, organization and client, and rows that hang on them."""

    def __init__(self) -> None:
        self.now = now()
        self.user = User(email="a@example.com", email_key="a@example.com")
        self.organization = Organization(slug="a", name="A")
        self.client = OAuthClient(client_id="c", name="C", type="public", grant_types="authorization_code", scope="")
        db.session.add_all([self.user, self.organization, self.client])
        db.session.flush()
        self.ids = {"user_id": self.user.id, "organization_id": self.organization.id, "client_pk": self.client.id}
        db.session.commit()

    def family(self, ends_in: timedelta) -> uuid.UUID:
        family = RefreshFamily(**self.ids, scope="", sid="s", auth_time=self.now, last_used_at=self.now, expires_at=self.now + ends_in)
        db.session.add(family)
        db.session.commit()
        return family.id

    def refresh(self, family_id: uuid.UUID, ends_in: timedelta, *, used: bool = False) -> uuid.UUID:
        row = RefreshToken(family_id=family_id, token_hash=_hash(), expires_at=self.now + ends_in, used_at=self.now if used else None)
        return self._add(row)

    def access(self, family_id: uuid.UUID | None, ends_in: timedelta) -> uuid.UUID:
        row = AccessToken(family_id=family_id, client_pk=self.ids["client_pk"], token_hash=_hash(), scope="", expires_at=self.now + ends_in)
        return self._add(row)

    def code(self, family_id: uuid.UUID, ends_in: timedelta, *, used: bool = False) -> uuid.UUID:
        row = AuthorizationCode(
            **self.ids,
            family_id=family_id,
            code_hash=_hash(),
            scope="",
            code_challenge="x",
            sid="s",
            auth_time=self.now,
            expires_at=self.now + ends_in,
            used_at=self.now if used else None,
        )
        return self._add(row)

    @staticmethod
    def _add(row) -> uuid.UUID:
        db.session.add(row)
        db.session.commit()
        return row.id


def _hash() -> bytes:
    return hash_secret(str(uuid7()))


def _there(model) -> set:
    return set(db.session.scalars(select(model.id)))


@both
def test_expired_access_tokens_go_and_live_ones_stay(context):
    rows = Rows()
    family = rows.family(HOUR)
    live, expired = rows.access(family, HOUR), rows.access(family, -HOUR)
    alone = rows.access(None, -HOUR)
    db.session.add_all([RevokedJwt(jti="a", expires_at=rows.now - HOUR), RevokedJwt(jti="b", expires_at=rows.now + HOUR)])
    db.session.commit()
    assert sweeping.sweep(("access_tokens",)) == {"access_tokens": 3}
    assert _there(AccessToken) == {live}
    assert {expired, alone}.isdisjoint(_there(AccessToken))
    assert list(db.session.scalars(select(RevokedJwt.jti))) == ["b"]


@both
def test_a_spent_code_stays_until_its_family_ends(context):
    rows = Rows()
    family, ended = rows.family(HOUR), rows.family(-HOUR)
    kept = {rows.code(family, -HOUR, used=True), rows.code(uuid7(), HOUR)}
    rows.code(ended, -HOUR, used=True)
    rows.code(uuid7(), -HOUR)
    rows.code(uuid7(), -HOUR, used=True)
    assert sweeping.sweep(("authorization_codes",)) == {"authorization_codes": 3}
    assert _there(AuthorizationCode) == kept


@both
def test_a_rotated_refresh_token_stays_until_its_family_ends(context):
    rows = Rows()
    family, ended = rows.family(HOUR), rows.family(-HOUR)
    rotated, current = rows.refresh(family, -HOUR, used=True), rows.refresh(family, HOUR)
    rows.refresh(family, -HOUR)
    rows.refresh(ended, HOUR)
    rows.refresh(ended, -HOUR, used=True)
    assert sweeping.sweep(("refresh_tokens",)) == {"refresh_tokens": 3}
    assert _there(RefreshToken) == {rotated, current}
    assert _there(RefreshFamily) == {family}


@both
def test_a_family_that_ended_stays_while_an_access_token_of_it_works(context):
    rows = Rows()
    ended = rows.family(-HOUR)
    live = rows.access(ended, HOUR)
    sweeping.sweep()
    assert _there(RefreshFamily) == {ended}
    assert _there(AccessToken) == {live}
    db.session.execute(AccessToken.__table__.update().values(expires_at=rows.now - HOUR))
    db.session.commit()
    sweeping.sweep()
    assert _there(RefreshFamily) == set()
    assert _there(AccessToken) == set()


@both
def test_expired_links_and_confirmations_are_verifications(context):
    rows = Rows()
    for ends_in in (HOUR, -HOUR):
        db.session.add(SignInLink(user_id=rows.ids["user_id"], token_hash=_hash(), expires_at=rows.now + ends_in))
        db.session.add(
            EmailConfirmation(
                token_hash=_hash(), browser_hash=_hash(), provider="p", email="a@b.c", claims_ciphertext=b"x", expires_at=rows.now + ends_in
            )
        )
    db.session.commit()
    assert sweeping.sweep(("verifications",)) == {"verifications": 2}
    assert db.session.scalar(select(func.count()).select_from(SignInLink)) == 1


@both
def test_dangling_session_entries_go(context):
    user_id = uuid7()
    redis.hset(f"gatepost:user-sessions:{{{user_id}}}", "gone", "0" * 64)
    redis.hset(f"gatepost:user-sessions:{{{user_id}}}", "live", "1" * 64)
    redis.set(f"gatepost:session:{{{'1' * 64}}}", "{}")
    assert sweeping.sweep(("sessions",), dry_run=True) == {"sessions": 1}
    assert sweeping.sweep(("sessions",)) == {"sessions": 1}
    assert redis.hkeys(f"gatepost:user-sessions:{{{user_id}}}") == [b"live"]


@both
def test_a_dry_run_counts_the_same_and_deletes_nothing(context):
    rows = Rows()
    family, ended = rows.family(HOUR), rows.family(-HOUR)
    for which in (family, ended):
        rows.refresh(which, -HOUR)
        rows.refresh(which, -HOUR, used=True)
        rows.access(which, -HOUR)
        rows.code(which, -HOUR, used=True)
    before = {model: _there(model) for model in (RefreshFamily, RefreshToken, AccessToken, AuthorizationCode)}
    counted = sweeping.sweep(dry_run=True)
    assert {model: _there(model) for model in before} == before
    assert counted == sweeping.sweep()
    assert counted["refresh_tokens"] == 3
    assert counted["authorization_codes"] == 1


def _many(count: int) -> None:
    """`count` access tokens and codes, every tenth of them live or still needed."""
    rows = Rows()
    family = rows.family(HOUR)
    moment = rows.now
    for start in range(0, count, 2000):
        numbers = range(start, min(start + 2000, count))
        db.session.execute(
            insert(AccessToken),
            [
                {
                    "id": uuid7(),
                    "token_hash": _hash(),
                    "client_pk": rows.ids["client_pk"],
                    "scope": "",
                    "created_at": moment,
                    "expires_at": moment + (HOUR if n % 10 == 0 else -HOUR - timedelta(seconds=n // 7)),
                }
                for n in numbers
            ],
        )
        db.session.execute(
            insert(AuthorizationCode),
            [
                {
                    "id": uuid7(),
                    **rows.ids,
                    "family_id": family,
                    "code_hash": _hash(),
                    "scope": "",
                    "code_challenge": "x",
                    "sid": "s",
                    "auth_time": moment,
                    "created_at": moment,
                    "expires_at": moment - HOUR - timedelta(seconds=n // 7),
                    "used_at": moment if n % 10 == 0 else None,
                }
                for n in numbers
            ],
        )
        db.session.commit()


@both
def test_twenty_thousand_rows_go_in_batches_with_flat_memory_and_nothing_live_goes(context):
    _many(20_000)
    sweeping.sweep(batch_size=500, kinds=("verifications",))  # what is imported once is not memory of the sweep
    told: list[int] = []
    tracemalloc.start()
    try:
        counts = sweeping.sweep(batch_size=500, progress=lambda _kind, count: told.append(count))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert counts["access_tokens"] == 18_000
    assert counts["authorization_codes"] == 18_000
    assert db.session.scalar(select(func.count()).select_from(AccessToken)) == 2_000
    assert db.session.scalar(select(func.count()).select_from(AuthorizationCode)) == 2_000
    assert len(told) >= 70, "each batch is a transaction of its own"
    assert peak < 8 * 1024 * 1024, f"{peak} bytes at once"
    assert sum(sweeping.sweep().values()) == 0


def test_two_sweeps_at_once_share_the_work(context):
    """What one holds the other passes by (PostgreSQL: SQLite has one writer at a time)."""
    rows = Rows()
    ids = [rows.access(None, -HOUR) for _ in range(10)]
    with db.engine.connect() as other, other.begin():
        other.execute(text("SELECT 1 FROM access_tokens WHERE id = ANY(:ids) FOR UPDATE"), {"ids": ids[:4]})
        assert sweeping.sweep(("access_tokens",)) == {"access_tokens": 6}
    assert sweeping.sweep(("access_tokens",)) == {"access_tokens": 4}


RULES = [(kind, number) for kind, rules in sweeping.RULES.items() for number in range(len(rules))]


@pytest.mark.parametrize(("kind", "number"), RULES)
def test_every_sweep_statement_follows_an_index(app, kind, number):
    rule, moment = sweeping.RULES[kind][number], now()
    with owner.at_work(app):
        db.session.execute(text("SET LOCAL enable_seqscan = off"))
        statement = sweeping.batch_statement(rule, moment, since=moment - HOUR, batch_size=100)
        compiled = statement.compile(db.engine)
        plan = "\n".join(db.session.connection().exec_driver_sql("EXPLAIN " + str(compiled), _bound(compiled)).scalars())
        db.session.rollback()
    assert "Seq Scan" not in plan, plan
    index = f"ix_{rule.expires_at.class_.__tablename__}_expires_at"
    assert index in plan, plan


def _bound(compiled) -> dict:
    binders = {
        name: bind.type.dialect_impl(db.engine.dialect).bind_processor(db.engine.dialect) for bind, name in compiled.bind_names.items()
    }
    return {name: binders[name](value) if binders.get(name) else value for name, value in compiled.params.items()}
