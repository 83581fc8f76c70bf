"""OAuth clients and resources from a TOML file: all of it or nothing, and the same again is no change."""

import hmac
import re
import tomllib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from sqlalchemy import delete, select, update

from config import current, env_value_problem, is_loopback_http
from errors import Conflict, GatepostError, NotFound
from extensions import db
from infra.clock import now
from infra.secret_text import hash_secret, new_secret
from models import AuthorizationCode, Consent, OAuthClient, RefreshFamily, Resource
from services.access.actors import Actor
from services.access.scopes import INTROSPECT, KNOWN_SCOPES, join, split
from services.audit import audit
from services.database.transactions import begin_write, wait_for_turn
from services.tokens import oauth_clients, resources, signing_keys

GRANT_TYPES = ("authorization_code", "refresh_token", "client_credentials")
MIN_SECRET_LENGTH = 32  # characters
MAX_SCOPES_LENGTH = 4096  # characters with the spaces, all ASCII: a token has them all, and is a header line
AUTH_METHODS = ("client_secret_basic", "client_secret_post", "none")
_KEPT = ("backchannel_logout_uri", "token_endpoint_auth_method", "resource", "id_token_alg", "pkce")
Outcome = Literal["created", "unchanged", "updated", "conflict"]

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,128}")
_CLIENT_ID = re.compile(r"[\x21-\x7e]{1,255}")
_URI = re.compile(r"[!-~]{1,2000}")
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+", re.IGNORECASE)  # a browser reads all else as another host, or as none
_PRIVATE_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):[!-~]*", re.IGNORECASE)
_OF_BROWSERS = ("javascript", "data", "file", "blob", "about", "vbscript", "filesystem", "view-source")  # which run or open them
_NEVER_A_REDIRECT = frozenset({*_OF_BROWSERS, "ftp", "ws", "wss", "mailto", "tel", "sms", "intent"})  # the others are no app's own


class BadSeedFile(GatepostError):
    """The file cannot be applied as it is written: nothing was done."""

    status, code = 422, "invalid_request"


class _Bad(ValueError):
    """What is wrong with one value."""


@dataclass(frozen=True)
class SeedOutcome:
    """What became of one entry. `raw_secret`: made here, shown once."""

    outcome: Outcome
    kind: Literal["client", "resource"]
    id: str
    raw_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class _Client:
    client_id: str
    name: str
    type: str
    redirect_uris: list[str]
    post_logout_redirect_uris: list[str]
    backchannel_logout_uri: str | None
    grant_types: list[str]
    scopes: list[str]
    trusted: bool
    confirm: bool
    token_endpoint_auth_method: str | None
    resource: str | None
    id_token_alg: str
    pkce: str
    raw_secret: str | None = field(repr=False)
    origin: str = "seeded"


@dataclass(frozen=True)
class _Resource:
    identifier: str
    name: str
    scopes: list[str]


def apply(
    actor: Actor, toml_text: str, *, update: bool = False, secret_of: Callable[[str], str | None] = lambda name: None
) -> list[SeedOutcome]:
    """Register what the file names. secret_of: the value of an environment variable named by `secret_env`.

    Commits: yes, once, unless something conflicts and `update` is not asked for: then nothing of the file is applied.
    Returns: one outcome for each entry, clients first, in the file's order.   Raises: BadSeedFile.
    """
    clients, apis = _read(toml_text, secret_of)
    begin_write()
    wait_for_turn("seed-clients")
    try:
        clients = _judge_known(clients, apis)
        outcomes = [_put_client(actor, entry) for entry in clients] + [_put_resource(actor, entry) for entry in apis]
        _prepare_keys(clients)
    except Exception:
        db.session.rollback()
        raise
    outcomes = _told(outcomes, update=update)
    if any(outcome.outcome == "conflict" for outcome in outcomes):
        db.session.rollback()
    else:
        db.session.commit()
        _forget()
    return outcomes


def add(actor: Actor, values: Mapping[str, Any]) -> tuple[uuid.UUID, str | None]:
    """Register one client, of the values that an entry of the file has. Commits: yes.

    Returns: its row's id, and the secret that was made for it, shown once.   Raises: BadSeedFile; Conflict when it is there.
    """
    entry = _entry("client", 1, dict(values), lambda taken: _client(taken, lambda name: None))
    begin_write()
    wait_for_turn("seed-clients")
    [entry] = _judge_known([entry], [])
    if db.session.scalar(select(OAuthClient.id).where(OAuthClient.client_id == entry.client_id)) is not None:
        raise Conflict("There is a client with that id.")
    raw = _put_client(actor, entry).raw_secret
    db.session.flush()
    client_pk = oauth_clients.get_client(entry.client_id).id
    _prepare_keys([entry])
    db.session.commit()
    _forget()
    return client_pk, raw


