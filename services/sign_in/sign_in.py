"""Signing in: the way to a provider and back, one-time links, mailed confirmations; each ends with an Outcome.

On the way back the state is consumed before the code is exchanged, and the exchange happens once. The outcome is kept for
a minute, so that the same callback again in the same browser answers as the first did.
"""

import hashlib
import json
import secrets
import uuid
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

import providers
from config import ProviderSettings, current
from errors import NotFound, RefusalReason, SignInRefused
from extensions import redis
from infra import metrics, upstream_states
from infra.clock import now_ms
from infra.foreign_text import clean_text
from infra.ids import parse_uuid
from infra.rate_limits import site_of
from infra.records import from_values
from infra.upstream_states import Bound
from providers import Callback, Hints, ProviderAccount, Trip
from services.access.actors import Actor
from services.database.condition import require_writes
from services.sessions import callbacks, user_sessions
from services.sessions.user_sessions import SignInTime
from services.sign_in import account_owners, browser_notes, email_confirmations, freshness, pending_links, refusals, sign_in_links
from services.sign_in.account_owners import AccountExists
from services.sign_in.freshness import AuthTimeMissing, Demand
from services.sign_in.journeys import Journey, address, onward
from services.users import identities

STATES = Bound("sign-ins", of_group=2000, in_all=20_000)  # groups are networks
metrics.expect("states_pushed_out", kind=[STATES.kind])

_CODES = {"cancelled": "access_denied", "unavailable": "provider_unavailable", "refused": "provider_refused"}  # of /login?error=
_HANDOFF = "{handoff}"  # in an outcome that is kept; no address with a handoff has braces


@dataclass(frozen=True)
class Outcome:
    """What the browser gets: an address of this site, and the new session when it is signed in. linked: when an
    account was linked, whether it can confirm who the person is at once or later."""

    location: str
    raw_session: str | None = field(default=None, repr=False)
    provider_id: str | None = None
    linked: Literal["", "at_once", "later"] = ""


@dataclass(frozen=True)
class Refusal:
    """What the sign-in page may tell this browser about its last refusal. `is_administrator`: it was an administrator who was refused.
    `reference`: the id of the request that failed."""

    code: str
    provider_id: str | None
    email: str
    provider_ids: tuple[str, ...]
    is_administrator: bool = False
    reason: RefusalReason = ""
    reference: str = ""


# --- there ---


def get_settings(provider_id: str) -> ProviderSettings:
    """Raises NotFound for a provider that is not configured."""
    settings = current().find_provider(provider_id)
    if settings is None:
        raise NotFound()
    return settings


def begin(actor: Actor, provider_id: str, journey: Journey, hints: Hints, *, demand: Demand | None = None, raw_browser: str) -> str:
    """Where to send the browser: the provider's own address, or back to the sign-in page when the provider is away.

    demand: how recent the sign-in must be. It is kept with the state, whatever happens to the address on the way.
    """
    provider = providers.build(get_settings(provider_id))
    trip = Trip(
        state=secrets.token_urlsafe(32),
        nonce=secrets.token_urlsafe(32),
        code_verifier=secrets.token_urlsafe(48),
        redirect_uri=f"{current().public_url}/login/{provider_id}/callback",
    )
    try:
        url = provider.authorize_url(trip, freshness.with_question(hints, demand, provider.settings))
    except SignInRefused as refusal:
        return refuse(actor, refusal, journey, provider_id=provider_id, raw_browser=raw_browser).location
    journey_name = _keep_journey(actor, journey, raw_browser)
    kept = {"journey": journey_name, "nonce": trip.nonce, "code_verifier": trip.code_verifier, "demand": asdict(demand) if demand else None}
    record = json.dumps(kept).encode()
    binding = callbacks.binding_of(raw_browser, provider_id)
    upstream_states.put(redis.client, trip.state, binding=binding, record=record, bound=STATES, group=site_of(actor.ip))
    return url


