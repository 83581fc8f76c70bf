"""Keys that an app made with its tokens end with what it was allowed, and lists say which app made them."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete, select

from errors import Forbidden
from infra import clock
from models import Agent, ApiKey, OAuthClient, RefreshFamily
from services.access.actors import Actor
from services.authorization import connected_apps
from services.sessions import user_sessions
from services.tokens import oauth_clients
from services.users import api_keys
from tests import factories, owner
from tests.oauth.flow import ISSUER, Program, bearer
from tests.pages.forms import post as post_form
from tests.pages.forms import said

pytestmark = pytest.mark.both_databases

OWN = f"{ISSUER}/api/v1"
SCOPE = "openid offline_access orgs orgs:write keys:write sessions:write projects:read"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
KEYS = "/api/v1/api-keys"


class Desk:
    """A person in two browsers, with an agent, and an app that is allowed to make keys."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.user = factories.make_user(email="ada@example.com", personal=False)
        self.organization = factories.make_organization(owner=self.user, slug="acme")
        self.agent = factories.make_agent(self.organization, self.user)
        self.here, self.there = app.test_client(), app.test_client()
        for browser in (self.here, self.there):
            factories.sign_in(browser, self.user)
        self.program = Program(app, factories.make_client(client_id="patchwork", name="Patchwork", trusted=True, scope=SCOPE))
        self.other = Program(app, factories.make_client(client_id="other", name="Other", trusted=True, scope=SCOPE))

    def tokens(self, program: Program, browser: FlaskClient, *, resource: str | None = None) -> dict[str, Any]:
        return program.get_tokens(browser, scope=SCOPE, resource=resource)

    def mint(self, token: str, **members: Any) -> Any:
        body = {"owner": "self", "name": "by an app", "scopes": ["orgs", "projects:read"], "organization": "acme", **members}
        return self.app.test_client().post(KEYS, json=body, headers=bearer(token))

    def two_keys(self, token: str) -> list[str]:
        """One of the person's own, one of the agent's."""
        answers = [self.mint(token), self.mint(token, owner=str(self.agent.id))]
        assert [answer.status_code for answer in answers] == [201, 201], answers[0].text
        return [answer.json["key"] for answer in answers]

    def own_key(self) -> str:
        body = {"owner": "self", "name": "by hand", "scopes": ["orgs"], "organization": "acme"}
        return self.here.post(KEYS, json=body, headers=SAME_ORIGIN).json["key"]

    def works(self, raw: str) -> bool:
        return self.app.test_client().get("/api/v1/orgs", headers=bearer(raw)).status_code == 200

    def remove_access(self) -> None:
        with self.app.app_context():
            connected_apps.remove(factories.make_actor(self.user), self.user.id, self.program.client.id)

    def grants(self) -> list[str]:
        items = self.here.get("/api/v1/user-sessions").json["items"]
        return [item["id"] for item in items if item["type"] == "grant"]

    def sid(self, browser: FlaskClient) -> str:
        return browser.get("/api/v1/session").json["session"]["id"]


@pytest.fixture
def desk(app: Flask) -> Desk:
    return Desk(app)


@pytest.fixture(params=[None, OWN], ids=["opaque", "jwt"])
def token(request: pytest.FixtureRequest, desk: Desk) -> str:
    """The app's token. Its grant began in the browser that signs the others out."""
    return desk.tokens(desk.program, desk.here, resource=request.param)["access_token"]


def _remove_access(desk: Desk) -> None:
    desk.remove_access()


def _remove_access_on_the_page(desk: Desk) -> None:
    assert post_form(desk.here, f"/account/apps/{desk.program.client.id}/remove").status_code == 303


def _sign_out_everywhere_else(desk: Desk) -> None:
    assert desk.here.delete("/api/v1/user-sessions?others=true", headers=SAME_ORIGIN).status_code == 204


def _sign_out_on_the_page(desk: Desk) -> None:
    assert post_form(desk.here, "/account/sessions/revoke-others").status_code == 303


def _operator_signs_out(desk: Desk) -> None:
    assert desk.app.test_cli_runner().invoke(args=["sessions", "revoke", "--user", "ada@example.com"]).exit_code == 0


def _administrator_signs_out(desk: Desk) -> None:
    browser = desk.app.test_client()
    factories.sign_in(browser, factories.make_user(is_admin=True))
    assert post_form(browser, f"/admin/users/{desk.user.id}/sign-out").status_code == 303


def _operator_deletes_the_client(desk: Desk) -> None:
    assert desk.app.test_cli_runner().invoke(args=["clients", "delete", "patchwork", "--yes"]).exit_code == 0


def _administrator_deletes_the_client(desk: Desk) -> None:
    browser = desk.app.test_client()
    factories.sign_in(browser, factories.make_user(is_admin=True))
    assert post_form(browser, f"/admin/clients/{desk.program.client.id}/delete").status_code == 303


def _revoke_the_session(desk: Desk) -> None:
    assert desk.there.delete(f"/api/v1/user-sessions/{desk.sid(desk.here)}", headers=SAME_ORIGIN).status_code == 204


