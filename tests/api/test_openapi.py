"""The OpenAPI document names every route of the API, and no other."""

import re

from blueprints.api import openapi
from tests import factories


def _routes(app) -> dict[str, set[str]]:
    """`/orgs/{slug}` -> its methods, from the URL map."""
    found: dict[str, set[str]] = {}
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/api/v1/"):
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule.removeprefix("/api/v1"))
            found.setdefault(path, set()).update(method.lower() for method in rule.methods - {"HEAD", "OPTIONS"})
    return found


def test_the_document_and_the_routes_say_the_same(app, client):
    document = client.get("/api/v1/openapi.json").json
    told = {path: set(item) - {"parameters"} for path, item in document["paths"].items()}
    assert told == _routes(app)


def test_what_it_says_of_scopes_is_what_the_guard_reads(app, client):
    document = client.get("/api/v1/openapi.json").json
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith("/api/v1/") or rule.endpoint.endswith("document"):
            continue
        view = app.view_functions[rule.endpoint]
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule.removeprefix("/api/v1"))
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            security = document["paths"][path][method.lower()]["security"]
            expected = [{"session": []}] if view.needs.session_only else [{"bearer": list(view.needs.scopes)}, {"session": []}]
            assert security == expected, rule


def test_every_reference_leads_somewhere(client):
    document = client.get("/api/v1/openapi.json").json

    def references(node):
        if isinstance(node, dict):
            if "$ref" in node:
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    for reference in references(document):
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_each_form_of_the_audit_trail_is_described(client, sign_in):
    """And no other: a request for each gets that media type."""
    content = openapi.PATHS["/orgs/{slug}/audit-events"]["get"]["responses"]["200"]["content"]
    user = factories.make_user()
    organization = factories.make_organization(owner=user)
    sign_in(client, user)
    address = f"/api/v1/orgs/{organization.slug}/audit-events"
    given = {name: client.get(f"{address}?format={name}").mimetype for name in ("json", "jsonl", "csv")}
    assert sorted(content) == sorted(given.values())
    for mimetype in content:
        assert client.get(address, headers={"Accept": mimetype}).mimetype == mimetype


def test_path_parameters_are_described(client):
    for path, item in openapi.PATHS.items():
        assert [parameter["name"] for parameter in item.get("parameters", [])] == re.findall(r"{(\w+)}", path)


def test_it_needs_no_credential_and_names_the_issuer(app, client):
    response = client.get("/api/v1/openapi.json")
    assert response.status_code == 200
    assert response.json["servers"] == [{"url": app.extensions["gatepost.settings"].public_url + "/api/v1"}]
    assert response.json["openapi"].startswith("3.1")


def test_what_is_made_or_changed_by_one_request_has_both_statuses_and_bodies_have_a_limit():
    for path, method in (
        ("/orgs/{slug}/credentials/{name}", "put"),
        ("/user/credentials/{name}", "put"),
        ("/orgs/{slug}/invitations", "post"),
    ):
        assert {"200", "201", "413"} <= set(openapi.PATHS[path][method]["responses"]), path
