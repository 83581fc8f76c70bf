"""The first grant of an app is reported, trusted ones included."""

import threading
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from extensions import db
from infra import clock
from models import AccountEvent, User
from services.access.actors import Actor
from services.authorization import connected_apps
from services.tokens import authorization_codes
from services.tokens.authorization_codes import CodeRequest
from tests import factories, owner
from tests.oauth.conftest import browser, person, register
from tests.oauth.flow import CHALLENGE, Program, press
from tests.statements import counted

__all__ = ["browser", "person", "register"]


def news(app: Flask) -> list[dict[str, Any]]:
    rows = owner.rows(app, db.select(AccountEvent.details).where(AccountEvent.kind == "app_allowed").order_by(AccountEvent.id))
    return [row.details for row in rows]


@pytest.mark.both_databases
def test_a_trusted_app_is_news_once(app: Flask, browser: FlaskClient, register: Any) -> None:
    program = register(name="Notes", trusted=True)
    program.get_tokens(browser)
    assert [(event["name"], event["app"]) for event in news(app)] == [("Notes", str(program.client.id))]
    clock.move(40 * 86_400)
    with app.app_context():
        factories.sign_in(browser, db.session.scalars(db.select(User)).one())
    program.get_tokens(browser, scope="openid")
    assert len(news(app)) == 1


def test_an_app_that_asks_is_news_when_it_is_allowed_and_again_after_its_access_was_removed(
    app: Flask, browser: FlaskClient, person: User, register: Any
) -> None:
    program: Program = register(name="Patchwork")
    page = program.authorize(browser, scope="openid")
    press(browser, page, "deny")
    assert news(app) == []
    for _ in range(2):
        page = program.authorize(browser, scope="openid")
        press(browser, page, "allow") if page.status_code == 200 else None
    assert len(news(app)) == 1
    with app.app_context():
        connected_apps.remove(factories.make_actor(person), person.id, program.client.id)
    press(browser, program.authorize(browser, scope="openid"), "allow")
    assert len(news(app)) == 2


def request_of(person: User, program: Program) -> CodeRequest:
    return CodeRequest(program.client.id, person.id, person.id, None, "openid", None, CHALLENGE, None, "sid", clock.now(), True)


def test_a_known_app_costs_no_statement(context: Flask, person: User, register: Any) -> None:
    request = request_of(person, register(trusted=True))
    authorization_codes.create(Actor(type="anonymous"), request)
    with counted() as statements:
        authorization_codes.create(Actor(type="anonymous"), request)
    assert [text.split()[:3] for text in statements] == [["INSERT", "INTO", "authorization_codes"]]


@pytest.mark.both_databases
def test_many_first_grants_at_once_are_one_report(app: Flask, person: User, register: Any) -> None:
    request = request_of(person, register(trusted=True))

    def work() -> None:
        with app.app_context():
            authorization_codes.create(Actor(type="anonymous"), request)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(news(app)) == 1
