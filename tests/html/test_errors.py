"""What every error page says, letter for letter, and its one way out."""

import re
from html import unescape
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

import errors
from models import User
from services.organizations.received_invitations import InvitationEnded
from tests import factories
from tests.pages.forms import said

HREF = re.compile(r'<a class="btn[^"]*" href="([^"]*)">')
SAID = {
    400: (
        errors.Malformed(),
        "We couldn’t understand that request",
        "Go back and try again. If a link sent you here, it may be cut off. Go to start",
    ),
    403: (errors.Forbidden(), "You don’t have access to this", "Use another account, or go back. Use another account"),
    404: (errors.NotFound(), "Nothing here", "The address may be wrong, or you may not have access. Go to start"),
    410: (
        InvitationEnded(),
        "This invitation is no longer valid",
        "It was used, declined or revoked, or has expired. Ask for a new one. Sign in",
    ),
    429: (errors.RateLimited(retry_after_seconds=61), "Too many tries", "Wait 2 minutes, then try again. Try again"),
    500: (errors.GatepostError(), "Something broke on our side", "It’s been recorded. Try again in a minute. Try again"),
    503: (
        errors.Unavailable(),
        "Temporarily unavailable",
        "A part of this server isn’t answering. Try again in a minute. temporarily_unavailable Try again",
    ),
}
OUT = {403: "/login?switch=1&next=%2Fbroken%3Fx%3D1", 410: "/login"}


@pytest.mark.parametrize("status", SAID)
def test_an_error_page_says_what_happened_what_to_do_and_one_way_out(make_app: Any, status: int) -> None:
    app = make_app(rate_limits="off")

    @app.get("/broken")
    def broken() -> None:
        raise SAID[status][0]

    answer = app.test_client().get("/broken?x=1")
    text = said(answer)
    assert answer.status_code == status
    assert re.sub(r" Reference [0-9a-f]{16}$", "", text) == " ".join(SAID[status][1:])
    assert ("Reference" in text) == (status >= 500 or status == 410)
    hrefs = [unescape(href) for href in HREF.findall(answer.text)]
    assert hrefs == [OUT.get(status, "/broken?x=1" if status >= 429 else "/")]
    assert "script-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_method_that_is_not_there_is_said_as_a_request_that_makes_no_sense(client: FlaskClient) -> None:
    answer = client.delete("/login")
    assert (answer.status_code, said(answer)) == (405, " ".join(SAID[400][1:]))


@pytest.fixture
def user(app: Flask) -> User:
    return factories.make_user(name="Maya", email="maya@northwind.dev")


def test_who_may_not_reads_as_whom_they_are_signed_in_and_whom_to_ask(client: FlaskClient, user: User) -> None:
    organization = factories.make_organization(owner=factories.make_user(), name="Northwind <b>")
    factories.make_membership(organization, user, "member")
    factories.sign_in(client, user)
    answer = client.get(f"/orgs/{organization.slug}/audit?who=x")
    assert answer.status_code == 403
    assert "You’re signed in as maya@northwind.dev . Ask an owner of Northwind <b> , or use another account." in said(answer)
    assert HREF.findall(answer.text) == [f"/login?switch=1&amp;next=%2Forgs%2F{organization.slug}%2Faudit%3Fwho%3Dx"]


def test_an_organization_of_others_is_an_address_that_is_not_there(client: FlaskClient, user: User) -> None:
    organization = factories.make_organization(owner=factories.make_user(), name="Northwind")
    factories.sign_in(client, user)
    answers = [client.get(path) for path in (f"/orgs/{organization.slug}/members", "/orgs/no-such-place/members", "/nothing")]
    assert {(answer.status_code, said(answer)) for answer in answers} == {(404, " ".join(SAID[404][1:]))}


def test_a_session_that_ended_is_told_where_it_is_asked_for_again(client: FlaskClient, user: User) -> None:
    client.set_cookie("gatepost_session", "x" * 43, domain="127.0.0.1")
    answer = client.get("/account/tokens")
    assert answer.location == "/login?next=%2Faccount%2Ftokens"
    text = said(client.get(answer.location))
    assert "You’ve been signed out Your session ended or was revoked. Sign in to continue where you left off. SESSION_ENDED" in text
    factories.sign_in(client, user)
    assert "SESSION_ENDED" not in said(client.get("/login"))


@pytest.mark.parametrize("path", ["/account", "/orgs/northwind/members", "/admin", "/login/link/x", "/invitations/gpi_x"])
def test_with_both_stores_away_a_page_says_so_in_its_language_and_touches_no_cookie(make_app: Any, path: str) -> None:
    app = make_app(redis_url="redis://127.0.0.1:1", database_url="postgresql+psycopg://nobody@127.0.0.1:1/none")
    client = app.test_client()
    client.set_cookie("gatepost_session", "x" * 43, domain="127.0.0.1")
    client.set_cookie("gatepost_language", "de", domain="127.0.0.1")
    answer = client.get(path)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "Vorübergehend nicht verfügbar" in said(answer)
    assert re.search("Referenz [0-9a-f]{16}", said(answer)), said(answer)
    assert HREF.findall(answer.text) == [path]
    assert "Set-Cookie" not in client.get(f"{path}?lang=en").headers
