"""A thief with somebody's live session makes himself at home; the person presses the button behind the email and he has nothing left."""

import ast
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from errors import Unavailable
from extensions import db
from infra import clock
from infra.clock import now_ms
from infra.logging_setup import redact
from models import AccountEvent, AuditEvent, Identity, KnownApp, SecureLink, User
from providers import ProviderAccount
from services.access import organization_access
from services.access.actors import Actor, UserInfo
from services.accounts import account_securing, user_administration
from services.database import row_security
from services.sessions import user_sessions
from services.sign_in import account_owners, email_confirmations, sign_in_links
from services.users import agents, api_keys, identities
from tests import factories, owner
from tests.fakes.browser import Browser
from tests.fakes.fixtures import github_settings, oidc_settings
from tests.fakes.github import FakeGitHub, GitHubUser
from tests.fakes.oidc import FakeOidc
from tests.fakes.smtp import FakeSmtp
from tests.live_server import ROOT
from tests.oauth.flow import Program, bearer
from tests.stores import Valkey

ANN, MALLORY = "ann@example.com", "mallory@evil.example"
WEEK = 7 * 86_400
LINK = re.compile(r"http://127\.0\.0\.1:8000(/secure/\S+)")


@pytest.fixture
def app(make_app: Callable[..., Flask], github: FakeGitHub, op: FakeOidc, smtp: FakeSmtp) -> Flask:
    return make_app(**github_settings(github), **oidc_settings(op), mail_url=smtp.url)


def links_to(smtp: FakeSmtp, address: str) -> list[str]:
    """The links in the letters to an address, oldest first."""
    texts = [letter.get_content() for letter in smtp.letters if letter["To"] == address]
    return [found[1] for text in texts if (found := LINK.search(text))]


def press(app: Flask, path: str) -> TestResponse:
    """Open a link in a browser that is signed in nowhere, and press its button."""
    browser = Browser(app)
    return browser.post(path, browser.get(path))


def session_actor(app: Flask, browser: Browser, ip: str = "203.0.113.9") -> Actor:
    with app.app_context():
        user = db.session.scalars(db.select(User)).one()
        info = UserInfo(user.id, user.email, user.email_verified, user.name)
    return Actor("user", str(user.id), "session", "the-stolen-one", info, ip=ip, user_agent="thief/1.0")


def mallorys(op: FakeOidc) -> ProviderAccount:
    return ProviderAccount("authentik", op.issuer, op.signed_in.sub, "mallory", name="Mallory", email=MALLORY, email_verified=True)


@dataclass
class Thief:
    """What he has after a quarter of an hour with the victim's cookie."""

    browser: Browser
    actor: Actor
    account: ProviderAccount
    keys: list[str] = field(default_factory=list)
    opaque: dict[str, Any] = field(default_factory=dict)
    jwt: dict[str, Any] = field(default_factory=dict)


@pytest.fixture
def ann(github: FakeGitHub) -> GitHubUser:
    return github.add(GitHubUser.make(101, "ann", ANN, name="Ann Example"))


@pytest.fixture
def victim(app: Flask, github: FakeGitHub, ann: GitHubUser) -> Browser:
    """Ann, whose account is eight days old, in her browser."""
    Browser(app).sign_in(github)
    clock.move(8 * 86_400)
    browser = Browser(app)
    browser.sign_in(github)
    assert browser.is_signed_in
    return browser


@pytest.fixture
def program(app: Flask) -> Program:
    factories.make_resource(identifier="https://api.example.com", scope="things:read")
    return Program(
        app, factories.make_client(client_id="notes", name="Notes", trusted=True, scope="openid offline_access orgs things:read")
    )