def _keep_journey(actor: Actor, journey: Journey, raw_browser: str) -> str:
    """A handoff has up to 8 kB: it is kept once for this browser, however often it begins, and states and outcomes name it."""
    kept = json.dumps(asdict(journey)).encode()
    name = hashlib.sha256(kept).hexdigest()
    browser_notes.leave(actor, "journey", f"{raw_browser}:{name}", kept)
    browser_notes.leave(actor, "last-journey", raw_browser, name.encode())
    return name


def _find_journey(raw_browser: str, name: str) -> Journey | None:
    kept = browser_notes.read("journey", f"{raw_browser}:{name}")
    return from_values(Journey, json.loads(kept)) if kept else None


# --- and back ---


def finish(
    actor: Actor, provider_id: str, callback: Callback, *, state: str | None, raw_browser: str | None, raw_session: str | None
) -> Outcome:
    """Answer the provider's callback. Commits: yes.

    Raises: the stores' own errors, and then no code was sent; NotFound.
    """
    provider = providers.build(get_settings(provider_id))
    require_writes()  # nothing stays open while the provider is asked
    if not state or not raw_browser or len(state) > callbacks.MAX_STATE_LENGTH:
        return _state_mismatch(actor, provider_id, raw_browser)
    taken = callbacks.take(state, callbacks.binding_of(raw_browser, provider_id))
    if taken.status not in ("first", "finished"):
        return _state_mismatch(actor, provider_id, raw_browser)
    record = json.loads(taken.record)
    journey = _find_journey(raw_browser, record["journey"])
    if journey is None:
        return _state_mismatch(actor, provider_id, raw_browser)
    if taken.status == "finished":
        return _read_outcome(taken.outcome, journey)
    trip = Trip(
        state=state,
        nonce=record["nonce"],
        code_verifier=record["code_verifier"],
        redirect_uri=f"{current().public_url}/login/{provider_id}/callback",
    )
    demand = from_values(Demand, record["demand"]) if record.get("demand") else None
    outcome = callbacks.finish(
        state, lambda: _write_outcome(_answer(actor, provider, callback, trip, demand, journey, raw_browser, raw_session), journey)
    )
    return _read_outcome(outcome, journey)


def _write_outcome(outcome: Outcome, journey: Journey) -> bytes:
    location = outcome.location.replace(journey.handoff, _HANDOFF) if journey.handoff else outcome.location
    return json.dumps(asdict(replace(outcome, location=location))).encode()


def _read_outcome(kept: bytes, journey: Journey) -> Outcome:
    outcome = from_values(Outcome, json.loads(kept))
    return replace(outcome, location=outcome.location.replace(_HANDOFF, journey.handoff)) if journey.handoff else outcome


def _answer(
    actor: Actor,
    provider: providers.Provider,
    callback: Callback,
    trip: Trip,
    demand: Demand | None,
    journey: Journey,
    raw_browser: str,
    raw_session: str | None,
) -> Outcome:
    provider_id, account = provider.settings.provider_id, None
    try:
        _check_callback(provider, callback)
        account = provider.fetch_account(callback, trip)
        time = freshness.judge(provider.settings, account, demand)
        if journey.purpose != "sign-in":
            return _for_session(actor, account, journey, time, raw_browser=raw_browser, raw_session=raw_session)
        return complete(actor, account, journey, time, raw_browser=raw_browser, raw_session=raw_session)
    except SignInRefused as refusal:
        return refuse(actor, refusal, journey, provider_id=provider_id, raw_browser=raw_browser, account=account)


def _check_callback(provider: providers.Provider, callback: Callback) -> None:
    """Refuse what is no code. An error counts only from the server that was asked."""
    if callback.error is None and callback.code:
        return
    if callback.error is not None:
        provider.check_issuer(callback)
    detail = f"the callback says {clean_text(callback.error, 60) or 'neither code nor error'}"
    raise SignInRefused(_CODES[callbacks.meaning_of(callback.error)], detail=detail)


