"""All that is kept about a person, for them to have (GDPR article 15): section by section, read in pages. Never a secret.

What people do not own is told where it speaks of them: invitations to their addresses, events of the audit trail. Of what others did,
nobody's network address is told but the person's own.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, String, and_, cast, or_, select

from extensions import db
from models import (
    AccountAddress,
    AccountEvent,
    Agent,
    ApiKey,
    AuditEvent,
    Connection,
    Consent,
    Credential,
    EmailConfirmation,
    Identity,
    Invitation,
    KnownApp,
    Membership,
    OAuthClient,
    Organization,
    RefreshFamily,
    SecureLink,
    SignInLink,
    SignInPlace,
    User,
)
from services.access.actors import Actor
from services.accounts import session_lists
from services.activity import addresses
from services.audit import audit, audit_events
from services.database import row_security
from services.database.transactions import begin_write
from services.pagination import keyset
from services.users import api_key_administration, users


@dataclass(frozen=True)
class _Person:
    """Whose data it is. keys: the `email_key` of each verified address."""

    id: UUID
    keys: tuple[str, ...]
    emails: tuple[str, ...]


Record = dict[str, Any]


def unscoped_export(actor: Actor, email_or_id: str) -> Iterator[tuple[str, Record | Iterable[Record]]]:
    """Each section of SECTIONS with its records (the profile: one), to be taken before the next one. Commits: yes, an audit event.

    Raises, before the first is taken: NotFound, Conflict; Forbidden for a database role that row-level security binds.
    """
    row_security.require_unbound("audit_events")
    begin_write()
    user = users.get(email_or_id)
    verified = addresses.verified_of(user)
    person = _Person(user.id, tuple(verified), tuple({*verified.values(), user.email or ""} - {""}))
    audit.record(actor, "user.exported", target_type="user", target_id=user.id)
    db.session.commit()
    return ((name, read(person)) for name, read in SECTIONS.items())


def _profile(person: _Person) -> Record:
    names = ("id", "email", "email_verified", "name", "time_zone", "language", "theme", "is_admin", "created_by_operator")
    times = ("created_at", "updated_at", "last_sign_in_at", "disabled_at", "secured_at")
    user = users.get(str(person.id))
    return {**{name: getattr(user, name) for name in (*names, *times)}, "metadata": user.metadata_}


def _identities(person: _Person) -> Iterator[Record]:
    columns = (Identity.provider, Identity.issuer, Identity.subject, Identity.login, Identity.email, Identity.email_verified)
    stored = Identity.access_token_ciphertext.is_not(None).label("has_tokens")
    times = (Identity.created_at, Identity.last_sign_in_at)
    return _read(select(Identity.id, *columns, Identity.token_scope, stored, *times).where(Identity.user_id == person.id), Identity.id)


def _earlier_addresses(person: _Person) -> Iterator[Record]:
    columns = (AccountAddress.id, AccountAddress.email, AccountAddress.added_at, AccountAddress.replaced_at, AccountAddress.expires_at)
    return _read(select(*columns).where(AccountAddress.user_id == person.id), AccountAddress.id)


def _organizations(person: _Person) -> Iterator[Record]:
    columns = (Organization.id, Organization.slug, Organization.name, Membership.role, Membership.origin, Membership.created_at)
    joined = select(*columns).join(Membership, Membership.organization_id == Organization.id)
    return _read(joined.where(Membership.user_id == person.id), Organization.id)


def _sessions(person: _Person) -> Iterator[Record]:
    return map(asdict, session_lists.unscoped_list_of(str(person.id)))


def _keys(person: _Person) -> Iterator[Record]:
    return map(asdict, api_key_administration.unscoped_list(user=str(person.id), revoked=True))


def _agents(person: _Person) -> Iterator[Record]:
    columns = (Agent.id, Agent.name, Organization.slug.label("organization"), Agent.acts_for_owner, Agent.paused_at, Agent.created_at)
    owned = select(*columns).join(Organization, Organization.id == Agent.organization_id)
    return _read(owned.where(Agent.owner_id == person.id), Agent.id)


def _credentials(person: _Person) -> Iterator[Record]:
    """The names of their own; and of those of organizations that they set last."""
    columns = (Credential.id, Credential.name, Organization.slug.label("organization"), Credential.version, Credential.status)
    set_or_owned = select(*columns, Credential.created_at, Credential.updated_at).outerjoin(
        Organization, Organization.id == Credential.organization_id
    )
    return _read(set_or_owned.where(or_(Credential.user_id == person.id, Credential.updated_by == person.id)), Credential.id)


def _connections(person: _Person) -> Iterator[Record]:
    """Their own; and those of organizations that they connected."""
    columns = (Connection.id, Connection.connector, Organization.slug.label("organization"), Connection.account_id, Connection.account_name)
    times = (Connection.created_at, Connection.updated_at, Connection.last_used_at)
    made_or_owned = select(*columns, Connection.scope, Connection.status, *times).outerjoin(
        Organization, Organization.id == Connection.organization_id
    )
    return _read(made_or_owned.where(or_(Connection.user_id == person.id, Connection.connected_by == person.id)), Connection.id)


def _consents(person: _Person) -> Iterator[Record]:
    columns = (Consent.id, OAuthClient.client_id, Organization.slug.label("organization"), Consent.resource, Consent.scope)
    given = select(*columns, Consent.created_at, Consent.updated_at).join(OAuthClient, OAuthClient.id == Consent.client_pk)
    given = given.outerjoin(Organization, Organization.id == Consent.organization_id)
    return _read(given.where(Consent.user_id == person.id), Consent.id)


def _apps(person: _Person) -> Iterator[Record]:
    used = select(OAuthClient.client_id, OAuthClient.name, KnownApp.created_at).join(KnownApp, KnownApp.client_pk == OAuthClient.id)
    return _read(used.where(KnownApp.user_id == person.id), OAuthClient.client_id)


def _received(person: _Person) -> Iterator[Record]:
    return _invitations(Invitation.email_key.in_(person.keys))


def _sent(person: _Person) -> Iterator[Record]:
    return _invitations(Invitation.invited_by == person.id)


def _invitations(which: ColumnElement[bool]) -> Iterator[Record]:
    columns = (Invitation.id, Organization.slug.label("organization"), Invitation.email, Invitation.role, Invitation.created_at)
    times = (Invitation.expires_at, Invitation.accepted_at, Invitation.declined_at, Invitation.revoked_at)
    return _read(select(*columns, *times).join(Organization, Organization.id == Invitation.organization_id).where(which), Invitation.id)


def _email_confirmations(person: _Person) -> Iterator[Record]:
    columns = (EmailConfirmation.id, EmailConfirmation.provider, EmailConfirmation.login, EmailConfirmation.email)
    waiting = select(*columns, EmailConfirmation.created_at, EmailConfirmation.expires_at, EmailConfirmation.used_at)
    return (record for record in _read(waiting, EmailConfirmation.id) if users.email_key(record["email"]) in person.keys)


def _links(person: _Person) -> Iterator[Record]:
    for kind, table in (("sign_in_link", SignInLink), ("secure_link", SecureLink)):
        columns = (table.id, table.created_at, table.expires_at, table.used_at)
        for record in _read(select(*columns).where(table.user_id == person.id), table.id):
            yield {"kind": kind, **record}


def _places(person: _Person) -> Iterator[Record]:
    """When they signed in from each; which place it was is kept as a hash only."""
    columns = (SignInPlace.id, SignInPlace.previous_at, SignInPlace.last_at, SignInPlace.expires_at)
    return _read(select(*columns).where(SignInPlace.user_id == person.id), SignInPlace.id)


def _activity(person: _Person) -> Iterator[Record]:
    columns = (AccountEvent.id, AccountEvent.at, AccountEvent.kind, AccountEvent.details, AccountEvent.via, AccountEvent.ip)
    events = select(*columns, AccountEvent.user_agent, AccountEvent.expires_at).where(AccountEvent.user_id == person.id)
    return _read(events, AccountEvent.id)


def _audit_events(person: _Person) -> Iterator[Record]:
    """What they or their agents did, what was done to them, and what names one of their addresses; oldest first."""
    agents = db.session.scalars(select(Agent.id).where(Agent.owner_id == person.id)).all()
    own = {str(person.id), *map(str, agents)}
    text = cast(AuditEvent.details, String())
    concerning = or_(
        AuditEvent.actor_id.in_(own),
        and_(AuditEvent.target_type == "user", AuditEvent.target_id == str(person.id)),
        *(text.icontains(email, autoescape=True) for email in person.emails),
    )
    for row in keyset.stream(select(*audit_events.COLUMNS).where(concerning), AuditEvent.id):
        event = audit_events.to_values(row)
        for name in ("sequence", "hash"):
            del event[name]
        yield event if row.actor_id in own else event | {"ip": None}


def _read(statement: Any, key: Any) -> Iterator[Record]:
    return (dict(row._mapping) for row in keyset.stream(statement, key))


SECTIONS: dict[str, Callable[[_Person], Record | Iterable[Record]]] = {
    "profile": _profile,
    "identities": _identities,
    "earlier_addresses": _earlier_addresses,
    "organizations": _organizations,
    "sessions": _sessions,
    "keys": _keys,
    "agents": _agents,
    "credentials": _credentials,
    "connections": _connections,
    "consents": _consents,
    "apps": _apps,
    "invitations_received": _received,
    "invitations_sent": _sent,
    "email_confirmations": _email_confirmations,
    "links": _links,
    "places": _places,
    "activity": _activity,
    "audit_events": _audit_events,
}
# What they read of: a house rule, in tests/commands/test_personal_data.py, says that every table that names a person is here.
TABLES = frozenset(
    table.__tablename__
    for table in (
        AccountAddress,
        AccountEvent,
        Agent,
        ApiKey,
        AuditEvent,
        Connection,
        Consent,
        Credential,
        EmailConfirmation,
        Identity,
        Invitation,
        KnownApp,
        Membership,
        RefreshFamily,
        SecureLink,
        SignInLink,
        SignInPlace,
        User,
    )
)
