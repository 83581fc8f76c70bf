"""How much one organization or person may have, and cause, so that nobody fills the stores or the mailboxes of others.

A quota is checked after the new row is in the transaction: whoever comes second waits, and counts the first one's row too. Commands of
operators are not bounded. What counts is in docs/settings.md.
"""

import uuid
from typing import Any, Literal

from sqlalchemy import Select, func, select, union

from config import current
from errors import Conflict
from extensions import db
from services.database.transactions import wait_for_turn

Quota = Literal["credentials", "agents", "keys", "projects", "organizations", "emails_per_day", "slug_changes"]

_MESSAGES: dict[Quota, str] = {
    "credentials": "There are {limit} credentials already. Remove one first.",
    "agents": "The organization has {limit} agents already. Delete one first.",
    "keys": "You and your agents have {limit} keys already. Revoke one first.",
    "projects": "The organization has {limit} projects already.",
    "organizations": "You own {limit} organizations already; deleted ones count until they are gone for good.",
    "emails_per_day": "You can have {limit} emails sent to others in 24 hours. Wait, then try again.",
    "slug_changes": "The slug was changed {limit} times in the last 30 days.",
}


class QuotaReached(Conflict):
    """There is as much as there may be."""

    code = "quota_reached"

    def __init__(self, quota: Quota, limit: int) -> None:
        self.quota, self.limit = quota, limit
        super().__init__(_MESSAGES[quota].format(limit=limit))


def limit_of(quota: Quota) -> int:
    """As it is set; 0 is no limit."""
    limit: int = getattr(current(), f"max_{quota}")
    return limit


def check(quota: Quota, owner_id: uuid.UUID, *rows: Select[Any], limit: int | None = None) -> None:
    """Inside a unit of work, after what is new was added. rows: what counts, of this owner alone, one column; what several of them name
    counts once. limit: in place of the setting.   Raises: QuotaReached, after a rollback.
    """
    most = limit_of(quota) if limit is None else limit
    if not most:
        return
    db.session.flush()
    wait_for_turn(f"quota {quota} {owner_id}")
    bounded = [select(statement.limit(most + 1).subquery()) for statement in rows]
    counted = union(*bounded).subquery() if len(bounded) > 1 else bounded[0].subquery()
    if (db.session.scalar(select(func.count()).select_from(counted)) or 0) > most:
        db.session.rollback()
        raise QuotaReached(quota, most)
