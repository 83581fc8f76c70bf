"""What every sign-in provider does, and the plain values it gives. Providers see no model and no Flask.

An upstream's own words never leave this room: callers get `provider_unavailable` or `provider_refused`, the log the rest.
"""

import re
import unicodedata
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol
from urllib.parse import quote_plus

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session

from config import ProviderSettings
from errors import RefusalReason, SignInRefused
from infra import bulkhead, http
from infra.foreign_text import clean_text as clean_text  # the providers say base.clean_text
from infra.records import from_values

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}")
_TOKEN = re.compile(r"[ -~]+")  # RFC 6749 appendix A
_MAX_KEPT = 16_384
_LATEST = 2**37  # seconds since the epoch, the year 6325: dates end with 9999


@dataclass(frozen=True)
class ProviderTokens:
    """Tokens as the provider gave them. `expires_at` is seconds since the epoch."""

    access_token: str = field(default="", repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    scope: str = ""
    expires_at: int | None = None


@dataclass(frozen=True)
class ProviderAccount:
    """Who signed in at a provider. The key is (provider, issuer, subject). `auth_time_ms`: when, as its id_token says; None if that
    is absent or no possible time. `seconds_behind`: how far the provider's clock is behind ours, as its id_token says.
    `hosted_domain`: the domain that runs the account, empty for a personal one; None where the provider does not tell them apart."""

    provider_id: str
    issuer: str
    subject: str
    login: str
    name: str
    email: str | None
    email_verified: bool
    tokens: ProviderTokens = ProviderTokens()
    auth_time_ms: int | None = None
    seconds_behind: int = 0
    hosted_domain: str | None = None

    def to_values(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> "ProviderAccount":
        return from_values(cls, {**values, "tokens": from_values(ProviderTokens, values["tokens"])})


@dataclass(frozen=True)
class Hints:
    """What the waiting authorize request asks of the provider's own sign-in page. `needs_auth_time`: the id_token must say when."""

    login_hint: str | None = None
    ui_locales: str | None = None
    prompt: str | None = None
    max_age: int | None = None
    needs_auth_time: bool = False


@dataclass(frozen=True)
class Trip:
    """The secrets of one way to the provider and back."""

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    code_verifier: str = field(repr=False)
    redirect_uri: str


@dataclass(frozen=True)
class Callback:
    """What came back: a code or an error, and the issuer when it was sent (RFC 9207)."""

    code: str | None = field(repr=False)
    error: str | None
    issuer: str | None


@dataclass(frozen=True)
class Examination:
    """What a provider publishes now, in a few words. `problems`: what will fail sign-ins, all or some."""

    text: str
    problems: tuple[str, ...] = ()


class Provider(Protocol):
    """One upstream identity provider. All methods raise SignInRefused only."""

    settings: ProviderSettings

    def authorize_url(self, trip: Trip, hints: Hints) -> str:
        """Where the browser goes."""
        ...

    def check_issuer(self, callback: Callback) -> None:
        """Refuse an error that another server sent (RFC 9207, mix-up)."""
        ...

    def fetch_account(self, callback: Callback, trip: Trip) -> ProviderAccount:
        """Check the issuer, exchange the code, once, and read who it is. Ten seconds for everything."""
        ...

    def examine(self) -> Examination:
        """Read anew what it publishes, and judge it as sign-ins do."""
        ...


class ClocksDiffer(http.UpstreamRefused):
    """The times in the provider's answer are not those of now."""


# what a token endpoint says whatever the code was that a browser brought
_OF_OUR_SETUP = ("invalid_client", "unauthorized_client", "incorrect_client_credentials")
_TRY_LATER = ("temporarily_unavailable", "server_error", "slow_down")

# every way in which an answer can fail us, beside a refusal of the token endpoint
_MALFORMED = (requests.RequestException, ValueError, TypeError, KeyError, AttributeError, RecursionError, ArithmeticError)
FAULTS = (http.UpstreamFailed, http.UpstreamRefused, *_MALFORMED)


def unavailable(detail: str) -> SignInRefused:
    return SignInRefused("provider_unavailable", detail=detail, is_proven=True)


def refused(detail: str, *, is_proven: bool = False, reason: RefusalReason = "") -> SignInRefused:
    return SignInRefused("provider_refused", detail=detail, is_proven=is_proven, reason=reason)


def other_issuer(issuer: str, own: str) -> str:
    """Both of them, for the log."""
    return f"the callback is from {clean_text(issuer) or 'no issuer'}, not from {own}"


def guarded(url: str, work: Any) -> Any:
    """Run upstream work as one call to the server of `url`; every way it can fail becomes one of our two refusals."""
    try:
        return bulkhead.call(http.origin_of(url), work)
    except http.NoPlace as error:
        raise SignInRefused("provider_unavailable", detail=str(error)) from error
    except http.UpstreamFailed as error:
        raise unavailable(str(error)) from error
    except ClocksDiffer as error:
        raise refused(str(error), reason="clocks") from error
    except http.UpstreamRefused as error:
        raise refused(str(error)) from error
    except OAuthError as error:
        if error.error in _TRY_LATER:
            raise unavailable(f"token endpoint: {error.error}") from error
        raise refused(f"token endpoint: {clean_text(error.error)}", is_proven=error.error in _OF_OUR_SETUP) from error
    except requests.HTTPError as error:
        raise unavailable(f"{error.response.status_code} from the token endpoint") from error
    except _MALFORMED as error:
        raise unavailable(f"malformed answer: {type(error).__name__}") from error


def oauth_session(settings: ProviderSettings, *, auth_method: str, redirect_uri: str | None = None) -> OAuth2Session:
    """Authlib's client on our transport, with S256 PKCE. One for each trip: nothing is shared or kept alive."""
    session = OAuth2Session(
        client_id=settings.client_id,
        client_secret=settings.client_secret,
        token_endpoint_auth_method=auth_method,
        scope=settings.scopes,
        redirect_uri=redirect_uri,
        code_challenge_method="S256",
    )
    session.register_client_auth_method(("client_secret_basic", _encoded_basic))
    session.register_compliance_hook("access_token_response", _check_answer)
    http.guard(session)
    return session


def _encoded_basic(client: Any, method: str, uri: str, headers: Any, body: Any) -> tuple[str, Any, Any]:
    """RFC 6749 section 2.3.1 form-encodes both parts; Authlib's own method does not."""
    headers["Authorization"] = requests.auth._basic_auth_str(quote_plus(client.client_id), quote_plus(client.client_secret))
    return uri, headers, body


def _check_answer(response: requests.Response) -> requests.Response:
    """What is no answer to the request, by its status, before Authlib reads it."""
    if http.is_rate_limit(response.status_code, response.headers):
        raise http.UpstreamFailed(f"{response.status_code} from the token endpoint")
    try:
        http.json_of(response)
    except (ValueError, RecursionError) as error:
        raise http.UpstreamFailed(f"{response.status_code} without JSON from the token endpoint") from error
    return response


def exchange(session: OAuth2Session, url: str, callback: Callback, trip: Trip) -> dict[str, Any]:
    """The token answer. Sent once: codes are single use, so nothing here may retry."""
    token = session.fetch_token(
        url,
        grant_type="authorization_code",
        code=callback.code,
        redirect_uri=trip.redirect_uri,
        code_verifier=trip.code_verifier,
        allow_redirects=False,
        headers={"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded", "User-Agent": "gatepost"},
    )
    if not _is_token(token.get("access_token")):
        raise http.UpstreamFailed("a token answer without a token")
    return token


def _is_token(value: object) -> bool:
    return isinstance(value, str) and bool(_TOKEN.fullmatch(value))


def tokens_from(token: dict[str, Any]) -> ProviderTokens:
    """What is kept of a token answer. A token that is too long is used, but not kept."""
    refresh_token, scope, expires_at = token.get("refresh_token"), token.get("scope"), token.get("expires_at")
    return ProviderTokens(
        access_token=token["access_token"] if len(token["access_token"]) <= _MAX_KEPT else "",
        refresh_token=refresh_token if _is_token(refresh_token) and len(refresh_token) <= _MAX_KEPT else None,
        scope=clean_text(scope, 1000),
        expires_at=int(expires_at) if isinstance(expires_at, (int, float)) and 0 < expires_at < _LATEST else None,
    )


def clean_email(value: object) -> str | None:
    """An address that may be stored and written to, without a dot at the end of its host, or None."""
    if isinstance(value, str):
        value = value.rstrip(".")
    if not isinstance(value, str) or len(value) > 254 or not _EMAIL.fullmatch(value):
        return None
    if any(unicodedata.category(c)[0] in "CZ" for c in value) or any(c in '<>"(),:;\\[]' for c in value):
        return None
    return value


def clean_subject(value: object) -> str:
    """The provider's stable id. Raises when there is none that can be a key."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise http.UpstreamFailed("no subject")
    text = str(value)
    if not 0 < len(text) <= 255 or any(unicodedata.category(c)[0] == "C" for c in text):
        raise http.UpstreamFailed("an impossible subject")
    return text
