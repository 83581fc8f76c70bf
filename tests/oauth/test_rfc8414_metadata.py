"""RFC 8414 and OpenID Connect Discovery: what the server says of itself is what it does."""

import pytest

from tests.oauth.flow import ISSUER, Program, assert_refused

ADDRESSES = ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"]


@pytest.fixture
def metadata(client):
    return client.get(ADDRESSES[0]).json


def test_both_addresses_tell_the_same(client):
    first, second = (client.get(address) for address in ADDRESSES)
    assert first.json == second.json
    for response in (first, second):
        assert response.status_code == 200
        assert response.mimetype == "application/json"
        assert "public" in response.headers["Cache-Control"]
        assert "Set-Cookie" not in response.headers


def test_authlib_finds_it_valid(metadata):
    from authlib.oauth2.rfc8414 import AuthorizationServerMetadata

    class OnLoopback(AuthorizationServerMetadata):
        def validate_issuer(self):  # wants https, which a loopback server has not
            assert self["issuer"] == ISSUER

        def validate_jwks_uri(self):
            assert self["jwks_uri"].startswith(ISSUER)

    OnLoopback(metadata).validate()


def test_the_issuer_is_exactly_the_public_url(make_app):
    app = make_app(public_url="https://login.example.com/", env="production")
    document = app.test_client().get(ADDRESSES[0], headers={"Host": "evil.example"}).json
    assert document["issuer"] == "https://login.example.com"
    assert "evil" not in str(document)
    for name, value in document.items():
        if name.endswith(("_endpoint", "_uri")):
            assert value.startswith("https://login.example.com/"), name


def test_every_endpoint_it_names_is_there(metadata, client):
    for name, url in metadata.items():
        if name.endswith(("_endpoint", "_uri")):
            assert client.get(url.removeprefix(ISSUER)).status_code != 404, name


def test_endpoints_of_other_versions_are_neither_named_nor_there(metadata, client):
    for name in ("registration_endpoint", "device_authorization_endpoint", "pushed_authorization_request_endpoint"):
        assert name not in metadata
    for path in ("/oauth/register", "/oauth/device_authorization", "/oauth/par"):
        for response in (client.post(path), client.post(path, json={}), client.post(path, data={"client_id": "x"}), client.get(path)):
            assert_refused(response, "not_found", 404)
    assert_refused(client.delete("/oauth/register/an-id"), "not_found", 404)


def test_every_grant_type_it_names_is_known_and_no_other(app, register, metadata):
    program = register(
        type="confidential", grant_types="authorization_code refresh_token client_credentials password implicit", scope="openid"
    )
    assert set(metadata["grant_types_supported"]) == {"authorization_code", "refresh_token", "client_credentials"}
    for grant_type in metadata["grant_types_supported"]:
        response = program.post("/oauth/token", {"grant_type": grant_type})
        assert response.json.get("error") != "unsupported_grant_type"
    for grant_type in ("password", "implicit", "urn:ietf:params:oauth:grant-type:device_code"):
        assert_refused(program.post("/oauth/token", {"grant_type": grant_type}), "unsupported_grant_type")


def test_what_it_says_of_itself(metadata):
    assert metadata["response_types_supported"] == ["code"]
    assert metadata["response_modes_supported"] == ["query", "form_post"]
    assert set(metadata["token_endpoint_auth_methods_supported"]) == {"client_secret_basic", "client_secret_post", "none"}
    assert "none" not in metadata["introspection_endpoint_auth_methods_supported"]
    assert metadata["id_token_signing_alg_values_supported"] == ["ES256", "RS256"]
    assert metadata["subject_types_supported"] == ["public"]
    assert "offline_access" in metadata["scopes_supported"]
    assert "introspect" not in metadata["scopes_supported"]
    assert len(metadata["scopes_supported"]) == len(set(metadata["scopes_supported"]))


def test_a_client_may_have_every_scope_it_names(app, register, metadata, browser):
    program = register(trusted=True, scope=" ".join(metadata["scopes_supported"]))
    answer = Program(app, program.client).get_tokens(browser, scope=" ".join(metadata["scopes_supported"]))
    assert answer["scope"].split() == metadata["scopes_supported"]


def test_any_site_may_read_it(client):
    for address in [*ADDRESSES, "/.well-known/jwks.json"]:
        response = client.get(address, headers={"Origin": "https://spa.example"})
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in response.headers


def test_the_key_set_is_public_es256(client, metadata):
    response = client.get(metadata["jwks_uri"].removeprefix(ISSUER))
    assert response.mimetype == "application/jwk-set+json"
    keys = response.json["keys"]
    assert len(keys) == 2  # the one that signs and the next
    for key in keys:
        assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
        assert (key["kty"], key["crv"], key["use"], key["alg"]) == ("EC", "P-256", "sig", "ES256")
