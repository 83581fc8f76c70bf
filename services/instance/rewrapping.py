"""Bringing every stored secret under the newest encryption key, and telling what is under which.

Small transactions along the ids, each row changed only if it is still as it was read: it can be stopped, run again, run beside
the server, and whoever changes a row meanwhile wins. What is under the newest key already is passed by.
"""

import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import LargeBinary, Row, Select, bindparam, func, select, update

from extensions import db
from infra.cipher import CannotDecrypt, key_id_of
from models import Connection, Credential, CredentialVersion, EmailConfirmation, Identity, SigningKey
from services.access.actors import Actor
from services.audit import audit
from services.database import row_security
from services.encryption.keyring import cipher
from services.sign_in import email_confirmations
from services.tokens import signing_keys
from services.users import identities
from services.vault import connections
from services.vault.credential_scope import owner_of
from services.vault.credential_values import context_of

BATCH_SIZE = 500
_NO_KEY = ""  # as the newest key, it selects every row
_KEY_ID_BYTES = 65  # of a ciphertext: the longest key id, and the zero byte after it


@dataclass(frozen=True)
class Unreadable:
    """A row that no key of the settings opens."""

    kind: str
    id: uuid.UUID
    key_id: str


@dataclass(frozen=True)
class Rewrapped:
    """How many rows, by kind."""

    done: dict[str, int]
    unreadable: dict[str, int]


class _Sealed:
    """A column of ciphertexts that begin with their key's id. `context` makes a row's associated data from `extra` columns.

    key_id: the column that says the key's id again, where there is one.
    """

    def __init__(self, column: Any, context: Callable[[Row[Any]], str], *extra: Any, key_id: Any = None) -> None:
        self.model, self.column, self.context, self.extra, self._key_id = column.class_, column, context, extra, key_id

    def key_ids(self) -> Iterator[tuple[str, int]]:
        head = func.substr(self.column, 1, _KEY_ID_BYTES, type_=LargeBinary)
        for first_bytes in db.session.execute(select(head).where(self.column.is_not(None)).execution_options(yield_per=1000)).scalars():
            yield key_id_of(first_bytes), 1

    def batch(self, newest: str, after: uuid.UUID | None, size: int) -> Select[Any]:
        prefix = newest.encode() + b"\0"
        is_other = func.substr(self.column, 1, len(prefix), type_=LargeBinary) != prefix
        statement = select(self.model.id, self.column.label("secret"), *self.extra).where(self.column.is_not(None), is_other)
        return _after(statement, self.model.id, after, size)

    def change(self, row: Row[Any]) -> dict[str, Any]:
        plain = cipher().decrypt(row.secret, context=self.context(row))
        return {"new_secret": cipher().encrypt(plain, context=self.context(row))}

    def store(self, newest: str) -> Any:
        also = {} if self._key_id is None else {self._key_id.key: newest}
        return _conditional_update(self.model, self.column, also)

    def key_id(self, row: Row[Any]) -> str:
        return key_id_of(row.secret)


class _Envelopes:
    """The versions of credentials: only the wrapped key changes."""

    model = CredentialVersion

    def key_ids(self) -> Iterator[tuple[str, int]]:
        counted = select(CredentialVersion.encryption_key_id, func.count()).group_by(CredentialVersion.encryption_key_id)
        yield from ((key_id, count) for key_id, count in db.session.execute(counted))

    def batch(self, newest: str, after: uuid.UUID | None, size: int) -> Select[Any]:
        statement = (
            select(
                CredentialVersion.id,
                CredentialVersion.wrapped_key.label("secret"),
                CredentialVersion.encryption_key_id,
                CredentialVersion.organization_id,
                CredentialVersion.user_id,
                CredentialVersion.number,
                Credential.name,
            )
            .join(Credential, Credential.id == CredentialVersion.credential_id)
            .where(CredentialVersion.encryption_key_id != newest)
        )
        return _after(statement, CredentialVersion.id, after, size)

    def change(self, row: Row[Any]) -> dict[str, Any]:
        context = context_of(owner_of(row.organization_id, row.user_id), row.name, row.number)
        return {"new_secret": cipher().rewrap(row.encryption_key_id, row.secret, context=context)}

    def store(self, newest: str) -> Any:
        return _conditional_update(CredentialVersion, CredentialVersion.wrapped_key, {"encryption_key_id": newest})

    def key_id(self, row: Row[Any]) -> str:
        return str(row.encryption_key_id)


def unreadable_in(database: SqlConnection) -> Iterator[Unreadable]:
    """The rows of another database of this version that cannot be decrypted with the configured keys."""
    for name, kind in _KINDS.items():
        after = None
        while rows := database.execute(kind.batch(_NO_KEY, after, BATCH_SIZE)).all():
            after = rows[-1].id
            for row in rows:
                try:
                    kind.change(row)
                except CannotDecrypt:
                    yield Unreadable(name, row.id, kind.key_id(row))


