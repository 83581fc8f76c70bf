"""Where a domain decides who may sign up, a Google account must be run by that domain: anyone can open a personal one with any address,
and keep it after they have left the company."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from extensions import db
from models import User
from tests import factories, owner
from tests.fakes.browser import Browser, path_of, query_of
from tests.fakes.fixtures import oidc_settings
from tests.fakes.oidc import CLIENT_ID, CLIENT_SECRET, FakeOidc
from tests.pages.gate.test_sign_in_references import words_of


def google_settings(op: FakeOidc, **more: str) -> dict[str, str]:
    values = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "issuer": op.issuer, **more}
    return {f"google__{name}": value for name, value in values.items()}


def outcome_of(browser: Browser, op: FakeOidc, provider: str = "google") -> str:
    """`ok`, or the error."""
    response = browser.sign_in(op, provider)
    return "ok" if path_of(response) == "/account" else query_of(response.headers["Location"])["error"]


def people(browser: Browser) -> int:
    with owner.session(browser.client.application) as owners:
        return owners.scalar(db.select(db.func.count()).select_from(User)) or 0


@pytest.mark.parametrize(
    ("allowlist", "email", "hd", "is_welcome"),
    [
        ("@example.com", "ann@example.com", "example.com", True),
        ("@example.com", "ann@example.com", "Example.COM", True),
        ("@example.com", "ann@example.com", None, False),
        ("@example.com", "ann@example.com", "", False),
        ("@example.com", "ann@example.com", "evil.example", False),
        ("@example.com", "ann@example.com", ["example.com"], False),
        ("@example.com", "ann@example.com", True, False),
        ("@example.com", "ann@evil.example", "example.com", False),
        ("@example.com,@example.org", "ann@example.org", "example.com", True),  # the company's second domain
        ("@example.com", "ann@example.org", "example.com", False),
        ("ann@example.com", "ann@example.com", None, True),  # the address decides
        ("ann@example.com,@example.com", "ann@example.com", None, True),
        ("ann@example.com,@example.com", "bob@example.com", None, False),
        ("", "ann@example.com", None, True),
        ("@gmail.com", "ann@gmail.com", None, True),  # Google's own
        ("@example.com,@gmail.com", "ann@example.com", None, False),
    ],
)
def test_a_domain_lets_in_the_accounts_that_it_runs(
    make_app: Callable[..., Flask], op: FakeOidc, allowlist: str, email: str, hd: Any, is_welcome: bool
) -> None:
    browser = Browser(make_app(**google_settings(op), signup_allowlist=allowlist))
    op.signed_in.claims |= {"email": email, "hd": hd}
    assert outcome_of(browser, op) == ("ok" if is_welcome else "signup_not_allowed")
    assert people(browser) == int(is_welcome)


def test_the_page_says_that_the_account_is_a_personal_one(make_app: Callable[..., Flask], op: FakeOidc) -> None:
    browser = Browser(make_app(**google_settings(op), signup_allowlist="@example.com"))
    page = words_of(browser.get(browser.sign_in(op, "google").headers["Location"]))
    assert "You used ann@example.com with a personal Google account. Use the one that your organization manages." in page
    assert "Only example.com" not in page


def test_hd_at_userinfo_is_nothing_that_was_signed(make_app: Callable[..., Flask], op: FakeOidc) -> None:
    browser = Browser(make_app(**google_settings(op), signup_allowlist="@example.com"))
    op.in_id_token = False
    op.userinfo = {"hd": "example.com"}
    assert outcome_of(browser, op) == "signup_not_allowed"


@pytest.mark.parametrize("trust", ["trusted", "mail"])
def test_trust_in_addresses_is_no_way_around_it(make_app: Callable[..., Flask], op: FakeOidc, trust: str) -> None:
    browser = Browser(make_app(**google_settings(op, email_trust=trust), signup_allowlist="@example.com"))
    assert outcome_of(browser, op) == "signup_not_allowed"


def test_an_invited_address_may_have_a_personal_account(make_app: Callable[..., Flask], op: FakeOidc) -> None:
    app = make_app(**google_settings(op), signup_allowlist="@example.com")
    factories.make_invitation(factories.make_organization(owner=factories.make_user()), "ann@example.com")
    assert outcome_of(Browser(app), op) == "ok"


def test_other_providers_say_nothing_of_it_and_need_not(make_app: Callable[..., Flask], op: FakeOidc) -> None:
    browser = Browser(make_app(**oidc_settings(op), signup_allowlist="@example.com"))
    assert outcome_of(browser, op, "authentik") == "ok"


# --- the list is for new accounts --------------------------------------------------------------------------------------


def test_who_has_an_account_keeps_it_whatever_the_list_says_now(make_app: Callable[..., Flask], op: FakeOidc) -> None:
    op.signed_in.claims["hd"] = "example.com"
    assert outcome_of(Browser(make_app(**google_settings(op), signup_allowlist="@example.com")), op) == "ok"
    op.signed_in.claims |= {"hd": None, "email": "ann@personal.example"}
    browser = Browser(make_app(**google_settings(op), signup_allowlist="@other.example"))
    assert outcome_of(browser, op) == "ok"
    assert people(browser) == 1
