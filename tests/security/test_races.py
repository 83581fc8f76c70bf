"""Two requests at once, one of which takes something away: what was ended must not outlive the other."""

import threading
import time
from collections.abc import Callable

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, text

from extensions import db
from models import Consent, User
from services.accounts import user_administration
from services.authorization import connected_apps
from services.sessions import user_sessions
from services.tokens import authorization_codes, grant_lists, oauth_clients
from tests import factories
from tests.oauth.flow import VERIFIER, Program, answer_of, csrf_token_of, handoff_of

Ending = Callable[[Program, User, str], object]


def _revoke_session(program: Program, person: User, sid: str) -> object:
    return user_sessions.revoke(factories.make_actor(person), user_id=person.id, sid=sid)


def _revoke_everything(program: Program, person: User, sid: str) -> object:
    return user_sessions.revoke_all(factories.make_actor(person), user_id=person.id)


def _disable_and_enable(program: Program, person: User, sid: str) -> object:
    user_administration.disable(factories.make_actor(), str(person.id))
    return user_administration.enable(factories.make_actor(), str(person.id))


def _remove_app(program: Program, person: User, sid: str) -> object:
    return connected_apps.remove(factories.make_actor(person), person.id, program.client.id)


@pytest.mark.both_databases
@pytest.mark.parametrize("ending", [_revoke_session, _revoke_everything, _disable_and_enable, _remove_app])
def test_a_code_that_is_being_exchanged_does_not_outlive_what_is_revoked(
    app: Flask,
    program: Program,
    person: User,
    signed_in: FlaskClient,
    ending: Ending,
) -> None:
    code = program.get_code(signed_in, scope="openid offline_access")
    with app.app_context():
        (session,) = user_sessions.list_for(person.id)
    is_exchanging, may_finish = threading.Event(), threading.Event()

    def build_answer(*_: object, **__: object) -> dict[str, str]:
        is_exchanging.set()
        assert may_finish.wait(8)
        return {}

    def exchange() -> None:
        with app.app_context():
            client = oauth_clients.find(program.client_id)
            assert client is not None
            authorization_codes.exchange(
                factories.make_actor(),
                client,
                raw_code=code,
                redirect_uri=program.redirect_uri,
                code_verifier=VERIFIER,
                resource=None,
                build_answer=build_answer,
            )

    def end() -> None:
        with app.app_context():
            ending(program, person, session.sid)

    threads = [threading.Thread(target=exchange), threading.Thread(target=end)]
    threads[0].start()
    assert is_exchanging.wait(8)
    threads[1].start()
    time.sleep(0.4)  # it has come as far as it can
    may_finish.set()
    for thread in threads:
        thread.join(10)
    with app.app_context():
        assert grant_lists.list_for(person.id) == []


def test_a_session_that_is_revoked_while_it_answers_a_client_hands_out_no_code(
    app: Flask,
    program: Program,
    person: User,
    signed_in: FlaskClient,
) -> None:
    """The thief of a cookie asks without pause, so that one request is under way when the owner ends the session."""
    with app.app_context():
        (session,) = user_sessions.list_for(person.id)
        url = db.engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(program.authorize(signed_in, scope="openid offline_access")))
    with psycopg.connect(url) as connection:
        connection.execute("SELECT 1 FROM oauth_clients WHERE client_id = %s FOR UPDATE", [program.client_id])
        thread.start()  # it reads the session, then waits before the code is written
        _wait_until_something_waits(app)
        with app.app_context():
            _revoke_session(program, person, session.sid)
        connection.rollback()
    thread.join(10)
    (answer,) = answers
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/login?handoff=")


def _wait_until_something_waits(app: Flask) -> None:
    deadline = time.monotonic() + 8
    with app.app_context():
        while not db.session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
            db.session.rollback()
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.both_databases
def test_allow_pressed_several_times_at_once_is_one_consent_and_no_fault(
    app: Flask,
    register: Callable[..., Program],
    signed_in: FlaskClient,
) -> None:
    program = register()
    page = program.authorize(signed_in)
    address, form = "/oauth/authorize?handoff=" + handoff_of(page), {"csrf_token": csrf_token_of(page), "decision": "allow"}
    cookies = "; ".join(f"{cookie.key}={cookie.value}" for cookie in signed_in._cookies.values())
    barrier, answers = threading.Barrier(6), []

    def press() -> None:
        tab = app.test_client(use_cookies=False)
        barrier.wait(5)
        answers.append(tab.post(address, data=form, headers={"Cookie": cookies}))

    threads = [threading.Thread(target=press) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert [answer.status_code for answer in answers] == [200] * 6
    assert len({answer_of(answer)["code"] for answer in answers}) == 6
    with app.app_context():
        assert len(db.session.scalars(select(Consent)).all()) == 1
