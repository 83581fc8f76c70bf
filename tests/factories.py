"""Things to test with: plain functions with a default for everything. Each commits, and returns a row that is read and
detached: its columns can be looked at anywhere, also outside an application context.

They write to the application that the fixtures made last (`app`, `make_app`); a `live_server` sees the same stores.
"""

import itertools
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from flask import Flask
from flask.testing import FlaskClient

from blueprints import session_cookie
from connectors import VendorTokens
from extensions import db
from infra.cipher import key_id_of
from infra.clock import now
from infra.ids import uuid7
from infra.secret_text import hash_secret, new_secret
from models import (
    AccessToken,
    Agent,
    ApiKey,
    Connection,
    Credential,
    CredentialVersion,
    Identity,
    Invitation,
    Membership,
    OAuthClient,
    Organization,
    RefreshFamily,
    RefreshToken,
    Resource,
    User,
)
from services.access.actors import Actor, UserInfo
from services.access.scopes import API_SCOPES, join
from services.database import row_security
from services.database.transactions import begin_write
from services.organizations import organizations
from services.sessions import user_sessions
from services.tokens import oauth_clients, resources
from services.users import api_keys, users
from services.vault import connections, credential_values
from services.vault.credential_values import Owner, Value

Row = TypeVar("Row")

_numbers = itertools.count(1)
_app: Flask | None = None


def use(app: Flask | None) -> None:
    """Which application the factories write to. Called by the fixtures."""
    global _app
    _app = app


@contextmanager
def _writing() -> Iterator[None]:
    """The application's own connection and role. Whatever a factory needs to write as somebody else is said here, once."""
    if _app is None:
        raise RuntimeError("a factory needs the `app` fixture")
    with _app.app_context():
        begin_write()
        yield


def _kept(row: Row) -> Row:
    """Commit, and give the row out for looking."""
    db.session.commit()
    db.session.refresh(row)
    db.session.expunge(row)
    return row


def make_user(
    *,
    email: str | None = None,
    email_verified: bool = True,
    name: str = "Ada Lovelace",
    is_admin: bool = False,
    personal: bool = True,
    **columns: Any,
) -> User:
    """A person who has signed in before. personal: with the personal organization that a sign-in makes."""
    email = email or f"person{next(_numbers)}@example.com"
    with _writing():
        user = User(
            email=email,
            email_key=users.email_key(email),
            email_verified=email_verified,
            name=name,
            is_admin=is_admin,
            updated_at=now(),
            **{"created_by_operator": True, **columns},
        )
        db.session.add(user)
        db.session.flush()
        if personal:
            organizations.add_personal(Actor.operator(), user)
        return _kept(user)


def make_organization(*, owner: User | None = None, slug: str | None = None, name: str | None = None, **columns: Any) -> Organization:
    """An organization, with `owner` (else nobody) in it."""
    slug = slug or f"org-{next(_numbers)}"
    with _writing():
        organization = Organization(slug=slug, name=name or slug.title(), **columns)
        db.session.add(organization)
        db.session.flush()
        if owner is not None:
            row_security.enter(organization_ids=[organization.id])
            db.session.add(Membership(organization_id=organization.id, user_id=owner.id, role="owner", origin="created"))
        return _kept(organization)


def make_membership(
    organization: Organization, user: User, role: str = "member", *, origin: str = "accepted", **columns: Any
) -> Membership:
    with _writing():
        row_security.enter(organization_ids=[organization.id])
        membership = Membership(organization_id=organization.id, user_id=user.id, role=role, origin=origin, **columns)
        db.session.add(membership)
        return _kept(membership)


def make_invitation(organization: Organization, email: str, role: str = "member", **columns: Any) -> Invitation:
    """An open one; its secret in `raw_token`."""
    raw = new_secret("gpi_")
    with _writing():
        row_security.enter(organization_ids=[organization.id])
        invitation = Invitation(
            organization_id=organization.id,
            email=email,
            email_key=users.email_key(email),
            role=role,
            token_hash=hash_secret(raw),
            **{"expires_at": now() + timedelta(days=7), **columns},
        )
        db.session.add(invitation)
        invitation = _kept(invitation)
    invitation.raw_token = raw  # type: ignore[attr-defined]  # for the test only, no column
    return invitation