@pytest.fixture
def thief(app: Flask, victim: Browser, op: FakeOidc, program: Program) -> Thief:
    """Links his own account, makes it the primary address, makes keys and allows a program."""
    op.signed_in.claims |= {"email": MALLORY, "email_verified": True, "preferred_username": "mallory", "name": "Mallory"}
    actor = session_actor(app, victim)
    account = mallorys(op)
    thief = Thief(victim, actor, account)
    with app.app_context():
        identities.link(actor, actor.user.id, account)
        way = next(way for way in identities.list_for(actor.user.id) if way.provider_id == "authentik")
        identities.choose_email(actor, actor.user.id, way.id)
        slug = _slug(actor)
        thief.keys.append(api_keys.mint(actor, owner="self", organization=slug, name="mine", scopes=["orgs"])[1])
        agent = agents.create(actor, slug, name="helper", acts_for_owner=True)
        thief.keys.append(api_keys.mint(actor, owner=str(agent.id), organization=slug, name="its", scopes=["orgs"])[1])
    thief.opaque = program.get_tokens(victim.client, scope="openid offline_access orgs")
    thief.jwt = program.get_tokens(victim.client, scope="openid offline_access things:read", resource="https://api.example.com")
    return thief


def _slug(actor: Actor) -> str:
    return organization_access.list_joined(actor.user.id)[0].slug


def has_session(browser: Browser) -> bool:
    return browser.get("/account").status_code == 200


def test_after_the_button_the_thief_holds_nothing(
    app: Flask, thief: Thief, program: Program, op: FakeOidc, github: FakeGitHub, smtp: FakeSmtp
) -> None:
    introspector = Program(app, factories.make_client(type="confidential", scope="introspect", grant_types="client_credentials"))
    assert has_session(thief.browser)
    assert owner.rows(app, db.select(KnownApp))
    link = links_to(smtp, ANN)[-1]
    answer = press(app, link)
    assert answer.status_code == 200
    assert "Your account is secured" in answer.text
    assert owner.rows(app, db.select(KnownApp)) == []  # the next grant of any app is reported

    assert not has_session(thief.browser)
    for key in thief.keys:
        assert program.http.get("/api/v1/whoami", headers=bearer(key)).status_code == 401
    for tokens in (thief.opaque, thief.jwt):
        assert program.refresh(tokens["refresh_token"]).status_code == 400
        assert introspector.introspect(tokens["access_token"]).json == {"active": False}
        assert introspector.introspect(tokens["refresh_token"]).json == {"active": False}
    assert not program.is_live(thief.opaque["access_token"])

    with app.app_context():
        user = db.session.get_one(User, thief.actor.user.id)
        assert (user.email, user.email_verified) == (ANN, True)
        assert [row.provider for row in db.session.scalars(db.select(Identity).where(Identity.user_id == user.id))] == ["github"]
        newcomer = account_owners.resolve(Actor(type="anonymous"), thief.account, keeps_proof=False)
        assert newcomer != thief.actor.user.id  # what his account at the provider signs in by now
    again = Browser(app)
    again.sign_in(github)
    assert has_session(again)


def test_the_letter_goes_to_the_address_that_was_replaced(app: Flask, thief: Thief, smtp: FakeSmtp) -> None:
    subjects = [letter["Subject"] for letter in smtp.letters if letter["To"] == ANN]
    assert "The email address of your account was changed" in subjects
    assert "An account was linked to yours" in subjects


def test_the_link_that_he_got_himself_ends_with_his_address(app: Flask, thief: Thief, smtp: FakeSmtp) -> None:
    his, hers = links_to(smtp, MALLORY)[-1], links_to(smtp, ANN)
    assert press(app, hers[-1]).status_code == 200
    assert Browser(app).get(his).status_code == 410
    assert Browser(app).get(hers[0]).status_code == 200  # another letter of hers still works: he may come back her way


def test_his_pressing_first_gains_him_nothing_and_leaves_hers(app: Flask, thief: Thief, smtp: FakeSmtp) -> None:
    hers = links_to(smtp, ANN)[-1]
    assert press(app, links_to(smtp, MALLORY)[-1]).status_code == 200
    assert not has_session(thief.browser)
    with app.app_context():
        assert db.session.get_one(User, thief.actor.user.id).email == ANN
    assert press(app, hers).status_code == 200


