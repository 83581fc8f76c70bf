"""Sign-in with what well-known OpenID providers send (tests/fakes/known_providers.py)."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from extensions import db
from models import User
from providers import oidc
from tests import owner
from tests.fakes.browser import Browser, path_of, query_of
from tests.fakes.fixtures import oidc_settings
from tests.fakes.known_providers import EMAIL, KNOWN, Known
from tests.fakes.oidc import CLIENT_ID, CLIENT_SECRET, FakeOidc


@pytest.fixture(params=KNOWN)
def known(request: pytest.FixtureRequest) -> Known:
    return KNOWN[request.param]


@pytest.fixture
def op(known: Known) -> Iterator[FakeOidc]:
    oidc.forget_all()
    fake = known.start()
    yield fake
    fake.stop()


@pytest.fixture
def browser(make_app: Callable[..., Flask], known: Known, op: FakeOidc) -> Browser:
    google = {"google__issuer": op.issuer, "google__client_id": CLIENT_ID, "google__client_secret": CLIENT_SECRET}
    return Browser(make_app(**(google if known.kind == "google" else oidc_settings(op, "staff", **known.settings))))


def sign_in(browser: Browser, known: Known, op: FakeOidc) -> Any:
    return browser.sign_in(op, "google" if known.kind == "google" else "staff")


def people(browser: Browser) -> list[tuple[str | None, bool, str]]:
    with owner.session(browser.client.application) as owners:
        return [(user.email, user.email_verified, user.name) for user in owners.scalars(db.select(User))]


def test_a_person_with_name_and_address_signs_in(browser: Browser, known: Known, op: FakeOidc) -> None:
    assert path_of(sign_in(browser, known, op)) == "/account"
    assert people(browser) == [(EMAIL, True, known.name)]
    assert op.count("/userinfo") <= 1


def test_a_person_without_an_address_is_told_so(browser: Browser, known: Known, op: FakeOidc) -> None:
    known.sign_in(op, is_bare=True)
    response = sign_in(browser, known, op)
    assert (path_of(response), query_of(response.headers["Location"])["error"]) == ("/login", "email_is_missing")
    assert people(browser) == []


def test_what_comes_back_in_place_of_a_code_is_told_in_our_words(browser: Browser, known: Known, op: FakeOidc) -> None:
    for error, code in known.errors:
        op.cancels = error
        response = sign_in(browser, known, op)
        assert query_of(response.headers["Location"])["error"] == code, error
        assert "secret upstream text" not in browser.get(response.headers["Location"]).text
    assert op.count("/token") == 0


def test_doctor_finds_nothing_wrong(browser: Browser, known: Known, op: FakeOidc) -> None:
    told = browser.client.application.test_cli_runner().invoke(args=["doctor"]).stdout
    (line,) = [line for line in told.splitlines() if " providers: " in line]
    assert line.startswith("ok "), line
