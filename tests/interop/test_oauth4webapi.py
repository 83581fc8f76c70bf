"""npm oauth4webapi 3: a strict client, and a resource server that reads JWT access tokens by the rules of RFC 9068."""

from collections.abc import Callable
from typing import Any

import pytest

from tests import factories
from tests.interop.gatepost import Gatepost, Person

SCRIPT = "oauth4webapi.mjs"
RESOURCE = "https://api.example.com/projects"


@pytest.fixture(scope="module", autouse=True)
def _resource(gatepost: Gatepost) -> None:
    factories.make_resource(identifier=RESOURCE, scope="projects:read projects:write")


@pytest.fixture
def run(gatepost: Gatepost, drive: Callable[..., Any]) -> Callable[[str], Any]:
    """A confidential client with a loopback address, which may use the resource."""

    def run(scenario: str) -> Any:
        client = gatepost.register(
            type="confidential",
            secret="gpc_ with: odd/characters+and%25 Ünïcode",
            redirect_uris=["http://127.0.0.1/callback"],
            grant_types="authorization_code refresh_token client_credentials",
            scope="openid profile email offline_access projects:read introspect",
        )
        given = {"issuer": gatepost.url, "client_id": client.client_id, "secret": client.raw_secret, "resource": RESOURCE}
        return drive(SCRIPT, scenario, {**given, "scope": "openid email offline_access projects:read"})

    return run


def test_both_metadata_documents_are_one(run: Callable[[str], Any], gatepost: Gatepost) -> None:
    told = run("discovery")
    assert told["issuer"] == gatepost.url
    assert told["code_challenge_methods_supported"] == ["S256"]


def test_a_jwt_for_a_resource(run: Callable[[str], Any], person: Person, gatepost: Gatepost) -> None:
    told = run("a JWT for a resource")
    claims = told["claims"]
    assert (told["header"]["typ"], told["header"]["alg"]) == ("at+jwt", "ES256")
    assert (claims["iss"], claims["aud"], claims["sub"]) == (gatepost.url, RESOURCE, str(person.user.id))
    assert set(claims["scope"].split()) == {"openid", "email", "offline_access", "projects:read"}
    assert (claims["email"], claims["email_verified"]) == (person.user.email, True)
    assert claims["org"]["id"] == str(person.user.id)
    assert "name" not in claims
    assert told["claimsLater"]["jti"] != claims["jti"]
    assert {name: told["claimsLater"][name] for name in ("sub", "aud", "scope", "sid", "client_id")} == {
        name: claims[name] for name in ("sub", "aud", "scope", "sid", "client_id")
    }
    assert told["info"]["active"] and told["infoOfRefresh"]["active"]
    assert (told["info"]["aud"], told["info"]["client_id"]) == (RESOURCE, claims["client_id"])
    assert told["after"] == [{"active": False}] * 3


@pytest.mark.parametrize("scenario", ["an unknown resource", "code reuse", "refreshes at once", "a wrong secret"])
def test_a_confidential_client(run: Callable[[str], Any], scenario: str) -> None:
    run(scenario)


def test_without_a_resource_the_token_is_opaque(run: Callable[[str], Any], person: Person) -> None:
    told = run("opaque without a resource")
    assert told["access_token"].startswith("gpo_")
    assert told["info"]["sub"] == str(person.user.id)


def test_a_machine_gets_a_jwt_of_its_own(run: Callable[[str], Any]) -> None:
    told = run("a machine")
    assert told["claims"]["sub"] == told["claims"]["client_id"]
    assert not told["has_refresh_token"]
    assert "org" not in told["claims"]
