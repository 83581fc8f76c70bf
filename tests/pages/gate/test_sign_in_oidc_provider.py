"""Signing in through npm's `oidc-provider`, an Authentik-like provider that nobody here wrote."""

from collections.abc import Callable

import pytest
from flask import Flask

from extensions import db
from infra import clock
from models import Identity, User
from providers import oidc
from tests.fakes.browser import Browser, path_of, query_of
from tests.fakes.fixtures import oidc_settings
from tests.fakes.oidc import NpmOidcProvider
from tests.pages.gate.test_sign_in_page import make_handoff


@pytest.fixture
def make_browser(make_app: Callable[..., Flask], authentik: NpmOidcProvider) -> Callable[..., Browser]:
    oidc.forget_all()
    return lambda **more: Browser(make_app(**oidc_settings(authentik, **more)))


def test_the_whole_way_there_and_back(make_browser: Callable[..., Browser], authentik: NpmOidcProvider) -> None:
    browser = make_browser()
    handoff = make_handoff(browser.client.application, login_hint="ann", prompt="login", max_age="100")
    url = browser.start("authentik", "handoff=" + handoff)
    back = authentik.visit(url, "ann")
    assert query_of(back)["iss"] == authentik.issuer
    response = browser.come_back(back)
    assert query_of(response.headers["Location"])["handoff"] == handoff
    assert browser.come_back(back).headers["Location"] == response.headers["Location"]
    with browser.client.application.app_context():
        user, identity = db.session.scalars(db.select(User)).one(), db.session.scalars(db.select(Identity)).one()
        assert (user.email, user.email_verified, user.name) == ("ann@example.com", True, "Ann Example")
        assert (identity.issuer, identity.subject, identity.login) == (authentik.issuer, "ann", "ann")


@pytest.mark.parametrize(
    ("login", "trust", "where", "error"),
    [
        ("bob", "claim", "/login", "email_not_verified"),
        ("bob", "trusted", "/account", None),
        ("bob", "mail", "/login/check-mail", None),
        ("eve", "claim", "/login", "email_is_missing"),
        ("eve", "trusted", "/login", "email_is_missing"),
    ],
)
def test_what_its_word_is_worth(
    make_browser: Callable[..., Browser], authentik: NpmOidcProvider, login: str, trust: str, where: str, error: str | None
) -> None:
    browser = make_browser(email_trust=trust)
    response = browser.come_back(authentik.visit(browser.start("authentik"), login))
    assert path_of(response) == where
    assert query_of(response.headers["Location"]).get("error") == error


def test_a_wrong_secret_is_provider_refused(make_browser: Callable[..., Browser], authentik: NpmOidcProvider) -> None:
    browser = make_browser(client_secret="wrong")
    response = browser.come_back(authentik.visit(browser.start("authentik"), "ann"))
    assert query_of(response.headers["Location"])["error"] == "provider_refused"


def test_an_altered_issuer_is_refused_and_the_code_stays_unspent(make_browser: Callable[..., Browser], authentik: NpmOidcProvider) -> None:
    browser = make_browser()
    back = authentik.visit(browser.start("authentik"), "ann")
    response = browser.come_back(back.replace("iss=", "iss=https%3A%2F%2Fevil.example&x="))
    assert query_of(response.headers["Location"])["error"] == "provider_refused"
    assert browser.session is None


def test_it_says_when_somebody_signed_in_only_if_it_is_asked(make_browser: Callable[..., Browser], authentik: NpmOidcProvider) -> None:
    browser = make_browser()
    browser.come_back(authentik.visit(browser.start("authentik"), "ann"))
    assert browser.get("/account/tokens/new").status_code == 200, "it said nothing, and nobody had asked"
    clock.move(601)
    assert path_of(browser.get("/account/tokens/new")) == "/reauth"
    url = browser.start("authentik", "purpose=reauth&next=/account/tokens/new")
    assert browser.come_back(authentik.visit(url, "ann")).headers["Location"] == "/account/tokens/new"
    assert browser.get("/account/tokens/new").status_code == 200


def test_it_proves_what_prompt_login_asks_for(make_browser: Callable[..., Browser], authentik: NpmOidcProvider) -> None:
    browser = make_browser()
    handoff = make_handoff(browser.client.application, prompt="login")
    response = browser.come_back(authentik.visit(browser.start("authentik", "handoff=" + handoff), "ann"))
    assert path_of(response) == "/oauth/authorize"
    assert browser.get("/login?handoff=" + handoff).headers["Location"].startswith("/oauth/authorize")