def complete(
    actor: Actor, account: ProviderAccount, journey: Journey, time: SignInTime, *, raw_browser: str, raw_session: str | None
) -> Outcome:
    """Sign in as whoever this account is. Commits: yes.   Raises SignInRefused."""
    settings = get_settings(account.provider_id)
    if settings.email_trust == "trusted":
        account = replace(account, email_verified=bool(account.email))
    began_ms = now_ms()
    try:
        user_id = account_owners.resolve(actor, account, keeps_proof=settings.email_trust == "mail")
    except SignInRefused as refusal:
        if refusal.code != "email_not_verified" or settings.email_trust != "mail":
            raise
        email_confirmations.begin(actor, account, time, raw_browser=raw_browser, journey=journey)
        return Outcome("/login/check-mail")
    time = replace(time, can_confirm=identities.can_confirm(identities.find(account)))
    raw = user_sessions.start(
        actor,
        user_id=user_id,
        provider=account.provider_id,
        handoff=journey.handoff,
        replaces=raw_session,
        time=time,
        raw_browser=raw_browser,
        began_ms=began_ms,
    )
    return Outcome(_after_sign_in(user_id, journey, raw_browser), raw, account.provider_id)


def confirm(actor: Actor, confirmed: email_confirmations.Confirmed, *, raw_browser: str, raw_session: str | None) -> Outcome:
    """Go on with a sign-in whose address was proved by mail. Commits: yes."""
    journey = Journey(handoff=confirmed.handoff, next_path=confirmed.next_path)
    try:
        return complete(actor, confirmed.account, journey, confirmed.time, raw_browser=raw_browser, raw_session=raw_session)
    except SignInRefused as refusal:
        account = confirmed.account
        return refuse(actor, refusal, journey, provider_id=account.provider_id, raw_browser=raw_browser, account=account)


def use_link(actor: Actor, raw: str, journey: Journey, *, raw_browser: str, raw_session: str | None) -> Outcome:
    """Sign in with a one-time link. Commits: yes.   Raises sign_in_links.LinkEnded."""
    try:
        user_id, raw_new = sign_in_links.use(actor, raw, handoff=journey.handoff, raw_session=raw_session, raw_browser=raw_browser)
    except SignInRefused as refusal:
        return refuse(actor, refusal, journey, provider_id=None, raw_browser=raw_browser)
    return Outcome(_after_sign_in(user_id, journey, raw_browser), raw_new)


def _for_session(
    actor: Actor, account: ProviderAccount, journey: Journey, time: SignInTime, *, raw_browser: str, raw_session: str | None
) -> Outcome:
    """Ask whether to link, or confirm that it is still the same person. The session that asked must still be there."""
    began_ms = now_ms()
    signed_in = user_sessions.authenticate(raw_session) if raw_session else None
    if signed_in is None or str(signed_in.user.id) != journey.user_id:
        raise SignInRefused("state_mismatch", detail="the session that asked is gone")
    identity = identities.find(account)
    if journey.purpose == "link":
        if not account.email_verified and get_settings(account.provider_id).email_trust == "claim":
            raise SignInRefused("email_not_verified" if account.email else "email_is_missing", email=account.email or "")
        if identity is None:
            pending_links.keep(actor, signed_in.user.id, account, raw_browser)
            return Outcome(address("/account/link", journey))
        if identity.user_id != signed_in.user.id:
            raise SignInRefused("identity_in_use")
        return Outcome(onward(journey))
    if identity is None:
        own, has_any = identities.list_usable(signed_in.user.id), bool(identities.list_for(signed_in.user.id))
        reason: RefusalReason = "unreachable" if has_any and not own else ""
        raise SignInRefused("account_exists", email=signed_in.user.email or "", provider_ids=own, reason=reason)
    if identity.user_id != signed_in.user.id:
        raise SignInRefused("identity_in_use")
    if not identities.can_confirm(identity):
        raise SignInRefused("identity_too_new")
    raw = user_sessions.start(
        actor,
        user_id=signed_in.user.id,
        provider=account.provider_id,
        handoff=journey.handoff,
        replaces=raw_session,
        time=time,
        raw_browser=raw_browser,
        began_ms=began_ms,
    )
    return Outcome(_after_sign_in(signed_in.user.id, journey, raw_browser), raw, account.provider_id)


# --- where to then ---


