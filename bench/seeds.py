"""The data under load: rows written straight into the tables (COPY), sessions through the session store.

What is encrypted at rest is sealed by the services' own functions, with the encryption keys that the servers get.

Columns are taken from the models: what a row here does not name gets the model's own default, so a new column needs a line
here only when it has none. Beside another checkout the tables may be older than the models: what they lack is left out, and
comes with the migrations that follow.
"""

import itertools
import random
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
import redis
from flask import Flask
from psycopg.types.json import Jsonb
from sqlalchemy import JSON

import models
from bench.seeded import (
    BROWSERS,
    BUSY_HOLDERS,
    CREDENTIAL_NAMES,
    GRANT_SCOPE,
    PAGE_ROWS,
    REDIRECT_URI,
    RESOURCE,
    TEAMS_OF,
    Amounts,
    Client,
    Holder,
    Person,
    Seeds,
    Team,
    value_of,
)
from config import Settings
from connectors import VendorTokens
from infra.cipher import key_id_of
from infra.clock import now, now_ms
from infra.ids import uuid7
from infra.secret_text import hash_secret, hex_hash, new_secret
from infra.session_store import SessionRecord, SessionStore
from services.access.scopes import API_SCOPES, join
from services.users import api_keys
from services.vault import connections, credential_values
from services.vault.credential_values import Owner, Value


def columns_of(connection: psycopg.Connection, model: Any) -> list[Any]:
    """Those of the model that its table has; none when there is no such table."""
    found = connection.execute("select column_name from information_schema.columns where table_name = %s", [model.__tablename__])
    there = {name for (name,) in found}
    return [column for column in model.__table__.columns if column.name in there]


def _default_of(column: Any) -> Callable[[], Any]:
    """How to fill a column that a row does not name."""
    if column.default is None:
        if not column.nullable:
            raise LookupError(f"{column} has no default: bench/seeds.py must give it a value")
        return lambda: None
    argument = column.default.arg
    return (lambda: argument(None)) if column.default.is_callable else (lambda: argument)