def make_agent(organization: Organization, owner: User, *, name: str = "deploy-bot", **columns: Any) -> Agent:
    with _writing():
        row_security.enter(organization_ids=[organization.id])
        agent = Agent(organization_id=organization.id, owner_id=owner.id, name=name, **columns)
        db.session.add(agent)
        return _kept(agent)


def make_api_key(
    organization: Organization,
    user: User,
    *,
    agent: Agent | None = None,
    scopes: Sequence[str] = API_SCOPES,
    expires_in: int = 3600,
    **columns: Any,
) -> ApiKey:
    """A key of a person, or of their agent; its raw value in `raw_key`."""
    key_id = uuid7()
    raw = api_keys.new_key("gpa_" if agent else "gpp_", key_id)
    with _writing():
        key = ApiKey(
            id=key_id,
            key_hash=hash_secret(raw),
            organization_id=organization.id,
            user_id=user.id,
            agent_id=agent.id if agent else None,
            name="a key",
            scope=join(scopes),
            last_four=raw[-4:],
            expires_at=now() + timedelta(seconds=expires_in),
            **columns,
        )
        db.session.add(key)
        key = _kept(key)
    key.raw_key = raw  # type: ignore[attr-defined]  # for the test only, no column
    return key


def make_credential(
    name: str = "A_KEY",
    value: str | dict[str, str] = "a value",
    *,
    organization: Organization | None = None,
    user: User | None = None,
) -> Credential:
    """A credential of `organization`, or of `user`, with its first version."""
    owner = Owner("org", organization.id) if organization else Owner("user", user.id)  # type: ignore[union-attr]
    with _writing():
        envelope = credential_values.seal(Value(value), owner=owner, name=name, number=1)
        row_security.enter(**({"organization_ids": [owner.id]} if organization else {"user_id": owner.id}))
        credential = Credential(name=name, version=1, updated_at=now(), **owner.columns)
        db.session.add(credential)
        db.session.flush()
        version = CredentialVersion(
            credential_id=credential.id,
            number=1,
            encryption_key_id=envelope.key_id,
            wrapped_key=envelope.wrapped_key,
            sealed=envelope.sealed,
            **owner.columns,
        )
        db.session.add(version)
        return _kept(credential)


def make_connection(
    *,
    organization: Organization | None = None,
    user: User | None = None,
    connector: str = "acme",
    access_token: str = "at_stored",
    refresh_token: str | None = "rt_stored",
    expires_in: int | None = 3600,
    **columns: Any,
) -> Connection:
    """A connection of `organization`, or of `user`, to the vendor of tests/fakes/vendor.py. expires_in: of the access token."""
    connection_id, owner = uuid7(), Owner("org", organization.id) if organization else Owner("user", user.id)  # type: ignore[union-attr]
    columns = {"client_id": "gatepost at vendor", "account_id": "1", "account_name": "Ann at Vendor", "scope": "read write", **columns}
    with _writing():
        sealed = connections.seal(VendorTokens(access_token, refresh_token), connection_id, owner_id=owner.id)
        row_security.enter(**({"organization_ids": [owner.id]} if organization else {"user_id": owner.id}))
        connection = Connection(
            id=connection_id,
            connector=connector,
            tokens=sealed,
            encryption_key_id=key_id_of(sealed),
            expires_at=None if expires_in is None else now() + timedelta(seconds=expires_in),
            updated_at=now(),
            **owner.columns,
            **columns,
        )
        db.session.add(connection)
        return _kept(connection)


def make_identity(
    user: User,
    *,
    provider: str = "github",
    issuer: str = "https://github.com",
    subject: str | None = None,
    login: str = "ada",
    **columns: Any,
) -> Identity:
    """An account at a provider that `user` signs in with."""
    columns = {"email": user.email, "email_verified": user.email_verified, "supplies_email": True, **columns}
    with _writing():
        identity = Identity(
            user_id=user.id, provider=provider, issuer=issuer, subject=subject or str(1000 + next(_numbers)), login=login, **columns
        )
        db.session.add(identity)
        return _kept(identity)


