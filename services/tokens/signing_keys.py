"""Keys that sign JWTs: next -> signing -> old -> retired. The private part is encrypted at rest.

ES256 signs everything but the id_tokens of clients that ask for RS256; its keys are made with the first such client.

Each process keeps the parsed set and reads it again every ten seconds, so a rotation needs no restart; when the
database is away it goes on with what it has.
"""

import json
import logging
import math
import secrets
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from joserfc.util import urlsafe_b64decode
from sqlalchemy import Engine, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from config import current
from errors import Conflict, KeysUnreadable, NotFound, Unavailable
from extensions import db
from infra import patience
from infra.cipher import CannotDecrypt, Cipher
from infra.clock import now
from infra.ids import uuid7
from models import SigningKey
from services.access.actors import Actor
from services.audit import audit
from services.database.transactions import begin_write, insert_into
from services.encryption.keyring import cipher

log = logging.getLogger("gatepost.signing_keys")

ALGORITHM = "ES256"
ALGORITHMS = (ALGORITHM, "RS256")
_TYPES: dict[str, type[ECKey | RSAKey]] = {"ES256": ECKey, "RS256": RSAKey}
_RSA_BITS = 2048
FOLLOW_SECONDS = 10
SERVICES_KEEP_KEYS = timedelta(hours=1)  # our own documents say a minute; libraries that read them keep keys longer
REREAD_SECONDS = 1  # another process may have rotated: for a name that is not known the table is read sooner
_PUBLISHED = ("next", "signing", "old")


class TokenUnreadable(Exception):
    """Not a JWT of ours: malformed, another algorithm or type, an unknown key, a wrong signature."""


@dataclass(frozen=True)
class PublicKey:
    """A key that verifies one algorithm."""

    algorithm: str
    key: ECKey | RSAKey


@dataclass(frozen=True)
class Signer:
    """The key that signs for an algorithm."""

    kid: str
    private_key: ECKey | RSAKey = field(repr=False)


@dataclass(frozen=True)
class KeySet:
    """What one process knows: the key that signs for each algorithm, and all that are published, by `kid`. is_kept: it could not be
    read again. unreadable: by algorithm, why the key that signs does not open; it has no signer then."""

    signers: dict[str, Signer]
    unreadable: dict[str, str]
    public_keys: dict[str, PublicKey]
    jwks: dict[str, list[dict[str, Any]]]
    read_at: float
    is_kept: bool = False


_lock = threading.Lock()
_PATIENCE_SECONDS = 1.0  # for the database, where keys are known: an answer with those is better than a late one
_REMEMBERED = 2048
_MAX_HEADER_LENGTH = 512  # ours have three short members
_verified: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
_current: dict[Engine, KeySet] = {}


def sign(claims: dict[str, Any], *, typ: str, algorithm: str = ALGORITHM) -> str:
    """A compact JWS over `claims` with the signing key. `typ`: at+jwt, JWT, logout+jwt."""
    signer = require(algorithm)
    header = {"alg": algorithm, "typ": typ, "kid": signer.kid}
    return jwt.encode(header, claims, signer.private_key, algorithms=[algorithm])


def require(algorithm: str) -> Signer:
    """The key that signs with `algorithm`, read or made; asked before anything is spent.   Raises: KeysUnreadable, Unavailable."""
    if signer := key_set().signers.get(algorithm):
        return signer
    keys = _not_older_than(REREAD_SECONDS)
    if algorithm not in keys.signers and algorithm not in keys.unreadable:  # a client was changed past `prepare`
        _create_set(algorithm)
        keys = _not_older_than(0)
    if algorithm in keys.unreadable:
        raise KeysUnreadable(detail=keys.unreadable[algorithm])
    return keys.signers[algorithm]


def prepare(algorithm: str) -> None:
    """Make the keys of an algorithm with the first client that needs them, so that they are published before they sign.

    Inside another unit of work, which calls `forget` after its commit: never commits. Several at once make one set.
    """
    is_there = select(SigningKey.id).where(SigningKey.algorithm == algorithm, SigningKey.state == "signing")
    if db.session.scalar(is_there) is None:
        db.session.execute(insert_into(SigningKey).values(_new_set(algorithm)).on_conflict_do_nothing())


