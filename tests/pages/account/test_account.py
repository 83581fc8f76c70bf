"""The account pages through their doors, on real stores."""

import re
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from extensions import db
from infra import clock
from infra.clock import now
from infra.ids import uuid7
from infra.secret_text import hash_secret, new_secret
from models import AuthorizationCode, Consent, OAuthClient, Organization, RefreshFamily, RefreshToken, User
from tests import factories, owner
from tests.pages.forms import counted

PAGES = ("/account", "/account/linked", "/account/sessions", "/account/sessions/revoke-others", "/account/apps")
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"


def sid_of(app: Flask, user: User, user_agent: str = "tests") -> str:
    from services.sessions import user_sessions

    with app.app_context():
        return next(record.sid for record in user_sessions.list_for(user.id) if record.user_agent == user_agent)


def grant(
    app: Flask, user: User, client: OAuthClient, *, sid: str = "elsewhere", scope: str = "openid email", user_agent: str | None = None
) -> Any:
    """A live grant with its refresh token."""
    with app.app_context():
        organization = db.session.scalar(select(Organization).where(Organization.id == user.id))
        family = RefreshFamily(
            id=uuid7(),
            client_pk=client.id,
            user_id=user.id,
            organization_id=organization.id,
            scope=scope,
            sid=sid,
            auth_time=now(),
            ip="10.20.0.14",
            user_agent=user_agent,
            last_used_at=now(),
            expires_at=now() + timedelta(days=90),
        )
        token = RefreshToken(family_id=family.id, token_hash=hash_secret(new_secret("gpr_")), expires_at=now() + timedelta(days=30))
        db.session.add_all([family, token])
        db.session.commit()
        return family.id


def consent(app: Flask, user: User, client: OAuthClient, scope: str = "openid email") -> None:
    with app.app_context():
        db.session.add(Consent(user_id=user.id, client_pk=client.id, organization_id=user.id, scope=scope, updated_at=now()))
        db.session.commit()


def post(client: FlaskClient, page: str, action: str | None = None, **fields: str) -> Any:
    """Post the form of a page as a browser does: with its token, to its own address."""
    token = re.search(r'name="csrf_token" value="([^"]+)"', client.get(page).text)
    assert token
    return client.post(action or page, data={"csrf_token": token[1], **fields})


# --- who may come in ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_without_a_session_every_account_page_leads_through_sign_in_and_back(client: FlaskClient, database: Any, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 303
    assert answer.location == "/login?next=" + path.replace("/", "%2F")


@pytest.mark.both_databases
@pytest.mark.parametrize("path", PAGES)
def test_account_pages_answer_with_their_headers(signed_in: FlaskClient, database: Any, path: str) -> None:
    answer = signed_in.get(path)
    assert answer.status_code == 200
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    # Pages that differ in it cost the way back between them; what signs people in must keep the window that opened it.
    assert "Cross-Origin-Opener-Policy" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "/account",
        "/account/sessions/revoke-others",
        f"/account/sessions/{uuid7()}/revoke",
        f"/account/apps/{uuid7()}/remove",
        f"/account/linked/{uuid7()}/unlink",
    ],
)
def test_a_post_without_a_csrf_token_changes_nothing(signed_in: FlaskClient, database: Any, path: str) -> None:
    answer = signed_in.post(path, data={"name": "Mallory"})
    assert answer.status_code == 400
    assert "This form has expired" in answer.text


def test_the_start_leads_to_the_account_or_to_sign_in(client: FlaskClient, user: User, database: Any) -> None:
    assert client.get("/").location == "/login"
    factories.sign_in(client, user)
    answer = client.get("/")
    assert (answer.status_code, answer.location) == (303, "/account")


def test_things_of_somebody_else_are_not_there(signed_in: FlaskClient, app: Flask, database: Any) -> None:
    other = factories.make_user()
    factories.make_session(other)
    app_ = factories.make_client()
    family = grant(app, other, app_)
    identity = factories.make_identity(other)
    for path in (
        f"/account/sessions/{sid_of(app, other)}/revoke",
        f"/account/sessions/{family}/revoke",
        f"/account/apps/{app_.id}",
        f"/account/apps/{app_.id}/remove",
        f"/account/linked/{identity.id}/unlink",
    ):
        assert signed_in.get(path).status_code == 404
    post(signed_in, "/account/sessions/revoke-others", f"/account/sessions/{family}/revoke")
    post(signed_in, "/account/sessions/revoke-others", f"/account/apps/{app_.id}/remove")
    assert post(signed_in, "/account", f"/account/linked/{identity.id}/unlink").status_code == 404
    with app.app_context():
        assert db.session.get(RefreshFamily, family).revoked_at is None