def copy(connection: psycopg.Connection, model: Any, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows, keyed by column name, through COPY."""
    rows = iter(rows)
    first = next(rows)
    if unknown := first.keys() - model.__table__.columns.keys():
        raise LookupError(f"{model.__tablename__} has no {', '.join(sorted(unknown))}")
    columns = [column for column in columns_of(connection, model) if column.computed is None]
    if not columns:
        return
    defaults = [None if column.name in first else _default_of(column) for column in columns]
    is_json = [isinstance(column.type, JSON) for column in columns]
    names = ", ".join(f'"{column.name}"' for column in columns)
    with connection.cursor().copy(f'copy "{model.__tablename__}" ({names}) from stdin') as out:
        for row in itertools.chain([first], rows):
            values = [row[c.name] if default is None else default() for c, default in zip(columns, defaults, strict=True)]
            out.write_row([Jsonb(value) if j else value for value, j in zip(values, is_json, strict=True)])


def write_tables(connection: psycopg.Connection, amounts: Amounts, settings: Settings) -> Seeds:
    """Fill the tables; sessions are written by `write_sessions`. settings: those of the servers, for the encryption keys."""
    at = now()
    users = [(uuid7(), f"user{n}@example.com", f"User {n}", f"user{n}") for n in range(amounts.users)]
    team = Team(uuid7(), "page-team", Person(*users[0]), new_secret())
    seeds = _write_clients(connection, team)
    copy(connection, models.User, ({"id": i, "email": e, "email_key": e, "email_verified": True, "name": n} for i, e, n, _ in users))
    copy(connection, models.Identity, _identities(users))
    teams = [(uuid7(), f"team{n}") for n in range(max(1, amounts.users // 10 // TEAMS_OF))]
    organizations = [(i, slug, name) for i, _, name, slug in users] + [
        (i, slug, slug.title()) for i, slug in [*teams, (team.id, team.slug)]
    ]
    copy(connection, models.Organization, ({"id": i, "slug": slug, "name": name} for i, slug, name in organizations))
    copy(connection, models.Membership, _memberships(users, teams, team))
    seeds.people = [Person(*user) for n, user in enumerate(users) if n % 10]
    _write_tokens(connection, seeds, [user[0] for user in users], amounts.tokens, at)
    seeds.holders = [_holder(person) for person in itertools.islice(seeds.people, amounts.holders)]
    _write_keys(connection, seeds.holders, at)
    sealing = Flask(__name__)
    sealing.extensions["gatepost.settings"] = settings
    with sealing.app_context():
        holdings = [(holder.person.id, holder.person.slug, CREDENTIAL_NAMES) for holder in seeds.holders]
        _write_credentials(connection, [*holdings, (team.id, team.slug, [f"PAGE_{n:02}_TOKEN" for n in range(PAGE_ROWS)])], at)
        copy(connection, models.Connection, (_connection_row(holder, at) for holder in seeds.holders))
    return seeds


def _identities(users: list[tuple[uuid.UUID, str, str, str]]) -> Iterator[dict[str, Any]]:
    for n, (user_id, email, _, slug) in enumerate(users):
        yield {
            "user_id": user_id,
            "provider": "github",
            "issuer": "https://github.com",
            "subject": str(n + 1),
            "login": slug,
            "email": email,
            "email_verified": True,
            "supplies_email": True,
        }


def _memberships(
    users: list[tuple[uuid.UUID, str, str, str]], teams: list[tuple[uuid.UUID, str]], page_team: Team
) -> Iterator[dict[str, Any]]:
    """Everybody owns the organization of their own; every tenth user is in a team beside it, the first of them in that of
    the pages too."""
    for n, (user_id, *_) in enumerate(users):
        yield {"organization_id": user_id, "user_id": user_id, "role": "owner"}
        if n % 10 == 0:
            yield {"organization_id": teams[n // 10 % len(teams)][0], "user_id": user_id, "role": "member"}
        if n % 10 == 0 and n < PAGE_ROWS * 10:
            yield {"organization_id": page_team.id, "user_id": user_id, "role": "member" if n else "owner"}


def _write_clients(connection: psycopg.Connection, team: Team) -> Seeds:
    def made(name: str, **values: Any) -> tuple[Client, dict[str, Any]]:
        secret = new_secret("gpc_")
        client = Client(uuid7(), name, secret)
        row = {"id": client.id, "client_id": name, "name": name.title(), "type": "public", "trusted": True, "confirm": False}
        row |= {"secret_hash": None, "token_endpoint_auth_method": "none", "redirect_uris": [], **values}
        if row["type"] == "confidential":
            row |= {"secret_hash": hash_secret(secret), "token_endpoint_auth_method": "client_secret_basic"}
        return client, row

    native, native_row = made(
        "bench-native", redirect_uris=[REDIRECT_URI], grant_types="authorization_code refresh_token", scope=f"openid {GRANT_SCOPE}"
    )
    introspector, introspector_row = made("bench-introspector", type="confidential", grant_types="client_credentials", scope="introspect")
    worker, worker_row = made("bench-worker", type="confidential", grant_types="client_credentials", scope="introspect")
    copy(connection, models.OAuthClient, [native_row, introspector_row, worker_row])
    copy(connection, models.Resource, [{"identifier": RESOURCE, "name": "Example API", "scope": "projects:read"}])
    return Seeds(native, introspector, worker, team)


def _write_tokens(connection: psycopg.Connection, seeds: Seeds, users: list[uuid.UUID], count: int, at: datetime) -> None:
    """For each of `count` grants: its family, its newest refresh token and one live access token."""
    families = [uuid7() for _ in range(count)]
    owners = list(itertools.islice(itertools.cycle(users), count))
    client_pk = seeds.native.id

    def family_rows() -> Iterator[dict[str, Any]]:
        for family_id, user_id in zip(families, owners, strict=True):
            yield {
                "id": family_id,
                "client_pk": client_pk,
                "user_id": user_id,
                "organization_id": user_id,
                "scope": GRANT_SCOPE,
                "sid": str(uuid7()),
                "auth_time": at,
                "last_used_at": at,
                "expires_at": at + timedelta(days=90),
            }

    refresh = [new_secret("gpr_") for _ in families]
    access = [new_secret("gpo_") for _ in families]
    copy(connection, models.RefreshFamily, family_rows())
    copy(
        connection,
        models.RefreshToken,
        (
            {"family_id": f, "token_hash": hash_secret(raw), "expires_at": at + timedelta(days=30)}
            for f, raw in zip(families, refresh, strict=True)
        ),
    )
    copy(
        connection,
        models.AccessToken,
        (
            {
                "family_id": f,
                "client_pk": client_pk,
                "token_hash": hash_secret(raw),
                "scope": GRANT_SCOPE,
                "expires_at": at + timedelta(days=1),
            }
            for f, raw in zip(families, access, strict=True)
        ),
    )
    random.shuffle(access)
    random.shuffle(refresh)
    seeds.access_tokens = access
    seeds.chains = deque(refresh[:2000])


def _holder(person: Person) -> Holder:
    return Holder(person, uuid7(), uuid7(), api_keys.new_key("gpa_", uuid7()), api_keys.new_key("gpp_", uuid7()))


def _write_keys(connection: psycopg.Connection, holders: list[Holder], at: datetime) -> None:
    """An agent for each, its key, and the person's own. Just used: that is written at most once a minute."""
    agents = ({"id": h.agent_id, "organization_id": h.person.id, "owner_id": h.person.id, "name": "bench-agent"} for h in holders)
    copy(connection, models.Agent, agents)
    keys = [(h, h.agent_key, h.agent_id) for h in holders] + [(h, h.own_key, None) for h in holders]
    copy(
        connection,
        models.ApiKey,
        (
            {
                "key_hash": hash_secret(raw),
                "organization_id": holder.person.id,
                "user_id": holder.person.id,
                "agent_id": agent_id,
                "name": "bench",
                "scope": join(API_SCOPES),
                "last_four": raw[-4:],
                "expires_at": at + timedelta(days=90),
                "last_used_at": at,
            }
            for holder, raw, agent_id in keys
        ),
    )


def _write_credentials(connection: psycopg.Connection, holdings: list[tuple[uuid.UUID, str, list[str]]], at: datetime) -> None:
    """holdings: organization, slug, names. One version of each."""
    credentials = [(uuid7(), organization_id, slug, name) for organization_id, slug, names in holdings for name in names]
    columns = {organization_id: Owner("org", organization_id).columns for organization_id, *_ in holdings}
    copy(
        connection,
        models.Credential,
        ({"id": i, "name": name, "version": 1, "updated_at": at, **columns[of]} for i, of, _, name in credentials),
    )

    def version(credential_id: uuid.UUID, organization_id: uuid.UUID, slug: str, name: str) -> dict[str, Any]:
        value = Value(value_of(slug, name))
        envelope = credential_values.seal(value, owner=Owner("org", organization_id), name=name, number=1)
        return {
            "credential_id": credential_id,
            "number": 1,
            "encryption_key_id": envelope.key_id,
            "wrapped_key": envelope.wrapped_key,
            "sealed": envelope.sealed,
            "last_four": value.last_four,
            **columns[organization_id],
        }

    copy(connection, models.CredentialVersion, (version(*credential) for credential in credentials))


def _connection_row(holder: Holder, at: datetime) -> dict[str, Any]:
    """One with a token that is live for a day, just used."""
    sealed = connections.seal(VendorTokens(holder.vendor_token, "rt_bench"), holder.connection_id, owner_id=holder.person.id)
    return {
        "id": holder.connection_id,
        "connector": "acme",
        "client_id": "bench at vendor",
        "account_id": "1",
        "account_name": holder.person.name,
        "scope": "read write",
        "encryption_key_id": key_id_of(sealed),
        "tokens": sealed,
        "expires_at": at + timedelta(days=1),
        "last_used_at": at,
        "updated_at": at,
        **Owner("org", holder.person.id).columns,
    }


def write_sessions(client: redis.Redis, seeds: Seeds, count: int, *, seconds: int = 604_800) -> None:
    """A browser session for `count` people, in turn; the raw cookie values are kept in `seeds.sessions`. The owner of the
    pages' team has BROWSERS, and looks from one of them. Who writes by page has one more for that."""
    store, moment = SessionStore(client, session_seconds=seconds), now_ms()

    def add(raw: str, person: Person) -> None:
        record = SessionRecord(
            sid=str(uuid7()),
            user_id=person.id,
            auth_time_ms=moment,
            created_at_ms=moment,
            last_seen_ms=moment,
            expires_at_ms=moment + seconds * 1000,
            provider="github",
            ip="192.0.2.1",
            user_agent="Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0",
        )
        store.add(hex_hash(raw), record)

    for person in itertools.islice(itertools.cycle(seeds.people), count):
        seeds.sessions.append(new_secret())
        add(seeds.sessions[-1], person)
    for holder in seeds.holders[:BUSY_HOLDERS]:
        seeds.writing_sessions.append(new_secret())
        add(seeds.writing_sessions[-1], holder.person)
    for raw in [seeds.team.session, *(new_secret() for _ in range(BROWSERS - 1))]:
        add(raw, seeds.team.owner)