def make_client(
    *,
    client_id: str | None = None,
    name: str = "Example App",
    type: str = "public",
    redirect_uris: Sequence[str] = ("https://app.example.com/callback",),
    grant_types: str = "authorization_code refresh_token",
    scope: str = "openid profile email offline_access orgs",
    trusted: bool = False,
    secret: str | None = None,
    **columns: Any,
) -> OAuthClient:
    """A registered client. A confidential one has its secret in `raw_secret`."""
    raw = (secret or new_secret("gpc_")) if type == "confidential" else None
    with _writing():
        client = OAuthClient(
            client_id=client_id or f"client-{next(_numbers)}",
            name=name,
            type=type,
            redirect_uris=list(redirect_uris),
            grant_types=grant_types,
            scope=scope,
            trusted=trusted,
            secret_hash=hash_secret(raw) if raw else None,
            updated_at=now(),
            **columns,
        )
        db.session.add(client)
        _kept(client)
        oauth_clients.forget()
    client.raw_secret = raw  # type: ignore[attr-defined]  # for the test only, no column
    return client


def make_grant(
    user: User, *, sid: str | None = None, scope: str = "sessions:write orgs", organization: Organization | None = None
) -> RefreshFamily:
    """A grant of an app, as a code exchange leaves it; its opaque access token in `raw_token`.

    sid: the session it began in. organization: what it is bound to, else the personal one.
    """
    registered = dict.fromkeys([*"openid profile email offline_access orgs".split(), *scope.split()])
    client, raw, moment = make_client(scope=join(registered)), new_secret("gpo_"), now()
    with _writing():
        family = RefreshFamily(
            client_pk=client.id,
            user_id=user.id,
            organization_id=organization.id if organization else user.id,
            scope=scope,
            sid=sid or str(uuid7()),
            auth_time=moment,
            last_used_at=moment,
            expires_at=moment + timedelta(days=1),
            user_agent="a program",
        )
        db.session.add(family)
        db.session.flush()
        common = {"family_id": family.id, "expires_at": moment + timedelta(hours=1)}
        db.session.add(AccessToken(client_pk=client.id, token_hash=hash_secret(raw), scope=scope, **common))
        db.session.add(RefreshToken(token_hash=hash_secret(new_secret()), **common))
        family = _kept(family)
    family.raw_token = raw  # type: ignore[attr-defined]  # for the test only, no column
    return family


def make_resource(*, identifier: str = "https://api.example.com", name: str = "Example API", scope: str = "projects:read") -> Resource:
    """An API that takes JWT access tokens."""
    with _writing():
        key = resources.key_of(identifier)
        resource = Resource(identifier=identifier, identifier_key=key, name=name, scope=scope, updated_at=now())
        db.session.add(resource)
        return _kept(resource)


def make_session(
    user: User, *, provider: str = "github", handoff: str | None = None, ip: str = "127.0.0.1", user_agent: str = "tests"
) -> str:
    """A session as a sign-in begins it; the raw cookie value."""
    if _app is None:
        raise RuntimeError("a factory needs the `app` fixture")
    with _app.app_context():
        return user_sessions.start(make_actor(user, ip=ip, user_agent=user_agent), user_id=user.id, provider=provider, handoff=handoff)


def make_actor(user: User | None = None, **fields: Any) -> Actor:
    """The caller that a service is told about: `user` with a session, else an operator."""
    if user is None:
        return Actor.operator()
    info = UserInfo(user.id, user.email, user.email_verified, user.name, user.is_admin)
    fields = {"ip": "127.0.0.1", "user_agent": "tests", **fields}
    return Actor(type="user", id=str(user.id), credential_type="session", credential_id=str(uuid.uuid4()), user=info, **fields)


def sign_in(client: FlaskClient, user: User, **session: Any) -> str:
    """Give a test client the cookie of a real session; the raw value."""
    raw = make_session(user, **session)
    settings = client.application.extensions["gatepost.settings"]
    client.set_cookie(
        session_cookie.cookie_name(settings), raw, domain=settings.host.rpartition(":")[0] or settings.host, secure=settings.is_https
    )
    return raw