def _revoke_the_grant(desk: Desk) -> None:
    for grant in desk.grants():
        assert desk.here.delete(f"/api/v1/user-sessions/{grant}", headers=SAME_ORIGIN).status_code == 204


ENDINGS: list[Callable[[Desk], None]] = [
    _remove_access,
    _remove_access_on_the_page,
    _sign_out_everywhere_else,
    _sign_out_on_the_page,
    _operator_signs_out,
    _administrator_signs_out,
    _operator_deletes_the_client,
    _administrator_deletes_the_client,
    _revoke_the_session,
    _revoke_the_grant,
]


@pytest.mark.parametrize("end", ENDINGS)
def test_what_ends_an_app_ends_the_keys_it_made(desk: Desk, token: str, end: Callable[[Desk], None]) -> None:
    keys, by_hand = desk.two_keys(token), desk.own_key()
    assert all(map(desk.works, [*keys, by_hand]))
    end(desk)
    assert [desk.works(raw) for raw in keys] == [False, False]
    assert desk.works(by_hand)
    with owner.session(desk.app) as owners:
        assert owners.scalar(select(Agent.paused_at)) is None
    revoked = [event for event in owner.events(desk.app) if event.action == "api_key.revoked"]
    assert len(revoked) == 2
    assert {event.organization_id for event in revoked} == {desk.organization.id}


def test_the_keys_of_another_app_go_on_when_one_is_removed(desk: Desk, token: str) -> None:
    others = desk.two_keys(desk.tokens(desk.other, desk.here)["access_token"])
    desk.two_keys(token)
    desk.remove_access()
    assert all(map(desk.works, others))


def test_the_keys_of_another_person_go_on(desk: Desk, token: str) -> None:
    bob, browser = factories.make_user(), desk.app.test_client()
    factories.make_membership(desk.organization, bob)
    factories.sign_in(browser, bob)
    with_the_same_app = desk.mint(desk.program.get_tokens(browser, scope=SCOPE, organization="acme")["access_token"]).json["key"]
    desk.two_keys(token)
    _sign_out_everywhere_else(desk)
    desk.remove_access()
    assert desk.works(with_the_same_app)
    _operator_deletes_the_client(desk)
    assert not desk.works(with_the_same_app)


def test_signing_out_everywhere_ends_keys_of_grants_that_are_long_over(desk: Desk, token: str) -> None:
    """A grant is swept when it has expired; the keys that were made with it are not."""
    keys = desk.two_keys(token)
    owner.rows(desk.app, delete(RefreshFamily))
    _sign_out_everywhere_else(desk)
    assert not any(map(desk.works, keys))


@pytest.mark.parametrize("end", [_remove_access, _remove_access_on_the_page, _revoke_the_session])
def test_so_do_the_others(desk: Desk, token: str, end: Callable[[Desk], None]) -> None:
    keys = desk.two_keys(token)
    owner.rows(desk.app, delete(RefreshFamily))
    assert "Patchwork" in desk.here.get("/account/apps").text  # its keys still act for the person
    end(desk)
    assert not any(map(desk.works, keys))
    assert "Patchwork" not in desk.there.get("/account/apps").text


def test_a_session_takes_along_the_keys_of_its_own_grants_only(desk: Desk, token: str) -> None:
    from_there = desk.two_keys(desk.tokens(desk.program, desk.there)["access_token"])
    keys = desk.two_keys(token)
    _revoke_the_session(desk)
    assert not any(map(desk.works, keys))
    assert all(map(desk.works, from_there))


def test_a_grant_that_was_stolen_takes_its_keys_along(desk: Desk) -> None:
    tokens = desk.tokens(desk.program, desk.here)
    keys = desk.two_keys(tokens["access_token"])
    desk.program.refresh(tokens["refresh_token"])
    clock.move(120)
    assert desk.program.refresh(tokens["refresh_token"]).status_code == 400
    assert not any(map(desk.works, keys))


def test_an_app_that_signs_itself_out_leaves_them(desk: Desk) -> None:
    """The person took nothing away: what they had the app make for them stays, and is listed under the app."""
    tokens = desk.tokens(desk.program, desk.here)
    keys = desk.two_keys(tokens["access_token"])
    assert desk.program.revoke(tokens["refresh_token"]).status_code == 200
    assert all(map(desk.works, keys))
    assert "Patchwork" in desk.here.get("/account/apps").text
    desk.remove_access()
    assert not any(map(desk.works, keys))


def test_signing_out_here_leaves_them(desk: Desk, token: str) -> None:
    keys = desk.two_keys(token)
    post_form(desk.here, "/account/sessions", action="/logout")
    assert all(map(desk.works, keys))


@pytest.mark.parametrize("end", [_remove_access, _operator_signs_out, _operator_deletes_the_client, _revoke_the_grant])
def test_afterwards_the_token_makes_no_more(desk: Desk, token: str, end: Callable[[Desk], None]) -> None:
    end(desk)
    assert desk.mint(token).status_code == 401


# --- lists say so ---


