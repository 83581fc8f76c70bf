"""Keys that sign JWTs: next -> signing -> old -> retired. ES256; the private part is encrypted at rest.

Each process keeps the parsed set and reads it again every ten seconds, so a rotation needs no restart; when the
database is away it goes on with what it has.
"""

import json
import logging
import secrets
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from joserfc.util import urlsafe_b64decode
from sqlalchemy import Engine, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from config import current
from errors import Conflict, NotFound, Unavailable
from extensions import db
from infra.cipher import CannotDecrypt
from infra.clock import now
from models import SigningKey
from services.access.actors import Actor
from services.audit import audit
from services.database.transactions import begin_write
from services.encryption.keyring import cipher

log = logging.getLogger("gatepost.signing_keys")

ALGORITHM = "ES256"
ALGORITHMS = (ALGORITHM, "RS256")
FOLLOW_SECONDS = 10
SERVICES_KEEP_KEYS = timedelta(hours=1)  # our own documents say a minute; libraries that read them keep keys longer
REREAD_SECONDS = 1  # another process may have rotated: for a name that is not known the table is read sooner
_PUBLISHED = ("next", "signing", "old")


class TokenUnreadable(Exception):
    """Not a JWT of ours: malformed, another algorithm or type, an unknown key, a wrong signature."""


@dataclass(frozen=True)
class KeySet:
    """What one process knows: the key that signs, and all that are published, by `kid`."""

    kid: str
    private_key: ECKey = field(repr=False)
    public_keys: dict[str, ECKey]
    jwks: dict[str, list[dict[str, Any]]]
    read_at: float


_lock = threading.Lock()
_REMEMBERED = 2048
_MAX_HEADER_LENGTH = 512  # ours have three short members
_verified: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
_current: dict[Engine, KeySet] = {}


def sign(claims: dict[str, Any], *, typ: str) -> str:
    """A compact JWS over `claims` with the signing key. `typ`: at+jwt, JWT, logout+jwt."""
    keys = key_set()
    return jwt.encode({"alg": ALGORITHM, "typ": typ, "kid": keys.kid}, claims, keys.private_key, algorithms=[ALGORITHM])


