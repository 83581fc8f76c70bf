"""Everything that Gatepost refuses, as a tree. Imports nothing of ours.

    GatepostError                        code, message, detail, fields, retry_after_seconds
    ├── Malformed        400             the request cannot be read
    ├── Unauthenticated  401             who is calling is not known
    │   └── SignInTooOld                 known, but the sign-in is older than the act allows (RFC 9470)
    ├── Forbidden        403             known, but may not
    │   └── InsufficientScope            the credential is too narrow (RFC 6750 section 3.1)
    ├── NotFound         404             not there, or not the caller's to see
    │   └── LinkRefused  410             a link that was sent to somebody has ended
    ├── Conflict         409
    ├── Invalid          422             readable, but a field is wrong
    ├── RateLimited      429
    ├── Unavailable      503             a store or an upstream did not answer; nothing was decided
    │   └── KeysUnreadable               an encryption key of this process is missing or another one
    ├── SignInRefused    (a redirect)    leads to /login?error=<code>
    ├── AuthorizeRefused (a page, 400)   an authorize request that must not redirect (RFC 6749 section 4.1.2.1)
    └── OAuthRefused     (RFC 6749)      the JSON of a protocol endpoint
        └── RedirectRefused              leads back to the client, with `state` and `iss`

The status belongs to the kind; `code` is stable; `message` is safe for anyone; `detail` goes to the log only. No
token, key or secret belongs in any of them. Services raise; only the doors translate.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

RefusalReason = Literal["", "clocks", "personal_account", "unreachable"]
SIGN_IN_CODES = (  # of /login?error=
    "access_denied",
    "account_disabled",
    "account_exists",
    "auth_time_missing",
    "email_is_missing",
    "email_not_verified",
    "identity_in_use",
    "identity_too_new",
    "provider_refused",
    "provider_unavailable",
    "rate_limited",
    "signup_not_allowed",
    "state_mismatch",
)
LINK_CODES = ("sign_in_link_ended", "confirmation_ended")  # of links that sign in
ResponseMode = Literal["query", "form_post"]  # how an answer of the authorization endpoint, also a refusal, goes to the client


class GatepostError(Exception):
    """Base of everything that is refused on purpose."""

    status = 500
    code = "server_error"
    message = "Something broke on our side."

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        detail: str = "",
        fields: Mapping[str, str] | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        self.message = message or self.message
        self.code = code or self.code
        self.detail = detail
        self.fields = fields
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"{self.code}: {detail or self.message}")


class Malformed(GatepostError):
    status, code, message = 400, "invalid_request", "The request is malformed."


class Unauthenticated(GatepostError):
    status, code, message = 401, "unauthenticated", "Sign in, or send a credential."


class SignInTooOld(Unauthenticated):
    """RFC 9470: `max_age_seconds` is how old a sign-in this act allows."""

    code, message = "insufficient_user_authentication", "Sign in again to do this."

    def __init__(self, max_age_seconds: int) -> None:
        self.max_age_seconds = max_age_seconds
        super().__init__()


class Forbidden(GatepostError):
    status, code, message = 403, "forbidden", "You may not do this."


class InsufficientScope(Forbidden):
    code, message = "insufficient_scope", "The credential lacks a scope."

    def __init__(self, missing: Sequence[str]) -> None:
        self.missing = tuple(missing)
        super().__init__(f"The credential lacks: {' '.join(missing)}.")


class NotFound(GatepostError):
    status, code, message = 404, "not_found", "There is nothing here, or it is not yours to see."


class LinkRefused(NotFound):
    """A link that was sent to somebody has ended. `about`: whose it was and why it ended, as far as that is known. For operators only:
    the answer tells none of it."""

    status = 410

    def __init__(self, about: "LinkFacts | None" = None) -> None:
        self.about = about or LinkFacts()
        super().__init__(detail=self.about.why)


@dataclass(frozen=True)
class LinkFacts:
    """Facts about a link that has ended. user_id, email: whose it was. why: `used`, `expired` ...; `unknown` for one that never existed or
    is no longer stored. details: what else an operator asks for."""

    user_id: uuid.UUID | None = None
    email: str = ""
    why: str = "unknown"
    provider_id: str | None = None
    details: Mapping[str, str] = field(default_factory=dict)


class Conflict(GatepostError):
    status, code, message = 409, "conflict", "The request conflicts with the current state."


class Invalid(GatepostError):
    status, code, message = 422, "invalid_request", "A field is invalid."


class RateLimited(GatepostError):
    status, code, message = 429, "rate_limited", "Too many attempts. Wait, then try again."


class Unavailable(GatepostError):
    """A store or an upstream failed. Never to be read as "no": retry."""

    status, code, message = 503, "temporarily_unavailable", "A store did not answer. Try again."

    def __init__(self, message: str | None = None, *, detail: str = "", retry_after_seconds: int = 5) -> None:
        super().__init__(message, detail=detail, retry_after_seconds=retry_after_seconds)


class KeysUnreadable(Unavailable):
    """The stores answer, and no key of GATEPOST_ENCRYPTION_KEYS opens what has to be read. `detail` names the key."""

    message = "This server cannot read a key that it needs. Its operator must correct the encryption keys."


class SignInRefused(GatepostError):
    """A sign-in that ends on the sign-in page. `code` is one of docs/errors.md's codes of /login?error=.

    `email` and `provider_ids` are what the page may name: the address that was refused, the providers to use instead.
    `is_proven`: a request of ours met it; else it may be no more than what a browser brought. `reason`: which of the code's words are
    right, where it has several. `user_id`: the person it is about, where the service knows better than by the account or the address.
    """

    status, message = 303, "The sign-in was refused."

    def __init__(
        self,
        code: str,
        *,
        detail: str = "",
        email: str = "",
        provider_ids: Sequence[str] = (),
        is_proven: bool = False,
        reason: RefusalReason = "",
        user_id: uuid.UUID | None = None,
    ) -> None:
        self.email = email
        self.user_id = user_id
        self.reason: RefusalReason = reason
        self.is_proven = is_proven
        self.provider_ids = tuple(provider_ids)
        super().__init__(code=code, detail=detail)


class AuthorizeRefused(GatepostError):
    """An authorize request whose client or redirect URI cannot be trusted: a page, never a redirect."""

    status = 400

    def __init__(self, code: str, message: str, *, value: str = "") -> None:
        self.value = value[:200]
        super().__init__(message, code=code)


class OAuthRefused(GatepostError):
    """An error of RFC 6749 (or an extension) in `code`; `status` is that of the token endpoint."""

    status = 400

    def __init__(self, code: str, message: str, *, status: int = 400, detail: str = "") -> None:
        self.status = status
        super().__init__(message, code=code, detail=detail)


class RedirectRefused(OAuthRefused):
    """An authorize request refused after its client and redirect URI were found good. app_name: what the client is called."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        redirect_uri: str,
        response_mode: ResponseMode,
        state: str | None,
        app_name: str,
        is_self_registered: bool,
    ) -> None:
        self.redirect_uri, self.response_mode = redirect_uri, response_mode
        self.state = state
        self.app_name, self.is_self_registered = app_name, is_self_registered
        super().__init__(code, message)
