"""Refresh families: what a code exchange begins, what every later token belongs to, and how it ends."""

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import CTE, ColumnElement, Insert, LargeBinary, Uuid, bindparam, insert, select, true, update

from config import current
from extensions import db
from infra import metrics
from infra.clock import now
from infra.hot_statements import HotStatement
from infra.ids import uuid7
from infra.secret_text import hash_secret
from models import AccessToken, ApiKey, AuthorizationCode, RefreshFamily, RefreshToken
from models.types import UtcDateTime
from services.access.actors import Actor
from services.audit import audit
from services.database.transactions import begin_write
from services.tokens import app_keys, live
from services.tokens.grants import Grant, RawTokens
from services.tokens.live import NOW

REUSE = frozenset({"code_reused", "refresh_token_reused", "refresh_token_replayed"})

INSERT_FAMILY = HotStatement(insert(RefreshFamily))
INSERT_REFRESH = HotStatement(insert(RefreshToken))
INSERT_ACCESS = HotStatement(insert(AccessToken))


def new_token_params(tokens: RawTokens, moment: datetime) -> dict[str, Any]:
    """Bind parameters for the rows of one pair of tokens."""
    settings = current()
    return {
        "now": moment,
        "refresh_id": uuid7(),
        "refresh_hash": hash_secret(tokens.refresh),
        "refresh_expires_at": moment + timedelta(seconds=settings.refresh_token_seconds),
        "access_id": uuid7(),
        "access_hash": hash_secret(tokens.access),
        "access_expires_at": moment + timedelta(seconds=settings.access_token_seconds),
    }


def insert_refresh_from(g: CTE, won: CTE, *conditions: Any) -> Insert:
    """PostgreSQL: the refresh token's row, if `won` has one."""
    return insert(RefreshToken).from_select(
        ["id", "family_id", "token_hash", "created_at", "expires_at"],
        select(
            bindparam("refresh_id", type_=Uuid()),
            g.c.family_id,
            bindparam("refresh_hash", type_=LargeBinary()),
            NOW,
            bindparam("refresh_expires_at", type_=UtcDateTime()),
        )
        .select_from(g.join(won, true()))
        .where(*conditions),
        include_defaults=False,
    )


def insert_access_from(g: CTE, won: CTE, scope: Any, *conditions: Any) -> Insert:
    """PostgreSQL: the opaque access token's row, if `won` has one and the grant has no resource (else it is a JWT)."""
    return insert(AccessToken).from_select(
        ["id", "token_hash", "family_id", "client_pk", "scope", "created_at", "expires_at"],
        select(
            bindparam("access_id", type_=Uuid()),
            bindparam("access_hash", type_=LargeBinary()),
            g.c.family_id,
            g.c.client_pk,
            scope,
            NOW,
            bindparam("access_expires_at", type_=UtcDateTime()),
        )
        .select_from(g.join(won, true()))
        .where(g.c.resource.is_(None), *conditions),
        include_defaults=False,
    )


def refresh_values(family_id: uuid.UUID, params: dict[str, Any]) -> dict[str, Any]:
    """The refresh token's row as values, for databases that take a step at a time."""
    return {
        "id": params["refresh_id"],
        "family_id": family_id,
        "token_hash": params["refresh_hash"],
        "created_at": params["now"],
        "expires_at": params["refresh_expires_at"],
        "used_at": None,
        "successor_id": None,
        "successor_salt": None,
        "request_hash": None,
        "spent_from": None,
        "replayed_to": None,
        "network_replays": 0,
    }


def access_values(grant: Grant, scope: str, params: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": params["access_id"],
        "token_hash": params["access_hash"],
        "family_id": grant.family_id,
        "client_pk": grant.client_pk,
        "scope": scope,
        "created_at": params["now"],
        "expires_at": params["access_expires_at"],
        "revoked_at": None,
    }


def revoke(actor: Actor, family_id: uuid.UUID, *, because: str) -> bool:
    """End a family, and with it every token of it, one inserted meanwhile too: tokens are read through their family.

    Commits: yes.   Returns: whether it was live. Twice is no error.
    """
    begin_write()
    was_live = bool(revoke_where(RefreshFamily.id == family_id, because=because))
    if was_live:
        if because in REUSE:
            metrics.count("reuse_revocations")
        of = select(RefreshFamily.organization_id, RefreshFamily.user_id).where(RefreshFamily.id == family_id)
        organization_id, user_id = db.session.execute(of).one()
        audit.record(
            actor,
            "grant.revoked",
            target_type="grant",
            target_id=family_id,
            organization_id=organization_id,
            details={"reason": because},
        )
        if because in REUSE:  # whoever stole a token may have made keys with it
            app_keys.revoke_where(actor, ApiKey.user_id == user_id, ApiKey.grant_id == family_id)
    db.session.commit()
    return was_live


def revoke_of_person(user_id: uuid.UUID, which: Callable[[Any], ColumnElement[bool]], *, because: str) -> int:
    """End those families of a person that `which` selects, by a column that codes have too (`sid`, `client_pk`,
    `organization_id`), and the codes that would begin more. Inside another unit of work: never commits.   Returns: how many.

    Codes first: this waits for one that is being exchanged, and what came of that is then a family to be seen.
    """
    db.session.execute(
        update(AuthorizationCode)
        .where(AuthorizationCode.user_id == user_id, which(AuthorizationCode), live.none_of(AuthorizationCode, live.is_used))
        .values(expires_at=AuthorizationCode.created_at)
        .execution_options(synchronize_session=False)
    )
    return revoke_where(RefreshFamily.user_id == user_id, which(RefreshFamily), because=because)


def revoke_where(*which: ColumnElement[bool], because: str) -> int:
    """End live families; their tokens are read through them. Inside another unit of work: never commits.   Returns: how many."""
    result = db.session.execute(
        update(RefreshFamily)
        .where(*which, live.none_of(RefreshFamily, live.is_revoked))
        .values(revoked_at=now(), revoked_because=because)
        .execution_options(synchronize_session=False)
    )
    return result.rowcount