def verify(token: str, *, typ: str) -> dict[str, Any]:
    """The claims of a JWT that we signed.   Raises TokenUnreadable. Says nothing of `exp`, `aud` or `iss`.

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
        if header.get("typ") != typ or header.get("alg") != ALGORITHM:
            raise TokenUnreadable("another type or algorithm")
        kid = str(header.get("kid"))
        key = key_set().public_keys.get(kid) or _not_older_than(REREAD_SECONDS).public_keys.get(kid)
        if key is None:
            raise TokenUnreadable("an unknown key")
        return kid, jwt.decode(token, key, algorithms=[ALGORITHM]).claims
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
    """The public set as published: next, signing and old keys."""
    return key_set().jwks


def key_set() -> KeySet:
    """The keys as this process knows them, at most FOLLOW_SECONDS old while the database answers."""
    return _not_older_than(FOLLOW_SECONDS)


def _not_older_than(seconds: float) -> KeySet:
    database = db.engine
    known = _current.get(database)
    if known and time.monotonic() - known.read_at < seconds:
        return known
    with _lock:
        known = _current.get(database)
        if known and time.monotonic() - known.read_at < seconds:
            return known
        try:
            _current[database] = _read()
        except (DBAPIError, PoolTimeout) as error:
            if known is None:
                raise Unavailable(detail=f"signing keys: {error}") from error
            log.warning("signing keys could not be read again; going on with those known")
            _current[database] = KeySet(known.kid, known.private_key, known.public_keys, known.jwks, time.monotonic())
        return _current[database]


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
            select(SigningKey.kid, SigningKey.state, SigningKey.public_jwk, SigningKey.private_ciphertext)
            .where(SigningKey.state.in_(_PUBLISHED))
            .order_by(SigningKey.id)
        ).all()
    signing = next((row for row in rows if row.state == "signing"), None)
    if signing is None:
        _create_first_set()
        return _read()
    try:
        private = json.loads(cipher().decrypt(signing.private_ciphertext, context=context_of(signing.kid)))
    except CannotDecrypt as error:
        raise Unavailable(detail=f"signing key {signing.kid} does not open: {error}") from error
    return KeySet(
        kid=signing.kid,
        private_key=ECKey.import_key(private),
        public_keys={row.kid: ECKey.import_key(row.public_jwk) for row in rows},
        jwks={"keys": [row.public_jwk for row in rows]},
        read_at=time.monotonic(),
    )


def _create_first_set() -> None:
    """The signing key and the next, together. Of several workers that start at once one wins; the others see its set."""
    try:
        with db.engine.connect().execution_options(gatepost_write=True) as connection, connection.begin():
            connection.execute(SigningKey.__table__.insert(), [_new_row("signing"), _new_row("next")])
    except IntegrityError:
        log.info("another worker made the signing keys")


def _new_row(state: str) -> dict[str, Any]:
    key = ECKey.generate_key("P-256", private=True)
    kid, moment = secrets.token_hex(8), now()  # no "-" in front: `flask keys retire` would take it for an option
    public = {**key.as_dict(private=False), "kid": kid, "use": "sig", "alg": ALGORITHM}
    return {
        "kid": kid,
        "algorithm": ALGORITHM,
        "state": state,
        "public_jwk": public,
        "private_ciphertext": cipher().encrypt(json.dumps(key.as_dict(private=True)).encode(), context=context_of(kid)),
        "created_at": moment,
        "signing_since": moment if state == "signing" else None,
    }


def does_open(key: SigningKey) -> bool:
    """Whether the encryption keys of this process open the private part of `key`. For the doctor."""
    try:
        cipher().decrypt(key.private_ciphertext, context=context_of(key.kid))
    except CannotDecrypt:
        return False
    return True


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
    """Make the next key the signing one and publish a new next; the old one stays accepted. Commits: yes.

    Returns: the kid that signs now. Running workers follow within FOLLOW_SECONDS.
    """
    return _rotate(actor, _next_and_signing())


def start(actor: Actor, kid: str) -> bool:
    """Rotate to the next key `kid`, which every service has had time to read. Commits: yes.

    Returns: False when that is not the next key any more.   Raises: Conflict next_key_too_new, no_next_key.
    """
    keys = _next_and_signing()
    if keys["next"].kid != kid:
        return False
    if may_start_at(keys["next"]) > now():
        raise Conflict("Services that keep our keys may not have the next one yet.", code="next_key_too_new")
    _rotate(actor, keys)
    return True


def may_start_at(key: SigningKey) -> datetime:
    """From when on a next key is known to every service."""
    return key.created_at + SERVICES_KEEP_KEYS


def may_retire_at(key: SigningKey) -> datetime | None:
    """From when on nothing that an old key signed is still good; None while it signs."""
    last_signed = timedelta(seconds=FOLLOW_SECONDS + current().access_token_seconds)
    return key.old_since + last_signed if key.old_since is not None else None


def _next_and_signing() -> dict[str, SigningKey]:
    """Both rows, locked: begins a unit of work.   Raises: Conflict no_next_key."""
    key_set()
    begin_write()
    both = select(SigningKey).where(SigningKey.state.in_(("next", "signing"))).with_for_update()
    keys = {key.state: key for key in db.session.scalars(both)}
    if set(keys) != {"next", "signing"}:
        raise Conflict("There is no next key to sign with.", code="no_next_key")
    return keys


def _rotate(actor: Actor, keys: dict[str, SigningKey]) -> str:
    """Commits: yes."""
    moment = now()
    keys["signing"].state, keys["signing"].old_since = "old", moment
    db.session.flush()
    keys["next"].state, keys["next"].signing_since = "signing", moment
    db.session.flush()
    db.session.add(SigningKey(**_new_row("next")))
    audit.record(actor, "signing_key.rotated", target_type="signing_key", target_id=keys["next"].kid)
    kid = keys["next"].kid
    db.session.commit()
    forget()
    return kid


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
        db.session.add(SigningKey(**_new_row("next")))
    audit.record(actor, "signing_key.retired", target_type="signing_key", target_id=kid)
    db.session.commit()
    forget()
