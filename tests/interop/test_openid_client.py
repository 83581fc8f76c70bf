"""npm openid-client 6: a command line program, and a server."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.interop.gatepost import Gatepost, Person
from tests.stores import free_port

SCRIPT = "openid_client.mjs"
LOOPBACK = "http://127.0.0.1/callback"


@pytest.fixture
def run(gatepost: Gatepost, drive: Callable[..., Any]) -> Callable[..., Any]:
    """`run("refresh")` as a public client; further words are registered or given to the script."""

    def run(scenario: str, *, given: dict[str, Any] | None = None, **registration: Any) -> Any:
        client = gatepost.register(redirect_uris=[LOOPBACK], **registration)
        about = {"issuer": gatepost.url, "client_id": client.client_id, "secret": client.raw_secret}
        return drive(SCRIPT, scenario, {**about, **(given or {})})

    return run


@pytest.mark.parametrize("algorithm", ["oidc", "oauth2"])
def test_a_code_with_pkce_on_a_random_loopback_port(run: Callable[..., Any], person: Person, gatepost: Gatepost, algorithm: str) -> None:
    told = run("code", given={"algorithm": algorithm})
    assert told["claims"]["sub"] == told["info"]["sub"] == str(person.user.id)
    assert told["claims"]["iss"] == gatepost.url
    assert told["info"]["email"] == told["claims"]["email"] == person.user.email
    assert told["info"]["name"] == "Ada Lovelace"
    assert told["tokens"]["access_token"].startswith("gpo_")


@pytest.mark.parametrize(
    "scenario",
    ["refresh", "refreshes at once", "an old refresh token", "revoke", "code reuse", "code at once", "wrong verifier"],
)
def test_a_public_client(run: Callable[..., Any], scenario: str) -> None:
    run(scenario)


def test_a_request_that_is_refused_comes_back_as_an_error_that_the_client_believes(run: Callable[..., Any]) -> None:
    """With `state` and `iss`, without which openid-client refuses the answer itself."""
    refusals = [
        ["invalid_scope", {"scope": "openid audit:read"}],
        ["invalid_request", {"code_challenge_method": "plain"}],
        ["invalid_target", {"resource": "https://nobody.example"}],
        ["unsupported_response_type", {"response_type": "token"}],
        ["access_denied", {"organization": "not-mine"}],
        ["request_not_supported", {"request": "e30.e30."}],
    ]
    assert run("refused at the browser", given={"refusals": refusals}) == {expected: expected for expected, _ in refusals}


def test_max_age_comes_back_as_auth_time(run: Callable[..., Any]) -> None:
    assert 0 <= time.time() - run("max_age")["auth_time"] < 120


def test_rp_initiated_logout(run: Callable[..., Any]) -> None:
    """It ends the browser's session: `prompt=none` says so, and what was signed in goes on."""
    port = free_port()
    run("logout", given={"logout_port": port}, post_logout_redirect_uris=[f"http://127.0.0.1:{port}/bye"])


def test_a_server_with_a_secret(run: Callable[..., Any], person: Person) -> None:
    told = run(
        "server",
        type="confidential",
        scope="openid profile email offline_access introspect",
        grant_types="authorization_code refresh_token client_credentials",
    )
    assert (told["info"]["sub"], told["info"]["token_type"]) == (str(person.user.id), "Bearer")
    assert told["itself"]["active"]
    assert told["itself"]["sub"] == told["itself"]["client_id"]
