"""CORS: open where programs in browsers need it, named origins at the API, nobody elsewhere. Never with credentials."""

import pytest

from tests import factories

APP = "https://app.example.com"
OPEN = [
    ("GET", "/.well-known/openid-configuration"),
    ("GET", "/.well-known/oauth-authorization-server"),
    ("GET", "/.well-known/oauth-protected-resource"),
    ("GET", "/.well-known/jwks.json"),
    ("POST", "/oauth/token"),
    ("POST", "/oauth/revoke"),
    ("GET", "/oauth/userinfo"),
]
CLOSED = [("GET", "/oauth/authorize"), ("POST", "/oauth/introspect"), ("GET", "/login"), ("GET", "/account"), ("GET", "/healthz")]


def _cors(response) -> dict[str, str]:
    return {name: value for name, value in response.headers if name.startswith("Access-Control-")}


@pytest.mark.parametrize(("method", "path"), OPEN)
def test_open_doors_answer_everybody_without_credentials(client, method, path):
    response = client.open(path, method=method, headers={"Origin": APP})
    assert response.headers["Access-Control-Allow-Origin"] == "*", response.status_code
    assert "Access-Control-Allow-Credentials" not in response.headers
    assert "WWW-Authenticate" in response.headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize(("method", "path"), OPEN)
def test_their_preflight_is_answered_before_any_guard(client, method, path):
    asked = {"Origin": APP, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization"}
    response = client.options(path, headers=asked)
    assert response.status_code == 204
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert method in response.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_closed_doors_allow_nobody(make_app, method, path):
    client = make_app(cors_origins=APP).test_client()
    assert _cors(client.open(path, method=method, headers={"Origin": APP})) == {}
    preflight = client.options(path, headers={"Origin": APP, "Access-Control-Request-Method": method})
    assert _cors(preflight) == {}


def test_the_api_allows_the_named_origins_only(make_app, sign_in):
    app = make_app(cors_origins=f"{APP},https://other.example.com")
    client = app.test_client()
    allowed = client.get("/api/v1/whoami", headers={"Origin": APP})
    assert allowed.status_code == 401, "CORS lets the page read the refusal"
    assert allowed.headers["Access-Control-Allow-Origin"] == APP
    assert "Origin" in allowed.headers["Vary"]
    for origin in ("https://evil.example", APP + ".evil.example", APP.upper(), APP + "/", "null", APP.replace("https", "http")):
        refused = client.get("/api/v1/whoami", headers={"Origin": origin})
        assert _cors(refused) == {}, origin
        assert "Origin" in refused.headers["Vary"]
    assert "Access-Control-Allow-Credentials" not in allowed.headers


def test_the_api_preflight_names_the_methods_and_touches_no_session(make_app, sign_in):
    app = make_app(cors_origins=APP)
    client = app.test_client()
    sign_in(client, factories.make_user())
    asked = {"Origin": APP, "Access-Control-Request-Method": "DELETE"}
    response = client.options("/api/v1/user-sessions", headers=asked)
    assert response.status_code == 204
    assert response.headers["Access-Control-Allow-Origin"] == APP
    assert {"GET", "DELETE"} <= set(response.headers["Access-Control-Allow-Methods"].split(", "))
    assert _cors(client.options("/api/v1/user-sessions", headers={**asked, "Origin": "https://evil.example"})) == {}


def test_without_origins_the_api_has_no_cors_at_all(client):
    response = client.get("/api/v1/whoami", headers={"Origin": APP})
    assert _cors(response) == {}
    assert "Origin" not in response.headers.get("Vary", "")


def test_endpoints_of_later_versions_are_just_absent(client):
    for path in ("/oauth/register", "/oauth/par", "/oauth/device_authorization"):
        assert client.post(path).status_code == 404