def verify(token: str, *, typ: str) -> dict[str, Any]:
    """The claims of a JWT that we signed.   Raises TokenUnreadable. Says nothing of `exp`, `aud` or `iss`. Access tokens are ES256 only.

    A signature that was found good is remembered for as long as its key is published: a client sends the same token again
    and again. The claims are shared; nobody changes them.
    """
    remembered = _verified.get((token, typ))
    if remembered is not None and remembered[0] in key_set().public_keys:
        return remembered[1]
    kid, claims = _verify(token, typ)
    if len(_verified) >= _REMEMBERED:
        _verified.clear()
    _verified[token, typ] = kid, claims
    return claims


def _verify(token: str, typ: str) -> tuple[str, dict[str, Any]]:
    try:
        header = _header_of(token)
        algorithm = header.get("alg")
        if header.get("typ") != typ or algorithm not in ((ALGORITHM,) if typ == "at+jwt" else ALGORITHMS):
            raise TokenUnreadable("another type or algorithm")
        kid = str(header.get("kid"))
        public = key_set().public_keys.get(kid) or _not_older_than(REREAD_SECONDS).public_keys.get(kid)
        if public is None or public.algorithm != algorithm:
            raise TokenUnreadable("an unknown key, or one for another algorithm")
        return kid, jwt.decode(token, public.key, algorithms=[public.algorithm]).claims
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise TokenUnreadable(type(error).__name__) from error


def _header_of(token: str) -> dict[str, Any]:
    """Of anybody's making, so it is bounded before it is parsed."""
    if token.find(".", 0, _MAX_HEADER_LENGTH) < 0:
        raise TokenUnreadable("the header is too long")
    header = json.loads(urlsafe_b64decode(token.partition(".")[0].encode("ascii")))
    if not isinstance(header, dict):
        raise TokenUnreadable("no header")
    return header


def public_jwks() -> dict[str, list[dict[str, Any]]]:
    """The public set as published: next, signing and old keys.

    The first keys of an algorithm sign as soon as they are made, by any process, so while there are none the table is read each time.
    """
    keys = key_set()
    is_complete = len(keys.signers) + len(keys.unreadable) == len(ALGORITHMS)
    return keys.jwks if is_complete or keys.is_kept else _not_older_than(0).jwks


def key_set() -> KeySet:
    """The keys as this process knows them, at most FOLLOW_SECONDS old while the database answers."""
    return _not_older_than(FOLLOW_SECONDS)


def _not_older_than(seconds: float) -> KeySet:
    database = db.engine
    known = _current.get(database)
    if known and time.monotonic() - known.read_at < seconds:
        return known
    if known is None:
        _lock.acquire()
    elif not _lock.acquire(timeout=_PATIENCE_SECONDS):
        return known  # whoever reads them waits for a database that is silent; nobody waits with them
    try:
        known = _current.get(database)
        if known and time.monotonic() - known.read_at < seconds:
            return known
        try:
            with patience.at_most(_PATIENCE_SECONDS if known else math.inf):
                _current[database] = _read()
        except (DBAPIError, PoolTimeout) as error:
            if known is None:
                raise Unavailable(detail=f"signing keys: {error}") from error
            log.warning("signing keys could not be read again; going on with those known")
            _current[database] = replace(known, read_at=time.monotonic(), is_kept=True)
        return _current[database]
    finally:
        _lock.release()


def warm_up() -> None:
    """Read the keys, or on the very first start make them, before the first request: what is published keeps answering
    when the database goes away later. A database that is not there yet is no reason not to start."""
    try:
        key_set()
    except Unavailable as error:
        log.warning("signing keys are not read yet", extra={"detail": error.detail})


def forget() -> None:
    """Drop what this process knows; the next use reads the table."""
    _current.clear()


