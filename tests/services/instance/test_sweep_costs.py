"""Sweeping costs as much for the last row as for the first, whatever the number of rows."""

from datetime import timedelta

import pytest
from sqlalchemy import insert, text

from extensions import db
from infra.clock import now
from infra.ids import uuid7
from infra.secret_text import hash_secret
from models import OAuthClient, RefreshFamily, RefreshToken, User
from services.instance import sweeping
from tests import costs, owner

TOKENS = 5
HOUR = timedelta(hours=1)


def _ended_families(number: int) -> None:
    user = User(email="a@example.com", email_key="a@example.com")
    client = OAuthClient(client_id="c", name="C", type="public", grant_types="authorization_code", scope="")
    db.session.add_all([user, client])
    db.session.flush()
    moment = now()
    common = {"scope": "", "sid": "s", "auth_time": moment, "created_at": moment, "last_used_at": moment}
    for start in range(0, number, 1000):
        families = [
            {"id": uuid7(), "user_id": user.id, "client_pk": client.id, "expires_at": moment - HOUR * 24 + timedelta(seconds=n), **common}
            for n in range(start, min(start + 1000, number))
        ]
        tokens = [
            {
                "id": (token_id := uuid7()),
                "family_id": family["id"],
                "token_hash": hash_secret(str(token_id)),
                "created_at": moment,
                "expires_at": moment + HOUR,
            }
            for family in families
            for _ in range(TOKENS)
        ]
        db.session.execute(insert(RefreshFamily), families)
        db.session.execute(insert(RefreshToken), tokens)
    db.session.commit()


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("statistics", ["none", "of an empty table", "fresh"])
def test_the_last_batches_of_refresh_tokens_cost_no_more_than_twice_the_first(app, is_long, statistics):
    with owner.at_work(app):
        if statistics == "of an empty table":
            _analyze()
        families, batch_size = (200_000, 1000) if is_long else (2_000, 200)
        _ended_families(families)
        if statistics == "fresh":
            _analyze()
        pages: list[int] = []
        counter = costs.PageCounter(db.session)
        counts = sweeping.sweep(
            ("refresh_tokens",), batch_size=batch_size, progress=lambda _kind, _count: pages.append(counter.since_last())
        )
    assert counts == {"refresh_tokens": families * TOKENS}
    batches = families * TOKENS // batch_size
    print(f"{families * TOKENS} refresh tokens, {statistics} statistics: {pages[0]} pages the first batch, {pages[batches - 1]} the last")
    assert sum(pages[batches - 5 : batches]) <= 2 * sum(pages[:5]), pages


def _analyze() -> None:
    db.session.execute(text("ANALYZE refresh_families, refresh_tokens"))
    db.session.commit()
