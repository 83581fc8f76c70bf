"""npm openid-client 5, which many frameworks still use: it expects RS256 unless it is told otherwise."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.interop.gatepost import Gatepost, Person

SCRIPT = "openid_client_5.mjs"


@pytest.fixture
def run(gatepost: Gatepost, drive: Callable[..., Any]) -> Callable[..., Any]:
    """`run("with its defaults")` as a confidential client; further words are registered or given to the script."""

    def run(scenario: str, *, given: dict[str, Any] | None = None, **registration: Any) -> Any:
        client = gatepost.register(type="confidential", redirect_uris=["http://127.0.0.1/callback"], **registration)
        about = {"issuer": gatepost.url, "client_id": client.client_id, "secret": client.raw_secret}
        return drive(SCRIPT, scenario, {**about, **(given or {})})

    return run


def test_its_defaults_work_with_a_client_registered_for_rs256(run: Callable[..., Any], person: Person) -> None:
    told = run("with its defaults", id_token_alg="RS256")
    assert told["algorithms"] == ["RS256", "RS256"]
    assert told["claims"]["sub"] == told["info"]["sub"] == str(person.user.id)
    assert told["info"]["email"] == person.user.email


def test_it_can_be_told_that_id_tokens_are_es256(run: Callable[..., Any]) -> None:
    told = run("with its defaults", given={"metadata": {"id_token_signed_response_alg": "ES256"}})
    assert told["algorithms"] == ["ES256", "ES256"]


def test_each_algorithm_is_the_registered_one_and_no_other(run: Callable[..., Any]) -> None:
    run("expects another algorithm")
    run("expects another algorithm", id_token_alg="RS256", given={"metadata": {"id_token_signed_response_alg": "ES256"}})


def test_the_redirect_uri_may_be_left_out(run: Callable[..., Any]) -> None:
    run("without redirect_uri at the token endpoint")
