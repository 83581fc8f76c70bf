"""Signing keys: one first set however many processes start, rotation that nobody notices, retiring that ends a key."""

import base64
import json
import multiprocessing
import re
import time
from dataclasses import replace

import pytest

from errors import Conflict
from extensions import db
from models import SigningKey
from services.access.actors import Actor
from services.tokens import signing_keys
from tests.oauth.flow import Program, bearer, claims_of, header_of, people, verified

OWN = "http://127.0.0.1:8000/api/v1"


def published(client):
    return client.get("/.well-known/jwks.json").json


def kids(client):
    return [key["kid"] for key in published(client)["keys"]]


def states(app):
    with app.app_context():
        found = {key.kid: key.state for key in signing_keys.list_keys()}
        db.session.rollback()
        return found


def rotate(app):
    with app.app_context():
        return signing_keys.rotate(Actor.operator())


def retire(app, kid):
    with app.app_context():
        signing_keys.retire(Actor.operator(), kid)


@pytest.fixture
def tokens(program, browser):
    return program.get_tokens(browser, scope="openid orgs", resource=OWN)


def _start_and_read(app, barrier, answers):
    with app.app_context():
        db.engine.dispose(close=False)  # another process's connections
        signing_keys.forget()
        barrier.wait(20)
        answers.put(json.dumps(signing_keys.public_jwks()))


def test_a_key_id_never_reads_like_an_option_of_a_command(client):
    assert all(re.fullmatch("[0-9a-f]{16}", kid) for kid in kids(client))


@pytest.mark.both_databases
def test_of_many_processes_that_start_at_once_one_makes_the_keys(app):
    with app.app_context():
        db.engine.dispose()
    fork = multiprocessing.get_context("fork")
    barrier, answers = fork.Barrier(8), fork.SimpleQueue()
    processes = [fork.Process(target=_start_and_read, args=(app, barrier, answers), daemon=True) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 8
    assert len({answers.get() for _ in processes}) == 1
    assert sorted(states(app).values()) == ["next", "signing"]


def test_the_private_part_is_encrypted_at_rest_and_never_published(app, client):
    published(client)
    with app.app_context():
        for row in db.session.query(SigningKey):
            assert (
                b'"d"' not in row.private_ciphertext if isinstance(row.private_ciphertext, bytes) else '"d"' not in row.private_ciphertext
            )
            assert "d" not in row.public_jwk
    assert '"d"' not in client.get("/.well-known/jwks.json").text


def test_rotating_signs_with_the_key_that_was_published_before(app, client, program, browser, tokens):
    before = kids(client)
    old = header_of(tokens["access_token"])["kid"]
    rotate(app)
    new = header_of(program.get_tokens(browser, scope="openid")["id_token"])["kid"]
    assert new in before
    assert new != old
    assert len(kids(client)) == 3
    assert set(before) < set(kids(client))


@pytest.mark.both_databases
def test_what_the_old_key_signed_stays_good(app, client, program, tokens):
    rotate(app)
    assert program.is_live(tokens["access_token"])
    assert verified(tokens["id_token"], published(client))["sub"]
    rotate(app)
    assert program.is_live(tokens["access_token"])
    assert sorted(states(app).values()) == ["next", "old", "old", "signing"]


def test_retiring_ends_a_key(app, client, program, tokens):
    old = header_of(tokens["access_token"])["kid"]
    rotate(app)
    retire(app, old)
    assert old not in kids(client)
    assert not program.is_live(tokens["access_token"])
    retire(app, old)  # twice is no error


def test_the_signing_key_cannot_be_retired(app, tokens):
    with pytest.raises(Conflict) as refused:
        retire(app, header_of(tokens["access_token"])["kid"])
    assert refused.value.code == "signing_key_in_use"


@pytest.mark.both_databases
def test_a_next_key_that_is_retired_is_replaced_at_once(app, client):
    published(client)
    following = next(kid for kid, state in states(app).items() if state == "next")
    retire(app, following)
    assert sorted(states(app).values()) == ["next", "retired", "signing"]
    rotate(app)
    assert following not in kids(client)


# --- another process rotated ----------------------------------------------------------------------------------------------


def behind_by(app, seconds, change):
    """`change(app)` as another process does it: this one goes on with what it read `seconds` ago."""
    with app.app_context():
        known = signing_keys.key_set()
        change(app)
        signing_keys._current[db.engine] = replace(known, read_at=time.monotonic() - seconds)


def test_a_process_follows_within_ten_seconds(app, client):
    before = kids(client)
    behind_by(app, 5, rotate)
    assert kids(client) == before
    with app.app_context():
        known = signing_keys.key_set()
        signing_keys._current[db.engine] = replace(known, read_at=time.monotonic() - signing_keys.FOLLOW_SECONDS)
    assert len(kids(client)) == 3


def test_a_token_of_a_key_that_this_process_has_not_met_is_looked_up_at_once(app, program, browser, tokens):
    newer = {}

    def elsewhere(app):
        rotate(app)
        rotate(app)
        newer.update(program.get_tokens(browser, scope="openid", resource=OWN))

    behind_by(app, 5, elsewhere)
    assert program.is_live(newer["access_token"])


def test_unknown_keys_do_not_make_every_request_read_the_table(app, program, tokens):
    signed = tokens["access_token"].split(".")
    header = base64.urlsafe_b64encode(json.dumps({"alg": "ES256", "typ": "at+jwt", "kid": "unknown"}).encode()).rstrip(b"=").decode()
    with app.app_context():
        before = signing_keys.key_set()
    for _ in range(3):
        assert program.http.get("/api/v1/whoami", headers=bearer(".".join([header, *signed[1:]]))).status_code == 401
    with app.app_context():
        assert signing_keys.key_set() is before


def test_two_applications_on_one_database_trust_each_other(app, make_app, program, tokens):
    other = make_app()
    assert Program(other, program.client).is_live(tokens["access_token"])
    [(_, browser)] = people(other)
    theirs = Program(other, program.client).get_tokens(browser, scope="openid", resource=OWN)
    assert program.is_live(theirs["access_token"])
    assert claims_of(theirs["access_token"])["iss"] == claims_of(tokens["access_token"])["iss"]