def change(actor: Actor, client_pk: uuid.UUID, values: Mapping[str, Any]) -> bool:
    """Change a client as `values` say (name, redirect_uris, scopes, trusted ...); the rest of it, also who vouches for it, stays.
    Grants stay as they are. Commits: yes.   Returns: whether anything changed.   Raises: NotFound, BadSeedFile."""
    begin_write()
    row = db.session.scalar(select(OAuthClient).where(OAuthClient.id == client_pk).with_for_update())
    if row is None:
        raise NotFound("There is no client with that id.")
    stays = {name: getattr(row, name) for name in ("client_id", "type", "post_logout_redirect_uris", "confirm")}
    stays |= {name: getattr(row, name) for name in _KEPT if getattr(row, name)}
    node = {**stays, "grant_types": split(row.grant_types), **values}
    entry = replace(_entry("client", 1, node, lambda taken: _client(taken, lambda name: None)), origin=row.origin)
    [entry] = _judge_known([entry], [])
    has_changed = _put_client(actor, entry).outcome == "updated"
    _prepare_keys([entry])
    db.session.commit()
    _forget()
    return has_changed


def is_redirect_uri(uri: str) -> bool:
    """Whether a client may be registered with it."""
    try:
        _judge_redirect_uri("redirect_uris", uri)
    except _Bad:
        return False
    return True


def _told(outcomes: list[SeedOutcome], *, update: bool) -> list[SeedOutcome]:
    """Without `update` a change is a conflict, and then no secret of the file came to be."""
    if update or not any(outcome.outcome == "updated" for outcome in outcomes):
        return outcomes
    return [SeedOutcome("conflict" if outcome.outcome == "updated" else outcome.outcome, outcome.kind, outcome.id) for outcome in outcomes]


# --- reading --------------------------------------------------------------------------------------------------


def _read(toml_text: str, secret_of: Callable[[str], str | None]) -> tuple[list[_Client], list[_Resource]]:
    try:
        tree = tomllib.loads(toml_text)
    except (ValueError, RecursionError) as error:  # also a number, or lists in lists, without end
        raise BadSeedFile(f"not TOML: {error}") from None
    if unknown := set(tree) - {"client", "resource"}:
        raise BadSeedFile(f"unknown key {_shown(min(unknown))}: a seed file has [[client]] and [[resource]]")
    clients = [_entry("client", number, node, lambda values: _client(values, secret_of)) for number, node in _tables(tree, "client")]
    apis = [_entry("resource", number, node, _resource) for number, node in _tables(tree, "resource")]
    _refuse_twice("client", [client.client_id for client in clients])
    _refuse_twice("resource", [resources.key_of(api.identifier) for api in apis])
    return clients, apis


def _tables(tree: Mapping[str, Any], kind: str) -> list[tuple[int, dict[str, Any]]]:
    nodes = tree.get(kind, [])
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        raise BadSeedFile(f"{kind}: write [[{kind}]]")
    return list(enumerate(nodes, start=1))


def _entry(kind: str, number: int, node: dict[str, Any], build: Callable[["_Values"], Any]) -> Any:
    values = _Values(node)
    try:
        entry = build(values)
        values.refuse_rest()
    except _Bad as error:
        identity = node.get("client_id" if kind == "client" else "identifier")
        raise BadSeedFile(f"{kind} {_shown(identity) if isinstance(identity, str) else f'number {number}'}: {error}") from None
    return entry


def _refuse_twice(kind: str, ids: list[str]) -> None:
    for identity in ids:
        if ids.count(identity) > 1:
            raise BadSeedFile(f"{kind} {_shown(identity)}: is in the file twice")


def _shown(value: str) -> str:
    return ascii(value[:100])


