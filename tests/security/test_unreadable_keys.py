"""A server whose encryption keys do not open what is stored: it says so, wherever that is asked, and spends nothing."""

import base64
import json
import logging
import re
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from errors import KeysUnreadable
from extensions import db
from infra import clock
from infra.clock import now
from infra.ids import uuid7
from infra.secret_text import hash_secret
from models import EmailConfirmation
from services.access.actors import Actor
from services.encryption.keyring import cipher
from services.sign_in import email_confirmations
from services.tokens import signing_keys
from tests import factories
from tests.oauth.flow import Program
from tests.security import readiness
from tests.stores import free_port

OWN = "http://127.0.0.1:8000/api/v1"
OTHER = base64.b64encode(b"x" * 32).decode()
WRONG = pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (f"test:{OTHER}", "GATEPOST_ENCRYPTION_KEYS of this process has another key 'test'"),
        (f"new:{OTHER}", "GATEPOST_ENCRYPTION_KEYS of this process has no key 'test'"),
    ],
    ids=["another key", "missing"],
)


@WRONG
@pytest.mark.both_databases
def test_readiness_says_so_and_jwks_keeps_answering(app: Flask, make_app: Callable[..., Flask], keys: str, problem: str) -> None:
    known = app.test_client().get("/.well-known/jwks.json").json
    client = make_app(encryption_keys=keys).test_client()
    response = readiness.ask(client)
    assert (response.status_code, response.json["keys"]) == (503, "unreadable")
    assert response.json["stores"] == {"database": "ok", "redis": "ok"}
    assert int(response.headers["Retry-After"]) > 0
    jwks = client.get("/.well-known/jwks.json")
    assert (jwks.status_code, jwks.json) == (200, known)
    assert client.get("/healthz").status_code == 200
    response = readiness.ask(app.test_client())
    assert (response.status_code, response.json["keys"]) == (200, "ok")


@WRONG
def test_nothing_is_spent_and_the_text_is_true(app: Flask, make_app: Callable[..., Flask], keys: str, problem: str) -> None:
    person, browser = factories.make_user(), app.test_client()
    factories.sign_in(browser, person)
    program = Program(app, factories.make_client(trusted=True))
    tokens = program.get_tokens(browser, scope="openid offline_access orgs", resource=OWN)
    code = program.get_code(browser, scope="openid")
    wrong = Program(make_app(encryption_keys=keys), program.client)
    for response in (wrong.exchange(code), wrong.refresh(tokens["refresh_token"])):
        assert (response.status_code, response.json["error"]) == (503, "temporarily_unavailable")
        assert int(response.headers["Retry-After"]) > 0
        assert "encryption keys" in response.json["error_description"]
        assert "store" not in response.json["error_description"]
    assert wrong.is_live(tokens["access_token"])  # what was signed before needs public parts only
    factories.use(app)
    assert program.exchange(code).status_code == 200
    assert program.refresh(tokens["refresh_token"]).status_code == 200


@WRONG
def test_the_log_names_the_key_once_a_minute(
    app: Flask, make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture, keys: str, problem: str
) -> None:
    app.test_client().get("/.well-known/jwks.json")
    client = make_app(encryption_keys=keys).test_client()

    def lines() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "gatepost.encryption"]

    with caplog.at_level(logging.ERROR, "gatepost.encryption"):
        clock.move(3600)
        readiness.ask(client)
        readiness.ask(client)
        assert len(lines()) == 1
        assert problem in lines()[0]
        clock.move(3661)
        readiness.ask(client)
        assert len(lines()) == 2


def test_the_metric_goes_on_counting(app: Flask, live_server: Callable[..., Any]) -> None:
    app.test_client().get("/.well-known/jwks.json")
    bind = f"127.0.0.1:{free_port()}"
    server = live_server(workers=1, env={"GATEPOST_METRICS_BIND": bind, "GATEPOST_ENCRYPTION_KEYS": f"test:{OTHER}"})

    def count() -> float:
        with urllib.request.urlopen(f"http://{bind}/metrics", timeout=5) as answer:
            found = re.search(r'^gatepost_unreadable_values_total{encryption_key="test"} (\S+)', answer.read().decode(), re.MULTILINE)
        return float(found[1]) if found else 0

    for _ in range(3):
        before = count()
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(server.url + "/readyz", timeout=5)
        assert count() > before


@WRONG
def test_a_mailed_confirmation_is_not_used_up(app: Flask, make_app: Callable[..., Flask], keys: str, problem: str) -> None:
    with app.app_context():
        row = EmailConfirmation(
            id=uuid7(),
            provider="acme",
            email="ann@example.com",
            token_hash=hash_secret("the link"),
            browser_hash=hash_secret("the browser"),
            claims_ciphertext=b"",
            expires_at=now() + timedelta(hours=1),
            created_at=now(),
            tries=0,
        )
        row.claims_ciphertext = cipher().encrypt(b"{}", context=email_confirmations.context_of(row.id))
        db.session.add(row)
        db.session.commit()
        row_id = row.id
    with make_app(encryption_keys=keys).app_context():
        with pytest.raises(KeysUnreadable) as caught:
            email_confirmations.use(Actor.operator(), "the link", raw_browser="the browser")
        assert problem in caught.value.detail
        assert db.session.get(EmailConfirmation, row_id).used_at is None


@WRONG
def test_no_key_that_does_not_open_begins_to_sign(app: Flask, make_app: Callable[..., Flask], keys: str, problem: str) -> None:
    app.test_client().get("/.well-known/jwks.json")
    result = make_app(encryption_keys=keys).test_cli_runner().invoke(args=["keys", "rotate"])
    assert result.exit_code == 1
    assert "encryption keys" in result.stderr
    with app.app_context():
        assert sorted(key.state for key in signing_keys.list_keys()) == ["next", "signing"]


def test_the_doctor_names_a_key_that_was_replaced_under_its_id(app: Flask, make_app: Callable[..., Flask]) -> None:
    """Also when the keys that sign are readable."""
    organization = factories.make_organization()
    factories.make_credential("A_KEY", "of before", organization=organization)
    other = make_app(encryption_keys=f"test:{OTHER}")
    other.test_client().get("/.well-known/jwks.json")  # made under the other key
    findings = json.loads(other.test_cli_runner().invoke(args=["doctor", "--json"]).stdout)
    faults = [finding for finding in findings if finding["level"] == "fault"]
    assert [(finding["area"], finding["subject"]) for finding in faults] == [("keys", "encryption key test")]
    assert "does not open credentials" in faults[0]["text"]