def test_nothing_that_only_looks_changes_anything(app: Flask, thief: Thief, smtp: FakeSmtp) -> None:
    """Mail scanners follow links, with HEAD and GET, and some post forms that they find, without the cookie."""
    link = links_to(smtp, ANN)[-1]
    for method in ("get", "head", "get"):
        answer = getattr(Browser(app).client, method)(link, base_url="http://127.0.0.1:8000")
        assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert "script-src 'none'" in answer.headers["Content-Security-Policy"]
    page = Browser(app).get(link)
    assert Browser(app).post(link).status_code == 400
    assert Browser(app).post(link, page).status_code == 400  # the form of another browser
    assert has_session(thief.browser)
    assert press(app, link).status_code == 200


def test_a_link_works_once_and_for_seven_days(app: Flask, thief: Thief, smtp: FakeSmtp) -> None:
    first, second = links_to(smtp, ANN)[-2:]
    browser = Browser(app)
    page = browser.get(first)
    assert browser.post(first, page).status_code == 200
    again = browser.post(first, page)
    assert again.status_code == 410
    assert "This link is no longer valid" in again.text
    assert "Sign in and check your activity." in again.text
    clock.move(8 * 86_400 + WEEK - 60)
    assert browser.get(second).status_code == 200
    clock.move(8 * 86_400 + WEEK + 60)
    assert browser.get(second).status_code == 410
    for damaged in (second[:-1], second + "x", "/secure/%00", "/secure/%ff", "/secure/" + "x" * 3000):
        assert browser.get(damaged).status_code == 410
        assert browser.post(damaged, page).status_code == 410


def test_a_token_opens_what_it_was_made_for(app: Flask, thief: Thief, smtp: FakeSmtp) -> None:
    secure = links_to(smtp, ANN)[-1].rpartition("/")[2]
    with app.app_context():
        sign_in = sign_in_links.create(Actor.operator(), ANN, create=True)
        with pytest.raises(sign_in_links.LinkEnded):
            sign_in_links.get_info(secure)
        with pytest.raises(email_confirmations.ConfirmationEnded):
            email_confirmations.get_info(secure, raw_browser=None)
    browser = Browser(app)
    for path in (f"/login/link/{secure}", f"/login/confirm/{secure}", f"/secure/{sign_in}"):
        assert browser.get(path).status_code == 410
    assert browser.get(f"/invitations/{secure}").status_code == 410
    with app.app_context():
        assert secure.encode() not in {row.token_hash for row in db.session.scalars(db.select(SecureLink))}


