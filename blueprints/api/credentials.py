"""`/api/v1/orgs/<slug>/credentials` and `/api/v1/user/credentials`: the same views, in an organization and for a person alone."""

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, g, request

from blueprints import fresh_sign_in, guards
from blueprints.api import bodies
from blueprints.api.times import from_datetime
from blueprints.fresh_sign_in import Act
from errors import Invalid
from services.vault import credential_checks, credential_declarations, credential_resolution, credentials
from services.vault.credential_declarations import DeclarationInfo
from services.vault.credentials import CredentialInfo

blueprint = Blueprint("api_credentials", __name__)

View = Callable[..., Response]


def _route(method: str, path: str, *scopes: str, agents: bool = False, **needs: bool) -> Callable[[View], View]:
    """A view at both addresses. An agent has business in its organization only."""

    def add(view: View) -> View:
        @guards.requires(*scopes, agents=agents, **needs)
        def in_organization(slug: str, **parts: str) -> Response:
            return view(slug, **parts)

        @guards.requires(*scopes, **needs)
        def of_person(**parts: str) -> Response:
            return view(None, **parts)

        blueprint.add_url_rule(f"/orgs/<slug>/credentials{path}", view.__name__, in_organization, methods=[method])
        blueprint.add_url_rule(f"/user/credentials{path}", f"{view.__name__}_own", of_person, methods=[method])
        return view

    return add


@_route("GET", "", "credentials:read", agents=True)
def index(slug: str | None) -> Response:
    cursor, limit = bodies.page()
    name, _, scope = (cursor or "").partition("/")
    found = credentials.list_page(g.actor, slug, after=(name, scope) if cursor else None, limit=limit)
    return bodies.answer_list(found, _body, limit=limit, key=lambda info: f"{info.name}/{info.scope or ''}")


@_route("GET", "/<name>", "credentials:read", agents=True)
def show(slug: str | None, name: str) -> Response:
    return bodies.answer(_body(credentials.get(g.actor, slug, name, scope=request.args.get("scope"))))


@_route("PUT", "/<name>", "credentials:write")
def put(slug: str | None, name: str) -> Response:
    body = bodies.read({"value": str, "fields": dict, "scope": str})
    stored = credentials.put(g.actor, slug, name, value=body.get("value"), fields=body.get("fields"), scope=body.get("scope"))
    return bodies.answer(_body(stored), 201 if stored.is_new else 200)


@_route("DELETE", "/<name>", "credentials:write")
def remove(slug: str | None, name: str) -> Response:
    credentials.remove(g.actor, slug, name, scope=request.args.get("scope"))
    return Response(status=204)


@_route("GET", "/<name>/versions", "credentials:read")
def versions(slug: str | None, name: str) -> Response:
    found = credentials.list_versions(g.actor, slug, name, scope=request.args.get("scope"))
    return bodies.answer_list(
        found,
        lambda version: {
            "version": version.number,
            "status": version.status,
            "in_force": version.in_force,
            "fields": version.field_names,
            "last_four": version.last_four,
            "created_at": from_datetime(version.created_at),
            "created_by": _id(version.created_by),
        },
    )


@_route("POST", "/<name>/restore", "credentials:write")
def restore(slug: str | None, name: str) -> Response:
    body = bodies.read({"version": int, "scope": str}, required=("version",))
    number = body["version"]
    if not 1 <= number < 2**31:
        raise Invalid("There is no such version.", fields={"version": "must be a version's number"})
    return bodies.answer(_body(credentials.restore(g.actor, slug, name, number=number, scope=body.get("scope"))))


@_route("POST", "/<name>/check", "credentials:read")
def check(slug: str | None, name: str) -> Response:
    body = bodies.read({"scope": str, "address": str})
    found = credential_checks.check(g.actor, slug, name, scope=body.get("scope"), address=body.get("address"), look_again=guards.look_again)
    return bodies.answer(
        {
            "name": found.name,
            "scope": found.scope,
            "status": found.status,
            "account": found.account,
            "detail": found.detail,
            "checked_at": from_datetime(found.checked_at),
            "retry_after": found.retry_after_seconds,
            "stored": found.is_stored,
        }
    )


@_route("POST", "/resolve", "credentials:read", agents=True, bearer_only=True)
def resolve(slug: str | None) -> Response:
    body = bodies.read({"names": list}, required=("names",))
    found = credential_resolution.resolve(g.actor, slug, body["names"])
    items = [{"name": item.name, "scope": item.scope, "value" if isinstance(item.raw, str) else "fields": item.raw} for item in found.items]
    return bodies.answer({"items": items, "missing": found.missing, "unreadable": found.unreadable})


# --- declarations: an organization's only -----------------------------------------------------------------------------


@blueprint.get("/orgs/<slug>/credentials/<name>/declaration")
@guards.requires("credentials:read", agents=True)
def show_declaration(slug: str, name: str) -> Response:
    return bodies.answer(_declaration(credential_declarations.get(g.actor, slug, name)))


@blueprint.put("/orgs/<slug>/credentials/<name>/declaration")
@guards.requires("credentials:write")
@fresh_sign_in.needed(Act.READERS, when=fresh_sign_in.widens_a_declaration)
def put_declaration(slug: str, name: str) -> Response:
    body = bodies.read({"kind": str, "set_by": str, "note": str})
    stored = credential_declarations.put(g.actor, slug, name, kind=body.get("kind"), set_by=body.get("set_by"), note=body.get("note"))
    return bodies.answer(_declaration(stored), 201 if stored.is_new else 200)


@blueprint.delete("/orgs/<slug>/credentials/<name>/declaration")
@guards.requires("credentials:write")
@fresh_sign_in.needed(Act.READERS, when=fresh_sign_in.takes_a_declaration_back)
def remove_declaration(slug: str, name: str) -> Response:
    credential_declarations.remove(g.actor, slug, name)
    return Response(status=204)


def _declaration(info: DeclarationInfo) -> dict[str, Any]:
    return {"name": info.name, "kind": info.kind, "set_by": info.set_by, "note": info.note}


def _body(info: CredentialInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "scope": info.scope,
        "status": info.status,
        "in_force": info.in_force,
        "kind": info.kind,
        "set_by": info.set_by,
        "note": info.note,
        "version": info.version,
        "fields": info.field_names,
        "last_four": info.last_four,
        "checked_at": from_datetime(info.checked_at),
        "updated_at": from_datetime(info.updated_at),
        "updated_by": _id(info.updated_by),
    }


def _id(value: object) -> str | None:
    return None if value is None else str(value)
