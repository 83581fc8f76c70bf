"""Secrets of this server in a text that leaked: which there are, whose they are and what ends them. No value is given out.

Everything in the text that may be a secret is hashed and looked up among the hashes that are stored, so it needs no prefix to be
recognized. A JWT is verified; a hash that stands in the text is looked up as it is. API keys are also found by what pages show of them
(`gpa_…8f2k`) and by their id, which a key begins with.
"""

import base64
import binascii
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import unquote

from sqlalchemy import ColumnElement, and_, or_, select

from config import current
from extensions import db, redis
from infra.clock import now
from infra.secret_text import hash_secret
from infra.session_store import SessionStore
from models import (
    AccessToken,
    ApiKey,
    Invitation,
    OAuthClient,
    Organization,
    RefreshFamily,
    RefreshToken,
    RevokedJwt,
    SecureLink,
    SignInLink,
    User,
)
from services.database import row_security
from services.tokens import live, oauth_clients, signing_keys, token_claims
from services.tokens.live import Ended
from services.users import api_key_administration, api_keys
from services.users.api_key_administration import KeyEntry

Kind = Literal["api_key", "access_token", "refresh_token", "jwt", "client_secret", "session", "sign_in_link", "invitation", "secure_link"]
Match = Literal["secret", "hash", "part"]
OVERLAP = 16_384  # characters: longer than any of them
_BATCH = 500
_BEST_FIRST: tuple[Match, ...] = ("secret", "hash", "part")