def test_many_clicks_at_once_end_well(app: Flask, thief: Thief, smtp: FakeSmtp) -> None:
    links, seen = links_to(smtp, ANN)[-2:], []

    def use(path: str) -> None:
        with app.app_context():
            try:
                account_securing.use(Actor(type="anonymous"), path.rpartition("/")[2])
            except account_securing.SecureLinkEnded:
                seen.append("ended")
            else:
                seen.append("done")

    threads = [threading.Thread(target=use, args=(path,)) for path in (*links, *links, *links)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == ["done", "done", "ended", "ended", "ended", "ended"]
    with app.app_context():
        assert len(owner.events(app, AuditEvent.action == "account.secured")) == 2
        assert db.session.get_one(User, thief.actor.user.id).email == ANN


def test_a_sign_in_that_was_under_way_does_not_outlive_the_button(app: Flask, thief: Thief, smtp: FakeSmtp) -> None:
    """His identity was looked up before it was removed; his session is written after."""
    began = now_ms()
    clock.move(8 * 86_400 + 1)
    assert press(app, links_to(smtp, ANN)[-1]).status_code == 200
    with app.app_context():
        raw = user_sessions.start(Actor(type="anonymous"), user_id=thief.actor.user.id, provider="authentik", began_ms=began)
        assert user_sessions.authenticate(raw) is None
        confirmed = user_sessions.start(
            Actor(type="anonymous"), user_id=thief.actor.user.id, provider="authentik", replaces=thief.browser.session, began_ms=began
        )
        assert user_sessions.authenticate(confirmed) is None
        clock.move(8 * 86_400 + 2)
        raw = user_sessions.start(Actor(type="anonymous"), user_id=thief.actor.user.id, provider="github")
        assert user_sessions.authenticate(raw) is not None


def test_whatever_starts_a_session_says_when_it_looked_the_account_up() -> None:
    """Else a sign-in that was under way would begin after the account was secured."""
    calls = [
        (path.name, {word.arg for word in node.keywords})
        for path in (ROOT / "services").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "user_sessions.start"
    ]
    assert calls
    assert [name for name, words in calls if "began_ms" not in words] == []


def test_what_was_under_way_in_his_session_gains_nothing(app: Flask, thief: Thief, smtp: FakeSmtp) -> None:
    """Requests that were let in before, and reach the database after: a key, a linked account, a changed address."""
    assert press(app, links_to(smtp, ANN)[-1]).status_code == 200
    with app.app_context():
        slug, github = _slug(thief.actor), identities.list_for(thief.actor.user.id)[0].id
        with pytest.raises(Unavailable):
            api_keys.mint(thief.actor, owner="self", organization=slug, name="late", scopes=["orgs"])
        with pytest.raises(Unavailable):
            identities.link(thief.actor, thief.actor.user.id, thief.account)
        with pytest.raises(Unavailable):
            identities.choose_email(thief.actor, thief.actor.user.id, github)
        clock.move(8 * 86_400 + 11)
        assert api_keys.mint(thief.actor, owner="self", organization=slug, name="hers", scopes=["orgs"])


def test_while_redis_is_away_the_link_is_not_spent(app: Flask, thief: Thief, smtp: FakeSmtp, valkey: Valkey) -> None:
    browser, link = Browser(app), links_to(smtp, ANN)[-1]
    page = browser.get(link)
    valkey.stop()
    try:
        assert browser.post(link, page).status_code == 503
    finally:
        valkey.start()
    assert browser.post(link, page).status_code == 200


def test_the_account_it_was_created_with_stays_and_so_does_the_last_way_in(
    app: Flask, github: FakeGitHub, ann: GitHubUser, op: FakeOidc, smtp: FakeSmtp
) -> None:
    """A day-old account: its first identity is younger than a week, too."""
    Browser(app).sign_in(github)
    browser = Browser(app)
    browser.sign_in(github)
    clock.move(86_400)
    actor = session_actor(app, browser)
    account = mallorys(op)
    with app.app_context():
        identities.link(actor, actor.user.id, account)
    assert press(app, links_to(smtp, ANN)[-1]).status_code == 200
    with app.app_context():
        assert [way.provider_id for way in identities.list_for(actor.user.id)] == ["github"]
        clock.move(86_400 + 60)
        identities.link(actor, actor.user.id, account)
        identities.unlink(actor, actor.user.id, next(way.id for way in identities.list_for(actor.user.id) if way.provider_id == "github"))
    assert press(app, links_to(smtp, ANN)[-1]).status_code == 200
    with app.app_context():
        assert [way.provider_id for way in identities.list_for(actor.user.id)] == ["authentik"]
        assert db.session.get_one(User, actor.user.id).email == ANN


def test_toggling_the_address_makes_hers_no_newcomer(app: Flask, thief: Thief, smtp: FakeSmtp) -> None:
    with app.app_context():
        ways = {way.provider_id: way.id for way in identities.list_for(thief.actor.user.id)}
        for provider in ("github", "authentik", "github", "authentik"):
            identities.choose_email(thief.actor, thief.actor.user.id, ways[provider])
        identities.unlink(thief.actor, thief.actor.user.id, ways["github"])
    assert press(app, links_to(smtp, ANN)[-1]).status_code == 200
    with app.app_context():
        assert db.session.get_one(User, thief.actor.user.id).email == ANN


def test_an_address_that_is_somebody_elses_by_now_comes_back_unverified(app: Flask, thief: Thief, smtp: FakeSmtp) -> None:
    factories.make_user(email=ANN)
    assert press(app, links_to(smtp, ANN)[-1]).status_code == 200
    with app.app_context():
        user = db.session.get_one(User, thief.actor.user.id)
        assert (user.email, user.email_verified) == (ANN, False)


def test_a_week_after_it_was_replaced_an_address_gets_no_more_letters(app: Flask, thief: Thief, smtp: FakeSmtp) -> None:
    with app.app_context():
        ways = {way.provider_id: way.id for way in identities.list_for(thief.actor.user.id)}
        identities.unlink(thief.actor, thief.actor.user.id, ways["github"])
    before = len(links_to(smtp, ANN))
    clock.move(8 * 86_400 + WEEK - 60)
    _mint(app, thief)
    seen = {one: len(links_to(smtp, one)) for one in (ANN, MALLORY)}
    assert seen[ANN] == before + 1
    clock.move(8 * 86_400 + WEEK + 3600)
    _mint(app, thief)
    assert {one: len(links_to(smtp, one)) for one in (ANN, MALLORY)} == {ANN: seen[ANN], MALLORY: seen[MALLORY] + 1}


def test_an_address_that_was_removed_soon_after_it_was_added_gets_no_more_letters(app: Flask, thief: Thief, smtp: FakeSmtp) -> None:
    """The victim unlinks the thief's account: he is not told what she does next."""
    with app.app_context():
        ways = {way.provider_id: way.id for way in identities.list_for(thief.actor.user.id)}
        identities.choose_email(thief.actor, thief.actor.user.id, ways["github"])
        identities.unlink(thief.actor, thief.actor.user.id, ways["authentik"])
    seen = len(links_to(smtp, MALLORY))
    clock.move(8 * 86_400 + 3600)
    _mint(app, thief)
    assert len(links_to(smtp, MALLORY)) == seen


def _mint(app: Flask, thief: Thief) -> None:
    with app.app_context():
        api_keys.mint(thief.actor, owner="self", organization=_slug(thief.actor), name="another", scopes=["orgs"])


def test_it_is_audited_confirmed_and_signs_nobody_in(app: Flask, thief: Thief, smtp: FakeSmtp) -> None:
    browser = Browser(app)
    link = links_to(smtp, ANN)[-1]
    browser.post(link, browser.get(link))
    assert browser.session is None
    letter = smtp.letters[-1]
    assert (letter["To"], letter["Subject"]) == (ANN, "Your account was secured")
    assert "/secure/" not in letter.get_content()
    assert [one["Subject"] for one in smtp.letters if one["To"] == MALLORY][-1] != "Your account was secured"
    with app.app_context():
        (event,) = owner.events(app, AuditEvent.action == "account.secured")
        assert (event.target_type, event.target_id) == ("user", str(thief.actor.user.id))
        assert event.details["identities"] == 1
        row_security.enter(user_id=thief.actor.user.id)
        assert db.session.scalars(db.select(AccountEvent.kind).order_by(AccountEvent.id.desc())).first() == "account_secured"


def test_after_it_every_place_is_a_new_one(app: Flask, thief: Thief, github: FakeGitHub, smtp: FakeSmtp) -> None:
    """He may know her password at the provider: he comes from the place that he had come from."""
    assert press(app, links_to(smtp, ANN)[-1]).status_code == 200
    assert "New sign-in to your account" not in [letter["Subject"] for letter in smtp.letters]
    thief.browser.sign_in(github)
    assert smtp.letters[-1]["Subject"] == "New sign-in to your account"


def test_a_disabled_account_has_no_links(app: Flask, thief: Thief, smtp: FakeSmtp) -> None:
    link = links_to(smtp, ANN)[-1]
    browser = Browser(app)
    page = browser.get(link)
    with app.app_context():
        user_administration.disable(Actor.operator(), str(thief.actor.user.id))
    assert browser.get(link).status_code == 410
    assert browser.post(link, page).status_code == 410


def test_a_link_of_the_operators_that_waits_ends_too(app: Flask, thief: Thief, smtp: FakeSmtp) -> None:
    with app.app_context():
        raw = sign_in_links.create(Actor.operator(), MALLORY)
    assert press(app, links_to(smtp, ANN)[-1]).status_code == 200
    with app.app_context(), pytest.raises(sign_in_links.LinkEnded):
        sign_in_links.use(Actor(type="anonymous"), raw)


def test_guessing_is_limited_and_no_token_reaches_the_log(make_app: Callable[..., Flask]) -> None:
    browser = Browser(make_app(rate_limits="link=5"))
    assert [browser.get("/secure/guess").status_code for _ in range(6)] == [410] * 5 + [429]
    assert redact("GET /secure/abc") == "GET /secure/[cut]"
