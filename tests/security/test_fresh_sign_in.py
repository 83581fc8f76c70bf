"""What needs a sign-in of the last ten minutes is out of reach of everything older: a session, a token that began in it, a key.

Somebody has a session of an hour ago, of the owner of acme. They try it in the browser and through the API, authorize a trusted
program with it, and have an API key with all scopes. The list itself, and that it is whole: tests/house/test_fresh_sign_in.py.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from infra import clock
from models import (
    Agent,
    ApiKey,
    CredentialDeclaration,
    Identity,
    Invitation,
    Membership,
    OAuthClient,
    Organization,
    User,
)
from tests import factories, owner
from tests.api.callers import ALL_SCOPES
from tests.api.company import SAME_ORIGIN, Company
from tests.oauth.flow import ISSUER, Program, bearer
from tests.pages.forms import post

HOUR = 3600
Sender = Callable[[str, str, Any], TestResponse]


class Attacked(Company):
    """acme with a second owner, and whatever else somebody could lay hands on. The owner is also administrator here."""

    def __post_init__(self) -> None:
        super().__post_init__()
        owner.rows(self.app, update(User).where(User.id == self.owner.user.id).values(is_admin=True))
        self.colleague = self.person(f"second-owner{self.mark}@example.com")
        factories.make_membership(self.acme, self.colleague.user, "owner")
        self.agent = factories.make_agent(self.acme, self.owner.user)
        self.client = factories.make_client(type="confidential")
        self.github = factories.make_identity(self.owner.user)
        self.google = factories.make_identity(
            self.owner.user, provider="google", issuer="https://accounts.google.com", supplies_email=False, email="other@example.com"
        )
        send, self.base = self.owner.send, f"/orgs/{self.acme.slug}"
        asked = {"email": f"admin-to-be{self.mark}@example.com", "role": "admin"}
        self.invited = send("POST", f"{self.base}/invitations", asked).json["id"]
        assert send("PUT", f"{self.base}/credentials/A_KEY", {"value": "a value"}).status_code == 201
        assert send("PUT", f"{self.base}/credentials/A_KEY/declaration", {"set_by": "person"}).status_code == 201


@pytest.fixture
def attacked(app: Flask) -> Attacked:
    return Attacked(app)


def api_acts(c: Attacked) -> dict[str, tuple[str, str, Any]]:
    def member(person: Any) -> str:
        return f"{c.base}/members/{person.id}"

    def invite(role: str) -> Any:
        return {"email": f"eve{c.mark}@example.com", "role": role}

    return {
        "make a key": ("POST", "/api-keys", {"owner": "self", "organization": c.acme.slug, "name": "ci", "scopes": ["orgs"]}),
        "make a key for an agent": (
            "POST",
            "/api-keys",
            {"owner": str(c.agent.id), "organization": c.acme.slug, "name": "ci", "scopes": ["orgs"]},
        ),
        "invite an owner": ("POST", f"{c.base}/invitations", invite("owner")),
        "invite an admin": ("POST", f"{c.base}/invitations", invite("admin")),
        "send an admin's invitation again": ("POST", f"{c.base}/invitations/{c.invited}/resend", None),
        "make a member an owner": ("PATCH", member(c.member), {"role": "owner"}),
        "make a member an admin": ("PATCH", member(c.member), {"role": "admin"}),
        "make an admin an owner": ("PATCH", member(c.admin), {"role": "owner"}),
        "make an admin a member": ("PATCH", member(c.admin), {"role": "member"}),
        "make an owner a member": ("PATCH", member(c.colleague), {"role": "member"}),
        "remove an admin": ("DELETE", member(c.admin), None),
        "remove an owner": ("DELETE", member(c.colleague), None),
        "take the owner out as themselves": ("DELETE", member(c.owner), None),
        "let the organization's value be used again": ("PUT", f"{c.base}/credentials/A_KEY/declaration", {"set_by": "both"}),
        "the same by saying nothing": ("PUT", f"{c.base}/credentials/A_KEY/declaration", {"note": "x"}),
        "the same without a declaration": ("DELETE", f"{c.base}/credentials/A_KEY/declaration", None),
        "let the organization alone set it": ("PUT", f"{c.base}/credentials/A_KEY/declaration", {"set_by": "organization"}),
        "make an agent that acts for the owner": ("POST", f"{c.base}/agents", {"name": "eve-bot", "acts_for_owner": True}),
        "change the slug": ("PATCH", f"{c.base}", {"slug": f"acme-2{c.mark}"}),
        "change the slug and the name": ("PATCH", f"{c.base}", {"name": "Acme", "slug": f"acme-2{c.mark}"}),
        "delete the organization": ("DELETE", f"{c.base}", None),
    }


def page_acts(c: Attacked) -> dict[str, tuple[str, dict[str, Any], bool]]:
    """Act -> the address of its form, the fields, and whether already the page with the form asks."""
    member = {name: f"/orgs/acme/members/{getattr(c, name).id}" for name in ("owner", "colleague", "admin", "member")}
    key, credentials = {"name": "ci", "scopes": ["orgs"], "expires": "7"}, "/orgs/acme/credentials"
    web = {"name": "New", "kind": "web", "redirect_uris": "https://eve.example/cb", "scopes": ["openid profile email"]}
    client, person = f"/admin/clients/{c.client.id}", f"/admin/users/{c.member.id}"
    return {
        "make a token": ("/account/tokens/new", {**key, "organization": "acme"}, True),
        "make an agent's key": (f"/orgs/acme/agents/{c.agent.id}/keys/new", key, True),
        "invite an admin": ("/orgs/acme/invitations/new", {"emails": "eve@example.com", "role": "admin"}, False),
        "send an admin's invitation again": (f"/orgs/acme/invitations/{c.invited}/resend", {}, False),
        "make a member an owner": (f"{member['member']}/role", {"role": "owner"}, True),
        "make a member an admin": (f"{member['member']}/role", {"role": "admin"}, True),
        "make an admin a member": (f"{member['admin']}/role", {"role": "member"}, True),
        "make an owner an admin": (f"{member['colleague']}/role", {"role": "admin"}, True),
        "remove an admin": (f"{member['admin']}/remove", {}, True),
        "remove an owner": (f"{member['colleague']}/remove", {}, True),
        "take the owner out as themselves": ("/orgs/acme/leave", {}, True),
        "remove the declaration": (f"{credentials}/A_KEY/remove", {}, True),
        "make an agent that acts for the owner": ("/orgs/acme/agents/new", {"name": "eve-bot", "acts_for_owner": "y"}, False),
        "change the slug": ("/orgs/acme/settings", {"name": "Acme", "slug": "acme-2"}, False),
        "delete the organization": ("/orgs/acme/delete", {"typed": "acme"}, True),
        "delete the account": ("/account/delete", {"typed": c.owner.user.email}, True),
        "choose the primary address": ("/account", {"name": "Owner", "email": str(c.google.id), "theme": "device"}, False),
        "link an account": ("/account/linked/google/link", {}, False),
        "unlink an account": (f"/account/linked/{c.github.id}/unlink", {}, True),
        "add a client": ("/admin/clients/new", web, True),
        "change a client": (f"{client}/edit", web, True),
        "add a secret": (f"{client}/secret", {}, True),
        "end a secret": (f"{client}/old-secret/revoke", {}, False),
        "delete a client": (f"{client}/delete", {}, True),
        "sign somebody out": (f"{person}/sign-out", {}, True),
        "turn an account off": (f"{person}/disable", {}, True),
        "turn an account on": (f"{person}/enable", {}, False),
    }


def _everything(app: Flask) -> list[tuple[Any, ...]]:
    """All that the acts could have changed."""
    columns = [
        (Membership.organization_id, Membership.user_id, Membership.role),
        (Invitation.id, Invitation.role, Invitation.token_hash, Invitation.revoked_at),
        (ApiKey.id, ApiKey.revoked_at),
        (Agent.id, Agent.acts_for_owner),
        (CredentialDeclaration.name, CredentialDeclaration.set_by),
        (Organization.id, Organization.slug, Organization.name, Organization.deleted_at),
        (Identity.id, Identity.user_id, Identity.supplies_email),
        (User.id, User.email, User.disabled_at),
        (OAuthClient.id, OAuthClient.name, OAuthClient.secret_hash, OAuthClient.previous_secret_hash),
    ]
    return [tuple(row) for one in columns for row in owner.rows(app, select(*one).order_by(*one[:2]))]


def _by_session(http: FlaskClient) -> Sender:
    return lambda method, path, body: http.open("/api/v1" + path, method=method, json=body, headers=SAME_ORIGIN)


def _by_token(app: Flask, raw: str) -> Sender:
    return lambda method, path, body: app.test_client().open("/api/v1" + path, method=method, json=body, headers=bearer(raw))


def _of_a_trusted_program(company: Company) -> Iterator[tuple[str, str]]:
    """An opaque token and a JWT that begin in the owner's session as it is now."""
    program = Program(company.app, factories.make_client(trusted=True, scope=f"openid {ALL_SCOPES}"))
    for kind, more in (("opaque token", {}), ("jwt", {"resource": f"{ISSUER}/api/v1"})):
        yield kind, program.get_tokens(company.owner.http, scope=ALL_SCOPES, organization=company.acme.slug, **more)["access_token"]