def _read() -> KeySet:
    """Reads on a connection of its own: it may be called in the middle of somebody's unit of work."""
    with db.engine.connect() as connection:
        rows = connection.execute(
            select(SigningKey.kid, SigningKey.algorithm, SigningKey.state, SigningKey.public_jwk, SigningKey.private_ciphertext)
            .where(SigningKey.state.in_(_PUBLISHED))
            .order_by(SigningKey.id)
        ).all()
    rows = [row for row in rows if row.algorithm in ALGORITHMS]
    if not any(row.state == "signing" and row.algorithm == ALGORITHM for row in rows):
        _create_set(ALGORITHM)
        return _read()
    signers, unreadable = {}, {}
    for row in rows:
        if row.state == "signing":
            try:
                signers[row.algorithm] = _signer(row)
            except CannotDecrypt as error:  # the public parts are readable, and published
                unreadable[row.algorithm] = f"signing key {row.kid} does not open: {error}"
    return KeySet(
        signers=signers,
        unreadable=unreadable,
        public_keys={row.kid: PublicKey(row.algorithm, _TYPES[row.algorithm].import_key(row.public_jwk)) for row in rows},
        jwks={"keys": [row.public_jwk for row in rows]},
        read_at=time.monotonic(),
    )


def _signer(row: Any) -> Signer:
    """Raises CannotDecrypt."""
    private = json.loads(cipher().decrypt(row.private_ciphertext, context=context_of(row.kid)))
    return Signer(row.kid, _TYPES[row.algorithm].import_key(private))


def _create_set(algorithm: str) -> None:
    """The signing key and the next, together. Of several workers that start at once one wins; the others see its set."""
    try:
        with db.engine.connect().execution_options(gatepost_write=True) as connection, connection.begin():
            connection.execute(SigningKey.__table__.insert(), _new_set(algorithm))
    except IntegrityError:
        log.info("another worker made the signing keys")


def _new_set(algorithm: str) -> list[dict[str, Any]]:
    return [{"id": uuid7(), **_new_row(algorithm, state)} for state in ("signing", "next")]


def _new_row(algorithm: str, state: str) -> dict[str, Any]:
    key = RSAKey.generate_key(_RSA_BITS, private=True) if algorithm == "RS256" else ECKey.generate_key("P-256", private=True)
    kid, moment = secrets.token_hex(8), now()  # no "-" in front: `flask keys retire` would take it for an option
    public = {**key.as_dict(private=False), "kid": kid, "use": "sig", "alg": algorithm}
    return {
        "kid": kid,
        "algorithm": algorithm,
        "state": state,
        "public_jwk": public,
        "private_ciphertext": cipher().encrypt(json.dumps(key.as_dict(private=True)).encode(), context=context_of(kid)),
        "created_at": moment,
        "signing_since": moment if state == "signing" else None,
    }


def does_open(key: Any, ring: Cipher | None = None) -> bool:
    """Whether the encryption keys of this process, or those of `ring`, open the private part of `key`, a row."""
    try:
        (ring or cipher()).decrypt(key.private_ciphertext, context=context_of(key.kid))
    except CannotDecrypt:
        return False
    return True


def can_sign(database: Engine, ring: Cipher) -> bool:
    """Return whether `ring` opens every key that signs, as the database has them now. For `/readyz`, in a thread without an application."""
    signing = select(SigningKey.kid, SigningKey.private_ciphertext).where(SigningKey.state == "signing")
    with database.connect() as connection:
        return all(does_open(row, ring) for row in connection.execute(signing))


def context_of(kid: str) -> str:
    """What a stored private key is bound to: its row."""
    return f"signing_keys:{kid}:private"


def get(kid: str) -> SigningKey:
    """Raises NotFound."""
    key = db.session.scalar(select(SigningKey).where(SigningKey.kid == kid))
    if key is None:
        raise NotFound("There is no signing key with that id.")
    return key


def list_keys() -> list[SigningKey]:
    """All keys, oldest first, retired ones too."""
    return list(db.session.scalars(select(SigningKey).order_by(SigningKey.id)))


