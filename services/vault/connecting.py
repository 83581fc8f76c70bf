"""Connecting an account: the way to a vendor and back, with the rules of the sign-in callback (services/sessions/callbacks.py).

The scope is decided when it begins and again when it ends, by the one rule and the role of that moment. Another account than
the one that is connected is not taken without asking: its tokens wait, sealed with the session's own secret.
"""

import json
import logging
import secrets
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal
from urllib.parse import urlencode

import connectors
from config import ConnectorSettings, current
from connectors import Trip, VendorAccount, VendorRefused, VendorTokens, VendorUnavailable
from errors import Malformed, NotFound, Unauthenticated
from extensions import redis
from infra import metrics, upstream_states
from infra.foreign_text import clean_text
from infra.records import from_values
from infra.upstream_states import Bound
from services.access import organization_access
from services.access.actors import Actor
from services.database.condition import require_writes
from services.sessions import callbacks, user_sessions
from services.vault import connections
from services.vault.connections import ConnectionRow, OtherAccount, get_settings
from services.vault.credential_scope import Scope, write_scope

log = logging.getLogger("gatepost.connections")

STATES = Bound("connections", of_group=100, in_all=20_000)  # groups are people
metrics.expect("states_pushed_out", kind=[STATES.kind])
Result = Literal["connected", "cancelled", "kept", "unavailable", "refused"]


@dataclass(frozen=True)
class Service:
    """What the pages say of a connector, and at which scope it would be connected."""

    connector: str
    label: str
    scope: Scope


@dataclass(frozen=True)
class Waiting:
    """Another account than the connected one, until somebody decides."""

    connection: ConnectionRow
    label: str
    account: str


def describe(actor: Actor, slug: str, connector_id: str, asked_scope: str | None) -> Service:
    """Raises: NotFound; Forbidden org_scope_requires_admin; Invalid for a scope that is none."""
    organization = organization_access.enter(actor, slug)
    settings = get_settings(connector_id)
    return Service(settings.connector_id, settings.label, write_scope(actor, organization.role, asked_scope))


def begin(actor: Actor, slug: str, connector_id: str, asked_scope: str | None, *, raw_browser: str) -> str:
    """The vendor's address to send the browser to.   Raises: as `describe`."""
    scope = describe(actor, slug, connector_id, asked_scope).scope
    trip = Trip(secrets.token_urlsafe(32), secrets.token_urlsafe(48), _redirect_uri(connector_id))
    record = json.dumps({"slug": slug, "scope": scope, "code_verifier": trip.code_verifier}).encode()
    binding = _binding(actor, raw_browser, connector_id)
    upstream_states.put(redis.client, trip.state, binding=binding, record=record, bound=STATES, group=actor.id or "")
    return connectors.build(get_settings(connector_id)).authorize_url(trip)


def finish(
    actor: Actor, connector_id: str, *, code: str | None, error: str | None, state: str | None, raw_browser: str | None, raw_session: str
) -> str:
    """Answer the vendor's callback; the page of this site that says how it ended. Commits: yes.

    Raises: Malformed state_mismatch; NotFound, Forbidden for who lost the organization or the role meanwhile; the stores' own
    errors: in all of them no code was sent. Unauthenticated when the session was ended while the vendor answered.
    """
    settings = get_settings(connector_id)
    require_writes()
    if not state or not raw_browser or len(state) > callbacks.MAX_STATE_LENGTH:
        raise _state_mismatch()
    taken = callbacks.take(state, _binding(actor, raw_browser, connector_id))
    if taken.status == "finished":
        return taken.outcome.decode()
    if taken.status != "first":
        raise _state_mismatch()
    record = json.loads(taken.record)
    trip = Trip(state, record["code_verifier"], _redirect_uri(connector_id))

    def work() -> bytes:
        scope = describe(actor, record["slug"], connector_id, record["scope"]).scope
        require_writes()  # also ends the transaction that read the role
        return _answer(actor, record["slug"], scope, settings, code, error, trip, raw_session).encode()

    return callbacks.finish(state, work).decode()


