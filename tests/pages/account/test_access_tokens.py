"""Access tokens through their pages: list, form, shown once, revoking."""

import re
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from infra import clock
from models import ApiKey, Organization, User
from services.users import api_keys
from tests import factories, owner
from tests.pages.forms import counted, post, said

TOKEN = {"name": "nightly report", "organization": "northwind", "expires": "90", "scopes": "credentials:read"}
NEW = "/account/tokens/new"


@pytest.fixture
def organization(user: User) -> Organization:
    return factories.make_organization(owner=user, slug="northwind", name="Northwind")


def find(app: Flask, raw: str) -> Any:
    with app.app_context():
        return api_keys.find(raw, ip=None)


def count(app: Flask) -> int:
    with owner.session(app) as owners:
        return owners.query(ApiKey).count()


def test_without_a_session_the_way_leads_through_sign_in(client: FlaskClient, database: Any) -> None:
    for path in ("/account/tokens", NEW):
        assert client.get(path).location == "/login?next=" + path.replace("/", "%2F")


def test_the_empty_list_says_what_they_are_for(signed_in: FlaskClient, database: Any) -> None:
    assert "No access tokens Create one to use Gatepost from a script. Create token" in said(signed_in.get("/account/tokens"))


@pytest.mark.both_databases
def test_the_list_has_own_tokens_only_and_says_when_one_ends(
    signed_in: FlaskClient, user: User, organization: Organization, database: Any
) -> None:
    soon = factories.make_api_key(organization, user, expires_in=3 * 86_400 - 60, scopes=["orgs", "audit:read", "credentials:read"])
    ended = factories.make_api_key(organization, user, expires_in=-60, last_used_at=clock.now(), last_used_ip="10.20.0.14")
    others = [
        factories.make_api_key(organization, user, revoked_at=clock.now()),
        factories.make_api_key(organization, user, agent=factories.make_agent(organization, user)),
        factories.make_api_key(organization, factories.make_user()),
    ]
    text = said(signed_in.get("/account/tokens"))
    assert f"gpp_…{soon.last_four} in Northwind See your organizations, Read the audit log, 1 more Never used Expires in 3 days" in text
    assert "just now 10.20.0.14 Expired" in text
    assert f"gpp_…{ended.last_four}" in text
    assert not [key for key in others if key.last_four in text]


def test_as_many_queries_for_fifty_rows_as_for_three(
    app: Flask, signed_in: FlaskClient, user: User, organization: Organization, database: Any
) -> None:
    counts = []
    for numbers in (range(3), range(50)):
        for _ in numbers:
            factories.make_api_key(organization, user)
        signed_in.get("/account/tokens")
        with counted(app) as statements:
            text = signed_in.get("/account/tokens").text
        counts.append(len(statements))
    assert counts[0] == counts[1]
    assert "Showing 50 of 53" in text
    assert "Showing 3 of 53" in signed_in.get("/account/tokens?page=2").text


@pytest.mark.both_databases
def test_a_new_token_is_shown_once(app: Flask, signed_in: FlaskClient, organization: Organization, database: Any) -> None:
    page = signed_in.get(NEW).text
    assert "checked" not in page.partition("<form class")[2], "nothing is chosen for the person"
    answer = post(signed_in, NEW, **TOKEN)
    assert answer.status_code == 303
    assert "gpp_" not in answer.text + answer.location
    created = signed_in.get(answer.location)
    assert "Copy your token now You won’t see it again. If you lose it, create a new one." in said(created)
    assert "I’ve copied it" in created.text
    raw = re.search(r"gpp_[0-9A-Za-z_]{60,}", created.text)[0]  # type: ignore[index]
    key = find(app, raw)
    assert (key.organization.slug, key.scopes) == ("northwind", ("credentials:read",))
    again = said(signed_in.get(answer.location))
    assert "You’ve already seen this token. If you didn’t copy it, revoke it and create a new one." in again
    assert raw not in again
    assert raw not in str([vars(event) for event in owner.events(app)])


def test_nobody_else_sees_the_page_of_a_new_token(app: Flask, signed_in: FlaskClient, organization: Organization, database: Any) -> None:
    place = post(signed_in, NEW, **TOKEN).location
    other = app.test_client()
    factories.sign_in(other, factories.make_user())
    assert other.get(place).status_code == 404
    assert "gpp_" in signed_in.get(place).text, "and the visit has not used it up"


def test_after_five_minutes_the_secret_is_gone(
    app: Flask, signed_in: FlaskClient, organization: Organization, redis: Any, database: Any
) -> None:
    post(signed_in, NEW, **TOKEN)
    lives = [redis.ttl(name) for name in redis.scan_iter("*once*")]
    assert lives
    assert all(0 < seconds <= 300 for seconds in lives)