def rotate(actor: Actor) -> str:
    """Make the next key of each algorithm the signing one and publish a new next; the old ones stay accepted. Commits: yes.

    Returns: the kid that signs access tokens now. Running workers follow within FOLLOW_SECONDS.   Raises: Conflict, KeysUnreadable.
    """
    return _rotate(actor, _pairs())


def start(actor: Actor, kid: str) -> bool:
    """Rotate to the next key `kid`, which every service has had time to read, and with it those of the other algorithms for which
    that holds too. Commits: yes.

    Returns: False when that is not a next key any more.   Raises: Conflict next_key_too_new, no_next_key; KeysUnreadable.
    """
    pairs = _pairs()
    mine = next((pair for pair in pairs if pair.next.kid == kid), None)
    if mine is None:
        return False
    if may_start_at(mine.next) > now():
        raise Conflict("Services that keep our keys may not have the next one yet.", code="next_key_too_new")
    _rotate(actor, [pair for pair in pairs if may_start_at(pair.next) <= now()])
    return True


def may_start_at(key: SigningKey) -> datetime:
    """From when on a next key is known to every service."""
    return key.created_at + SERVICES_KEEP_KEYS


def may_retire_at(key: SigningKey) -> datetime | None:
    """From when on nothing that an old key signed is still good; None while it signs."""
    last_signed = timedelta(seconds=FOLLOW_SECONDS + current().access_token_seconds)
    return key.old_since + last_signed if key.old_since is not None else None


@dataclass(frozen=True)
class _Pair:
    """The key that signs for an algorithm, and the next."""

    signing: SigningKey
    next: SigningKey


def _pairs() -> list[_Pair]:
    """Those of each algorithm, locked, that of access tokens first: begins a unit of work.

    Raises: Conflict no_next_key; KeysUnreadable.
    """
    key_set()
    begin_write()
    both = select(SigningKey).where(SigningKey.state.in_(("next", "signing"))).with_for_update()
    keys = {(key.algorithm, key.state): key for key in db.session.scalars(both)}
    there = [algorithm for algorithm in ALGORITHMS if any(key.algorithm == algorithm for key in keys.values())]
    try:
        pairs = [_Pair(keys[algorithm, "signing"], keys[algorithm, "next"]) for algorithm in there]
    except KeyError:
        raise Conflict("There is no next key to sign with.", code="no_next_key") from None
    for pair in pairs:
        if not does_open(pair.next):
            raise KeysUnreadable(detail=f"next key {pair.next.kid}")
    return pairs


def _rotate(actor: Actor, pairs: list[_Pair]) -> str:
    """Commits: yes."""
    moment, kids = now(), [pair.next.kid for pair in pairs]
    for pair in pairs:
        pair.signing.state, pair.signing.old_since = "old", moment
        db.session.flush()
        pair.next.state, pair.next.signing_since = "signing", moment
        db.session.flush()
        db.session.add(SigningKey(**_new_row(pair.next.algorithm, "next")))
        audit.record(actor, "signing_key.rotated", target_type="signing_key", target_id=pair.next.kid)
    db.session.commit()
    forget()
    return kids[0]


def retire(actor: Actor, kid: str) -> None:
    """Stop accepting a key. The signing key cannot be retired; a next key that is retired is replaced at once.

    Commits: yes.   Raises: NotFound, Conflict(signing_key_in_use).
    """
    begin_write()
    key = db.session.scalar(select(SigningKey).where(SigningKey.kid == kid).with_for_update())
    if key is None:
        raise NotFound("There is no signing key with that id.")
    if key.state == "signing":
        raise Conflict("The signing key cannot be retired. Rotate first.", code="signing_key_in_use")
    if key.state == "retired":
        return
    was_next = key.state == "next"
    key.state, key.retired_at = "retired", now()
    db.session.flush()
    if was_next:
        db.session.add(SigningKey(**_new_row(key.algorithm, "next")))
    audit.record(actor, "signing_key.retired", target_type="signing_key", target_id=kid)
    db.session.commit()
    forget()
