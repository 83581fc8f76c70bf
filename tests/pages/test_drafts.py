"""What was typed into a form that was not saved comes back with it, on every page with navigation: secrets aside, and for nobody else.

The forms are found: every page at whose address a form is sent, with each of its fields filled in as its kind allows.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update

from blueprints import DOORS, browser, guards, session_cookie
from blueprints.html import drafts
from extensions import redis
from infra import clock
from models import User
from services.sessions import user_sessions
from services.sessions.drafts import Draft
from services.tokens import signing_keys
from tests import factories, owner
from tests.api.company import Company
from tests.pages.forms import post, said

HOUR = 3600
TYPED = "typed <i>& kept"
SECRET = "a-secret-that-was-pasted"
WITH_FIELDS = {
    "/account",
    "/account/delete",
    "/account/tokens/new",
    "/admin/clients/new",
    "/admin/clients/<uuid:client_pk>/edit",
    "/admin/keys/<kid>/retire",
    "/orgs/new",
    "/orgs/<slug>/agents/new",
    "/orgs/<slug>/agents/<uuid:agent_id>/keys/new",
    "/orgs/<slug>/credentials/new",
    "/orgs/<slug>/credentials/<name>/value",
    "/orgs/<slug>/delete",
    "/orgs/<slug>/invitations/new",
    "/orgs/<slug>/members/<uuid:user_id>/role",
    "/orgs/<slug>/settings",
}


class Forms(HTMLParser):
    """The forms of a page by address: what each field offers, and what it is filled with."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.offers: dict[str, dict[str, list[str]]] = {}
        self.filled: dict[str, dict[str, list[str]]] = {}
        self.hidden: dict[str, dict[str, str]] = {}
        self._action, self._area, self._select = "", "", ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        at = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._action = at["action"] if at.get("method") == "post" else ""
            for kept in (self.offers, self.filled, self.hidden):
                kept.setdefault(self._action, {})
        elif tag == "input" and at.get("type") == "hidden":
            self.hidden.setdefault(self._action, {})[at["name"]] = at["value"]
        elif tag == "input" and at.get("type") in ("radio", "checkbox"):
            self._field(at["name"], at["value"], is_filled="checked" in at)
        elif tag == "input" and at.get("name"):
            self._field(at["name"], TYPED, is_filled=False)
            self.filled[self._action][at["name"]] = [at.get("value", "")]
        elif tag == "textarea":
            self._area = at["name"]
            self._field(self._area, TYPED, is_filled=False)
            self.filled[self._action][self._area] = [""]
        elif tag == "select":
            self._select = at["name"]
        elif tag == "option":
            self._field(self._select, at["value"], is_filled="selected" in at)

    def handle_data(self, data: str) -> None:
        if self._area:
            self.filled[self._action][self._area][0] += data

    def handle_endtag(self, tag: str) -> None:
        self._area = "" if tag == "textarea" else self._area
        self._action = "" if tag == "form" else self._action

    def _field(self, name: str, value: str, *, is_filled: bool) -> None:
        self.offers.setdefault(self._action, {}).setdefault(name, []).append(value)
        if is_filled:
            self.filled.setdefault(self._action, {}).setdefault(name, []).append(value)


Opened = dict[str, tuple[str, dict[str, str], dict[str, list[str]]]]  # rule -> address, hidden fields, what is typed


class Desk(Company):
    """An owner, who is also administrator, and everything that their forms are about. opened: forms that wait in tabs."""

    opened: Opened
    raw: str

    def __post_init__(self) -> None:
        super().__post_init__()
        owner.rows(self.app, update(User).where(User.id == self.owner.user.id).values(is_admin=True))
        factories.make_membership(self.acme, factories.make_user(personal=False), "owner")  # so that the account may be deleted
        self.raw = factories.sign_in(self.owner.http, self.owner.user)
        factories.make_credential("A_KEY", organization=self.acme)
        with self.app.app_context():
            signing_keys.key_set()
            next_key = next(key.kid for key in signing_keys.list_keys() if key.state == "next")
        agent = factories.make_agent(self.acme, self.owner.user)
        self.parts = {
            "slug": "acme",
            "name": "A_KEY",
            "user_id": self.member.id,
            "agent_id": agent.id,
            "client_pk": factories.make_client(type="confidential").id,
            "kid": next_key,
        }

    def pages(self) -> dict[str, str]:
        """Rule -> address, of every page with navigation at whose address a form is sent; those about something else are left out."""
        doors = {blueprint.name for blueprint, _, guard in DOORS if guard in (guards.pages, guards.admin_pages)}
        rules = [rule for rule in self.app.url_map.iter_rules() if rule.endpoint.partition(".")[0] in doors]
        shown, sent = ({rule.rule for rule in rules if method in (rule.methods or ())} for method in ("GET", "POST"))
        found = {}
        for rule in sorted(shown & sent):
            address = re.sub(r"<(?:\w+:)?(\w+)>", lambda part: str(self.parts.get(part[1], "")), rule)
            found[rule] = address + ("?scope=org" if "/value" in rule else "")
        return found


