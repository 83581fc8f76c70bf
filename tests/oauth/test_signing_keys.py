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
from infra import clock
from models import SigningKey
from services.access.actors import Actor
from services.database.transactions import begin_write
from services.tokens import seed_clients, signing_keys
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
        return signing_keys.rotate(Actor.operator(), force=True)


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


# --- RS256 ------------------------------------------------------------------------------------------------------------


WEB = """
[[client]]
client_id = "web"
type = "confidential"
redirect_uris = ["https://web.example.com/back"]
scopes = ["openid"]
trusted = true
id_token_alg = "RS256"
"""


def algorithms(app):
    with app.app_context():
        found = sorted((key.algorithm, key.state) for key in signing_keys.list_keys())
        db.session.rollback()
        return found


ES, RS = [("ES256", "next"), ("ES256", "signing")], [("RS256", "next"), ("RS256", "signing")]


@pytest.mark.both_databases
def test_the_rsa_key_is_made_with_the_first_client_that_needs_it(app, client):
    kids(client)
    assert algorithms(app) == ES
    with app.app_context():
        seed_clients.apply(Actor.operator(), WEB.replace("RS256", "ES256"))
    assert algorithms(app) == ES
    with app.app_context():
        seed_clients.apply(Actor.operator(), WEB, update=True)
    assert algorithms(app) == ES + RS
    assert [key["alg"] for key in published(client)["keys"]] == ["ES256", "ES256", "RS256", "RS256"]  # before anything is signed
    with app.app_context():
        seed_clients.apply(Actor.operator(), WEB.replace('"web"', '"other"'))
    assert algorithms(app) == ES + RS


def test_a_file_that_conflicts_makes_no_rsa_key(app, client):
    kids(client)
    with app.app_context():
        seed_clients.apply(Actor.operator(), WEB.replace("RS256", "ES256"))
        seed_clients.apply(Actor.operator(), WEB)
    assert algorithms(app) == ES


def test_the_private_rsa_parts_are_encrypted_at_rest_and_never_published(app, client):
    with app.app_context():
        signing_keys.require("RS256")
        assert not [row for row in db.session.query(SigningKey) if b'"d"' in row.private_ciphertext or b'"p"' in row.private_ciphertext]
    for key in published(client)["keys"]:
        assert set(key) <= {"kty", "crv", "x", "y", "n", "e", "kid", "use", "alg"}


def _require_rsa(app, barrier, answers):
    with app.app_context():
        db.engine.dispose(close=False)  # another process's connections
        signing_keys.forget()
        barrier.wait(20)
        answers.put(signing_keys.require("RS256").kid)


def _prepare_rsa(app, barrier, answers):
    with app.app_context():
        db.engine.dispose(close=False)
        signing_keys.forget()
        barrier.wait(20)
        begin_write()
        signing_keys.prepare("RS256")
        db.session.commit()
        signing_keys.forget()
        answers.put(signing_keys.require("RS256").kid)


@pytest.mark.both_databases
@pytest.mark.parametrize("make", [_require_rsa, _prepare_rsa], ids=["sign", "register"])
def test_of_many_workers_that_need_an_rsa_key_at_once_one_makes_it(app, client, make):
    kids(client)
    with app.app_context():
        db.engine.dispose()
    fork = multiprocessing.get_context("fork")
    barrier, answers = fork.Barrier(6), fork.SimpleQueue()
    processes = [fork.Process(target=make, args=(app, barrier, answers), daemon=True) for _ in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 6
    assert len({answers.get() for _ in processes}) == 1
    assert algorithms(app) == ES + RS


@pytest.mark.both_databases
def test_rsa_keys_rotate_with_the_others(app, client):
    with app.app_context():
        signing_keys.require("RS256")
    before = states(app)
    rotate(app)
    after = states(app)
    assert [before[kid] for kid, state in after.items() if state == "old"] == ["signing"] * 2
    assert [before[kid] for kid, state in after.items() if state == "signing"] == ["next"] * 2
    assert algorithms(app) == sorted([*ES, ("ES256", "old"), *RS, ("RS256", "old")])
    following = next(key["kid"] for key in published(client)["keys"] if key["alg"] == "RS256" and after[key["kid"]] == "next")
    retire(app, following)
    assert ("RS256", "retired") in algorithms(app)
    assert algorithms(app).count(("RS256", "next")) == 1


def test_starting_the_next_key_leaves_an_rsa_key_alone_that_services_may_not_have_yet(app, client):
    kids(client)
    with app.app_context():
        following = next(kid for kid, state in states(app).items() if state == "next")
        clock.move(3601)
        signing_keys.require("RS256")
        assert signing_keys.start(Actor.operator(), following)
    assert algorithms(app) == sorted([*ES, ("ES256", "old"), *RS])
    clock.move(7300)
    with app.app_context():
        following = next(key.kid for key in signing_keys.list_keys() if key.state == "next" and key.algorithm == "RS256")
        assert signing_keys.start(Actor.operator(), following)
    assert algorithms(app) == sorted([*ES, ("ES256", "old"), ("ES256", "old"), *RS, ("RS256", "old")])


def test_commands_show_every_key_and_rotate_them_all(app):
    with app.app_context():
        signing_keys.require("RS256")
    listed = json.loads(app.test_cli_runner().invoke(args=["keys", "list", "--json"]).stdout)
    assert sorted((row["algorithm"], row["state"]) for row in listed) == ES + RS
    rotated = app.test_cli_runner().invoke(args=["keys", "rotate"]).stdout.splitlines()
    signing = {kid for kid, state in states(app).items() if state == "signing"}
    assert {line.removeprefix("signing ") for line in rotated} == signing
    assert len(signing) == 2
    doctor = app.test_cli_runner().invoke(args=["doctor"]).stdout
    assert all(kid in doctor for kid, state in states(app).items() if state != "retired")


# --- another process rotated ----------------------------------------------------------------------------------------------


def behind_by(app, seconds, change):
    """`change(app)` as another process does it: this one goes on with what it read `seconds` ago."""
    with app.app_context():
        known = signing_keys.key_set()
        change(app)
        signing_keys._current[db.engine] = replace(known, read_at=time.monotonic() - seconds)


def test_a_process_follows_within_ten_seconds(app, client):
    with app.app_context():
        signing_keys.require("RS256")
    before = kids(client)
    behind_by(app, 5, rotate)
    assert kids(client) == before
    with app.app_context():
        known = signing_keys.key_set()
        signing_keys._current[db.engine] = replace(known, read_at=time.monotonic() - signing_keys.FOLLOW_SECONDS)
    assert len(kids(client)) == 6


def test_the_first_keys_of_another_algorithm_are_published_at_once(app, client):
    """Another process may sign with them in the same moment."""
    before = kids(client)
    behind_by(app, 0.1, lambda app: signing_keys.require("RS256"))
    assert len(before) == 2
    assert len(kids(client)) == 4


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
