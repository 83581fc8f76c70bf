"""Any OpenID Connect provider, by discovery (OpenID Connect Core 3.1, Discovery 1.0, RFC 9207).

Metadata and keys are kept in the process (infra/kept_documents.py). Keys are also read again when a token names one that we do
not have, once for each such name and not more often than every ten seconds.
"""

import json
import logging
import threading
from dataclasses import dataclass, field
from typing import Any

from authlib.integrations.requests_client import OAuth2Session

from config import ProviderSettings
from infra import bulkhead, clock, http
from infra.kept_documents import KeptDocument
from providers import base, id_tokens
from providers.claims import Person, person_of
from providers.id_tokens import PublishedKeys

log = logging.getLogger("gatepost.providers")

_REREAD_SECONDS = 10
_USERINFO_SECONDS = 3.0  # when the sign-in needs nothing of it
_MAX_UNKNOWN = 100
_AUTH_TIME = json.dumps({"id_token": {"auth_time": {"essential": True}}}, separators=(",", ":"))


@dataclass
class _Kept:
    """What this process knows of one issuer."""

    metadata: KeptDocument[dict[str, Any]] = field(default_factory=KeptDocument)
    keys: KeptDocument[PublishedKeys] = field(default_factory=KeptDocument)
    unknown: set[str] = field(default_factory=set)


_kept: dict[str, _Kept] = {}
_kept_lock = threading.Lock()


class OpenIdProvider:
    """`accepted_issuers` are the spellings of `iss` in an id_token; the identity always has the configured one."""

    def __init__(self, settings: ProviderSettings) -> None:
        self.settings = settings
        self.accepted_issuers: tuple[str, ...] = (settings.issuer,)

    def authorize_url(self, trip: base.Trip, hints: base.Hints) -> str:
        metadata = self._known_metadata() or base.guarded(self.settings.issuer, self._metadata)
        session = base.oauth_session(self.settings, auth_method="none", redirect_uri=trip.redirect_uri)
        url, _ = session.create_authorization_url(
            metadata["authorization_endpoint"],
            state=trip.state,
            nonce=trip.nonce,
            code_verifier=trip.code_verifier,
            **{name: value for name, value in self.upstream_hints(hints).items() if value is not None},
        )
        return url

    def upstream_hints(self, hints: base.Hints) -> dict[str, Any]:
        return {
            "login_hint": hints.login_hint,
            "ui_locales": hints.ui_locales,
            "prompt": hints.prompt,
            "max_age": hints.max_age,
            "claims": _AUTH_TIME if hints.needs_auth_time else None,
        }

    def hosted_domain(self, signed: dict[str, Any], email: str | None) -> str | None:
        return None

    def check_issuer(self, callback: base.Callback) -> None:
        if callback.issuer is not None and callback.issuer not in self.accepted_issuers:
            raise base.refused(base.other_issuer(callback.issuer, self.settings.issuer))
        if callback.issuer is not None:
            return
        metadata = self._known_metadata() or base.guarded(self.settings.issuer, self._metadata)
        if metadata.get("authorization_response_iss_parameter_supported") is True:
            raise base.refused("the callback names no issuer, though the provider says that it does")

    def fetch_account(self, callback: base.Callback, trip: base.Trip) -> base.ProviderAccount:
        self.check_issuer(callback)
        return base.guarded(self.settings.issuer, lambda: self._fetch(callback, trip))

    def _fetch(self, callback: base.Callback, trip: base.Trip) -> base.ProviderAccount:
        metadata = self._metadata()
        session = base.oauth_session(self.settings, auth_method=_auth_method(metadata))
        token = base.exchange(session, metadata["token_endpoint"], callback, trip)
        claims = self._claims(metadata, token, trip.nonce)
        person = person_of(claims)
        lacks_flag = person.email_verified is None and self.settings.email_trust != "trusted"
        if metadata.get("userinfo_endpoint") and (lacks_flag or not person.email or not person.is_named):
            person = person_of(claims, self._find_userinfo(session, metadata, token, claims["sub"], person))
        return base.ProviderAccount(
            provider_id=self.settings.provider_id,
            issuer=self.settings.issuer,
            subject=base.clean_subject(claims.get("sub")),
            login=person.login,
            name=person.name,
            email=person.email,
            email_verified=person.email_verified is True,
            tokens=base.tokens_from(token),
            auth_time_ms=_auth_time_ms(claims.get("auth_time")),
            seconds_behind=clock.now_seconds() - int(claims["iat"]),
            hosted_domain=self.hosted_domain(claims, person.email),
        )

    def examine(self) -> base.Examination:
        return base.guarded(self.settings.issuer, self._examine)

    def _examine(self) -> base.Examination:
        found, date = http.get_json_and_date(http.new_session(), self._metadata_url)
        metadata = self._judged(found)
        keys = id_tokens.read_keys(http.get_json(http.new_session(), metadata["jwks_uri"]))
        text = f"{self.settings.issuer}, {len(keys.keys)} key{'s' if len(keys.keys) > 1 else ''}"
        offered = metadata.get("id_token_signing_alg_values_supported")
        gap = round((date - clock.now()).total_seconds()) if date else 0
        problems = (
            f"unusable: {'; '.join(keys.unusable[:5])}" if keys.unusable else "",
            f"it signs with {', '.join(map(base.clean_text, offered))} only, which is not taken" if _are_all_foreign(offered) else "",
            f"{id_tokens.CLOCKS_DIFFER}, by {abs(gap)} s" if abs(gap) > id_tokens.SKEW_SECONDS else "",
        )
        return base.Examination(text, tuple(filter(None, problems)))

    # --- what is asked of the provider ---

    def _known_metadata(self) -> dict[str, Any] | None:
        """What needs no call in this request."""
        return _kept_for(self.settings.issuer).metadata.find(self._read_metadata)

    def _metadata(self) -> dict[str, Any]:
        return _kept_for(self.settings.issuer).metadata.get(self._read_metadata)

    def _read_metadata(self) -> dict[str, Any]:
        return self._judged(http.get_json(http.new_session(), self._metadata_url))

    @property
    def _metadata_url(self) -> str:
        return self.settings.issuer.rstrip("/") + "/.well-known/openid-configuration"

    def _judged(self, found: dict[str, Any]) -> dict[str, Any]:
        """The metadata when it can be used.   Raises: http.UpstreamFailed."""
        issuer = found.get("issuer")
        if issuer != self.settings.issuer or _is_template(issuer):
            raise http.UpstreamFailed(_other_metadata(issuer, self.settings.issuer))
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not http.is_allowed_url(found.get(name), on_behalf_of=self.settings.issuer):
                raise http.UpstreamFailed(f"the metadata has no usable {name}")
        if not http.is_allowed_url(found.get("userinfo_endpoint"), on_behalf_of=self.settings.issuer):
            found.pop("userinfo_endpoint", None)
        return found

    def _find_userinfo(
        self, session: OAuth2Session, metadata: dict[str, Any], token: dict[str, Any], subject: object, person: Person
    ) -> dict[str, Any] | None:
        """What userinfo tells, asked once. Where the sign-in can go on without it, it gets little time and may fail."""
        if person.email is None or (person.email_verified is None and self.settings.email_trust == "claim"):
            return self._userinfo(session, metadata, token, subject)
        try:
            with bulkhead.shorter_deadline(_USERINFO_SECONDS):
                return self._userinfo(session, metadata, token, subject)
        except base.FAULTS as error:
            log.info("userinfo was left out", extra={"provider": self.settings.provider_id, "detail": f"{type(error).__name__}: {error}"})
            return None

    def _userinfo(self, session: OAuth2Session, metadata: dict[str, Any], token: dict[str, Any], subject: object) -> dict[str, Any]:
        """OpenID Connect Core 5.3.2: an answer about somebody else must not be used."""
        claims = http.get_json(session, metadata["userinfo_endpoint"], bearer=token["access_token"])
        if claims.get("sub") != subject:
            raise http.UpstreamRefused("userinfo speaks of another subject")
        return claims

    def _claims(self, metadata: dict[str, Any], token: dict[str, Any], nonce: str) -> dict[str, Any]:
        return id_tokens.read(
            token.get("id_token"),
            lambda kid: self._keys(metadata["jwks_uri"], kid),
            issuers=self.accepted_issuers,
            client_id=self.settings.client_id,
            nonce=nonce,
            access_token=token["access_token"],
        )

    def _keys(self, url: str, kid: object) -> PublishedKeys:
        kept = _kept_for(self.settings.issuer)
        known = kept.keys.find(lambda: _read_keys(url))
        if known is not None and not _should_reread(kept, known, kid):
            return known
        keys = kept.keys.fetch(lambda: _read_keys(url))
        if isinstance(kid, str) and not keys.has(kid) and len(kept.unknown) < _MAX_UNKNOWN:
            kept.unknown.add(kid)
        return keys


