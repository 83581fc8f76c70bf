"""An app that nobody has allowed anything does not learn who belongs to which organization."""

import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models import Consent, Organization, User
from tests import factories, owner, statements
from tests.oauth.conftest import Make
from tests.oauth.conftest import register as register
from tests.oauth.flow import Program, answer_of, press

REDIRECTS = {
    "web": {"redirect_uris": ["https://app.example.com/callback"]},
    "native": {"redirect_uris": ["http://127.0.0.1/callback"]},
    "registered": {"origin": "registered"},
}
SLUGS = ("acme", "theirs", "nobodys")  # a member's, somebody else's, nobody's


@pytest.fixture
def person(app) -> User:
    return factories.make_user(email="ada@example.com", name="Ada Lovelace")


@pytest.fixture
def browser(client: FlaskClient, person: User) -> FlaskClient:
    factories.sign_in(client, person)
    return client


@pytest.fixture
def acme(person: User) -> Organization:
    factories.make_organization(slug="theirs", owner=factories.make_user())
    return factories.make_organization(slug="acme", name="acme", owner=person)


@pytest.fixture(params=REDIRECTS)
def program(request: pytest.FixtureRequest, register: Make) -> Program:
    return register(scope="openid orgs", **REDIRECTS[request.param])


def _without_what_differs_each_time(page: TestResponse, slug: str) -> str:
    text = re.sub(r'(name="csrf_token"[^>]*value|action|href|content)="[^"]*"', "", page.text)
    return re.sub(r"<time.*?</time>|[0-9a-f]{16,}", "", text).replace(slug, "SLUG")


@pytest.mark.both_databases
def test_the_consent_page_comes_first_and_is_the_same(program: Program, browser: FlaskClient, acme: Organization) -> None:
    pages = {slug: program.authorize(browser, organization=slug) for slug in SLUGS}
    assert {page.status_code for page in pages.values()} == {200}
    assert len({_without_what_differs_each_time(page, slug) for slug, page in pages.items()}) == 1


@pytest.mark.both_databases
def test_only_after_allowing_a_stranger_is_denied(app, program: Program, browser: FlaskClient, acme: Organization) -> None:
    answers = {slug: answer_of(press(browser, program.authorize(browser, organization=slug), "allow", organization=slug)) for slug in SLUGS}
    assert "code" in answers["acme"]
    assert [answers[slug]["error"] for slug in SLUGS[1:]] == ["access_denied"] * 2
    assert answers["theirs"]["error_description"] == answers["nobodys"]["error_description"]
    with owner.session(app) as owners:
        assert [row.organization_id for row in owners.query(Consent)] == [acme.id]


def test_not_allowing_is_the_same_for_all(program: Program, browser: FlaskClient, acme: Organization) -> None:
    answers = [answer_of(press(browser, program.authorize(browser, organization=slug), "deny")) for slug in SLUGS]
    assert answers == [answers[0]] * 3


@pytest.mark.parametrize("more", [{}, {"prompt": "none"}, {"prompt": "login"}, {"prompt": "select_account"}, {"max_age": "0"}])
def test_the_same_statements_are_asked_so_time_tells_nothing(
    program: Program, browser: FlaskClient, acme: Organization, more: dict[str, str]
) -> None:
    program.authorize(browser, organization="acme", **more)
    seen, answers = [], []
    for slug in SLUGS:
        with statements.counted() as asked:
            answer = program.authorize(browser, organization=slug, **more)
        seen.append(asked)
        answers.append((answer.status_code, answer.headers.get("Location", "").partition("handoff=")[0]))
    assert seen[1:] == seen[:1] * 2
    assert answers[1:] == answers[:1] * 2


@pytest.mark.parametrize("asked", [{}, {"scope": "offline_access"}], ids=["usual", "left without a scope"])
@pytest.mark.parametrize("registration", [*REDIRECTS.values()], ids=REDIRECTS)
def test_without_asking_nothing_is_told(
    register: Make, browser: FlaskClient, acme: Organization, registration: dict[str, Any], asked: dict[str, str]
) -> None:
    program = register(scope="openid orgs", **registration)
    answers = [answer_of(program.authorize(browser, organization=slug, prompt="none", **asked)) for slug in SLUGS]
    assert {answer.get("error") for answer in answers} == {"consent_required"}


def test_a_page_of_another_session_is_asked_again_and_tells_nothing(
    app, program: Program, browser: FlaskClient, acme: Organization
) -> None:
    page = program.authorize(browser, organization="theirs")
    factories.sign_in(browser, factories.make_user())
    again = press(browser, page, "allow", organization="theirs")
    assert again.status_code == 200
    assert "csrf_token" in again.text


def test_a_trusted_client_is_told_at_once(register: Make, browser: FlaskClient, acme: Organization) -> None:
    trusted = register(trusted=True, scope="openid")
    assert answer_of(trusted.authorize(browser, organization="theirs"))["error"] == "access_denied"


def test_consent_in_one_organization_says_nothing_of_others(register: Make, browser: FlaskClient, acme: Organization, person: User) -> None:
    factories.make_organization(slug="second", owner=person)
    app = register(scope="openid orgs")
    press(browser, app.authorize(browser, organization="acme"), "allow", organization="acme")
    assert "code" in answer_of(app.authorize(browser, organization="acme"))
    assert {app.authorize(browser, organization=slug).status_code for slug in ("second", "theirs", "nobodys")} == {200}
    silent = {answer_of(app.authorize(browser, organization=slug, prompt="none"))["error"] for slug in ("second", "theirs", "nobodys")}
    assert silent == {"consent_required"}
