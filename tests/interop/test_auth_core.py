"""npm @auth/core with its default settings, under either signature of ID tokens."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.interop.gatepost import Gatepost, Person


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_people_sign_in(gatepost: Gatepost, drive: Callable[..., Any], person: Person, algorithm: str) -> None:
    client = gatepost.register(type="confidential", redirect_uris=["http://127.0.0.1/auth/callback/gatepost"], id_token_alg=algorithm)
    given = {"issuer": gatepost.url, "client_id": client.client_id, "secret": client.raw_secret}
    told = drive("auth_core.mjs", "sign in", given)
    assert told["user"]["email"] == person.user.email
    assert told["profile"]["sub"] == str(person.user.id)
    header = told["account"]["id_token"].partition(".")[0]
    assert json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["alg"] == algorithm
