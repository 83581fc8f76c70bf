"""When a person signed in at a provider, and whether that is as recent as a page or a client asked for.

With AUTH_TIME = require the provider must prove a fresh sign-in that was asked for by `auth_time` in its id_token (OpenID Connect
Core 2), and an older `auth_time` counts for every sign-in. Where it says nothing and nothing was asked for, or with ignore, the moment
of the callback counts.
"""

from dataclasses import dataclass, replace

from config import ProviderSettings
from errors import SignInRefused
from infra.clock import now_ms
from providers import Hints, ProviderAccount
from services.sessions.user_sessions import SignInTime
from services.users import identities

_CLOCKS_MS = 60_000
_ANY_MAX_AGE_SECONDS = 600


@dataclass(frozen=True)
class Demand:
    """How recent a sign-in must be: after a moment, or not older than `max_age_seconds`; one of the two is enough."""

    after_ms: int | None = None
    max_age_seconds: int | None = None

    def is_met_by(self, latest_ms: int, *, moment_ms: int) -> bool:
        if self.after_ms is not None and latest_ms > self.after_ms:
            return True
        return self.max_age_seconds is not None and moment_ms - latest_ms <= self.max_age_seconds * 1000


class AuthTimeMissing(SignInRefused):
    """The provider did not prove the sign-in that was asked for. `is_administrator`: the account that came back is one's."""

    def __init__(self, detail: str, account: ProviderAccount) -> None:
        is_behind = account.seconds_behind * 1000 > _CLOCKS_MS
        if is_behind:
            detail += f": the clocks of this server and of the provider differ, by {account.seconds_behind} s"
        super().__init__("auth_time_missing", detail=detail, reason="clocks" if is_behind else "")
        self.is_administrator = _is_administrator(account)


def with_question(hints: Hints, demand: Demand | None, settings: ProviderSettings) -> Hints:
    """The hints for a provider that must prove the demand. Some providers send auth_time only if the request has a `max_age`."""
    if demand is None or settings.auth_time == "ignore":
        return hints
    max_ages = (hints.max_age, demand.max_age_seconds, _ANY_MAX_AGE_SECONDS)
    return replace(hints, prompt="login", max_age=next(value for value in max_ages if value is not None), needs_auth_time=True)


def judge(settings: ProviderSettings, account: ProviderAccount, demand: Demand | None) -> SignInTime:
    """The time of a sign-in whose callback has just arrived.   Raises: AuthTimeMissing."""
    moment = now_ms()
    if settings.auth_time == "ignore":
        return SignInTime(moment)
    told = account.auth_time_ms
    if told is None or told > moment + _CLOCKS_MS:  # a time that has not come yet proves nothing
        if demand is not None:
            raise AuthTimeMissing("no auth_time, or not a past one", account)
        return SignInTime(moment)
    if demand is None:
        return SignInTime(min(told, moment))
    latest = min(told + _CLOCKS_MS, moment)
    if not demand.is_met_by(latest, moment_ms=moment):
        raise AuthTimeMissing("auth_time is too long ago", account)
    return SignInTime(min(told, moment), proved_ms=latest)


def _is_administrator(account: ProviderAccount) -> bool:
    identity = identities.find(account)
    return identity is not None and identity.user.is_admin