def _other_metadata(issuer: object, own: str) -> str:
    hint = "; name one tenant in the issuer, by its id, instead of common, organizations or consumers" if _is_template(issuer) else ""
    return f"the metadata is that of {base.clean_text(issuer) or 'no issuer'}, not of {own}{hint}"


def _is_template(issuer: object) -> bool:
    """Entra's metadata for several tenants names none; each id_token has the issuer of one."""
    return isinstance(issuer, str) and "{tenantid}" in issuer


def _are_all_foreign(algorithms: object) -> bool:
    return isinstance(algorithms, list) and bool(algorithms) and not set(map(str, algorithms)) & set(id_tokens.ALGORITHMS)


def _read_keys(url: str) -> PublishedKeys:
    keys = id_tokens.read_keys(http.get_json(http.new_session(), url))
    if keys.unusable:
        log.info("a key of a provider cannot be used", extra={"url": url, "detail": "; ".join(keys.unusable[:5])})
    return keys


def _should_reread(kept: _Kept, known: PublishedKeys, kid: object) -> bool:
    """For a key name that we do not have: once each, and never more often than every ten seconds."""
    if not isinstance(kid, str) or known.has(kid):
        return False
    return kid not in kept.unknown and not 0 <= kept.keys.age_seconds < _REREAD_SECONDS


def _auth_time_ms(value: object) -> int | None:
    """Seconds since the epoch, as a JSON number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 2**40:
        return None
    return int(value * 1000)


def _auth_method(metadata: dict[str, Any]) -> str:
    offered = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    return "client_secret_post" if "client_secret_basic" not in offered and "client_secret_post" in offered else "client_secret_basic"


def _kept_for(issuer: str) -> _Kept:
    with _kept_lock:
        return _kept.setdefault(issuer, _Kept())


def forget_all() -> None:
    """Drop what was kept. For tests: their providers come and go on the same ports."""
    with _kept_lock:
        _kept.clear()
