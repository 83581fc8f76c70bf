"""Codes and refresh tokens of a client or a person that is deleted: they go first.

The foreign keys would delete them too, but last. A token request locks its code or refresh token first, then the family, the client and
the person: each would wait for the other.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, delete, select

from extensions import db
from models import AuthorizationCode, RefreshFamily, RefreshToken


def begin(which: Callable[[Any], ColumnElement[bool]]) -> None:
    """Wait for requests under way, and delete the codes, and the refresh tokens of the families, that `which` selects by a column that
    both have. Inside another unit of work, before anything is locked: never commits."""
    tokens = RefreshToken.family_id.in_(select(RefreshFamily.id).where(which(RefreshFamily)))
    for gone in (delete(AuthorizationCode).where(which(AuthorizationCode)), delete(RefreshToken).where(tokens)):
        db.session.execute(gone.execution_options(synchronize_session=False))
