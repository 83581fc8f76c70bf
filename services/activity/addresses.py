"""Whom security emails go to: the verified addresses of an account, and those that it lost within the last seven days.

An address that leaves the account soon after it came, and was never the account's own, gets no more email: it may have been a thief's.
"""

from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import delete, select, update

from extensions import db
from infra.clock import now
from models import AccountAddress, Identity, User
from services.validation.emails import email_key

LATELY = timedelta(days=7)


def verified_of(user: User) -> dict[str, str]:
    """The account's own verified address and those of its identities, each under its `email_key`."""
    db.session.flush()
    which = (Identity.user_id == user.id, Identity.email_verified, Identity.email.is_not(None))
    rows = db.session.scalars(select(Identity.email).where(*which).order_by(Identity.id))
    own = [user.email] if user.email and user.email_verified else []
    found: dict[str, str] = {}
    for email in (*own, *rows):
        found.setdefault(email_key(email or ""), email or "")
    return found


def note_changes(user: User, before: dict[str, str]) -> None:
    """Remember which addresses came and went since `verified_of` gave `before`. Inside another unit of work: never commits."""
    after, moment = verified_of(user), now()
    changed = before.keys() ^ after.keys()
    if not changed:
        return
    user.has_invitations = True  # perhaps, for one that came
    rows = {row.email_key: row for row in _rows_of(user) if row.email_key in changed}
    for key in sorted(changed):
        row = rows.get(key)
        if row is None:
            row = AccountAddress(user_id=user.id, email_key=key)
            db.session.add(row)
        came = key in after
        if came and not (row.replaced_at and row.replaced_at > moment - LATELY):  # one that comes back is not new
            row.added_at = moment
        row.email = after[key] if came else before[key]
        row.replaced_at = None if came else moment
        row.expires_at = moment + LATELY
    db.session.flush()


def note_own(user: User, email: str | None, *, was_own: bool = True) -> None:
    """Remember whether this was the account's own address, which another one has just replaced: not if its person has unlinked the
    account that it came with. Inside another unit of work: never commits."""
    which = (AccountAddress.user_id == user.id, AccountAddress.email_key == email_key(email or ""))
    db.session.execute(update(AccountAddress).where(*which).values(was_own=was_own).execution_options(synchronize_session="fetch"))


def list_recipients(user: User) -> list[str]:
    """Every verified address, then those that were replaced lately."""
    found, since = verified_of(user), now() - LATELY
    for row in _rows_of(user):
        if row.replaced_at is None or row.replaced_at <= since:
            continue
        if row.was_own or row.added_at is None or row.replaced_at - row.added_at > LATELY:
            found.setdefault(row.email_key, row.email)
    return list(found.values())


def list_added_lately(user: User) -> dict[str, str]:
    """The verified addresses that the account has had for less than seven days; never the one it was created with."""
    lately = {row.email_key for row in _rows_of(user) if row.added_at is not None and row.added_at > now() - LATELY}
    return {key: email for key, email in verified_of(user).items() if key in lately}


def forget(user: User, keys: Iterable[str]) -> None:
    """Never write to these again. Inside another unit of work: never commits."""
    which = (AccountAddress.user_id == user.id, AccountAddress.email_key.in_(list(keys)))
    db.session.execute(delete(AccountAddress).where(*which).execution_options(synchronize_session="fetch"))


def _rows_of(user: User) -> list[AccountAddress]:
    rows = select(AccountAddress).where(AccountAddress.user_id == user.id).order_by(AccountAddress.email_key)
    return list(db.session.scalars(rows))