# --- profile ------------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_the_profile_is_saved_and_says_so(signed_in: FlaskClient, app: Flask, user: User, database: Any) -> None:
    answer = post(signed_in, "/account", name="  Maya   K. ", time_zone="Europe/Oslo", theme="dark")
    assert (answer.status_code, answer.location) == (303, "/account")
    page = signed_in.get("/account").text
    assert "Saved." in page
    assert 'value="Maya K."' in page
    assert '<html lang="en" dir="ltr" data-theme="dark">' in page
    assert "Times shown in Europe/Oslo" in page
    assert "Saved." not in signed_in.get("/account").text
    assert "user.profile_changed" in owner.actions(app)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": " "}, "Enter a name"),
        ({"name": "x" * 81}, "Use 80 characters or fewer"),
        ({"name": "A\0B"}, "Use letters, numbers and spaces"),
        ({"name": "A", "theme": "pink"}, "There is a problem"),
        ({"name": "A", "time_zone": "Mars/Olympus"}, "There is a problem"),
    ],
)
def test_a_wrong_field_is_told_at_the_field_and_nothing_is_saved(
    signed_in: FlaskClient, app: Flask, fields: dict[str, str], message: str, database: Any
) -> None:
    answer = post(signed_in, "/account", **{"theme": "device", "time_zone": "", **fields})
    assert answer.status_code == 422
    assert message in answer.text
    assert "<title>Error: Profile" in answer.text
    assert "user.profile_changed" not in owner.actions(app)


def test_a_post_with_half_the_fields_leaves_the_others_as_they_were(signed_in: FlaskClient, database: Any) -> None:
    post(signed_in, "/account", name="Maya", time_zone="Europe/Oslo", theme="dark")
    assert post(signed_in, "/account", name="Ada").status_code == 303
    page = signed_in.get("/account").text
    assert 'value="Ada"' in page
    assert 'data-theme="dark"' in page
    assert "Times shown in Europe/Oslo" in page


def test_what_nobody_reads_does_not_pile_up_in_the_session(signed_in: FlaskClient, database: Any) -> None:
    token = re.search(r'name="csrf_token" value="([^"]+)"', signed_in.get("/account").text)
    assert token
    for _ in range(15):
        sent = signed_in.post("/account", data={"csrf_token": token[1], "name": "Ada", "theme": "device", "language": "", "time_zone": ""})
        assert sent.status_code == 303
    assert signed_in.get("/account").text.count(">Saved.<") == 10
    assert ">Saved.<" not in signed_in.get("/account").text


def test_the_address_is_read_only_with_one_account_and_a_choice_with_two(
    signed_in: FlaskClient, app: Flask, user: User, database: Any
) -> None:
    factories.make_identity(user, login="mayak")
    page = signed_in.get("/account").text
    assert ". Verified." in page
    assert 'name="email"' not in page
    second = factories.make_identity(
        user, provider="google", issuer="https://accounts.google.com", email="maya@home.example", supplies_email=False
    )
    assert f'<option value="{second.id}">maya@home.example, from' in signed_in.get("/account").text
    assert post(signed_in, "/account", name="Maya", time_zone="", theme="device", email=str(second.id)).status_code == 303
    with app.app_context():
        assert db.session.get(User, user.id).email == "maya@home.example"
    assert "user.email_changed" in owner.actions(app)


def test_an_unverified_address_is_no_choice(signed_in: FlaskClient, user: User, database: Any) -> None:
    factories.make_identity(user)
    other = factories.make_identity(
        user, provider="google", issuer="https://accounts.google.com", email="maya@home.example", email_verified=False, supplies_email=False
    )
    assert str(other.id) not in signed_in.get("/account").text
    factories.make_identity(user, provider="corp", issuer="https://id.example", email="maya@corp.example", supplies_email=False)
    assert post(signed_in, "/account", name="Maya", time_zone="", theme="device", email=str(other.id)).status_code == 422


# --- linked accounts ----------------------------------------------------------------------------------------------