class _Values:
    """The keys of one table, taken one by one; what is left over is unknown."""

    def __init__(self, node: dict[str, Any]) -> None:
        self._node = dict(node)

    def text(self, key: str, default: str | None = None) -> str | None:
        value = self._node.pop(key, default)
        if value is not None and (not isinstance(value, str) or not value or "\0" in value):
            raise _Bad(f"{key} must be a string")
        return value

    def needed(self, key: str) -> str:
        value = self.text(key)
        if value is None:
            raise _Bad(f"{key} is missing")
        return value

    def one_of(self, key: str, words: tuple[str, ...]) -> str:
        """The first is the default."""
        value = self.text(key, words[0])
        if value not in words:
            raise _Bad(f"{key} must be one of {', '.join(words)}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self._node.pop(key, default)
        if not isinstance(value, bool):
            raise _Bad(f"{key} must be true or false")
        return value

    def texts(self, key: str, default: list[str] | None = None) -> list[str]:
        value = self._node.pop(key, default or [])
        if not isinstance(value, list) or not all(isinstance(word, str) and word for word in value):
            raise _Bad(f"{key} must be a list of strings")
        if len(set(value)) != len(value):
            raise _Bad(f"{key} has a value twice")
        return value

    def has(self, key: str) -> bool:
        return key in self._node

    def refuse_rest(self) -> None:
        if self._node:
            raise _Bad(f"unknown key {_shown(min(self._node))}")


def _client(values: _Values, secret_of: Callable[[str], str | None]) -> _Client:
    client_id = values.needed("client_id")
    if not _CLIENT_ID.fullmatch(client_id):
        raise _Bad("client_id must be 1 to 255 visible ASCII characters")
    client_type = values.needed("type")
    if client_type not in ("public", "confidential"):
        raise _Bad('type must be "public" or "confidential"')
    is_public = client_type == "public"
    grant_types = values.texts("grant_types", ["authorization_code"])
    redirect_uris = values.texts("redirect_uris")
    _judge_grants(grant_types, redirect_uris, is_public=is_public)
    for uri in redirect_uris:
        _judge_redirect_uri("redirect_uris", uri)
    post_logout = values.texts("post_logout_redirect_uris")
    for uri in post_logout:
        _judge_redirect_uri("post_logout_redirect_uris", uri)
    backchannel = values.text("backchannel_logout_uri")
    if backchannel is not None:
        _judge_web_address("backchannel_logout_uri", backchannel)
    return _Client(
        client_id=client_id,
        name=values.text("name", client_id) or client_id,
        type=client_type,
        redirect_uris=redirect_uris,
        post_logout_redirect_uris=post_logout,
        backchannel_logout_uri=backchannel,
        grant_types=grant_types,
        scopes=_scopes(values),
        trusted=values.flag("trusted", False),
        confirm=values.flag("confirm", True),
        token_endpoint_auth_method=_auth_method(values, is_public=is_public),
        resource=values.text("resource"),
        id_token_alg=values.one_of("id_token_alg", signing_keys.ALGORITHMS),
        pkce=_pkce(values, is_public=is_public),
        raw_secret=_given_secret(values, secret_of, is_public=is_public),
    )


def _judge_grants(grant_types: list[str], redirect_uris: list[str], *, is_public: bool) -> None:
    for grant_type in grant_types:
        if grant_type not in GRANT_TYPES:
            raise _Bad(f"grant type {_shown(grant_type)} is not one of {', '.join(GRANT_TYPES)}")
    if not grant_types:
        raise _Bad("grant_types is empty")
    if "client_credentials" in grant_types and is_public:
        raise _Bad("client_credentials needs a confidential client")
    if "authorization_code" in grant_types and not redirect_uris:
        raise _Bad("authorization_code needs redirect_uris")
    if "refresh_token" in grant_types and "authorization_code" not in grant_types:
        raise _Bad("refresh_token needs authorization_code")


def _auth_method(values: _Values, *, is_public: bool) -> str | None:
    method = values.text("token_endpoint_auth_method")
    if method is not None and method not in AUTH_METHODS:
        raise _Bad(f"token_endpoint_auth_method must be one of {', '.join(AUTH_METHODS)}")
    if method is not None and (method == "none") != is_public:
        raise _Bad('token_endpoint_auth_method is "none" for public clients and for no other')
    return method


def _pkce(values: _Values, *, is_public: bool) -> str:
    """A client that can prove itself may leave PKCE out and send a nonce instead (OAuth 2.1, 7.5.1)."""
    pkce = values.one_of("pkce", ("required", "optional"))
    if pkce == "optional" and is_public:
        raise _Bad('pkce = "optional" needs a confidential client')
    return pkce


def _given_secret(values: _Values, secret_of: Callable[[str], str | None], *, is_public: bool) -> str | None:
    name = values.text("secret_env")
    if name is None:
        return None
    if is_public:
        raise _Bad("a public client has no secret")
    raw = secret_of(name)
    if not raw:
        raise _Bad(f"secret_env: {_shown(name)} is not set in the environment")
    if len(raw) < MIN_SECRET_LENGTH:
        raise _Bad(f"secret_env: {_shown(name)} must have at least {MIN_SECRET_LENGTH} characters")
    if problem := env_value_problem(raw) or ("starts or ends with a space" if raw != raw.strip() else ""):
        raise _Bad(f"secret_env: {_shown(name)} {problem}")
    return raw


def _resource(values: _Values) -> _Resource:
    identifier = values.needed("identifier")
    parts = _parts("identifier", identifier)
    if not parts.scheme or "#" in identifier or not (parts.netloc or parts.path):
        raise _Bad("identifier must be an absolute URI without a fragment")
    if resources.is_same(identifier.rstrip("/"), current().api_resource):
        raise _Bad("identifier is the API of this server, which is always registered")
    return _Resource(identifier=identifier, name=values.text("name", identifier) or identifier, scopes=_scopes(values))


def _scopes(values: _Values) -> list[str]:
    scopes = values.texts("scopes")
    for scope in scopes:
        if not _SCOPE.fullmatch(scope):
            raise _Bad(f"scope {_shown(scope)} is not of the form of a scope")
    if len(join(scopes)) > MAX_SCOPES_LENGTH:
        raise _Bad(f"scopes must have at most {MAX_SCOPES_LENGTH} characters together")
    return scopes


def _judge_redirect_uri(key: str, uri: str) -> None:
    """https, or http on a loopback host, or a private scheme (RFC 8252 section 7), also one without a dot: an operator answers for it."""
    if uri.lower().startswith(("https:", "http:")):
        _judge_web_address(key, uri)
        return
    match = _PRIVATE_SCHEME.fullmatch(uri)
    if match is None or match[1].lower() in _NEVER_A_REDIRECT or "#" in uri or "\\" in uri:
        raise _Bad(f"{key}: {_shown(uri)} must be https, http on a loopback host, or the private scheme of an app, without a fragment")


def _judge_web_address(key: str, uri: str) -> None:
    parts = _parts(key, uri)
    if "#" in uri or "\\" in uri or "@" in parts.netloc or not _HOST.fullmatch(parts.hostname or ""):
        raise _Bad(f"{key}: {_shown(uri)} must be an absolute address of one host without user, backslash and fragment")
    if parts.scheme == "http" and (not is_loopback_http(uri) or oauth_clients.loopback_shape(uri) is None):
        raise _Bad(f"{key}: {_shown(uri)} is plain http, which is for 127.0.0.1, [::1] and localhost only")


def _parts(key: str, uri: str) -> Any:
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        raise _Bad(f"{key}: {_shown(uri)} is not an address") from None
    if not _URI.fullmatch(uri):
        raise _Bad(f"{key}: {_shown(uri)} must be visible ASCII characters")
    return parts


def _judge_known(clients: list[_Client], apis: list[_Resource]) -> list[_Client]:
    """The clients, their resource in the registered spelling.   Raises BadSeedFile: a scope or resource that neither this server nor
    the file nor the database has."""
    known, identifiers = set(KNOWN_SCOPES), [current().api_resource, *(api.identifier for api in apis)]
    for api in apis:
        known |= set(api.scopes)
    for row in resources.list_all():
        known |= set(split(row.scope))
        identifiers.append(row.identifier)
    for client in clients:
        for scope in client.scopes:
            if scope not in known:
                raise BadSeedFile(f"client {_shown(client.client_id)}: scope {_shown(scope)} is not known; a resource may declare it")
        if INTROSPECT in client.scopes and client.type == "public":
            raise BadSeedFile(f"client {_shown(client.client_id)}: introspect needs a confidential client")
    return [_with_known_resource(client, identifiers) for client in clients]


def _with_known_resource(client: _Client, identifiers: list[str]) -> _Client:
    if client.resource is None:
        return client
    same = [identifier for identifier in identifiers if resources.is_same(identifier, client.resource)]
    if not same:
        raise BadSeedFile(f"client {_shown(client.client_id)}: resource {_shown(client.resource)} is not registered")
    return replace(client, resource=same[0])


# --- writing --------------------------------------------------------------------------------------------------


def _put_client(actor: Actor, entry: _Client) -> SeedOutcome:
    """Inside the unit of work of `apply`: never commits."""
    row = db.session.scalar(select(OAuthClient).where(OAuthClient.client_id == entry.client_id).with_for_update())
    wanted = {
        "name": entry.name,
        "type": entry.type,
        "redirect_uris": entry.redirect_uris,
        "post_logout_redirect_uris": entry.post_logout_redirect_uris,
        "backchannel_logout_uri": entry.backchannel_logout_uri,
        "grant_types": join(entry.grant_types),
        "scope": join(entry.scopes),
        "trusted": entry.trusted,
        "confirm": entry.confirm,
        "token_endpoint_auth_method": entry.token_endpoint_auth_method,
        "resource": entry.resource,
        "id_token_alg": entry.id_token_alg,
        "pkce": entry.pkce,
        "origin": entry.origin,
    }
    if row is None:
        raw = entry.raw_secret or (new_secret("gpc_") if entry.type == "confidential" else None)
        db.session.add(OAuthClient(client_id=entry.client_id, version=1, secret_hash=hash_secret(raw) if raw else None, **wanted))
        audit.record(actor, "oauth_client.created", target_type="oauth_client", target_id=entry.client_id, target_name=entry.name)
        return SeedOutcome("created", "client", entry.client_id, None if entry.raw_secret else raw)
    same = {name: _same_words if name in ("scope", "grant_types") else _is_same for name in wanted}
    changed = [name for name, value in wanted.items() if not same[name](getattr(row, name), value)]
    raw = _secret_to_set(row, entry)
    if not changed and raw is None:
        return SeedOutcome("unchanged", "client", entry.client_id)
    for name in changed:
        setattr(row, name, wanted[name])
    if entry.type == "public":
        row.secret_hash = row.previous_secret_hash = row.previous_secret_expires_at = None
    if raw is not None:
        oauth_clients.replace_secret(row, raw)
    else:
        row.version += 1
        row.updated_at = now()
    details = {"changed": changed + (["secret"] if raw else [])}
    about = {"target_type": "oauth_client", "target_id": entry.client_id, "target_name": entry.name}
    audit.record(actor, "oauth_client.updated", **about, details=details)
    return SeedOutcome("updated", "client", entry.client_id, None if entry.raw_secret else raw)


def _prepare_keys(entries: list[_Client]) -> None:
    """Inside the unit of work: never commits."""
    for algorithm in dict.fromkeys(entry.id_token_alg for entry in entries):
        if algorithm != signing_keys.ALGORITHM:
            signing_keys.prepare(algorithm)


def _forget() -> None:
    oauth_clients.forget()
    signing_keys.forget()


def _secret_to_set(row: OAuthClient, entry: _Client) -> str | None:
    """The secret that the row must get: the environment's when it differs, a new one when there is none."""
    if entry.raw_secret is not None:
        is_same = row.secret_hash is not None and hmac.compare_digest(row.secret_hash, hash_secret(entry.raw_secret))
        return None if is_same else entry.raw_secret
    return new_secret("gpc_") if entry.type == "confidential" and row.secret_hash is None else None


def _put_resource(actor: Actor, entry: _Resource) -> SeedOutcome:
    """Inside the unit of work of `apply`: never commits."""
    key = resources.key_of(entry.identifier)
    row = db.session.scalar(select(Resource).where(Resource.id == resources.id_of(entry.identifier, key)).with_for_update())
    if row is None:
        db.session.add(Resource(identifier=entry.identifier, identifier_key=key, name=entry.name, scope=join(entry.scopes)))
        audit.record(actor, "resource.created", target_type="resource", target_id=entry.identifier)
        return SeedOutcome("created", "resource", entry.identifier)
    row.identifier_key = key  # an older version that runs beside this one writes none
    if (row.identifier, row.name) == (entry.identifier, entry.name) and _same_words(row.scope, join(entry.scopes)):
        return SeedOutcome("unchanged", "resource", entry.identifier)
    _respell(row.identifier, entry.identifier)
    row.identifier, row.name, row.scope = entry.identifier, entry.name, join(entry.scopes)
    row.version += 1
    row.updated_at = now()
    audit.record(actor, "resource.updated", target_type="resource", target_id=entry.identifier)
    return SeedOutcome("updated", "resource", entry.identifier)


def _respell(before: str, after: str) -> None:
    """Grants, consents and clients name their resource as it is registered; a grant ends with that. Inside the unit of work: never
    commits."""
    if before != after:
        db.session.execute(delete(Consent).where(Consent.resource == after))  # left of another time, and in the way
        for table in (RefreshFamily, AuthorizationCode, Consent, OAuthClient):
            db.session.execute(update(table).where(table.resource == before).values(resource=after))


def _is_same(stored: Any, wanted: Any) -> bool:
    """A list says the same in any order."""
    return sorted(stored or []) == sorted(wanted) if isinstance(wanted, list) else stored == wanted


def _same_words(stored: str, wanted: str) -> bool:
    return sorted(split(stored)) == sorted(split(wanted))
