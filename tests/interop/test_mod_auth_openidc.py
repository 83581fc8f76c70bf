"""Debian's mod_auth_openidc: Apache as a relying party, and as a resource server that introspects. Gatepost speaks TLS."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests import machine
from tests.certificates import make_certificate
from tests.conftest import _missing
from tests.interop.apache import Apache
from tests.interop.gatepost import Gatepost, Person, running
from tests.oauth.flow import CHALLENGE, VERIFIER

CLIENT_ID = "apache"
SECRET = "gpc_for-apache_0123456789abcdefghijklmnopqrstuvwxyz"
SCOPE = "openid email profile offline_access"
CONFIGURATION = f"""
    OIDCProviderMetadataURL @ISSUER@/.well-known/openid-configuration
    OIDCClientID {CLIENT_ID}
    OIDCClientSecret {SECRET}
    OIDCRedirectURI @URL@/rp/back
    OIDCCryptoPassphrase only-for-tests
    OIDCPKCEMethod S256
    OIDCScope "{SCOPE}"
    OIDCCABundlePath @AUTHORITY@
    OIDCRemoteUserClaim email
    OIDCRefreshAccessTokenBeforeExpiry 3600
    OIDCPassRefreshToken On
    <Location /rp>
        AuthType openid-connect
        Require valid-user
        Header always set X-Sub "expr=%{{HTTP:OIDC_CLAIM_sub}}"
        Header always set X-Token "expr=%{{HTTP:OIDC_access_token}}"
    </Location>

    OIDCOAuthIntrospectionEndpoint @ISSUER@/oauth/introspect
    OIDCOAuthClientID {CLIENT_ID}
    OIDCOAuthClientSecret {SECRET}
    OIDCOAuthIntrospectionEndpointAuth client_secret_basic
    OIDCOAuthTokenIntrospectionInterval -1
    OIDCOAuthRemoteUserClaim sub
    <Location /api>
        AuthType oauth20
        Require valid-user
    </Location>
    <Location /api/members>
        AuthType oauth20
        Require claim scope~orgs
    </Location>
"""


class Tokens:
    """Tokens of a program that has nothing to do with Apache: `tokens(person)`."""

    def __init__(self, gatepost: Gatepost) -> None:
        self.gatepost = gatepost
        self.client = gatepost.register(redirect_uris=["http://127.0.0.1/callback"], scope=f"{SCOPE} orgs")

    def __call__(self, person: Person, scope: str = SCOPE) -> dict[str, Any]:
        back = "http://127.0.0.1:49152/callback"
        query = {"response_type": "code", "client_id": self.client.client_id, "redirect_uri": back, "scope": scope}
        query |= {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
        leave = person.open(f"{self.gatepost.url}/oauth/authorize", params=query, allow_redirects=False)
        code = parse_qs(urlsplit(leave.headers["Location"]).query)["code"][0]
        body = {"grant_type": "authorization_code", "code": code, "redirect_uri": back, "code_verifier": VERIFIER}
        return self._post("token", body).json()

    def revoke(self, token: str) -> None:
        self._post("revoke", {"token": token})

    def _post(self, door: str, body: dict[str, str]) -> requests.Response:
        body["client_id"] = self.client.client_id
        answer = requests.post(f"{self.gatepost.url}/oauth/{door}", data=body, verify=self.gatepost.verify, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer


@pytest.fixture(scope="module")
def tokens(gatepost: Gatepost) -> Tokens:
    return Tokens(gatepost)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def gatepost(postgres_url: str, valkey_url: str, certificate: tuple[Path, Path]) -> Iterator[Gatepost]:
    if machine.find_apache() is None:
        _missing(f"Apache with mod_auth_openidc (Debian: apt-get install {machine.APACHE_PACKAGE})")
    arguments = ("--certfile", str(certificate[0]), "--keyfile", str(certificate[1]))
    with running(postgres_url, valkey_url, scheme="https", arguments=arguments, verify=str(certificate[0])) as gatepost:
        yield gatepost


@pytest.fixture(scope="module")
def site(gatepost: Gatepost, certificate: tuple[Path, Path]) -> Iterator[Apache]:
    server = Apache(CONFIGURATION.replace("@ISSUER@", gatepost.url), authority=certificate[0])
    try:
        server.start()
        gatepost.register(
            client_id=CLIENT_ID,
            type="confidential",
            secret=SECRET,
            redirect_uris=[f"{server.url}/rp/back"],
            post_logout_redirect_uris=[f"{server.url}/"],
            grant_types="authorization_code refresh_token client_credentials",
            scope=f"{SCOPE} orgs introspect",
        )
        yield server
    finally:
        server.stop()


def sign_in(site: Apache, person: Person) -> requests.Response:
    answer = person.open(f"{site.url}/rp/")
    assert (answer.status_code, answer.text) == (200, "this is rp\n"), f"{answer.url} {answer.text}\n{site.log}"
    return answer


def call(site: Apache, token: str | None, path: str = "/api/") -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.get(site.url + path, headers=headers, timeout=30)


def test_apache_signs_people_in(gatepost: Gatepost, site: Apache) -> None:
    """Discovery, PKCE, the code, the id_token's signature, `at_hash` and nonce, userinfo: all checked by Apache."""
    person = gatepost.person()
    answer = sign_in(site, person)
    assert answer.headers["X-User"] == person.user.email
    assert answer.headers["X-Sub"] == str(person.user.id)
    hops = [urlsplit(hop.headers["Location"]) for hop in answer.history]
    assert [hop.path for hop in hops] == ["/oauth/authorize", "/rp/back", "/rp/"]
    assert {"code_challenge", "nonce", "state"} <= parse_qs(hops[0].query).keys()
    assert parse_qs(hops[1].query)["iss"] == [gatepost.url]