@pytest.mark.both_databases
def test_nothing_that_is_older_does_any_of_it_through_the_api(app: Flask, attacked: Attacked) -> None:
    clock.move(HOUR)
    senders = {"session": _by_session(attacked.owner.http)}
    senders |= {kind: _by_token(app, raw) for kind, raw in _of_a_trusted_program(attacked)}
    key = factories.make_api_key(attacked.acme, attacked.owner.user).raw_key
    before = _everything(app)
    for act, request in api_acts(attacked).items():
        for kind, send in senders.items():
            refused = send(*request)
            assert (refused.status_code, refused.json["error"]) == (401, "insufficient_user_authentication"), (act, kind)
            assert 'max_age="600"' in refused.headers["WWW-Authenticate"], (act, kind)
        refused = _by_token(app, key)(*request)
        code = "keys_cannot_manage_keys" if request[1] == "/api-keys" else "keys_cannot_do_this"
        assert (refused.status_code, refused.json["error"]) == (403, code), act
    assert _everything(app) == before


def test_nothing_that_is_older_does_any_of_it_on_the_pages(make_app: Callable[..., Flask], database: Any) -> None:
    app = make_app(google__client_id="x", google__client_secret="x")
    attacked = Attacked(app)
    http = attacked.owner.http
    clock.move(HOUR)
    before = _everything(app)
    for act, (path, fields, asks_first) in page_acts(attacked).items():
        if asks_first:
            assert http.get(path).location.startswith("/reauth?next="), act
        late = post(http, "/account", path, **fields)
        assert late.status_code == 303, act
        assert late.location.startswith("/reauth?next="), (act, late.location)
        page = http.get(late.location)
        assert "Sign in again to" in page.text, act
        assert "Sign in again to carry on" not in page.text, act
    assert _everything(app) == before


