"""PyPI requests-oauth2client, which validates the id_token and the authorization response by itself."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest
import requests
from requests_oauth2client import (
    BearerToken,
    ClientSecretBasic,
    ClientSecretPost,
    InvalidGrant,
    InvalidScope,
    InvalidTarget,
    OAuth2Client,
    OAuth2ClientCredentialsAuth,
    PublicApp,
    UnauthorizedClient,
)

from models import OAuthClient
from tests import factories
from tests.interop.gatepost import Gatepost, Person

RESOURCE = "https://api.example.com/projects"
REDIRECT = "http://127.0.0.1/callback"
SCOPE = "openid profile email offline_access"
MACHINE = {
    "type": "confidential",
    "redirect_uris": [REDIRECT],
    "grant_types": "authorization_code refresh_token client_credentials",
    "scope": f"{SCOPE} projects:read introspect",
}


@pytest.fixture(scope="module", autouse=True)
def _resource(gatepost: Gatepost) -> None:
    factories.make_resource(identifier=RESOURCE, scope="projects:read projects:write")


def client_of(gatepost: Gatepost, registered: OAuthClient, how: Any = None) -> OAuth2Client:
    auth = (
        PublicApp(registered.client_id)
        if registered.raw_secret is None
        else (how or ClientSecretBasic)(registered.client_id, registered.raw_secret)
    )
    # testing: it would take https only
    client = OAuth2Client.from_discovery_endpoint(issuer=gatepost.url, auth=auth, testing=True, id_token_signed_response_alg="ES256")
    assert client.authorization_response_iss_parameter_supported
    return client


@pytest.fixture
def program(gatepost: Gatepost) -> OAuth2Client:
    """A public client."""
    return client_of(gatepost, gatepost.register(redirect_uris=[REDIRECT]))


@pytest.fixture
def portal(gatepost: Gatepost) -> OAuth2Client:
    """A confidential client."""
    return client_of(gatepost, gatepost.register(**MACHINE))


def get_code(client: OAuth2Client, person: Person, **wanted: Any) -> Any:
    """The authorization response, as the client validated it. Nobody listens: the address in the redirect is enough."""
    request = client.authorization_request(**{"redirect_uri": "http://127.0.0.1:49152/callback", "scope": SCOPE, **wanted})
    answer = person.browser.get(request.uri, allow_redirects=False, timeout=30)
    assert answer.status_code == 303, answer.text
    return request.validate_callback(answer.headers["Location"])


def get_tokens(client: OAuth2Client, person: Person, **wanted: Any) -> BearerToken:
    return client.authorization_code(get_code(client, person, **wanted))


def is_live(gatepost: Gatepost, token: BearerToken) -> bool:
    status = requests.get(f"{gatepost.url}/oauth/userinfo", auth=token, timeout=30).status_code
    assert status in (200, 401)
    return status == 200


def test_a_code_with_pkce_and_an_id_token(program: OAuth2Client, person: Person) -> None:
    tokens = get_tokens(program, person)
    assert tokens.id_token.claims["sub"] == str(person.user.id)
    assert program.userinfo(tokens)["email"] == person.user.email
    assert set(tokens.scope.split()) == set(SCOPE.split())


def test_max_age_is_answered_with_auth_time(program: OAuth2Client, person: Person) -> None:
    assert get_tokens(program, person, max_age=600).id_token.auth_time


def test_refresh(program: OAuth2Client, person: Person, gatepost: Gatepost) -> None:
    first = get_tokens(program, person)
    second = program.refresh_token(first)
    assert second.refresh_token != first.refresh_token
    assert is_live(gatepost, second)
    with pytest.raises(InvalidScope):
        program.refresh_token(second, scope="openid projects:write")
    assert program.refresh_token(second, scope="openid email").scope == "openid email"


def test_two_refreshes_at_once_get_the_same_tokens(program: OAuth2Client, person: Person, gatepost: Gatepost) -> None:
    tokens = get_tokens(program, person)
    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            one, two = pool.map(program.refresh_token, [tokens, tokens])
            assert (one.access_token, one.refresh_token, one.scope) == (two.access_token, two.refresh_token, two.scope)
            assert one.id_token.claims == two.id_token.claims
            tokens = one
    assert is_live(gatepost, tokens)


@pytest.mark.parametrize("kind", ["access", "refresh"])
def test_revoke(program: OAuth2Client, person: Person, gatepost: Gatepost, kind: str) -> None:
    tokens = get_tokens(program, person)
    assert program.revoke_access_token(tokens) if kind == "access" else program.revoke_refresh_token(tokens)
    assert not is_live(gatepost, tokens)
    with pytest.raises(InvalidGrant):
        program.refresh_token(tokens)
    assert program.revoke_access_token(tokens)


def test_code_reuse(program: OAuth2Client, person: Person, gatepost: Gatepost) -> None:
    code = get_code(program, person)
    tokens = program.authorization_code(code)
    with pytest.raises(InvalidGrant):
        program.authorization_code(code)
    assert not is_live(gatepost, tokens)
    with pytest.raises(InvalidGrant):
        program.refresh_token(tokens)


def test_a_jwt_for_a_resource(portal: OAuth2Client, person: Person, gatepost: Gatepost) -> None:
    """Read as a resource server does: the published keys, the issuer, the audience, `typ`, the times (RFC 9068 section 4)."""
    tokens = get_tokens(portal, person, scope="openid email offline_access projects:read", resource=RESOURCE)
    token = tokens.access_token_jwt
    assert token.typ == "at+jwt"
    token.validate(portal.authorization_server_jwks.get_jwk_by_kid(token.kid), alg="ES256", iss=gatepost.url, aud=RESOURCE)
    assert (token.claims["sub"], token.claims["client_id"]) == (str(person.user.id), portal.client_id)
    assert portal.introspect_token(tokens)["active"]
    with pytest.raises(InvalidTarget):
        portal.refresh_token(tokens, resource="https://elsewhere.example")
    later = portal.refresh_token(tokens, resource=RESOURCE)
    portal.revoke_refresh_token(later)
    assert portal.introspect_token(tokens) == portal.introspect_token(later) == {"active": False}


def test_introspection_says_who_and_to_whom(portal: OAuth2Client, person: Person, gatepost: Gatepost) -> None:
    tokens = get_tokens(portal, person)
    told = portal.introspect_token(tokens)
    assert (told["active"], told["sub"], told["client_id"]) == (True, str(person.user.id), portal.client_id)
    assert portal.introspect_token("gpo_nothing") == {"active": False}
    other = client_of(gatepost, gatepost.register(**{**MACHINE, "scope": SCOPE}))
    assert other.introspect_token(tokens) == {"active": False}


@pytest.mark.parametrize("how", [ClientSecretBasic, ClientSecretPost])
@pytest.mark.parametrize("secret", [None, "odd: secret/with+100%"])
def test_client_credentials_as_an_auth_handler_of_requests(gatepost: Gatepost, how: Any, secret: str | None) -> None:
    if how is ClientSecretBasic and secret:
        secret = quote(secret, safe="")  # it does not form-encode by itself (RFC 6749 section 2.3.1), so its user must
        registered = gatepost.register(**MACHINE, secret="odd: secret/with+100%")
        registered.raw_secret = secret
    else:
        registered = gatepost.register(**MACHINE, secret=secret)
    client = client_of(gatepost, registered, how)
    answer = requests.get(f"{gatepost.url}/api/v1/whoami", auth=OAuth2ClientCredentialsAuth(client, scope="projects:read"), timeout=30)
    assert answer.json()["actor"] == {"type": "client", "id": client.client_id}
    assert answer.json()["scopes"] == ["projects:read"]


def test_a_public_client_is_not_authorized_to_act_for_itself(program: OAuth2Client) -> None:
    with pytest.raises(UnauthorizedClient):
        program.client_credentials()