def test_lists_name_the_app(desk: Desk, token: str) -> None:
    desk.own_key()
    made = desk.mint(token)
    desk.mint(token, owner=str(desk.agent.id), name="of the agent")
    told = {"client_id": "patchwork", "name": "Patchwork"}
    assert made.json["created_with"] == told
    items = desk.here.get(KEYS).json["items"]
    assert [item["created_with"] for item in items] == [None, told, told]
    for page in ("/account/tokens", f"/orgs/acme/agents/{desk.agent.id}"):
        assert said(desk.here.get(page)).count(", created with Patchwork") == 1


def test_the_audit_trail_names_the_app(desk: Desk, token: str) -> None:
    desk.mint(token)
    desk.own_key()
    by_app, by_hand = [event for event in owner.events(desk.app) if event.action == "api_key.created"]
    assert by_app.details["client_id"] == "patchwork"
    assert "client_id" not in by_hand.details


def test_pages_say_how_many_keys_will_end(desk: Desk, token: str) -> None:
    desk.two_keys(token)
    (grant,) = desk.grants()
    admin = desk.app.test_client()
    factories.sign_in(admin, factories.make_user(is_admin=True))
    assert "2 keys it created will be revoked." in desk.here.get(f"/account/apps/{desk.program.client.id}/remove").text
    assert "Keys that connected apps created for you will be revoked." in desk.here.get("/account/sessions/revoke-others").text
    for sid in (grant, desk.sid(desk.here)):
        assert "2 keys it created will be revoked." in desk.here.get(f"/account/sessions/{sid}/revoke").text
    assert "2 keys that apps created for them will be revoked." in admin.get(f"/admin/users/{desk.user.id}/sign-out").text
    assert "2 keys it created will be revoked." in admin.get(f"/admin/clients/{desk.program.client.id}/delete").text


def test_pages_say_nothing_of_keys_where_there_are_none(desk: Desk, token: str) -> None:
    desk.own_key()
    pages = [f"/account/apps/{desk.program.client.id}/remove", f"/account/sessions/{desk.sid(desk.here)}/revoke"]
    for page in (*pages, "/account/sessions/revoke-others"):
        assert "will be revoked" not in desk.here.get(page).text
        assert "created for you" not in desk.here.get(page).text


def test_keys_alone_can_be_ended_on_the_sessions_page(desk: Desk, token: str) -> None:
    keys = desk.two_keys(token)
    owner.rows(desk.app, delete(RefreshFamily))
    with desk.app.app_context():
        user_sessions.revoke(factories.make_actor(desk.user), user_id=desk.user.id, sid=desk.sid(desk.there))
    assert "/account/sessions/revoke-others" in desk.here.get("/account/sessions").text
    assert post_form(desk.here, "/account/sessions/revoke-others").status_code == 303
    assert not any(map(desk.works, keys))
    assert "/account/sessions/revoke-others" not in desk.here.get("/account/sessions").text


def test_an_administrator_ends_them_where_nothing_else_is_left(desk: Desk, token: str) -> None:
    keys, admin, page = desk.two_keys(token), desk.app.test_client(), f"/admin/users/{desk.user.id}"
    factories.sign_in(admin, factories.make_user(is_admin=True))
    desk.program.revoke(token)
    for browser in (desk.here, desk.there):
        post_form(browser, "/account", action="/logout")
    assert f"{page}/sign-out" in admin.get(page).text
    assert post_form(admin, f"{page}/sign-out").status_code == 303
    assert not any(map(desk.works, keys))
    assert f"{page}/sign-out" not in admin.get(page).text


def test_a_key_makes_no_key(desk: Desk) -> None:
    key = factories.make_api_key(desk.organization, desk.user)
    assert desk.mint(key.raw_key).json["error"] == "keys_cannot_manage_keys"
    actor = Actor(type="user", credential_type="api_key", user=factories.make_actor(desk.user).user)
    with desk.app.app_context(), pytest.raises(Forbidden):
        api_keys.mint(actor, owner="self", organization="acme", name="x", scopes=["orgs"])


def test_a_deleted_client_leaves_its_keys_in_the_audit_trail(desk: Desk, token: str) -> None:
    desk.two_keys(token)
    _operator_deletes_the_client(desk)
    with owner.session(desk.app) as owners:
        rows = owners.execute(select(ApiKey.client_pk, ApiKey.revoked_at)).all()
        assert owners.scalar(select(OAuthClient.id).where(OAuthClient.client_id == "patchwork")) is None
    assert [(row.client_pk, row.revoked_at is None) for row in rows] == [(None, False)] * 2
    oauth_clients.forget()
    assert "by an app" in desk.here.get("/orgs/acme/audit").text


@pytest.mark.parametrize("sid", ["nonsense", "00000000-0000-0000-0000-000000000000", "%20", "None"])
def test_an_id_of_no_session_ends_no_key(desk: Desk, token: str, sid: str) -> None:
    keys = [*desk.two_keys(token), desk.own_key()]
    assert desk.here.delete(f"/api/v1/user-sessions/{sid}", headers=SAME_ORIGIN).status_code == 404
    assert all(map(desk.works, keys))
