"""`/api/v1/orgs/<slug>/connections`: who sees, disconnects and uses which; and what a stranger, a narrow key and a cookie try."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete, update

from infra import clock
from infra.secret_text import hash_secret
from models import ApiKey, AuditEvent, Connection, Membership, Organization, RefreshFamily, User
from tests import factories, owner
from tests.api.company import SAME_ORIGIN
from tests.fakes.fixtures import vendor_settings
from tests.fakes.vendor import FakeVendor
from tests.oauth.flow import Program, bearer

pytestmark = pytest.mark.both_databases
ITEM = {"id", "connector", "account", "scope", "vendor_scope", "status", "expires_at", "last_error"}


class Place:
    """An organization with an owner, two members and an agent of each kind; another one beside it. The vendor is real."""

    def __init__(self, app: Flask, vendor: FakeVendor) -> None:
        self.app, self.vendor = app, vendor
        self.owner, self.member, self.other_member, self.stranger = (factories.make_user() for _ in range(4))
        self.organization = factories.make_organization(owner=self.owner, slug="acme")
        self.elsewhere = factories.make_organization(owner=self.stranger, slug="elsewhere")
        factories.make_membership(self.organization, self.member)
        factories.make_membership(self.organization, self.other_member)
        self.agent = factories.make_agent(self.organization, self.member)
        self.deputy = factories.make_agent(self.organization, self.member, name="deputy", acts_for_owner=True)
        self.shared = self.connect(organization=self.organization)
        self.own = self.connect(user=self.member, account_id="2")
        self.foreign = self.connect(organization=self.elsewhere, account_id="3")

    def connect(self, **whose: Any) -> Any:
        tokens = self.vendor.consent()
        return factories.make_connection(access_token=tokens["access_token"], refresh_token=tokens["refresh_token"], **whose)

    def browser(self, user: Any) -> FlaskClient:
        client = self.app.test_client()
        factories.sign_in(client, user)
        return client

    def key(self, user: Any, agent: Any = None, *, organization: Any = None, **more: Any) -> dict[str, str]:
        return bearer(factories.make_api_key(organization or self.organization, user, agent=agent, **more).raw_key)

    def token(self, headers: dict[str, str], connection: Any, slug: str = "acme") -> Any:
        return self.app.test_client().post(f"/api/v1/orgs/{slug}/connections/{connection.id}/token", headers=headers)

    def listed(self, headers: dict[str, str]) -> list[str]:
        response = self.app.test_client().get("/api/v1/orgs/acme/connections", headers=headers)
        assert response.status_code == 200, response.text
        return [item["id"] for item in response.json["items"]]

    @property
    def events(self) -> list[Any]:
        return owner.events(self.app, AuditEvent.target_type == "connection")

    def delete(self, user: Any, connection: Any, slug: str = "acme", **headers: str) -> Any:
        return self.browser(user).delete(f"/api/v1/orgs/{slug}/connections/{connection.id}", headers=headers or SAME_ORIGIN)


@pytest.fixture
def place(make_app: Callable[..., Flask], vendor: FakeVendor) -> Place:
    return Place(make_app(**vendor_settings(vendor)), vendor)


# --- the list ---


def test_everybody_sees_the_organizations_and_their_own(place: Place) -> None:
    shared, own = str(place.shared.id), str(place.own.id)
    assert place.listed(place.key(place.owner)) == [shared]
    assert place.listed(place.key(place.member)) == [shared, own]
    assert place.listed(place.key(place.other_member)) == [shared]
    assert place.listed(place.key(place.member, place.agent)) == [shared]
    assert place.listed(place.key(place.member, place.deputy)) == [shared, own]


def test_an_item_says_what_is_connected_and_no_token(place: Place) -> None:
    response = place.browser(place.member).get("/api/v1/orgs/acme/connections")
    shared, own = response.json["items"]
    assert set(shared) == ITEM
    assert (shared["connector"], shared["account"], shared["scope"], shared["status"]) == ("acme", "Ann at Vendor", "org", "connected")
    assert (shared["vendor_scope"], shared["last_error"], own["scope"]) == ("read write", None, "user")
    assert shared["expires_at"].endswith("Z")
    assert not [secret for secret in (*place.vendor.access_tokens, *place.vendor.refresh_tokens) if secret in response.text]


def test_the_list_is_read_page_by_page(place: Place) -> None:
    client, found, cursor = place.browser(place.member), [], ""
    for _ in range(2):
        page = client.get(f"/api/v1/orgs/acme/connections?limit=1{cursor}").json
        found += [item["id"] for item in page["items"]]
        cursor = f"&cursor={page['next']}"
    assert (found, page["next"]) == ([str(place.shared.id), str(place.own.id)], None)
    assert client.get("/api/v1/orgs/acme/connections?cursor=bm9uZQ").status_code == 422


# --- disconnecting ---


def test_an_owner_disconnects_the_organizations_and_the_vendor_forgets_it(place: Place) -> None:
    assert place.delete(place.owner, place.shared).status_code == 204
    assert place.listed(place.key(place.member)) == [str(place.own.id)]
    assert place.delete(place.owner, place.shared).status_code == 404
    assert [family.revoked for family in place.vendor.refresh_tokens.values()] == [True, False, False]
    (event,) = place.events
    assert (event.action, event.target_id, event.organization_id) == (
        "connection.disconnected",
        str(place.shared.id),
        place.organization.id,
    )
    assert event.details == {
        "connector": "acme",
        "scope": "org",
        "account": "Ann at Vendor",
        "known_as": {"actor": place.owner.name},
    }


def test_a_member_never_takes_the_organizations_away_but_their_own(place: Place) -> None:
    response = place.delete(place.member, place.shared)
    assert (response.status_code, response.json["error"]) == (403, "org_scope_requires_admin")
    assert place.delete(place.member, place.own).status_code == 204
    assert place.listed(place.key(place.member)) == [str(place.shared.id)]


def test_ones_own_removal_does_not_revoke_what_the_organizations_connection_hangs_on(place: Place) -> None:
    """One person connected one account twice: at some vendors both have one consent."""
    with owner.session(place.app) as owners:
        owners.execute(update(Connection).values(account_id="1"))
    place.delete(place.member, place.own)
    assert not any(family.revoked for family in place.vendor.refresh_tokens.values())
    assert place.token(place.key(place.owner), place.shared).status_code == 200


def test_disconnecting_works_while_the_vendor_is_away(place: Place) -> None:
    place.vendor.faults["/revoke"] = "500"
    assert place.delete(place.owner, place.shared).status_code == 204
    assert place.listed(place.key(place.owner)) == []


def test_what_is_somebody_elses_is_not_there(place: Place) -> None:
    """Another member's, another organization's, none at all: one 404 with one body."""
    bodies = set()
    for connection_id in (place.own.id, place.foreign.id, place.agent.id, "x", "..%2f..", "%00"):
        response = place.browser(place.owner).delete(f"/api/v1/orgs/acme/connections/{connection_id}", headers=SAME_ORIGIN)
        assert response.status_code == 404, connection_id
        bodies.add((response.json["error"], response.json["error_description"]))
    assert len(bodies) == 1
    assert place.delete(place.stranger, place.shared).status_code == 404
    assert place.delete(place.stranger, place.shared, slug="elsewhere").status_code == 404
    assert place.token(place.key(place.member), place.own).status_code == 200
    assert place.token(place.key(place.owner), place.shared).status_code == 200


def test_a_cookie_from_another_site_and_a_narrow_key_disconnect_nothing(place: Place) -> None:
    assert place.delete(place.owner, place.shared, Origin="https://evil.example").json["error"] == "bad_origin"
    path = f"/api/v1/orgs/acme/connections/{place.shared.id}"
    narrow = place.app.test_client().delete(path, headers=place.key(place.owner, scopes=["connections:use"]))
    assert (narrow.status_code, narrow.json["error"]) == (403, "insufficient_scope")
    for agent in (place.agent, place.deputy):
        refused = place.app.test_client().delete(path, headers=place.key(place.member, agent))
        assert (refused.status_code, refused.json["error"]) == (403, "agents_cannot_manage_account")
    assert place.listed(place.key(place.owner)) == [str(place.shared.id)]


# --- tokens ---


def test_a_token_is_given_to_whom_the_connection_is_for(place: Place) -> None:
    for headers in (place.key(place.owner), place.key(place.other_member), place.key(place.member, place.agent)):
        response = place.token(headers, place.shared)
        assert response.status_code == 200
        assert set(response.json) == {"access_token", "expires_at", "scope", "vendor_scope"}
        assert (response.json["scope"], response.json["vendor_scope"]) == ("org", "read write")
        assert place.vendor.is_live(response.json["access_token"])
        assert response.headers["Cache-Control"] == "no-store"
    assert place.token(place.key(place.member, place.deputy), place.own).json["scope"] == "user"


def test_a_token_given_is_audited_with_who_asked(place: Place) -> None:
    place.token(place.key(place.member, place.agent), place.shared)
    (event,) = place.events
    assert (event.action, event.actor_type, event.actor_id, event.credential_type) == (
        "connection.used",
        "agent",
        str(place.agent.id),
        "api_key",
    )
    assert (event.target_id, event.organization_id, event.outcome) == (str(place.shared.id), place.organization.id, "ok")
    assert event.request_id


def test_a_browser_session_gets_no_token(place: Place) -> None:
    response = place.browser(place.owner).post(f"/api/v1/orgs/acme/connections/{place.shared.id}/token", headers=SAME_ORIGIN)
    assert (response.status_code, response.json["error"]) == (403, "bearer_required")
    assert "at_" not in response.text


def test_a_stranger_gets_no_token(place: Place) -> None:
    foreign_agent = factories.make_agent(place.elsewhere, place.stranger)
    tries = [
        (place.key(place.owner), place.own, "acme"),  # another member's
        (place.key(place.other_member), place.own, "acme"),
        (place.key(place.member, place.agent), place.own, "acme"),  # its owner's, for whom it does not act
        (place.key(place.owner), place.foreign, "acme"),  # another organization's, below mine
        (place.key(place.owner), place.foreign, "elsewhere"),
        (place.key(place.stranger, organization=place.elsewhere), place.shared, "elsewhere"),
        (place.key(place.stranger, foreign_agent, organization=place.elsewhere), place.shared, "elsewhere"),
        (place.key(place.stranger, foreign_agent, organization=place.elsewhere), place.shared, "acme"),
    ]
    for headers, connection, slug in tries:
        response = place.token(headers, connection, slug)
        assert (response.status_code, response.json["error"]) == (404, "not_found")
    assert place.vendor.refreshes == 0
    assert place.events == []


def test_a_key_without_the_scope_gets_no_token(place: Place) -> None:
    response = place.token(place.key(place.owner, scopes=["credentials:read", "orgs"]), place.shared)
    assert (response.status_code, response.json["error"]) == (403, "insufficient_scope")


def test_a_vendor_that_is_away_is_503_with_retry_after_and_no_word_of_its_own(make_app: Any, vendor: FakeVendor) -> None:
    place = Place(make_app(**vendor_settings(vendor)), vendor)
    old = factories.make_connection(user=place.owner, expires_in=-1)
    vendor.refresh_error, vendor.retry_after = "rate_limited", "77"
    response = place.token(place.key(place.owner), old)
    assert (response.status_code, response.json["error"], response.headers["Retry-After"]) == (503, "temporarily_unavailable", "77")
    (item,) = [item for item in place.browser(place.owner).get("/api/v1/orgs/acme/connections").json["items"] if item["scope"] == "user"]
    assert (item["status"], item["last_error"]) == ("retrying", "rate_limited")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 200),
        ({"refused": None}, 200),
        ({"refused": "another"}, 200),
        ({"refused": 5}, 422),
        ({"refused": ["x"]}, 422),
        ({"token": "x"}, 422),
        ([], 400),
        ("x", 400),
    ],
    ids=str,
)
def test_what_the_body_may_say(place: Place, body: Any, status: int) -> None:
    path = f"/api/v1/orgs/acme/connections/{place.shared.id}/token"
    assert place.app.test_client().post(path, headers=place.key(place.owner), json=body).status_code == status
    assert place.vendor.refreshes == 0


def test_a_refused_token_is_answered_with_another(place: Place) -> None:
    path, headers = f"/api/v1/orgs/acme/connections/{place.shared.id}/token", place.key(place.owner)
    first = place.token(headers, place.shared).json["access_token"]
    again = place.app.test_client().post(path, headers=headers, json={"refused": first})
    assert (again.status_code, set(again.json)) == (200, {"access_token", "expires_at", "scope", "vendor_scope"})
    assert place.vendor.is_live(again.json["access_token"])
    assert again.json["access_token"] != first
    assert [event.action for event in place.events] == ["connection.used", "connection.refreshed", "connection.used"]


# --- who waits for a token is looked at again ---


def _revoke_key(place: Place, raw: str) -> None:
    with owner.session(place.app) as owners:
        owners.execute(update(ApiKey).where(ApiKey.key_hash == hash_secret(raw)).values(revoked_at=clock.now()))


def _end_membership(place: Place, _raw: str) -> None:
    with owner.session(place.app) as owners:
        owners.execute(delete(Membership).where(Membership.user_id == place.member.id))


def _disable(place: Place, _raw: str) -> None:
    with owner.session(place.app) as owners:
        owners.execute(update(User).where(User.id == place.member.id).values(disabled_at=clock.now()))


def _narrow_key(place: Place, raw: str) -> None:
    with owner.session(place.app) as owners:
        owners.execute(update(ApiKey).where(ApiKey.key_hash == hash_secret(raw)).values(scope="orgs"))


def _delete_organization(place: Place, _raw: str) -> None:
    with owner.session(place.app) as owners:
        owners.execute(update(Organization).where(Organization.slug == "acme").values(deleted_at=clock.now()))


@pytest.mark.parametrize(
    ("end", "status"),
    [(_revoke_key, 401), (_end_membership, 401), (_disable, 401), (_delete_organization, 401), (_narrow_key, 403)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
@pytest.mark.parametrize("by", ["person", "agent", "deputy"])
def test_a_token_is_not_given_to_whose_right_ended_while_the_vendor_was_asked(place: Place, end: Any, status: int, by: str) -> None:
    agent = {"person": None, "agent": place.agent, "deputy": place.deputy}[by]
    raw = factories.make_api_key(place.organization, place.member, agent=agent).raw_key
    with owner.session(place.app) as owners:
        owners.execute(update(Connection).where(Connection.id == place.shared.id).values(expires_at=clock.now()))
    refresh = place.vendor._refresh

    def meanwhile(form: dict[str, str]) -> Any:
        end(place, raw)
        return refresh(form)

    place.vendor._refresh = meanwhile  # type: ignore[method-assign]
    response = place.token(bearer(raw), place.shared)
    assert response.status_code == status
    assert "access_token" not in response.json
    assert (place.vendor.rotations, [event.action for event in place.events]) == (1, ["connection.refreshed"])


@pytest.mark.parametrize("resource", [None, "http://127.0.0.1:8000/api/v1"])
def test_nor_to_whose_grant_was_revoked(place: Place, resource: str | None) -> None:
    """An opaque token, a JWT."""
    app, program = place.app, Program(place.app, factories.make_client(trusted=True, scope="openid connections:use"))
    raw = program.get_tokens(place.browser(place.member), scope="openid connections:use", organization="acme", resource=resource)[
        "access_token"
    ]
    assert place.token(bearer(raw), place.shared).status_code == 200
    with owner.session(app) as owners:
        owners.execute(update(Connection).where(Connection.id == place.shared.id).values(expires_at=clock.now()))
    refresh = place.vendor._refresh

    def meanwhile(form: dict[str, str]) -> Any:
        with owner.session(app) as owners:
            owners.execute(update(RefreshFamily).values(revoked_at=clock.now()))
        return refresh(form)

    place.vendor._refresh = meanwhile  # type: ignore[method-assign]
    assert place.token(bearer(raw), place.shared).status_code == 401


def test_a_connection_that_is_lost_is_409_and_says_why(place: Place) -> None:
    lost = factories.make_connection(user=place.owner, expires_in=-1, status="needs_reconnecting", last_error="invalid_grant", failures=2)
    response = place.token(place.key(place.owner), lost)
    assert (response.status_code, response.json["error"]) == (409, "needs_reconnecting")
    assert "invalid_grant" in response.json["error_description"]
    assert place.vendor.refreshes == 0