def _after(statement: Select[Any], key: Any, after: uuid.UUID | None, size: int) -> Select[Any]:
    return (statement if after is None else statement.where(key > after)).order_by(key).limit(size)


def _conditional_update(model: Any, column: Any, also: Mapping[str, str]) -> Any:
    """Over the value that was read, and no other."""
    table = model.__table__
    return (
        update(table)
        .where(table.c.id == bindparam("row_id"), table.c[column.key] == bindparam("secret"))
        .values({column.key: bindparam("new_secret"), **also})
    )


_Kind = _Sealed | _Envelopes
_KINDS: dict[str, _Kind] = {
    "credentials": _Envelopes(),
    "connections": _Sealed(
        Connection.tokens,
        lambda row: connections.context_of(row.id, owner_of(row.organization_id, row.user_id).id),
        Connection.organization_id,
        Connection.user_id,
        key_id=Connection.encryption_key_id,
    ),
    "provider_access_tokens": _Sealed(Identity.access_token_ciphertext, lambda row: identities.context_of(row.id, "access_token")),
    "provider_refresh_tokens": _Sealed(Identity.refresh_token_ciphertext, lambda row: identities.context_of(row.id, "refresh_token")),
    "signing_keys": _Sealed(SigningKey.private_ciphertext, lambda row: signing_keys.context_of(row.kid), SigningKey.kid),
    "email_confirmations": _Sealed(EmailConfirmation.claims_ciphertext, lambda row: email_confirmations.context_of(row.id)),
}
KINDS = tuple(_KINDS)


def rewrap(
    actor: Actor,
    *,
    batch_size: int = BATCH_SIZE,
    progress: Callable[[str, int], None] | None = None,
    unreadable: Callable[[Unreadable], None] | None = None,
) -> Rewrapped:
    """Re-encrypt what is not under the newest key. Commits: yes, after each batch.

    progress: the kind and how many of it so far. unreadable: each row that no key opens; it stays as it is.
    Raises: Forbidden for a database role that would not see every row.
    """
    row_security.require_unbound("credential_versions")
    result = Rewrapped(dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0))
    for name, kind in _KINDS.items():
        for done, failed in _batches(name, kind, batch_size):
            result.done[name] += done
            result.unreadable[name] += len(failed)
            for row in failed:
                if unreadable:
                    unreadable(row)
            if progress and done:
                progress(name, result.done[name])
    if any(result.done.values()):
        audit.record(actor, "encryption.rewrapped", details={"encryption_key": cipher().newest_id, "rows": result.done})
        db.session.commit()
    return result


def _batches(name: str, kind: _Kind, size: int) -> Iterator[tuple[int, list[Unreadable]]]:
    """How many rows each batch changed, and what it could not open. The reading is over before the writing begins."""
    newest, after = cipher().newest_id, None
    while True:
        with db.engine.connect() as connection:
            rows = connection.execute(kind.batch(newest, after, size)).all()
        if not rows:
            return
        after, changes, failed = rows[-1].id, [], []
        for row in rows:
            try:
                changes.append({"row_id": row.id, "secret": row.secret, **kind.change(row)})
            except CannotDecrypt:
                failed.append(Unreadable(name, row.id, kind.key_id(row)))
        yield _store(kind, changes, newest), failed


def _store(kind: _Kind, changes: list[dict[str, Any]], newest: str) -> int:
    if not changes:
        return 0
    with db.engine.connect().execution_options(gatepost_write=True) as connection, connection.begin():
        return connection.execute(kind.store(newest), changes).rowcount


def count_by_key() -> dict[str, dict[str, int]]:
    """How many values of each kind each encryption key holds; keys of the settings that hold none too, newest first.

    Raises: Forbidden for a database role that would not see every row.
    """
    row_security.require_unbound("credential_versions")
    counts: dict[str, Counter[str]] = {key_id: Counter() for key_id in cipher().key_ids}
    for name, kind in _KINDS.items():
        for key_id, count in kind.key_ids():
            counts.setdefault(key_id, Counter())[name] += count
    db.session.rollback()
    return {key_id: dict(counter) for key_id, counter in counts.items()}


def unreadable_samples() -> list[Unreadable]:
    """Return those that no key opens of the oldest and the newest value of each kind: a key that was replaced under its old id shows
    there.

    Raises: Forbidden for a database role that would not see every row.
    """
    row_security.require_unbound("credential_versions")
    found: dict[uuid.UUID, Unreadable] = {}
    for name, kind in _KINDS.items():
        every = kind.batch("", None, 1)  # no value is under a key without a name
        for statement in (every, every.order_by(None).order_by(kind.model.id.desc())):
            for row in db.session.execute(statement):
                try:
                    kind.change(row)
                except CannotDecrypt:
                    found[row.id] = Unreadable(name, row.id, kind.key_id(row))
    db.session.rollback()
    return list(found.values())


def is_known(key_id: str) -> bool:
    """Whether the settings have that key."""
    return cipher().knows(key_id)