def test_a_fresh_sign_in_does_each_of_them_by_session_and_by_token(app: Flask) -> None:
    kinds = itertools.cycle(["session", "opaque token", "jwt"])
    for number, (act, kind) in enumerate(zip(api_acts(Attacked(app)), kinds, strict=False)):
        company = Attacked(app, mark=f"-{number}")
        senders = {"session": _by_session(company.owner.http)}
        senders |= {kind: _by_token(app, raw) for kind, raw in _of_a_trusted_program(company)}
        answer = senders[kind](*api_acts(company)[act])
        assert answer.status_code < 300, (act, kind, answer.text)


def test_a_fresh_sign_in_is_not_asked_again_on_the_pages(app: Flask, attacked: Attacked) -> None:
    for act, (path, _fields, asks_first) in page_acts(attacked).items():
        if asks_first:
            assert "/reauth" not in (attacked.owner.http.get(path).location or ""), act


def test_what_stands_not_on_the_list_needs_none(app: Flask, attacked: Attacked) -> None:
    clock.move(HOUR)
    senders = {"session": _by_session(attacked.owner.http), "key": None}
    senders["key"] = _by_token(app, factories.make_api_key(attacked.acme, attacked.owner.user).raw_key)
    for number, send in enumerate(senders.values()):
        colleague = factories.make_user()
        factories.make_membership(attacked.acme, colleague)
        invited = send("POST", "/orgs/acme/invitations", {"email": f"new{number}@example.com", "role": "member"})
        assert invited.status_code == 201
        done = [
            send("POST", f"/orgs/acme/invitations/{invited.json['id']}/resend", None),
            send("DELETE", f"/orgs/acme/invitations/{invited.json['id']}", None),
            send("PATCH", f"/orgs/acme/members/{colleague.id}", {"role": "member"}),
            send("DELETE", f"/orgs/acme/members/{colleague.id}", None),
            send("PUT", "/orgs/acme/credentials/B_KEY/declaration", {"set_by": "organization"}),
            send("PUT", "/orgs/acme/credentials/B_KEY/declaration", {"set_by": "organization", "note": "the same side"}),
            send("POST", "/orgs/acme/agents", {"name": "bot", "acts_for_owner": False}),
            send("PATCH", "/orgs/acme", {"name": "Acme", "slug": "acme"}),
        ]
        assert [answer.status_code for answer in done if answer.status_code >= 300] == []
    assert _by_session(attacked.owner.http)("DELETE", f"/orgs/acme/invitations/{attacked.invited}", None).status_code == 204
    assert post(attacked.owner.http, "/orgs/acme/settings", name="Acme & Co", slug="acme").status_code == 303
    assert attacked.owner.http.get("/orgs/acme/settings").status_code == 200