def test_apache_refreshes_its_access_token(gatepost: Gatepost, site: Apache) -> None:
    """It was told to refresh long before the token's end, so it does at every page."""
    person = gatepost.person()
    seen = [sign_in(site, person).headers["X-Token"]]
    for _ in range(3):
        answer = person.open(f"{site.url}/rp/")
        assert answer.status_code == 200, site.log
        assert not answer.history
        seen.append(answer.headers["X-Token"])
    assert len(set(seen)) == len(seen)
    assert call(site, seen[-1]).status_code == 200


def test_apache_signs_people_out(gatepost: Gatepost, site: Apache) -> None:
    person = gatepost.person()
    sign_in(site, person)
    answer = person.open(f"{site.url}/rp/back", params={"logout": f"{site.url}/"})
    assert f"{gatepost.url}/oauth/logout" in [hop.headers["Location"].partition("?")[0] for hop in answer.history], site.log
    assert answer.url.partition("?")[0] == f"{site.url}/"
    assert person.open(f"{site.url}/rp/").url.startswith(f"{gatepost.url}/login?handoff=")


def test_a_refusal_signs_nobody_in(gatepost: Gatepost, site: Apache) -> None:
    """This version takes an error with `iss` (RFC 9207) for a provider that wants to begin a sign-in, and shows a page."""
    stranger = requests.Session()
    stranger.verify, stranger.trust_env = gatepost.verify, False
    leave = stranger.get(f"{site.url}/rp/", allow_redirects=False, timeout=30)
    answer = stranger.get(leave.headers["Location"] + "&prompt=none", timeout=30)
    assert answer.url.startswith(f"{site.url}/rp/back?error=login_required"), answer.url
    assert (answer.headers.get("X-User", ""), answer.headers.get("X-Sub", "")) == ("", "")
    again = stranger.get(f"{site.url}/rp/", allow_redirects=False, timeout=30)
    assert again.headers["Location"].startswith(f"{gatepost.url}/oauth/authorize?")


def test_apache_asks_about_tokens(gatepost: Gatepost, site: Apache, tokens: Tokens) -> None:
    """RFC 7662: 200 with a live token, 401 without, with a wrong one, and at once when it is revoked."""
    person = gatepost.person()
    token = tokens(person)["access_token"]
    answer = call(site, token)
    assert (answer.status_code, answer.text) == (200, "this is api\n"), site.log
    assert answer.headers["X-User"] == str(person.user.id)
    for wrong in (None, "gpo_wrong", token[:-1]):
        refused = call(site, wrong)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    tokens.revoke(token)
    assert call(site, token).status_code == 401


def test_apache_reads_scopes(gatepost: Gatepost, site: Apache, tokens: Tokens) -> None:
    person = gatepost.person()
    assert call(site, tokens(person, scope="openid orgs")["access_token"], "/api/members/").status_code == 200, site.log
    assert call(site, tokens(person, scope="openid")["access_token"], "/api/members/").status_code in (401, 403)
