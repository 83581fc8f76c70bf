"""Reading an id_token: its signature, by the keys that the provider publishes (RFC 7517), and its claims (OpenID Connect Core
3.1.3.7).

What is refused is told by its name, in words for the log of whoever set the provider up.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import BadSignatureError, ClaimError, DecodeError, JoseError, MissingClaimError, UnsupportedAlgorithmError
from joserfc.jwk import JWKRegistry, Key
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64encode

from infra import clock, http
from infra.foreign_text import clean_text
from providers.base import ClocksDiffer

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "Ed448"]
SKEW_SECONDS = 60
CLOCKS_DIFFER = "the clocks of this server and of the provider differ"
_EDDSA = frozenset({"EdDSA", "Ed25519", "Ed448"})  # RFC 9864 named two of what the first one means
_MAX_KEYS = 1000  # an answer has room for 350,000, which take 5 s to look at
_PUBLIC_MEMBERS = ("kty", "n", "e", "crv", "x", "y")


class _Registry(JWSRegistry):
    """Takes what an answer may hold: some providers put their certificates into the header, or all groups into the claims."""

    max_header_length = max_payload_length = max_signature_length = http.MAX_ANSWER_BYTES


_REGISTRY = _Registry(algorithms=ALGORITHMS, strict_check_header=False)


@dataclass(frozen=True)
class PublishedKey:
    """A key for signatures. `algorithm` is None when it is for all that its kind can do."""

    key: Key
    kid: str | None
    algorithm: str | None

    def verifies(self, algorithm: str) -> bool:
        if self.algorithm not in (None, algorithm) and not {self.algorithm, algorithm} <= _EDDSA:
            return False
        try:
            JWSRegistry.algorithms[algorithm].check_key(self.key)  # its kind and curve
        except JoseError:
            return False
        return True


@dataclass(frozen=True)
class PublishedKeys:
    """`unusable`: what was dropped, in words."""

    keys: Sequence[PublishedKey]
    unusable: Sequence[str]

    def has(self, kid: str) -> bool:
        return any(key.kid == kid for key in self.keys)

    def pick(self, header: dict[str, Any]) -> PublishedKey:
        """The key that the header names; without a name, the only one that can have signed it.   Raises: http.UpstreamRefused."""
        kid, algorithm = header.get("kid"), header["alg"]
        fitting = [key for key in self.keys if (kid is None or key.kid == kid) and key.verifies(algorithm)]
        if not fitting or (kid is None and len(fitting) > 1):
            named = clean_text(kid, 60) or "without a name"
            raise http.UpstreamRefused(f"id_token signature: the provider publishes no single key {named} for {algorithm}")
        return fitting[0]


def read_keys(document: Any) -> PublishedKeys:
    """The keys one by one: those that cannot be used are dropped (RFC 7517 section 5).   Raises: http.UpstreamFailed for no usable one."""
    members = document["keys"]
    if not isinstance(members, list) or len(members) > _MAX_KEYS:
        raise http.UpstreamFailed("the keys are no list, or too many")
    keys, unusable = [], []
    for member in members:
        try:
            if _is_for_signatures(member):
                keys.append(_read_key(member))
        except Exception as error:  # whatever a parser raises
            unusable.append(f"{_named(member)} ({type(error).__name__}: {clean_text(str(error), 80)})")
    if not keys:
        raise http.UpstreamFailed(f"no usable key: {'; '.join(unusable[:5]) or 'none is published'}")
    return PublishedKeys(keys, unusable)


def _is_for_signatures(member: dict[str, Any]) -> bool:
    operations = member.get("key_ops")
    return member.get("use") in (None, "sig") and (not isinstance(operations, list) or "verify" in operations)


def _read_key(member: dict[str, Any]) -> PublishedKey:
    kid, algorithm = member.get("kid"), member.get("alg")
    if not isinstance(kid, str | None) or not isinstance(algorithm, str | None):
        raise TypeError("kid and alg are text")
    if member["kty"] == "oct":
        raise ValueError("a secret")
    key = JWKRegistry.import_key({name: member[name] for name in _PUBLIC_MEMBERS if name in member})
    return PublishedKey(key, kid, algorithm)


def _named(member: object) -> str:
    values = [member.get(name) for name in ("kid", "kty", "crv")] if isinstance(member, dict) else []
    return " ".join(filter(None, (clean_text(value, 60) for value in values))) or "one without a name"


def read(
    raw: object, find_keys: Callable[[object], PublishedKeys], *, issuers: Sequence[str], client_id: str, nonce: str, access_token: str
) -> dict[str, Any]:
    """The verified claims.

    find_keys: the provider's keys, given the name of the one that is looked for.
    Raises: http.UpstreamFailed for no id_token; http.UpstreamRefused, ClocksDiffer; the errors of `find_keys`.
    """
    if not isinstance(raw, str):
        raise http.UpstreamFailed("no id_token")
    try:
        token = jwt.decode(raw, lambda signed: _key_of(signed.headers(), find_keys), registry=_REGISTRY)
    except (JoseError, RecursionError) as error:
        raise http.UpstreamRefused(_fault_of(error)) from error
    try:
        _check(token.claims, issuers, client_id, nonce)
    except ClaimError as error:
        raise _refusal_of(error, token.claims, issuers) from error
    _check_at_hash(token, access_token)
    return token.claims


def _fault_of(error: Exception) -> str:
    """Why no signature was verified."""
    if isinstance(error, BadSignatureError):
        return "id_token signature: it does not fit the provider's key"
    if isinstance(error, UnsupportedAlgorithmError):
        return f"id_token alg: {clean_text(error.description, 80)}; let the provider sign with a key that it publishes"
    if isinstance(error, DecodeError | RecursionError):
        return "the id_token is encrypted or cannot be read"
    return f"id_token signature: {type(error).__name__}"


def _key_of(header: dict[str, Any], find_keys: Callable[[object], PublishedKeys]) -> Key:
    return find_keys(header.get("kid")).pick(header).key


def _check(claims: dict[str, Any], issuers: Sequence[str], client_id: str, nonce: str) -> None:
    jwt.JWTClaimsRegistry(
        now=clock.now_seconds(),
        leeway=SKEW_SECONDS,
        iss={"essential": True, "values": list(issuers)},
        sub={"essential": True},
        aud={"essential": True, "value": client_id},
        exp={"essential": True},
        iat={"essential": True},
        nonce={"essential": True, "value": nonce},
    ).validate(claims)
    audience = claims["aud"]
    if ("azp" in claims or (isinstance(audience, list) and len(audience) > 1)) and claims.get("azp") != client_id:
        raise http.UpstreamRefused("id_token claim azp: not ours")


def _refusal_of(error: ClaimError, claims: dict[str, Any], issuers: Sequence[str]) -> http.UpstreamRefused:
    """Which claim it was, and what is wrong with it."""
    name, value = error.claim, claims.get(error.claim)
    if isinstance(error, MissingClaimError):
        return http.UpstreamRefused(f"id_token claim {name}: missing")
    if name in ("exp", "nbf", "iat") and isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**40:
        seconds = int(value) - clock.now_seconds()
        when = f"{seconds} s from now" if seconds > 0 else f"{-seconds} s ago"
        return ClocksDiffer(f"id_token claim {name}: {when}: {CLOCKS_DIFFER}")
    if name == "iss":
        return http.UpstreamRefused(f"id_token claim iss: {clean_text(value) or 'no text'} instead of {issuers[0]}")
    words = {"aud": "not ours", "nonce": "not that of this sign-in"}.get(name, "no usable value")
    return http.UpstreamRefused(f"id_token claim {name}: {words}")


def _check_at_hash(token: jwt.Token, access_token: str) -> None:
    sent = token.claims.get("at_hash")
    if sent is not None and sent not in _half_hashes(access_token.encode(), token.header["alg"]):
        raise http.UpstreamRefused("id_token claim at_hash: not that of the access token")


def _half_hashes(text: bytes, algorithm: str) -> list[str]:
    """OpenID Connect Core 3.1.3.6. `EdDSA` leaves open which of its two hashes is meant."""
    digests = []
    if algorithm not in _EDDSA:
        digests.append(hashlib.new(f"sha{algorithm[2:]}", text).digest())
    if algorithm in ("EdDSA", "Ed25519"):
        digests.append(hashlib.sha512(text).digest())
    if algorithm in ("EdDSA", "Ed448"):
        digests.append(hashlib.shake_256(text).digest(114))
    return [urlsafe_b64encode(digest[: len(digest) // 2]).decode() for digest in digests]
