"""Sign-ins from places that are neither a known network nor a known browser."""

import threading
from typing import Any

import pytest
from flask import Flask

from errors import SignInRefused
from extensions import db
from infra import clock
from infra.ids import uuid7
from models import AccountEvent, SignInPlace, User
from services.access.actors import Actor
from services.activity import places
from services.instance import sweeping
from services.sessions import user_sessions
from tests import factories, owner
from tests.statements import counted

DAY = 86_400


@pytest.fixture
def ann(app: Flask) -> User:
    return factories.make_user(email="ann@example.com")


def sign_in(user: User, browser: str, ip: str | None = "192.0.2.1") -> str:
    actor = Actor(type="anonymous", ip=ip, user_agent="tests")
    return user_sessions.start(actor, user_id=user.id, provider="github", raw_browser=browser)


def news(user: User) -> list[Any]:
    statement = db.select(AccountEvent.kind, AccountEvent.ip, AccountEvent.details).where(AccountEvent.user_id == user.id)
    return owner.rows(factories._app, statement.order_by(AccountEvent.id))  # type: ignore[arg-type]


@pytest.mark.both_databases
def test_the_first_sign_in_is_no_news_and_either_the_network_or_the_browser_makes_a_place_known(context: Flask, ann: User) -> None:
    sign_in(ann, "laptop", "192.0.2.1")
    sign_in(ann, "laptop", "198.51.100.9")  # on the road
    sign_in(ann, "phone", "192.0.2.200")  # the same /24
    sign_in(ann, "phone", "2001:db8:1:2::1")
    sign_in(ann, "tablet", "2001:db8:1:9::1")  # the same /48
    assert news(ann) == []
    sign_in(ann, "thief", "203.0.113.5")
    assert [(row.kind, row.ip) for row in news(ann)] == [("sign_in_from_new_place", "203.0.113.5")]
    sid = news(ann)[0].details["sid"]
    assert sid in {record.sid for record in user_sessions.list_for(ann.id)}
    sign_in(ann, "thief", "203.0.114.5")
    assert len(news(ann)) == 1


@pytest.mark.both_databases
def test_without_a_network_the_browser_decides(context: Flask, ann: User) -> None:
    sign_in(ann, "laptop", None)
    sign_in(ann, "laptop", "unknown")
    assert news(ann) == []
    sign_in(ann, "phone", None)
    assert len(news(ann)) == 1


@pytest.mark.both_databases
def test_a_place_is_forgotten_but_never_that_there_was_one(context: Flask, ann: User) -> None:
    sign_in(ann, "laptop")
    clock.move(places.KNOWN_DAYS * DAY - 60)
    sign_in(ann, "laptop")
    clock.move(places.KNOWN_DAYS * DAY + 60)
    sign_in(ann, "laptop")
    assert news(ann) == []
    clock.move(3 * places.KNOWN_DAYS * DAY)
    sweeping.sweep(("verifications",))
    assert len(owner.rows(context, db.select(SignInPlace.place_hash))) == 1
    sign_in(ann, "phone", "203.0.113.5")
    assert len(news(ann)) == 1


@pytest.mark.both_databases
def test_there_are_two_hundred_places_of_a_person_at_most(context: Flask, ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PER_PERSON", 6)
    for number in range(9):
        clock.move(number)
        sign_in(ann, f"browser-{number}", "192.0.2.1")
    assert len(owner.rows(context, db.select(SignInPlace.place_hash))) == 6
    clock.move(10)
    sign_in(ann, "browser-0", "203.0.113.1")
    assert len(news(ann)) == 1  # the oldest went


@pytest.mark.both_databases
def test_a_known_place_costs_one_statement(context: Flask, ann: User) -> None:
    sign_in(ann, "laptop")
    with counted() as without:
        user_sessions.start(Actor(type="anonymous", ip="192.0.2.1"), user_id=ann.id, provider="github")
    with counted() as statements:
        sign_in(ann, "laptop")
    assert len(statements) == len(without) + 1


def test_an_account_that_is_deleted_meanwhile_gets_no_session(context: Flask) -> None:
    gone = User(id=uuid7())
    with pytest.raises(SignInRefused):
        sign_in(gone, "laptop")
    assert user_sessions.list_for(gone.id) == []


def test_the_same_new_place_many_times_at_once_is_reported_once(app: Flask, ann: User) -> None:
    with app.app_context():
        sign_in(ann, "laptop")

    def work() -> None:
        with app.app_context():
            sign_in(ann, "thief", "203.0.113.5")

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(news(ann)) == 1
