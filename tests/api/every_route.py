"""One request for every route of the API that is right in itself, so that what comes of it is decided by who sends it.

It concerns `acme`, or where a route is a person's, something of the owner's: their grant, their key, their agent.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests import factories
from tests.api.company import Company

BASE = "/api/v1"
VALUE = "a-value-that-stands-in-no-event"


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    body: Any = None

    def send(self, http: FlaskClient, headers: dict[str, str]) -> TestResponse:
        return http.open(BASE + self.path, method=self.method, json=self.body, headers=headers)


def routes(app: Flask) -> set[str]:
    """`METHOD /path` below /api/v1, without converters."""
    rules = [rule for rule in app.url_map.iter_rules() if rule.rule.startswith(BASE)]
    paths = [(rule.methods - {"HEAD", "OPTIONS"}, re.sub(r"<\w+:", "<", rule.rule.removeprefix(BASE))) for rule in rules]
    return {f"{method} {path}" for methods, path in paths for method in methods}


def request_for(company: Company, route: str) -> Request:
    """What the request needs to be there is made now."""
    method, path = route.split(" ")
    for part in re.findall(r"<(\w+)>", path):
        path = path.replace(f"<{part}>", PARTS[part](company, route))
    if route in BEFORE:
        BEFORE[route](company)
    body = BODIES.get(route)
    return Request(method, path + QUERIES.get(route, "").format(slug=company.acme.slug), body(company) if body else None)


def _invite(company: Company, email: str) -> dict[str, Any]:
    return company.owner.send("POST", f"/orgs/{company.acme.slug}/invitations", {"email": email, "role": "member"}).json


def _colleague(company: Company) -> str:
    person = factories.make_user()
    factories.make_membership(company.acme, person)
    return str(person.id)


def _name(company: Company, route: str) -> str:
    """A credential, declared or not; PUT finds none."""
    if route.startswith("PUT "):
        return "A_KEY"
    if "/declaration" in route:
        company.owner.send("PUT", f"/orgs/{company.acme.slug}/credentials/A_KEY/declaration", {"note": "for the deployment"})
    elif "/user/" in route:
        factories.make_credential(value=VALUE, user=company.owner.user)
    else:
        factories.make_credential(value=VALUE, organization=company.acme)
    return "A_KEY"


# what stands for a part of a path
PARTS: dict[str, Callable[[Company, str], str]] = {
    "slug": lambda c, _: c.acme.slug,
    "user_id": lambda c, _: _colleague(c),
    "invitation_id": lambda c, route: _invite(
        c, str(c.stranger.user.email) if route.startswith("POST /invitations/") else f"invited{c.mark}@example.com"
    )["id"],
    "agent_id": lambda c, _: str(factories.make_agent(c.acme, c.owner.user).id),
    "connection_id": lambda c, _: str(factories.make_connection(organization=c.acme).id),
    "key_id": lambda c, _: str(factories.make_api_key(c.acme, c.owner.user).id),
    "session_id": lambda c, _: str(factories.make_grant(c.owner.user, organization=c.acme).id),
    "name": _name,
}

QUERIES = {"DELETE /user-sessions": "?others=true", "GET /projects": "?organization={slug}"}

BEFORE: dict[str, Callable[[Company], Any]] = {
    "POST /orgs/<slug>/restore": lambda c: c.owner.send("DELETE", f"/orgs/{c.acme.slug}"),
}

# the stranger is the one who is invited
BODIES: dict[str, Callable[[Company], Any]] = {
    "PATCH /user": lambda _: {"name": "Another Name"},
    "POST /orgs": lambda c: {"name": "New", "slug": f"new-one{c.mark}"},
    "PATCH /orgs/<slug>": lambda _: {"name": "Renamed"},
    "PATCH /orgs/<slug>/members/<user_id>": lambda _: {"role": "admin"},
    "POST /orgs/<slug>/invitations": lambda _: {"email": "new@example.com", "role": "member"},
    "POST /invitations/accept": lambda c: {"token": _invite(c, str(c.stranger.user.email))["token"]},
    "POST /projects": lambda c: {"name": "A", "slug": f"a-project{c.mark}", "organization": c.acme.slug},
    "POST /orgs/<slug>/agents": lambda _: {"name": "bot"},
    "POST /api-keys": lambda c: {"owner": "self", "organization": c.acme.slug, "name": "ci", "scopes": ["orgs"]},
    "PUT /orgs/<slug>/credentials/<name>": lambda _: {"value": VALUE},
    "POST /orgs/<slug>/credentials/<name>/restore": lambda _: {"version": 1},
    "POST /orgs/<slug>/credentials/<name>/check": lambda _: {},
    "POST /orgs/<slug>/credentials/resolve": lambda _: {"names": ["A_KEY"]},
    "PUT /orgs/<slug>/credentials/<name>/declaration": lambda _: {"note": "for the deployment"},
    "PUT /user/credentials/<name>": lambda _: {"value": VALUE},
    "POST /user/credentials/<name>/restore": lambda _: {"version": 1},
    "POST /user/credentials/<name>/check": lambda _: {},
    "POST /user/credentials/resolve": lambda _: {"names": ["A_KEY"]},
}