_KEY = re.compile(r"gp[pa]_([0-9A-Za-z]{22})_([0-9A-Za-z]{49})?", re.ASCII)
_SHOWN = re.compile(r"(gp[pa])_(?:…|\.\.\.)([0-9A-Za-z]{4})(?![0-9A-Za-z])", re.ASCII)
_TOKEN = re.compile(r"gp[orci]_[\w-]{43}", re.ASCII)
_BARE = re.compile(r"(?<![\w-])[\w-]{43}(?![\w-])", re.ASCII)
_HASH = re.compile(r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{64}(?![0-9A-Fa-f])", re.ASCII)
_JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{40,}", re.ASCII)
_WORD = re.compile(r"[^\s\"'`<>(){}\[\],;|&]{32,512}")  # a client's secret may be of any form: see docs/commands.md
_BREAK = re.compile(r"=?\r?\n[ \t>|]*")


@dataclass(frozen=True)
class FoundSecret:
    """A secret of this server. match: the whole of it stands in the text, or its hash, or a part that its owner knows it by.

    id: that of the key, session, link or invitation; of a token its grant's, of a client's secret or own token the client's `client_id`.
    user: the address of its person, else their name. state: "works", or why it does not.
    end: what to type to end it, or the page that does; None if nothing needs to be done.
    """

    kind: Kind
    match: Match
    id: str
    user: str | None
    agent: str | None
    organization: str | None
    last_used_at: datetime | None
    expires_at: datetime | None
    state: str
    end: str | None


@dataclass
class Findings:
    """What a text holds. unknown: how many secrets in it have the form of Gatepost's and are none of this server's."""

    found: list[FoundSecret] = field(default_factory=list)
    unknown: int = 0


@dataclass
class _Candidates:
    """What may be a secret: hashes with the way they stand in the text, and what else identifies one."""

    hashes: dict[bytes, Match] = field(default_factory=dict)
    formed: set[bytes] = field(default_factory=set)  # the hashes of what has a form of ours
    key_ids: set[uuid.UUID] = field(default_factory=set)
    shown: set[tuple[str, str]] = field(default_factory=set)
    jwts: set[str] = field(default_factory=set)


def find(parts: Iterable[str]) -> Findings:
    """Read a text part by part; each secret once, in no particular order.

    Raises: Forbidden for a database role that row-level security binds; redis.RedisError.
    """
    row_security.require_unbound("agents")
    best: dict[tuple[str, str], FoundSecret] = {}
    unknown: set[bytes] = set()
    for text in _overlapping(parts):
        candidates = _candidates(text)
        known: set[bytes] = set()
        for each, digest in _look_up(candidates):
            known.add(digest)
            before = best.get((each.kind, each.id))
            if before is None or _BEST_FIRST.index(each.match) < _BEST_FIRST.index(before.match):
                best[each.kind, each.id] = each
        unknown |= candidates.formed - known
        db.session.rollback()
    return Findings(list(best.values()), len(unknown))


def _overlapping(parts: Iterable[str]) -> Iterator[str]:
    """Each part behind the end of the one before, so that none of them is cut in two."""
    rest = ""
    for part in parts:
        yield rest + part
        rest = (rest + part)[-OVERLAP:]


# --- what may be one --------------------------------------------------------------------------------------------------


def _candidates(text: str) -> _Candidates:
    """Of the text as it is, without its line breaks, and with what is encoded in it decoded."""
    found = _Candidates()
    text = text.replace("\0", "")  # every other character of UTF-16
    for view in dict.fromkeys((text, _BREAK.sub("", text), unquote(text, "latin-1"))):
        _collect(view, found)
        for encoded in _BASE64.findall(view):
            _collect(_decoded(encoded), found)
    return found


def _collect(text: str, found: _Candidates) -> None:
    for match in _KEY.finditer(text):
        key_id = api_keys.id_in(match[1])
        if match[2] and api_keys.is_key(match[0]):
            _add(found, match[0], is_formed=True)
        elif key_id is not None:
            found.key_ids.add(key_id)
    found.shown.update((match[1], match[2]) for match in _SHOWN.finditer(text))
    found.jwts.update(_JWT.findall(text))
    for raw in _TOKEN.findall(text):
        _add(found, raw, is_formed=True)
    for raw in _BARE.findall(text):
        _add(found, raw)
    for word in _WORD.findall(text):
        for raw in {word, *_tails(word)}:
            _add(found, raw)
    for digest in _HASH.findall(text):
        found.hashes.setdefault(bytes.fromhex(digest), "hash")


def _add(found: _Candidates, raw: str, *, is_formed: bool = False) -> None:
    digest = hash_secret(raw)
    found.hashes[digest] = "secret"
    if is_formed:
        found.formed.add(digest)


def _tails(word: str) -> Iterator[str]:
    """What follows a name and a sign in one word: `SECRET=...`, `secret:...`, also before a host's `@`."""
    for sign in "=:":
        tail = word
        while sign in tail:
            tail = tail.partition(sign)[2]
            yield from (each for each in (tail, tail.rpartition("@")[0]) if len(each) >= 32)


def _decoded(encoded: str) -> str:
    """Empty unless it is text."""
    try:
        plain = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_" if {"-", "_"} & set(encoded) else None)
    except binascii.Error:
        return ""
    return plain.decode() if plain.isascii() and b"\0" not in plain else ""


# --- which of them are ours -------------------------------------------------------------------------------------------


def _look_up(candidates: _Candidates) -> Iterator[tuple[FoundSecret, bytes]]:
    """What was found, each with the hash that it was found by (b"" by something else)."""
    hashes = list(candidates.hashes)
    for start in range(0, len(hashes), _BATCH):
        batch = hashes[start : start + _BATCH]
        for read in (_keys, _access_tokens, _refresh_tokens, _client_secrets, _sign_in_links, _invitations, _secure_links, _sessions):
            yield from read(batch, candidates.hashes.__getitem__)
    parts: list[ColumnElement[bool]] = []
    ids = list(candidates.key_ids)
    parts += [ApiKey.id.in_(ids[start : start + _BATCH]) for start in range(0, len(ids), _BATCH)]
    for kind, last_four in candidates.shown:
        is_agents = ApiKey.agent_id.is_not(None) if kind == "gpa" else ApiKey.agent_id.is_(None)
        parts.append(and_(ApiKey.last_four == last_four, is_agents))
    for which in parts:
        yield from ((_of_key(entry, "part"), b"") for entry in api_key_administration.unscoped_read(which))
    for token in candidates.jwts:
        if (found := _jwt(token)) is not None:
            yield found, b""


_Read = Iterator[tuple[FoundSecret, bytes]]
_MatchOf = Callable[[bytes], Match]
_WORKS: str = "works"


def _keys(hashes: list[bytes], match_of: _MatchOf) -> _Read:
    ids = {row.id: row.key_hash for row in db.session.execute(select(ApiKey.id, ApiKey.key_hash).where(ApiKey.key_hash.in_(hashes)))}
    if ids:
        for entry in api_key_administration.unscoped_read(ApiKey.id.in_(ids)):
            yield _of_key(entry, match_of(ids[entry.id])), ids[entry.id]


def _of_key(entry: KeyEntry, match: Match) -> FoundSecret:
    end = None if entry.state in ("revoked", "expired") else f"flask api-keys revoke {entry.id}"
    return FoundSecret(
        kind="api_key",
        match=match,
        id=str(entry.id),
        user=entry.user,
        agent=entry.agent,
        organization=entry.organization,
        last_used_at=entry.last_used_at,
        expires_at=entry.expires_at,
        state=entry.state,
        end=end,
    )


def _access_tokens(hashes: list[bytes], match_of: _MatchOf) -> _Read:
    statement = (
        _with_grant(AccessToken.token_hash, AccessToken.expires_at, live.ended(AccessToken, live.is_revoked, live.is_expired, moment=now()))
        .select_from(AccessToken)
        .outerjoin(RefreshFamily, RefreshFamily.id == AccessToken.family_id)
        .join(OAuthClient, OAuthClient.id == AccessToken.client_pk)
    )
    return _tokens("access_token", statement, AccessToken.token_hash, hashes, match_of)


def _refresh_tokens(hashes: list[bytes], match_of: _MatchOf) -> _Read:
    statement = (
        _with_grant(RefreshToken.token_hash, RefreshToken.expires_at, live.ended(RefreshToken, live.is_used, live.is_expired, moment=now()))
        .select_from(RefreshToken)
        .join(RefreshFamily, RefreshFamily.id == RefreshToken.family_id)
        .join(OAuthClient, OAuthClient.id == RefreshFamily.client_pk)
    )
    return _tokens("refresh_token", statement, RefreshToken.token_hash, hashes, match_of)


def _with_grant(*columns: Any) -> Any:
    """`columns` (hash, expiry, why it ended) and those of the grant, its person and its organization; both are still to be joined."""
    ended = live.ended(RefreshFamily, live.is_revoked, live.is_expired, moment=now())
    names = ("digest", "expires_at", "ended")
    return select(
        *(column.label(name) for column, name in zip(columns, names, strict=True)),
        RefreshFamily.id.label("grant_id"),
        RefreshFamily.last_used_at,
        ended.label("grant_ended"),
        OAuthClient.client_id,
        User.email,
        User.name,
        Organization.slug,
    )


def _tokens(kind: Kind, statement: Any, column: Any, hashes: list[bytes], match_of: _MatchOf) -> _Read:
    statement = statement.outerjoin(User, User.id == RefreshFamily.user_id)
    statement = statement.outerjoin(Organization, Organization.id == RefreshFamily.organization_id)
    for row in db.session.execute(statement.where(column.in_(hashes))):
        yield _of_grant(kind, match_of(row.digest), row, expires_at=row.expires_at, ended=row.ended), row.digest


def _of_grant(kind: Kind, match: Match, row: Any, *, expires_at: datetime, ended: str | None) -> FoundSecret:
    """A token of a grant, which goes on when one of its tokens has ended; or of a client that acts for itself."""
    goes_on = row.grant_id is not None and row.grant_ended is None
    return FoundSecret(
        kind=kind,
        match=match,
        id=str(row.grant_id or row.client_id),
        user=row.email or row.name,
        agent=None,
        organization=row.slug,
        last_used_at=row.last_used_at,
        expires_at=expires_at,
        state=row.grant_ended or ended or _WORKS,
        end=f"flask sessions revoke {row.grant_id}" if goes_on else None,
    )


def _jwt(token: str) -> FoundSecret | None:
    try:
        claims = signing_keys.verify(token, typ="at+jwt")
    except signing_keys.TokenUnreadable:
        return None
    row = db.session.execute(
        select(
            RefreshFamily.id.label("grant_id"),
            RefreshFamily.last_used_at,
            live.ended(RefreshFamily, live.is_revoked, live.is_expired, moment=now()).label("grant_ended"),
            OAuthClient.client_id,
            User.email,
            User.name,
            Organization.slug,
            RevokedJwt.jti.label("revoked"),
        )
        .select_from(OAuthClient)
        .outerjoin(RefreshFamily, RefreshFamily.id == token_claims.family_of(claims["jti"]))
        .outerjoin(User, User.id == RefreshFamily.user_id)
        .outerjoin(Organization, Organization.id == RefreshFamily.organization_id)
        .outerjoin(RevokedJwt, RevokedJwt.jti == claims["jti"])
        .where(OAuthClient.client_id == claims["client_id"])
    ).first()
    if row is None:
        return None
    expires_at = datetime.fromtimestamp(claims["exp"], UTC)
    ended = Ended.REVOKED if row.revoked else Ended.EXPIRED if expires_at <= now() else None
    return _of_grant("jwt", "secret", row, expires_at=expires_at, ended=ended)


def _client_secrets(hashes: list[bytes], match_of: _MatchOf) -> _Read:
    columns = (OAuthClient.secret_hash, OAuthClient.previous_secret_hash)
    for client in db.session.scalars(select(OAuthClient).where(or_(*(column.in_(hashes) for column in columns)))):
        digest, is_old = client.secret_hash, False
        if digest is None or digest not in hashes:
            digest, is_old = client.previous_secret_hash or b"", True
        ends_at = client.previous_secret_expires_at if is_old else None
        has_ended = ends_at is not None and ends_at <= now()
        end_old = f"flask clients revoke-old-secret {client.client_id}"
        make_room = [end_old] if not is_old and oauth_clients.has_two_secrets(client) else []
        steps = [] if is_old else [*make_room, f"flask clients rotate-secret {client.client_id}"]
        found = _simple("client_secret", match_of(digest), client.client_id, expires_at=ends_at, ended=Ended.EXPIRED if has_ended else None)
        yield found(end=" && ".join([*steps, end_old])), digest


def _sign_in_links(hashes: list[bytes], match_of: _MatchOf) -> _Read:
    ended = live.ended(SignInLink, live.is_used, live.is_expired, moment=now()).label("ended")
    rows = db.session.execute(
        select(SignInLink.id, SignInLink.token_hash, SignInLink.expires_at, ended, User.id.label("user_id"), User.email, User.name)
        .join(User, User.id == SignInLink.user_id)
        .where(SignInLink.token_hash.in_(hashes))
    )
    for row in rows:
        found = _simple("sign_in_link", match_of(row.token_hash), row.id, expires_at=row.expires_at, ended=row.ended)
        yield found(end=f"flask users sign-in-link {row.user_id} --revoke", user=row.email or row.name), row.token_hash


def _invitations(hashes: list[bytes], match_of: _MatchOf) -> _Read:
    rows = db.session.execute(
        select(Invitation, Organization.slug)
        .join(Organization, Organization.id == Invitation.organization_id)
        .where(Invitation.token_hash.in_(hashes))
    )
    for row in rows:
        invitation = row.Invitation
        ended = next((name for name in ("accepted", "declined", "revoked") if getattr(invitation, f"{name}_at") is not None), None)
        ended = ended or (Ended.EXPIRED if invitation.expires_at <= now() else None)
        found = _simple("invitation", match_of(invitation.token_hash), invitation.id, expires_at=invitation.expires_at, ended=ended)
        end = f"revoke it at {current().public_url}/orgs/{row.slug}/invitations"
        yield found(end=end, user=invitation.email, organization=row.slug), invitation.token_hash


def _secure_links(hashes: list[bytes], match_of: _MatchOf) -> _Read:
    """They sign nobody in: whoever has one can end what an account has, and that is all."""
    ended = live.ended(SecureLink, live.is_used, live.is_expired, moment=now()).label("ended")
    rows = db.session.execute(
        select(SecureLink.id, SecureLink.token_hash, SecureLink.expires_at, ended, User.email, User.name)
        .join(User, User.id == SecureLink.user_id)
        .where(SecureLink.token_hash.in_(hashes))
    )
    for row in rows:
        found = _simple("secure_link", match_of(row.token_hash), row.id, expires_at=row.expires_at, ended=row.ended)
        yield found(user=row.email or row.name), row.token_hash


def _sessions(hashes: list[bytes], match_of: _MatchOf) -> _Read:
    store = SessionStore(redis.client, session_seconds=current().session_seconds)
    for digest, record in store.find_many(hashes):
        user = db.session.get(User, record.user_id)
        expires_at = datetime.fromtimestamp(record.expires_at_ms / 1000, UTC)
        last_used_at = datetime.fromtimestamp(record.last_seen_ms / 1000, UTC)
        ended = Ended.EXPIRED if expires_at <= now() else None
        found = _simple("session", match_of(digest), record.sid, expires_at=expires_at, ended=ended)
        yield found(end=f"flask sessions revoke {record.sid}", user=user and (user.email or user.name), last_used_at=last_used_at), digest


def _simple(kind: Kind, match: Match, id: object, *, expires_at: datetime | None, ended: str | None) -> Callable[..., FoundSecret]:
    """One without an agent; what has ended needs nothing to end it."""

    def found(*, end: str | None = None, user: str | None = None, organization: str | None = None, last_used_at: Any = None) -> FoundSecret:
        return FoundSecret(
            kind, match, str(id), user, None, organization, last_used_at, expires_at, ended or _WORKS, None if ended else end
        )

    return found
