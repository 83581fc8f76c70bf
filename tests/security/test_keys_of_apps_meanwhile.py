"""A key that an app makes while its person takes its access away: whichever the database lets through first, it ends."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from flask import Flask

from tests.security.test_keys_of_apps import Desk, _operator_deletes_the_client, _operator_signs_out, _remove_access
from tests.security.test_organization_races import meanwhile

REVOKED = "UPDATE refresh_families SET revoked_at = now(), revoked_because = 'app_removed'"
DELETED = "DELETE FROM oauth_clients WHERE client_id = 'patchwork'"


@pytest.fixture
def desk(app: Flask) -> Desk:
    return Desk(app)


@pytest.mark.parametrize("ending", [REVOKED, DELETED])
def test_a_key_that_waits_for_the_end_of_its_grant_is_not_made(desk: Desk, database: Any, ending: str) -> None:
    token = desk.tokens(desk.program, desk.here)["access_token"]
    with psycopg.connect(database.owner_url.replace("+psycopg", "")) as connection:
        connection.execute(ending)
        answer = meanwhile(desk.app, connection, lambda: desk.mint(token))
    assert (answer.status_code, answer.json["error"]) == (401, "invalid_token")
    assert desk.here.get("/api/v1/api-keys").json["items"] == []


@pytest.mark.parametrize("end", [_remove_access, _operator_signs_out, _operator_deletes_the_client])
def test_of_many_that_are_made_meanwhile_none_is_left(desk: Desk, end: Callable[[Desk], None]) -> None:
    token = desk.tokens(desk.program, desk.here)["access_token"]
    with ThreadPoolExecutor(8) as pool:
        minting = [pool.submit(desk.mint, token, name=f"key {number}") for number in range(6)]
        ending = pool.submit(end, desk)
        answers = [done.result() for done in minting]
        ending.result()
    assert {answer.status_code for answer in answers} <= {201, 401}
    assert not any(desk.works(answer.json["key"]) for answer in answers if answer.status_code == 201)
