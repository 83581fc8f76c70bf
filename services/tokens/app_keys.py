"""API keys that apps made with their tokens: they end when a person, an operator or a theft ends what they were made with.

An app that signs itself out (RFC 7009) and a grant that expires end none: nobody took anything away. Here too is how every key is
revoked.
"""

import uuid
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select, update

from extensions import db
from infra.clock import now
from infra.ids import parse_uuid
from models import ApiKey
from services.access.actors import Actor
from services.audit import audit
from services.tokens import live

IS_OF_APP: ColumnElement[bool] = ApiKey.grant_id.is_not(None)  # also of one whose client was deleted


def made_in(sid: str) -> ColumnElement[bool]:
    """With grants that began in a session, or with the one grant that `sid` is the id of."""
    began_in_it, grant_id = ApiKey.sid == sid, parse_uuid(sid)
    return began_in_it if grant_id is None else or_(began_in_it, ApiKey.grant_id == grant_id)  # null is a key that no app made


def revoke_where(actor: Actor, *which: ColumnElement[bool]) -> int:
    """End keys that are not revoked yet, at once. Inside another unit of work, after the grants that they were made with: never
    commits.   Returns: how many."""
    revoked: Any = db.session.execute(
        update(ApiKey)
        .where(*which, live.none_of(ApiKey, live.is_revoked))
        .values(revoked_at=now())
        .returning(ApiKey.id, ApiKey.organization_id)
    )
    ended = revoked.all()
    for key_id, organization_id in ended:
        audit.record(actor, "api_key.revoked", target_type="api_key", target_id=key_id, organization_id=organization_id)
    return len(ended)


def count_of(user_id: uuid.UUID, which: ColumnElement[bool] = IS_OF_APP) -> int:
    """How many keys of a person, and of their agents, that apps made work."""
    counted = select(func.count()).select_from(ApiKey).where(ApiKey.user_id == user_id, IS_OF_APP, which, live.key_works(now()))
    return db.session.scalar(counted) or 0