def link_pending(actor: Actor, user_id: uuid.UUID, journey: Journey, *, name: str, raw_browser: str) -> Outcome:
    """Link the account that waits for its owner, and go on; if another one waits by now, its page comes first. Commits: yes.

    name: of the account that the person was shown.
    """
    waiting = pending_links.find(user_id, raw_browser)
    try:
        account = pending_links.use(actor, user_id, raw_browser, name=name)
    except SignInRefused as refusal:
        refusal.user_id = user_id
        provider_id = waiting.provider_id if waiting else None
        return refuse(actor, refusal, journey, provider_id=provider_id, raw_browser=raw_browser, account=waiting)
    if account is None:
        return Outcome(_after_sign_in(user_id, journey, raw_browser))
    linked: Literal["at_once", "later"] = "at_once" if identities.can_confirm(identities.find(account)) else "later"
    return Outcome(onward(journey), provider_id=account.provider_id, linked=linked)


def _after_sign_in(user_id: uuid.UUID, journey: Journey, raw_browser: str) -> str:
    if pending_links.find(user_id, raw_browser) is None:
        return onward(journey)
    return address("/account/link", journey)


def refuse(
    actor: Actor,
    refusal: SignInRefused,
    journey: Journey,
    *,
    provider_id: str | None,
    raw_browser: str | None,
    account: ProviderAccount | None = None,
) -> Outcome:
    """Back to the sign-in page, with the handoff; what it may say of the person is kept for this browser. Commits: yes.

    account: the one that came back, if the provider told.
    """
    _record(actor, refusal, journey, provider_id=provider_id, account=account)
    if raw_browser:
        _leave_refusal(actor, refusal, provider_id, raw_browser)
        if isinstance(refusal, AccountExists):
            pending_links.keep(actor, refusal.owner_id, refusal.account, raw_browser)
    return Outcome(address("/reauth" if journey.purpose == "reauth" else "/login", journey, error=refusal.code, provider=provider_id))


def _record(
    actor: Actor, refusal: SignInRefused, journey: Journey, *, provider_id: str | None, account: ProviderAccount | None = None
) -> None:
    metrics.count("sign_ins", provider=provider_id or "none", outcome=refusal.code)
    refusals.record(
        actor,
        refusal.code,
        provider_id=provider_id,
        account=account,
        user_id=refusal.user_id or parse_uuid(journey.user_id or ""),
        email=refusal.email,
        detail=refusal.detail,
        details={"proven": True} if refusal.is_proven else {},
    )


def _leave_refusal(actor: Actor, refusal: SignInRefused, provider_id: str | None, raw_browser: str) -> None:
    note = Refusal(
        code=refusal.code,
        provider_id=provider_id,
        email=refusal.email,
        provider_ids=refusal.provider_ids,
        is_administrator=isinstance(refusal, AuthTimeMissing) and refusal.is_administrator,
        reason=refusal.reason,
        reference=actor.request_id or "",
    )
    browser_notes.leave(actor, "refusal", raw_browser, json.dumps(asdict(note)).encode())


def last_refusal(code: str, raw_browser: str | None) -> Refusal | None:
    """What this browser was refused with, when the page speaks of the same refusal."""
    note = browser_notes.read("refusal", raw_browser) if raw_browser else None
    values = json.loads(note) if note else None
    if not values or values["code"] != code:
        return None
    return replace(from_values(Refusal, values), provider_ids=tuple(values["provider_ids"]))


def _state_mismatch(actor: Actor, provider_id: str, raw_browser: str | None) -> Outcome:
    """A state that is not this browser's, or no longer kept. The page still knows where this browser was going when it last began."""
    name = browser_notes.read("last-journey", raw_browser) if raw_browser else None
    journey = (_find_journey(raw_browser, name.decode()) if raw_browser and name else None) or Journey()
    refusal = SignInRefused("state_mismatch", detail="the state is unknown, used, expired or another browser's")
    _record(actor, refusal, journey, provider_id=provider_id)
    if raw_browser:
        _leave_refusal(actor, refusal, provider_id, raw_browser)
    return Outcome(address("/login", journey, error="state_mismatch"))