def test_the_only_way_to_sign_in_has_no_unlink(signed_in: FlaskClient, user: User, database: Any) -> None:
    identity = factories.make_identity(user, login="mayak")
    page = signed_in.get("/account/linked").text
    assert "Your only way to sign in" in page
    assert "/unlink" not in page
    assert post(signed_in, "/account", f"/account/linked/{identity.id}/unlink").location == "/account/linked"
    page = signed_in.get("/account/linked").text
    assert "is your only way to sign in" in page
    assert "mayak" in page


def test_a_second_account_is_unlinked_after_a_question(signed_in: FlaskClient, app: Flask, user: User, database: Any) -> None:
    factories.make_identity(user, login="mayak")
    second = factories.make_identity(user, provider="google", issuer="https://accounts.google.com", login="maya.k", supplies_email=False)
    question = signed_in.get(f"/account/linked/{second.id}/unlink").text
    assert "Keep it" in question
    assert "maya.k" in question
    assert post(signed_in, f"/account/linked/{second.id}/unlink").status_code == 303
    page = signed_in.get("/account/linked").text
    assert "unlinked." in page
    assert "maya.k" not in page
    assert "identity.unlinked" in owner.actions(app)


def test_a_provider_without_an_account_can_be_linked(make_app: Any, database: Any) -> None:
    app = make_app(github__client_id="x", github__client_secret="x")
    client = app.test_client()
    factories.sign_in(client, factories.make_user())
    assert '<form method="post" action="/account/linked/github/link">' in client.get("/account/linked").text


# --- sessions -----------------------------------------------------------------------------------------------------


def test_the_sessions_ask_as_much_for_fifty_as_for_three(signed_in: FlaskClient, app: Flask, user: User) -> None:
    counts = []
    for number in (3, 47):
        for _ in range(number):
            factories.make_grant(user)
            factories.make_session(user)
        signed_in.get("/account/sessions")
        with counted(app) as statements:
            page = signed_in.get("/account/sessions")
        counts.append(len(statements))
    assert page.text.count('/revoke"') == 100
    assert counts[0] == counts[1] <= 4


@pytest.mark.both_databases
def test_sessions_stand_in_three_groups(signed_in: FlaskClient, app: Flask, user: User, database: Any) -> None:
    page = signed_in.get("/account/sessions").text
    assert "This browser" in page
    assert "Other browsers" not in page
    assert "Command line and apps" not in page
    assert "Sign out everywhere else" not in page
    factories.make_session(user, provider="link", ip="185.71.9.30", user_agent=CHROME)
    grant(
        app, user, factories.make_client(name="Gatepost CLI", redirect_uris=["http://127.0.0.1/callback"]), user_agent="gatepost-cli/1.4.2"
    )
    page = signed_in.get("/account/sessions").text
    for text in (
        "Other browsers",
        "Chrome on Windows",
        "185.71.9.30",
        "a one-time link",
        "Command line and apps",
        "Gatepost CLI",
        "gatepost-cli 1.4.2",
    ):
        assert text in page
    assert page.count("First seen today") == 2
    assert "within 30 minutes" in page
    assert "Sign out everywhere else" in page
    clock.move(2 * 86_400)
    assert "First seen today" not in signed_in.get("/account/sessions").text


@pytest.mark.both_databases
def test_a_browser_is_revoked_with_what_was_signed_in_from_it(signed_in: FlaskClient, app: Flask, user: User, database: Any) -> None:
    factories.make_session(user, user_agent=CHROME)
    sid = sid_of(app, user, CHROME)
    family = grant(app, user, factories.make_client(name="Gatepost CLI"), sid=sid)
    question = signed_in.get(f"/account/sessions/{sid}/revoke").text
    assert "Revoke Chrome on Windows?" in question
    assert "The apps you signed in from it will stop within 30 minutes: <bdi>Gatepost CLI</bdi>." in question
    assert post(signed_in, f"/account/sessions/{sid}/revoke").location == "/account/sessions"
    page = signed_in.get("/account/sessions").text
    assert "Session revoked." in page
    assert "Chrome on Windows" not in page
    with app.app_context():
        assert db.session.get(RefreshFamily, family).revoked_at is not None
    assert post(signed_in, "/account/sessions", f"/account/sessions/{sid}/revoke").status_code == 303
    assert "Nothing changed." in signed_in.get("/account/sessions").text