def test_the_summary_has_the_order_of_the_page(signed_in: FlaskClient, organization: Organization) -> None:
    summary = said(post(signed_in, NEW, organization="")).partition("New access token")[0]
    wrong = ("Enter a name so you can recognize", "Choose an organization", "Choose when it expires", "Choose at least one permission")
    assert sorted(wrong, key=summary.index) == list(wrong)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": ""}, "Enter a name so you can recognize this token later"),
        ({"name": "x" * 81}, "Use 80 characters or fewer"),
        ({"name": " a  key "}, "You already have a token called a key"),
        ({"expires": ""}, "Choose when it expires"),
        ({"expires": "date", "date": "2020-01-01"}, "Choose a date within the next 365 days"),
        ({"expires": "date", "date": "tomorrow"}, "Choose a date within the next 365 days"),
        ({"scopes": ""}, "Choose at least one permission"),
        ({"scopes": "introspect"}, "Choose at least one permission"),
        ({"organization": "elsewhere"}, "Choose an organization"),
    ],
)
def test_a_form_with_a_mistake_says_so_and_makes_nothing(
    app: Flask, signed_in: FlaskClient, user: User, organization: Organization, database: Any, fields: dict[str, str], words: str
) -> None:
    factories.make_organization(owner=factories.make_user(), slug="elsewhere")
    factories.make_api_key(organization, user)
    answer = post(signed_in, NEW, **{**TOKEN, **fields})
    assert answer.status_code == 422
    assert answer.text.count(words) == 2
    assert "<title>Error: " in answer.text
    assert count(app) == 1


def test_a_date_lasts_to_the_end_of_that_day_where_the_person_is(
    app: Flask, signed_in: FlaskClient, organization: Organization, database: Any
) -> None:
    day = (clock.now() + timedelta(days=40)).date()
    assert post(signed_in, NEW, **{**TOKEN, "expires": "date", "date": day.isoformat()}).status_code == 303
    with owner.session(app) as owners:
        left = owners.query(ApiKey).one().expires_at
    assert abs((left - clock.now()).total_seconds() - (left.replace(hour=0, minute=0, second=0) - clock.now()).total_seconds()) < 60
    assert (left - timedelta(minutes=1)).date() == day


def test_a_sign_in_that_is_too_old_leads_through_reauth(
    app: Flask, signed_in: FlaskClient, organization: Organization, database: Any
) -> None:
    hidden = dict(re.findall(r'name="(csrf_token|form_id)" value="([^"]+)"', signed_in.get(NEW).text))
    clock.move(601)
    for answer in (signed_in.get(NEW), signed_in.post(NEW, data={**hidden, **TOKEN})):
        assert (answer.status_code, answer.location.partition("%3Fdraft")[0]) == (303, "/reauth?next=%2Faccount%2Ftokens%2Fnew")
    assert count(app) == 0


def test_a_form_that_is_sent_twice_makes_one_token(app: Flask, signed_in: FlaskClient, organization: Organization, database: Any) -> None:
    hidden = dict(re.findall(r'name="(csrf_token|form_id)" value="([^"]+)"', signed_in.get(NEW).text))
    assert signed_in.post(NEW, data={**hidden, **TOKEN}).status_code == 303
    second = signed_in.post(NEW, data={**hidden, **TOKEN})
    assert second.location == "/account/tokens"
    assert "Nothing changed." in signed_in.get("/account/tokens").text
    assert count(app) == 1


@pytest.mark.both_databases
def test_revoking_asks_first_and_ends_it_at_once(
    app: Flask, signed_in: FlaskClient, user: User, organization: Organization, database: Any
) -> None:
    key = factories.make_api_key(organization, user)
    page = f"/account/tokens/{key.id}/revoke"
    asked = signed_in.get(page)
    assert "Revoke a key ? Anything that uses it will fail at its next request." in said(asked)
    assert said(asked).endswith("Keep it Revoke token")
    assert post(signed_in, page).location == "/account/tokens"
    assert "Token revoked." in signed_in.get("/account/tokens").text
    assert find(app, key.raw_key) is None
    assert post(signed_in, "/account", page).location == "/account/tokens"
    assert "Nothing changed." in signed_in.get("/account/tokens").text
    assert signed_in.get(page).status_code == 404


def test_a_token_of_somebody_else_is_not_there(app: Flask, signed_in: FlaskClient, organization: Organization, database: Any) -> None:
    key = factories.make_api_key(organization, factories.make_user())
    page = f"/account/tokens/{key.id}/revoke"
    assert signed_in.get(page).status_code == 404
    assert post(signed_in, "/account", page).status_code == 404
    assert signed_in.post(page).status_code == 400, "and without a token of this browser nothing is looked at"