@pytest.fixture
def desk(app: Flask) -> Desk:
    return Desk(app)


def filled_in(http: FlaskClient, address: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The hidden fields of the form at this address, and each other one with something typed or chosen that did not stand there."""
    page = Forms(http.get(address).text)
    path = urlsplit(address).path
    action = next((one for one in page.offers if urlsplit(one).path == path), "")
    choices: dict[str, list[str]] = {}
    for name, offered in page.offers.get(action, {}).items():
        before = page.filled[action].get(name, [])
        choices[name] = [next((one for one in reversed(offered) if one not in before), offered[-1])]
    for name in drafts.SECRETS & choices.keys():
        choices[name] = [SECRET]
    if "key" in choices:
        choices["key"] = ["A_TYPED_KEY"]
    return page.hidden.get(action, {}), choices


def filled(text: str, address: str) -> dict[str, list[str]]:
    page = Forms(text)
    return next(found for action, found in page.filled.items() if urlsplit(action).path == urlsplit(address).path)


def without_secrets(choices: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: [""] if name in drafts.SECRETS else values for name, values in choices.items()}


def walk(desk: Desk) -> Opened:
    """The pages with fields."""
    found = {}
    for rule, address in desk.pages().items():
        hidden, choices = filled_in(desk.owner.http, address)
        if choices:
            found[rule] = (address, hidden, choices)
    assert set(found) == WITH_FIELDS
    return found


def test_a_form_that_was_open_too_long_is_answered_with_itself(desk: Desk) -> None:
    for rule, (address, hidden, choices) in walk(desk).items():
        answer = desk.owner.http.post(address, data={**choices, **hidden, "csrf_token": "made-up"})
        assert answer.status_code == 400, rule
        assert filled(answer.text, address) == without_secrets(choices), rule
        assert SECRET not in answer.text, rule
        assert "This form has expired. Nothing was saved" in answer.text, rule
        fresh = Forms(answer.text)
        tokens = {kept.get("csrf_token") for action, kept in fresh.hidden.items() if urlsplit(action).path == urlsplit(address).path}
        assert not tokens & {None, "made-up", hidden["csrf_token"]}, rule


def send(desk: Desk) -> dict[str, tuple[str, dict[str, list[str]], str]]:
    """Rule -> address, what was typed, and where the browser is led when it sends each form now. They were opened before."""
    return {
        rule: (address, choices, desk.owner.http.post(address, data={**hidden, **choices}).headers["Location"])
        for rule, (address, hidden, choices) in desk.opened.items()
    }


def confirm(desk: Desk) -> None:
    """The person confirms who they are: the same session goes on."""
    with desk.app.app_context():
        actor = factories.make_actor(desk.owner.user)
        desk.raw = user_sessions.start(actor, user_id=desk.owner.user.id, provider="github", replaces=desk.raw)
    settings = desk.app.extensions["gatepost.settings"]
    desk.owner.http.set_cookie(session_cookie.cookie_name(settings), desk.raw, domain=settings.host.rpartition(":")[0] or settings.host)


def led_back(location: str, way: str) -> str:
    """The address that the sign-in of this kind leads back to."""
    found = urlsplit(location)
    assert found.path == way, location
    return parse_qs(found.query)["next"][0]


def test_a_form_that_is_sent_after_signing_out_comes_back_after_the_sign_in(desk: Desk) -> None:
    desk.opened = walk(desk)
    post(desk.owner.http, "/account", "/logout")
    for rule, (address, choices, location) in send(desk).items():
        page = said(desk.owner.http.get(location))
        assert "You were signed out, so nothing was saved." in page, rule
        back = led_back(location, "/login")
        factories.sign_in(desk.owner.http, desk.owner.user)
        for _ in range(2):  # reloaded, or gone back to
            found = desk.owner.http.get(back)
            assert filled(found.text, address) == without_secrets(choices), rule
            assert "so nothing was done. Check this page and try again." in said(found), rule
            assert ("Paste the value again." in found.text) == bool(drafts.SECRETS & choices.keys()), rule
            assert SECRET not in found.text, rule
        post(desk.owner.http, "/account", "/logout")


def test_what_is_kept_is_shown_to_nobody_else(desk: Desk) -> None:
    desk.opened = walk(desk)
    post(desk.owner.http, "/account", "/logout")
    backs = {rule: (address, led_back(location, "/login")) for rule, (address, _, location) in send(desk).items()}
    factories.make_membership(desk.acme, desk.stranger.user, "owner")
    owner.rows(desk.app, update(User).where(User.id == desk.stranger.user.id).values(is_admin=True))
    factories.sign_in(desk.owner.http, desk.stranger.user)
    for rule, (_address, back) in backs.items():
        found = desk.owner.http.get(back)
        assert "typed &lt;i&gt;" not in found.text, rule
        if found.status_code == 200:
            assert "so nothing was done. Check this page and try again." in said(found), rule
        assert "Paste the value again." not in said(found), rule
    factories.sign_in(desk.owner.http, desk.owner.user)
    (_, new), (settings, _) = backs["/orgs/new"], backs["/orgs/<slug>/settings"]
    assert filled(desk.owner.http.get(f"{settings}?{urlsplit(new).query}").text, settings)["slug"] == ["acme"], "of another form"
    other = desk.app.test_client()
    factories.sign_in(other, desk.owner.user)
    assert filled(other.get(new).text, "/orgs/new")["slug"] == [""], "of another browser"


def test_no_secret_is_kept_anywhere(desk: Desk) -> None:
    desk.opened = walk(desk)
    kept = []
    keep = drafts.drafts.keep
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drafts.drafts, "keep", lambda browser, draft: kept.append(draft) or keep(browser, draft))
        post(desk.owner.http, "/account", "/logout")
        send(desk)
    assert len(kept) == len(WITH_FIELDS)
    assert SECRET not in repr(kept)


def test_a_form_that_is_sent_from_the_same_persons_next_session_comes_back(desk: Desk) -> None:
    desk.opened = walk(desk)
    factories.sign_in(desk.owner.http, desk.owner.user)
    for rule, (address, choices, location) in send(desk).items():
        found = desk.owner.http.get(location)
        assert filled(found.text, address) == without_secrets(choices), rule
        assert said(found).count("nothing was done. Check this page and try again.") == 1, rule


def test_a_form_that_needs_a_fresh_sign_in_comes_back_after_it(desk: Desk) -> None:
    desk.opened = walk(desk)
    clock.move(HOUR)
    asked = {}
    for rule, (address, hidden, choices) in desk.opened.items():
        if "language" in choices:
            continue  # it is saved, and pages speak another language
        location = desk.owner.http.post(address, data={**hidden, **choices}).headers.get("Location") or ""
        if location.startswith("/reauth"):
            asked[rule] = address, choices, led_back(location, "/reauth")
    assert asked.keys() >= {rule for rule in WITH_FIELDS if rule.endswith(("/settings", "/invitations/new", "/agents/new", "/role"))}
    confirm(desk)
    for rule, (address, choices, back) in asked.items():
        for _ in range(2):  # reloaded, or gone back to
            found = desk.owner.http.get(back)
            assert filled(found.text, address) == without_secrets(choices), rule
            assert "Nothing was saved yet. Check what you entered and send it again." in said(found), rule


def test_two_tabs_keep_what_was_typed_in_each(desk: Desk) -> None:
    clock.move(HOUR)
    page, backs = "/orgs/acme/invitations/new", {}
    for email in ("pia@example.com", "tom@example.com"):
        late = post(desk.owner.http, page, emails=email, role="admin")
        backs[email] = led_back(late.location, "/reauth")
    factories.sign_in(desk.owner.http, desk.owner.user)
    for email, back in backs.items():
        assert filled(desk.owner.http.get(back).text, page) == {"emails": [email], "role": ["admin"]}
        assert post(desk.owner.http, back, page, emails=email, role="admin").location == "/orgs/acme/invitations"


def test_a_session_that_became_fresh_meanwhile_is_not_asked(desk: Desk) -> None:
    page = "/orgs/acme/agents/new"
    clock.move(HOUR)
    hidden, _ = filled_in(desk.owner.http, page)
    confirm(desk)
    answer = desk.owner.http.post(page, data={**hidden, "name": "deploy-bot", "acts_for_owner": "y"})
    assert answer.location.startswith("/orgs/acme/agents/")


def test_what_another_site_sends_fills_no_form(desk: Desk) -> None:
    page = "/orgs/acme/invitations/new"
    hidden, choices = filled_in(desk.owner.http, page)
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = desk.owner.http.post(page, data={**choices, **hidden}, headers=headers)
        assert (answer.status_code, "typed &lt;i&gt;" in answer.text) == (400, False)
    post(desk.owner.http, "/account", "/logout")
    before = redis.client.dbsize()
    for token, headers in ((hidden["csrf_token"], {"Origin": "https://evil.example"}), ("made-up", {})):
        answer = desk.owner.http.post(page, data={**choices, "csrf_token": token}, headers=headers)
        assert led_back(answer.location, "/login") == f"{page}?draft=none"
    assert redis.client.dbsize() == before


def test_a_stranger_leaves_nothing_in_the_store(desk: Desk) -> None:
    stranger = desk.app.test_client()
    token = re.findall(r'name="csrf_token" value="([^"]+)"', stranger.get("/login").text)
    before = redis.client.dbsize()
    assert stranger.post("/account", data={"csrf_token": token, "name": TYPED}).status_code == 303
    assert redis.client.dbsize() == before


def test_what_is_too_long_is_not_kept(desk: Desk) -> None:
    page = "/orgs/acme/invitations/new"
    clock.move(HOUR)
    late = post(desk.owner.http, page, emails="x" * 40_000, role="admin")
    confirm(desk)
    found = desk.owner.http.get(led_back(late.location, "/reauth"))
    assert filled(found.text, page)["emails"] == [""]
    assert "Nothing was changed yet. Try again." in said(found)


@dataclass(frozen=True)
class NewerDraft(Draft):
    """Of the next version, which may run beside this one."""

    more: int = 1


def test_a_draft_of_a_newer_version_is_read(desk: Desk) -> None:
    with desk.app.app_context():
        name = drafts.drafts.keep("a browser", NewerDraft("/orgs/new", "a token", [("name", "Acme")]))
        found = drafts.drafts.find("a browser", name)
    assert found is not None
    assert (found.path, found.token) == ("/orgs/new", "a token")


def test_a_value_that_was_pasted_where_its_name_belongs_is_not_shown(desk: Desk) -> None:
    page = "/orgs/acme/credentials/new"
    hidden, _ = filled_in(desk.owner.http, page)
    answer = desk.owner.http.post(page, data={**hidden, "csrf_token": "made-up", "key": SECRET, "note": TYPED})
    assert (filled(answer.text, page)["note"], filled(answer.text, page)["key"]) == ([TYPED], [""])
    assert SECRET not in answer.text


def test_a_button_says_that_nothing_was_changed(desk: Desk) -> None:
    page = "/orgs/acme/leave"
    hidden, _ = filled_in(desk.owner.http, page)
    answer = desk.owner.http.post(page, data={"csrf_token": "made-up"})
    assert (answer.status_code, "This form has expired" in answer.text) == (400, True)
    post(desk.owner.http, "/account", "/logout")
    late = desk.owner.http.post(page, data=hidden)
    assert "You were signed out, so nothing was saved." in said(desk.owner.http.get(late.location))
    factories.sign_in(desk.owner.http, desk.owner.user)
    assert "so nothing was done." in said(desk.owner.http.get(led_back(late.location, "/login")))


def at(app: Flask, desk: Desk) -> FlaskClient:
    """The owner's browser at another process of this Gatepost."""
    http, settings = app.test_client(), app.extensions["gatepost.settings"]
    for name in (browser.cookie_name(settings), session_cookie.cookie_name(settings)):
        cookie = desk.owner.http.get_cookie(name, domain="127.0.0.1")
        assert cookie is not None
        http.set_cookie(name, cookie.value, domain="127.0.0.1")
    return http


def test_a_form_that_cannot_be_saved_may_be_sent_again(desk: Desk, make_app: Callable[..., Flask]) -> None:
    """While a store is away its page cannot be shown: the error page holds what was typed, and its button sends it again."""
    desk.opened = walk(desk)
    away, kept = at(make_app(redis_url="redis://127.0.0.1:1"), desk), {}
    for rule, (address, hidden, choices) in desk.opened.items():
        answer = away.post(address, data={**hidden, **choices})
        assert answer.status_code == 503, rule
        assert SECRET not in answer.text, rule
        typed = {name: values for name, values in choices.items() if name not in drafts.SECRETS}
        if typed:
            kept[rule] = Forms(answer.text).hidden[address]
            assert {name: [value] for name, value in kept[rule].items() if name not in ("csrf_token", "form_id")} == typed, rule
            assert kept[rule]["form_id"] != hidden.get("form_id"), rule
    back = at(make_app(), desk)
    for rule, fields in kept.items():
        address, _, choices = desk.opened[rule]
        again = back.post(address, data=fields)
        assert again.status_code in (303, 422), rule
        if again.status_code == 422:
            assert filled(again.text, address) == without_secrets(choices), rule


def test_what_another_site_sent_while_a_store_is_away_is_not_offered(desk: Desk, make_app: Callable[..., Flask]) -> None:
    page = "/orgs/acme/agents/new"
    hidden, _ = filled_in(desk.owner.http, page)
    away = at(make_app(redis_url="redis://127.0.0.1:1"), desk)
    for token, headers in ((hidden["csrf_token"], {"Origin": "https://evil.example"}), ("made-up", {})):
        answer = away.post(page, data={"csrf_token": token, "name": TYPED}, headers=headers)
        assert (answer.status_code, "typed &lt;i&gt;" in answer.text) == (503, False)