def _answer(
    actor: Actor, slug: str, scope: Scope, settings: ConnectorSettings, code: str | None, error: str | None, trip: Trip, raw_session: str
) -> str:
    if error is not None or not code:
        said = clean_text(error, 60) or "neither code nor error"
        log.info("connecting failed", extra={"connector": settings.connector_id, "detail": f"the callback says {said}"})
        return result_path(slug, settings.connector_id, scope, callbacks.meaning_of(error))
    connector = connectors.build(settings)
    try:
        tokens = connector.exchange(code, trip)
        account = connector.fetch_account(tokens)
    except (VendorUnavailable, VendorRefused) as fault:
        return _fault(slug, scope, settings, fault)
    if not user_sessions.is_live(raw_session):
        connections.give_back(settings, tokens, account.id)
        raise Unauthenticated()
    try:
        connections.store(actor, slug, scope, settings, tokens, account)
    except OtherAccount as other:
        _keep_waiting(other.connection, settings, tokens, account, raw_session)
        return f"/orgs/{slug}/connections/{other.connection.id}/account"
    return result_path(slug, settings.connector_id, scope, "connected")


def _fault(slug: str, scope: Scope, settings: ConnectorSettings, fault: VendorUnavailable | VendorRefused) -> str:
    log.info("connecting failed", extra={"connector": settings.connector_id, "code": fault.code, "detail": getattr(fault, "detail", "")})
    return result_path(slug, settings.connector_id, scope, "unavailable" if isinstance(fault, VendorUnavailable) else "refused")


def result_path(slug: str, connector_id: str, scope: Scope, result: Result) -> str:
    """The page that says how it ended."""
    return f"/orgs/{slug}/connections/{connector_id}/result?{urlencode({'outcome': result, 'scope': scope})}"


# --- another account --------------------------------------------------------------------------------------------------


def get_waiting(actor: Actor, slug: str, connection_id: str, *, raw_session: str) -> Waiting:
    """Raises NotFound when nothing waits for this session, or no longer."""
    connection = connections.get(actor, slug, connection_id)
    note = upstream_states.read_note(redis.client, _kind(connection), raw_session)
    if note is None:
        raise NotFound()
    _, account = _read_note(note)
    return Waiting(connection, get_settings(connection.connector).label, account.name or account.id)


def use_waiting(actor: Actor, slug: str, connection_id: str, *, raw_session: str) -> str:
    """Take the other account instead of the connected one. Commits: yes.   Raises: as `connections.store`."""
    connection, settings, tokens, account = _take_waiting(actor, slug, connection_id, raw_session)
    connections.store(actor, slug, connection.scope, settings, tokens, account, may_change_account=True)
    return result_path(slug, connection.connector, connection.scope, "connected")


def cancel_waiting(actor: Actor, slug: str, connection_id: str, *, raw_session: str) -> str:
    """Leave the connection as it is, and give the other account's tokens back.   Raises NotFound."""
    connection, settings, tokens, account = _take_waiting(actor, slug, connection_id, raw_session)
    connections.give_back(settings, tokens, account.id)
    return result_path(slug, connection.connector, connection.scope, "kept")


def _keep_waiting(
    connection: ConnectionRow, settings: ConnectorSettings, tokens: VendorTokens, account: VendorAccount, raw_session: str
) -> None:
    expires_at = tokens.expires_at.isoformat() if tokens.expires_at else None
    note = {"client_id": settings.client_id, "tokens": {**asdict(tokens), "expires_at": expires_at}, "account": asdict(account)}
    upstream_states.leave_note(redis.client, _kind(connection), raw_session, json.dumps(note).encode())


def _take_waiting(
    actor: Actor, slug: str, connection_id: str, raw_session: str
) -> tuple[ConnectionRow, ConnectorSettings, VendorTokens, VendorAccount]:
    connection = connections.get(actor, slug, connection_id)
    settings = get_settings(connection.connector)
    note = upstream_states.read_note(redis.client, _kind(connection), raw_session, take_away=True)
    if note is None or json.loads(note)["client_id"] != settings.client_id:
        raise NotFound()
    return connection, settings, *_read_note(note)


def _read_note(note: bytes) -> tuple[VendorTokens, VendorAccount]:
    values = json.loads(note)
    tokens = values["tokens"]
    expires_at = datetime.fromisoformat(tokens["expires_at"]) if tokens["expires_at"] else None
    return from_values(VendorTokens, {**tokens, "expires_at": expires_at}), from_values(VendorAccount, values["account"])


def _kind(connection: ConnectionRow) -> str:
    return f"connection:{connection.id}"


# --- the trip ---------------------------------------------------------------------------------------------------------


def _redirect_uri(connector_id: str) -> str:
    return f"{current().public_url}/connections/{connector_id}/callback"


def _binding(actor: Actor, raw_browser: str, connector_id: str) -> str:
    """One browser, one person, one connector; no sign-in's state fits."""
    return callbacks.binding_of(raw_browser, "connection", connector_id, actor.id or "")


def _state_mismatch() -> Malformed:
    return Malformed("It took over ten minutes, was started in another browser, or was already used. Start again.", code="state_mismatch")
