"""RFC 9728: an API says who its authorization server is, and a refusal says where it says so."""

import pytest

from tests import factories
from tests.oauth.flow import ISSUER, bearer

OWN = "/.well-known/oauth-protected-resource"


@pytest.mark.parametrize("path", [OWN, OWN + "/api/v1"])
def test_our_own_api_describes_itself(client, path):
    response = client.get(path)
    assert response.status_code == 200
    assert response.mimetype == "application/json"
    body = response.json
    assert body["resource"] == f"{ISSUER}/api/v1"
    assert body["authorization_servers"] == [ISSUER]
    assert body["bearer_methods_supported"] == ["header"]
    assert "orgs" in body["scopes_supported"]
    assert "offline_access" not in body["scopes_supported"]
    assert response.headers["Access-Control-Allow-Origin"] == "*"


def test_a_registered_api_below_the_public_url_describes_itself(client):
    factories.make_resource(identifier=f"{ISSUER}/tools/mcp", name="Tools", scope="projects:read")
    body = client.get(OWN + "/tools/mcp").json
    assert body["resource"] == f"{ISSUER}/tools/mcp"
    assert body["resource_name"] == "Tools"
    assert body["scopes_supported"] == ["projects:read"]


def test_what_is_not_registered_is_not_found(client):
    for path in ["/nothing", "/api/v2", "/api/v1/", "/../x", "/%00", "/" + "x" * 5000, "/ü"]:
        response = client.get(OWN + path)
        assert response.status_code == 404
        assert response.json["error"] == "not_found"


def test_a_refusal_says_where_to_look(client):
    nothing = client.get("/api/v1/whoami")
    assert nothing.status_code == 401
    assert nothing.json["error"] == "unauthenticated"
    assert nothing.headers["WWW-Authenticate"] == f'Bearer resource_metadata="{ISSUER}{OWN}/api/v1"'
    bad = client.get("/api/v1/whoami", headers=bearer("gpo_x"))
    assert bad.json["error"] == "invalid_token"
    assert 'error="invalid_token"' in bad.headers["WWW-Authenticate"]
    assert f'resource_metadata="{ISSUER}{OWN}/api/v1"' in bad.headers["WWW-Authenticate"]


def test_what_it_names_is_found(client):
    address = client.get("/api/v1/whoami").headers["WWW-Authenticate"].split('"')[1]
    document = client.get(address.removeprefix(ISSUER)).json
    server = client.get("/.well-known/oauth-authorization-server").json
    assert document["authorization_servers"] == [server["issuer"]]


def test_too_narrow_a_token_is_told_what_it_lacks(program, browser):
    token = program.get_tokens(browser, scope="openid")["access_token"]
    response = program.http.get("/api/v1/orgs", headers=bearer(token))
    assert response.status_code == 403
    assert response.json["error"] == "insufficient_scope"
    assert 'scope="orgs"' in response.headers["WWW-Authenticate"]