def test_one_grant_is_revoked_alone(signed_in: FlaskClient, app: Flask, user: User, database: Any) -> None:
    client = factories.make_client(name="Gatepost CLI")
    first, second = grant(app, user, client), grant(app, user, client)
    assert "Revoke <bdi>Gatepost CLI</bdi>?" in signed_in.get(f"/account/sessions/{first}/revoke").text
    post(signed_in, f"/account/sessions/{first}/revoke")
    with app.app_context():
        assert db.session.get(RefreshFamily, first).revoked_at is not None
        assert db.session.get(RefreshFamily, second).revoked_at is None


def test_revoking_this_browser_signs_it_out(signed_in: FlaskClient, app: Flask, user: User, database: Any) -> None:
    answer = post(signed_in, f"/account/sessions/{sid_of(app, user)}/revoke")
    assert answer.location == "/signed-out"
    assert "gatepost_session=;" in answer.headers["Set-Cookie"]
    assert signed_in.get("/account").status_code == 303


def test_signing_out_everywhere_else_keeps_this_browser_and_what_began_in_it(
    signed_in: FlaskClient, app: Flask, user: User, database: Any
) -> None:
    own = sid_of(app, user)
    factories.make_session(user, user_agent=CHROME)
    client = factories.make_client()
    kept, ended = grant(app, user, client, sid=own), grant(app, user, client)
    assert "Sign out 2 sessions" in signed_in.get("/account/sessions/revoke-others").text
    assert post(signed_in, "/account/sessions/revoke-others").location == "/account/sessions"
    assert "Signed out 2 other sessions." in signed_in.get("/account/sessions").text
    with app.app_context():
        assert db.session.get(RefreshFamily, kept).revoked_at is None
        assert db.session.get(RefreshFamily, ended).revoked_at is not None
    assert "No other sessions." in signed_in.get("/account/sessions/revoke-others").text


@pytest.mark.parametrize("sid", ["x", "..", "01939000", "%00", "a" * 500])
def test_a_malformed_session_id_is_not_there(signed_in: FlaskClient, database: Any, sid: str) -> None:
    assert signed_in.get(f"/account/sessions/{sid}/revoke").status_code == 404


# --- connected apps -----------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_apps_are_listed_with_what_they_may_do(signed_in: FlaskClient, app: Flask, user: User, database: Any) -> None:
    assert "Apps you allow appear here." in signed_in.get("/account/apps").text
    web = factories.make_client(name="Boards", redirect_uris=["https://boards.example/cb"])
    native = factories.make_client(name="Evil <b>", redirect_uris=["http://127.0.0.1/cb"], origin="registered", scope="credentials:read")
    consent(app, user, web, "openid profile email")
    grant(app, user, web, scope="openid offline_access")
    grant(app, user, native, scope="credentials:read")
    page = signed_in.get("/account/apps").text
    for text in (
        "Boards",
        "boards.example",
        "See who you are",
        "Keep working while you’re away",
        "“<bdi>Evil &lt;b&gt;</bdi>”",
        "Read credential values",
    ):
        assert text in page
    assert page.count('class="row-t"') == 2
    detail = signed_in.get(f"/account/apps/{web.id}").text
    for text in (
        "Added by an administrator of 127.0.0.1:8000",
        "openid offline_access profile email",
        "boards.example",
        "Can’t read credential values",
    ):
        assert text in detail
    assert "Nobody has checked this app." in signed_in.get(f"/account/apps/{native.id}").text


@pytest.mark.parametrize(
    ("trusted", "uri", "asks"),
    [(True, "https://a.example/cb", False), (True, "http://127.0.0.1/cb", True), (False, "https://a.example/cb", True)],
)
def test_an_app_is_said_to_ask_again_only_if_it_must(
    signed_in: FlaskClient, app: Flask, user: User, trusted: bool, uri: str, asks: bool
) -> None:
    client = factories.make_client(name="Boards", trusted=trusted, redirect_uris=[uri])
    grant(app, user, client)
    assert ("must ask you again" in signed_in.get(f"/account/apps/{client.id}/remove").text) is asks
    page = signed_in.get(post(signed_in, f"/account/apps/{client.id}/remove").location).text
    assert ("Boards must ask you again." in page) is asks
    assert "Access removed." in page