@pytest.mark.parametrize("body", ["{", "[" * 5000, '{"role": "member", "role": "owner"}', '{"role": ["owner"]}', "null", '"owner"'])
def test_a_body_that_cannot_be_read_is_no_way_around(app: Flask, attacked: Attacked, body: str) -> None:
    clock.move(HOUR)
    before = _everything(app)
    for path, method in ((f"/orgs/acme/members/{attacked.member.id}", "PATCH"), ("/orgs/acme/invitations", "POST")):
        answer = attacked.owner.http.open("/api/v1" + path, method=method, data=body, content_type="application/json", headers=SAME_ORIGIN)
        assert answer.status_code in (400, 401, 422), body
    assert _everything(app) == before


def test_a_form_that_was_posted_too_late_comes_back_with_its_choice(attacked: Attacked) -> None:
    http = attacked.owner.http
    clock.move(HOUR)
    forms = {
        "/orgs/acme/invitations/new": ({"emails": "eve@example.com", "role": "admin"}, '<option value="admin" selected>'),
        "/orgs/acme/agents/new": ({"name": "deploy & co", "acts_for_owner": "y"}, 'value="deploy &amp; co"'),
        f"/orgs/acme/members/{attacked.member.id}/role": ({"role": "owner"}, 'value="owner" checked'),
    }
    late = {path: post(http, "/account", path, **fields).location for path, (fields, _) in forms.items()}
    factories.sign_in(http, attacked.owner.user)
    for path, (_, chosen) in forms.items():
        (address,) = parse_qs(urlsplit(late[path]).query)["next"]
        assert urlsplit(address).path == path
        assert chosen in http.get(address).text.replace('selected=""', "selected"), path