@pytest.mark.both_databases
def test_removing_an_app_ends_everything_it_had(signed_in: FlaskClient, app: Flask, user: User, database: Any) -> None:
    client = factories.make_client(name="Patchwork")
    kept = factories.make_client(name="Boards")
    families = [grant(app, user, client), grant(app, user, client)]
    other_family = grant(app, user, kept)
    consent(app, user, client)
    with app.app_context():
        db.session.add(
            AuthorizationCode(
                code_hash=hash_secret("code"),
                client_pk=client.id,
                user_id=user.id,
                organization_id=user.id,
                family_id=uuid7(),
                scope="openid",
                code_challenge="x",
                sid="x",
                auth_time=now(),
                expires_at=now() + timedelta(seconds=60),
            )
        )
        db.session.commit()
    question = signed_in.get(f"/account/apps/{client.id}/remove").text
    assert "Remove access to" in question
    assert "It will be signed out within 30 minutes. To come back, it must ask you again." in question
    assert post(signed_in, f"/account/apps/{client.id}/remove").location == "/account/apps"
    page = signed_in.get("/account/apps").text
    assert "Access removed. Patchwork must ask you again." in page
    assert 'href="/account/apps/' + str(client.id) not in page
    with app.app_context():
        assert all(db.session.get(RefreshFamily, family).revoked_at for family in families)
        assert db.session.get(RefreshFamily, other_family).revoked_at is None
        assert db.session.scalar(select(Consent.id)) is None
        assert db.session.scalar(select(AuthorizationCode)).expires_at <= now()
    assert owner.actions(app).count("connected_app.removed") == 1
    assert signed_in.get(f"/account/apps/{client.id}").status_code == 404
    post(signed_in, "/account/apps", f"/account/apps/{client.id}/remove")
    assert owner.actions(app).count("connected_app.removed") == 1


def test_a_grant_that_ran_out_is_no_connected_app(signed_in: FlaskClient, app: Flask, user: User, settings: Any, database: Any) -> None:
    grant(app, user, factories.make_client(name="Patchwork"))
    assert "Patchwork" in signed_in.get("/account/apps").text
    with app.app_context():
        for token in db.session.scalars(select(RefreshToken)):
            token.expires_at = now() - timedelta(seconds=1)
        db.session.commit()
    assert "Patchwork" not in signed_in.get("/account/apps").text


# --- names that people choose -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["W" * 200, "\u202egnorw", "<script>alert(1)</script>", "👩‍💻", "", "Ada\u0000\u001b"])
def test_any_name_of_a_person_or_an_app_leaves_the_pages_whole(client: FlaskClient, app: Flask, name: str, database: Any) -> None:
    name = name.replace("\0", "") if database.kind == "postgresql" else name
    user = factories.make_user(name=name)
    factories.sign_in(client, user)
    app_ = factories.make_client(name=name)
    grant(app, user, app_, user_agent=name[:100])
    for path in (*PAGES, f"/account/apps/{app_.id}", f"/account/apps/{app_.id}/remove"):
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert "<script>" not in answer.text
        assert "\u202e" not in re.sub(r'value="[^"]*"', "", answer.text)


# --- the end of a terminal's sign-in, and errors ------------------------------------------------------------------


def test_done_says_who_and_never_what_the_address_claims(client: FlaskClient, user: User, database: Any) -> None:
    assert "Go back to your terminal to continue." in client.get("/done?app=Evil&email=x@y.z").text
    assert "Evil" not in client.get("/done?app=Evil&email=x@y.z").text
    assert "Nothing was signed in" in client.get("/done?error=access_denied").text
    factories.sign_in(client, user)
    assert "maya@northwind.dev" in client.get("/done").text


def test_an_error_page_is_a_gate_page_with_one_way_out(client: FlaskClient, database: Any) -> None:
    answer = client.get("/no/such/page")
    assert answer.status_code == 404
    assert "Nothing here" in answer.text
    assert "script-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.text.count('class="btn') == 1


def test_an_expired_form_leads_back_to_its_page_with_its_handoff(signed_in: FlaskClient, database: Any) -> None:
    assert 'href="/account"' in signed_in.post("/account", data={}).text
    assert 'href="/login?handoff=abc.1.def"' in signed_in.post("/login/continue", data={"handoff": "abc.1.def"}).text
    evil = signed_in.post("/login/continue", data={"handoff": '"><script>'}).text
    assert "<script>" not in evil


def test_an_unauthenticated_error_page_works_without_the_stores(make_app: Any, database: Any) -> None:
    app = make_app(redis_url="redis://127.0.0.1:1")
    browser = app.test_client()
    browser.set_cookie("gatepost_session", "x" * 43, domain="127.0.0.1")
    answer = browser.get("/account")
    assert answer.status_code == 503
    assert "Temporarily unavailable" in answer.text
    assert "Set-Cookie" not in answer.headers
