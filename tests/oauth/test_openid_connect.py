"""OpenID Connect Core, and RP-Initiated Logout: id_token, userinfo, prompt, max_age, signing out."""

import base64
import hashlib
import re

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey
from sqlalchemy import update

from extensions import db
from infra import clock
from models import Membership, OAuthClient, User
from services.access.actors import Actor
from services.accounts import user_administration
from services.tokens import signing_keys
from tests import factories, owner
from tests.oauth.flow import ISSUER, answer_of, assert_page, bearer, claims_of, handoff_of, header_of, people, press, target_of, verified

# --- id_token ---------------------------------------------------------------------------------------------------------


def test_the_id_token_says_who_signed_in_and_when(program, browser, client, person):
    tokens = program.get_tokens(browser, scope="openid profile email", nonce="n-0S6_WzA2Mj")
    header = header_of(tokens["id_token"])
    claims = verified(tokens["id_token"], client.get("/.well-known/jwks.json").json)
    session = browser.get("/api/v1/session").json["session"]
    assert header == {"alg": "ES256", "typ": "JWT", "kid": header["kid"]}
    assert claims["iss"] == ISSUER
    assert claims["sub"] == str(person.id)
    assert claims["aud"] == "notes"
    assert claims["nonce"] == "n-0S6_WzA2Mj"
    assert claims["sid"] == session["id"]
    assert claims["exp"] > claims["iat"]
    assert abs(claims["auth_time"] - claims["iat"]) < 10
    assert (claims["email"], claims["email_verified"], claims["name"]) == ("ada@example.com", True, "Ada Lovelace")


def test_at_hash_binds_the_access_token(program, browser):
    tokens = program.get_tokens(browser, scope="openid")
    half = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
    assert claims_of(tokens["id_token"])["at_hash"] == base64.urlsafe_b64encode(half).rstrip(b"=").decode()


# --- RS256 for clients that ask for it ----------------------------------------------------------------------------------


@pytest.fixture
def rs256(register):
    after = ["https://rs.example.com/after"]
    return register(trusted=True, id_token_alg="RS256", scope="openid offline_access orgs", post_logout_redirect_uris=after)


@pytest.mark.both_databases
def test_a_client_may_have_its_id_tokens_signed_with_rs256_and_its_access_tokens_stay_es256(rs256, program, browser, client):
    tokens = rs256.get_tokens(browser, scope="openid offline_access orgs", resource=f"{ISSUER}/api/v1")
    for answer in (tokens, rs256.refresh(tokens["refresh_token"]).json):
        header = header_of(answer["id_token"])
        assert header == {"alg": "RS256", "typ": "JWT", "kid": header["kid"]}
        keys = client.get("/.well-known/jwks.json").json
        claims = jwt.decode(answer["id_token"], KeySet.import_key_set(keys), algorithms=["RS256"]).claims
        assert claims["aud"] == rs256.client_id
        half = hashlib.sha256(answer["access_token"].encode()).digest()[:16]
        assert claims["at_hash"] == base64.urlsafe_b64encode(half).rstrip(b"=").decode()
        assert verified(answer["access_token"], keys)["aud"] == f"{ISSUER}/api/v1"
    assert header_of(program.get_tokens(browser, scope="openid")["id_token"])["alg"] == "ES256"


def test_a_change_of_the_algorithm_reaches_the_next_id_token(app, rs256, browser):
    tokens = rs256.get_tokens(browser, scope="openid offline_access")
    with app.app_context():
        db.session.execute(update(OAuthClient).values(id_token_alg="ES256", version=OAuthClient.version + 1))
        db.session.commit()
    assert header_of(rs256.refresh(tokens["refresh_token"]).json["id_token"])["alg"] == "ES256"


def test_an_rs256_id_token_is_a_hint(rs256, browser, app):
    hint = rs256.get_tokens(browser, scope="openid")["id_token"]
    assert header_of(hint)["alg"] == "RS256"
    assert "code" in answer_of(rs256.authorize(browser, prompt="none", id_token_hint=hint))
    [(_, other)] = people(app)
    assert answer_of(rs256.authorize(other, prompt="none", id_token_hint=hint))["error"] == "login_required"
    [after] = rs256.client.post_logout_redirect_uris
    assert target_of(sign_out(browser, id_token_hint=hint, post_logout_redirect_uri=after)) == after
    assert not is_signed_in(browser)


def test_each_key_verifies_its_own_algorithm_and_access_tokens_none_but_es256(app, rs256, browser):
    tokens = rs256.get_tokens(browser, scope="openid orgs", resource=f"{ISSUER}/api/v1")
    assert rs256.http.get("/api/v1/whoami", headers=bearer(tokens["id_token"])).status_code == 401
    with app.app_context():
        rsa, ec = signing_keys.require("RS256"), signing_keys.require("ES256")
        claims = claims_of(tokens["access_token"])
        forged = [
            jwt.encode({"alg": "RS256", "typ": "at+jwt", "kid": rsa.kid}, claims, rsa.private_key, algorithms=["RS256"]),
            jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": rsa.kid}, claims, ec.private_key, algorithms=["ES256"]),
        ]
        hints = [
            jwt.encode({"alg": "RS256", "typ": "JWT", "kid": ec.kid}, claims, rsa.private_key, algorithms=["RS256"]),
            jwt.encode({"alg": "PS256", "typ": "JWT", "kid": rsa.kid}, claims, rsa.private_key, algorithms=["PS256"]),
            jwt.encode({"alg": "HS256", "typ": "JWT", "kid": rsa.kid}, claims, OctKey.import_key("x" * 32), algorithms=["HS256"]),
        ]
    for token in forged:
        assert rs256.http.get("/api/v1/whoami", headers=bearer(token)).status_code == 401
    for hint in hints:
        assert_page(sign_out(browser, id_token_hint=hint))


def test_claims_follow_the_scopes(program, browser):
    claims = claims_of(program.get_tokens(browser, scope="openid")["id_token"])
    assert set(claims) == {"iss", "sub", "aud", "iat", "exp", "auth_time", "sid", "at_hash"}
    assert "orgs" in claims_of(program.get_tokens(browser, scope="openid orgs")["id_token"])


def test_an_unverified_address_is_told_as_such(app, program):
    browser, user = app.test_client(), factories.make_user(email_verified=False)
    factories.sign_in(browser, user)
    assert claims_of(program.get_tokens(browser, scope="openid email")["id_token"])["email_verified"] is False


def test_who_has_no_address_and_no_name_gets_no_claims_of_them(app, program, server_side):
    browser, user = app.test_client(), factories.make_user(email_verified=False, name="")
    factories.sign_in(browser, user)
    owner.rows(app, update(User).where(User.id == user.id).values(email=None, email_key=None))
    plain = program.get_tokens(browser, scope="openid profile email")
    jwt = program.get_tokens(browser, scope="openid profile email", resource=f"{ISSUER}/api/v1")["access_token"]
    bodies = [claims_of(plain["id_token"]), claims_of(jwt)]
    bodies += [program.userinfo(token).json for token in (plain["access_token"], jwt)]
    bodies += [server_side.introspect(token).json for token in (plain["access_token"], jwt)]
    for body in bodies:
        assert body["sub"] == str(user.id)
        assert not {"name", "email", "email_verified", "username"} & set(body)


def test_auth_time_is_that_of_the_sign_in_also_after_refreshing(program, browser):
    first = program.get_tokens(browser, scope="openid offline_access", nonce="abc")
    clock.move(5000)
    later = claims_of(program.refresh(first["refresh_token"]).json["id_token"])
    before = claims_of(first["id_token"])
    assert [later[name] for name in ("auth_time", "sub", "sid", "aud", "iss")] == [
        before[name] for name in ("auth_time", "sub", "sid", "aud", "iss")
    ]
    assert later["iat"] - before["iat"] >= 4999


# --- userinfo -----------------------------------------------------------------------------------------------------------


def test_userinfo_tells_what_the_scopes_open(program, browser, person):
    everything = program.get_tokens(browser, scope="openid profile email orgs")
    body = program.userinfo(everything["access_token"]).json
    assert body["sub"] == str(person.id) == claims_of(everything["id_token"])["sub"]
    assert (body["email"], body["email_verified"], body["name"]) == ("ada@example.com", True, "Ada Lovelace")
    assert len(body["orgs"]) == 1
    little = program.userinfo(program.get_tokens(browser, scope="openid")["access_token"])
    assert not {"email", "email_verified", "name", "orgs"} & set(little.json)
    assert little.headers["Cache-Control"] == "no-store"


def test_userinfo_reads_the_person_as_they_are_now(app, program, browser, person):
    token = program.get_tokens(browser, scope="openid profile")["access_token"]
    with app.app_context():
        db.session.get(User, person.id).name = "Ada King"
        db.session.commit()
    assert program.userinfo(token).json["name"] == "Ada King"


def test_userinfo_takes_get_and_post_with_a_bearer_and_nothing_else(program, browser):
    token = program.get_tokens(browser, scope="openid")["access_token"]
    assert program.http.post("/oauth/userinfo", headers=bearer(token)).status_code == 200
    assert program.http.get(f"/oauth/userinfo?access_token={token}").status_code == 401
    assert program.http.post("/oauth/userinfo", data={"access_token": token}).status_code == 401
    assert browser.get("/oauth/userinfo").status_code == 401
    assert program.http.put("/oauth/userinfo", headers=bearer(token)).status_code == 405


def test_userinfo_needs_openid(program, browser):
    response = program.userinfo(program.get_tokens(browser, scope="email")["access_token"])
    assert response.status_code == 403
    assert response.json["error"] == "insufficient_scope"
    assert 'scope="openid"' in response.headers["WWW-Authenticate"]


def test_userinfo_refuses_what_is_not_live(app, program, browser, person):
    tokens = program.get_tokens(browser, scope="openid offline_access")
    for token in ("gpo_x", tokens["refresh_token"], tokens["id_token"], tokens["access_token"][:-1], tokens["access_token"] + "A"):
        response = program.userinfo(token)
        assert response.status_code == 401
        assert response.json["error"] == "invalid_token"
    with app.app_context():
        user_administration.disable(Actor.operator(), str(person.id))
    assert program.userinfo(tokens["access_token"]).status_code == 401


# --- prompt=none --------------------------------------------------------------------------------------------------------


def test_none_answers_login_required_without_a_session(program, client):
    answer = answer_of(program.authorize(client, prompt="none"))
    assert (answer["error"], answer["state"]) == ("login_required", "st-1")


def test_none_answers_at_once_when_there_is_nothing_to_ask(program, browser):
    assert "code" in answer_of(program.authorize(browser, prompt="none"))


def test_none_answers_consent_required(register, browser):
    third_party = register()
    assert answer_of(third_party.authorize(browser, prompt="none"))["error"] == "consent_required"
    press(browser, third_party.authorize(browser, scope="openid"), "allow")
    assert "code" in answer_of(third_party.authorize(browser, scope="openid", prompt="none"))


def test_none_answers_interaction_required_where_an_organization_must_be_chosen(program, browser, person):
    factories.make_organization(slug="acme", owner=person)
    assert answer_of(program.authorize(browser, prompt="none"))["error"] == "interaction_required"
    assert "code" in answer_of(program.authorize(browser, prompt="none", organization="acme"))


def test_none_with_an_id_token_of_somebody_else_is_login_required(app, program, browser):
    mine = program.get_tokens(browser, scope="openid")["id_token"]
    other = app.test_client()
    factories.sign_in(other, factories.make_user())
    assert "code" in answer_of(program.authorize(browser, prompt="none", id_token_hint=mine))
    assert answer_of(program.authorize(other, prompt="none", id_token_hint=mine))["error"] == "login_required"
    assert answer_of(program.authorize(browser, prompt="none", id_token_hint="nonsense"))["error"] == "login_required"


def test_none_and_too_old_a_sign_in_is_login_required(program, browser):
    clock.move(100)
    assert answer_of(program.authorize(browser, prompt="none", max_age="99"))["error"] == "login_required"
    assert "code" in answer_of(program.authorize(browser, prompt="none", max_age="3600"))


@pytest.mark.parametrize("other", ["login", "consent", "select_account"])
def test_none_with_anything_else_is_an_invalid_request(program, browser, other):
    assert answer_of(program.authorize(browser, prompt=f"none {other}"))["error"] == "invalid_request"


# --- signing in again ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"prompt": "login"}, {"max_age": "60"}, {"max_age": "0"}, {"prompt": "login consent"}])
def test_a_session_that_is_too_old_leads_to_sign_in_and_a_later_one_satisfies(app, program, browser, person, changes):
    clock.move(61)
    handoff = handoff_of(program.authorize(browser, **changes))
    resumed = f"/oauth/authorize?handoff={handoff}"
    assert handoff_of(browser.get(resumed)) == handoff  # nothing has changed, no way round
    clock.move(66)
    factories.sign_in(browser, person, handoff=handoff)
    answer = browser.get(resumed)
    if "consent" in changes.get("prompt", ""):
        assert answer.status_code == 200
        answer = press(browser, answer, "allow")
    token = program.exchange(answer_of(answer)["code"]).json["id_token"]
    assert claims_of(token)["auth_time"] >= claims_of(token)["iat"] - 2
    clock.move(666)  # however slow the rest of the detour was
    assert app.test_client().get(resumed).status_code == 400  # but a handoff ends after ten minutes


def test_max_age_is_satisfied_by_a_young_session(program, browser):
    clock.move(50)
    assert "code" in answer_of(program.authorize(browser, max_age="60"))


def test_a_slow_detour_still_satisfies_max_age(program, browser, person):
    clock.move(1000)
    handoff = handoff_of(program.authorize(browser, max_age="1"))
    clock.move(1001)
    factories.sign_in(browser, person, handoff=handoff)
    clock.move(1100)
    assert "code" in answer_of(browser.get(f"/oauth/authorize?handoff={handoff}"))


def test_prompt_login_is_not_satisfied_by_a_sign_in_before_the_request(program, client, person):
    factories.sign_in(client, person)
    clock.move(1)
    assert handoff_of(program.authorize(client, prompt="login"))


# --- select_account --------------------------------------------------------------------------------------------------------


def test_select_account_asks_and_only_its_own_handoff_satisfies_it(program, browser, person):
    handoff = handoff_of(program.authorize(browser, prompt="select_account"))
    resumed = f"/oauth/authorize?handoff={handoff}"
    card = browser.get(f"/login?handoff={handoff}")
    assert card.status_code == 200
    assert "ada@example.com" in card.text
    assert handoff_of(browser.get(resumed)) == handoff
    factories.sign_in(browser, person, handoff="another")
    assert handoff_of(browser.get(resumed)) == handoff
    factories.sign_in(browser, person, handoff=handoff)
    assert "code" in answer_of(browser.get(resumed))


def test_continue_as_satisfies_it_with_the_session_that_is_there(program, browser):
    handoff = handoff_of(program.authorize(browser, prompt="select_account"))
    card = browser.get(f"/login?handoff={handoff}")
    token = card.text.split('name="csrf_token" value="')[1].split('"')[0]
    assert browser.post("/login/continue", data={"handoff": handoff}).status_code == 400
    onward = browser.post("/login/continue", data={"handoff": handoff, "csrf_token": token})
    assert onward.status_code == 200
    assert "code" in answer_of(browser.get(f"/oauth/authorize?handoff={handoff}"))


# --- RP-initiated logout ---------------------------------------------------------------------------------------------------


AFTER = "https://notes.example.com/bye?x=1"


@pytest.fixture
def notes(register):
    return register(trusted=True, name="Notes", post_logout_redirect_uris=[AFTER])


def is_signed_in(browser):
    return browser.get("/api/v1/session").status_code == 200


def sign_out(browser, **values):
    return browser.get("/oauth/logout", query_string=values)


def confirm(browser, page):
    token = page.text.split('name="csrf_token" value="')[1].split('"')[0]
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text))
    return browser.post("/oauth/logout", data={**fields, "csrf_token": token})


def test_a_hint_that_names_this_session_signs_out_at_once(notes, browser):
    hint = notes.get_tokens(browser, scope="openid")["id_token"]
    response = sign_out(browser, id_token_hint=hint, post_logout_redirect_uri=AFTER, state="s&1")
    assert response.status_code == 303
    assert response.headers["Location"] == AFTER + "&state=s%261"
    assert not is_signed_in(browser)


def test_an_expired_hint_is_good(notes, browser):
    hint = notes.get_tokens(browser, scope="openid")["id_token"]
    clock.move(100_000)
    assert sign_out(browser, id_token_hint=hint).headers["Location"] == "/signed-out"
    assert not is_signed_in(browser)


def test_without_a_hint_the_person_is_asked(notes, browser):
    page = sign_out(browser, client_id=notes.client_id, post_logout_redirect_uri=AFTER)
    assert page.status_code == 200
    assert "Sign out of Gatepost?" in page.text
    assert is_signed_in(browser)
    onward = confirm(browser, page)
    assert onward.status_code == 200
    assert AFTER in onward.text
    assert not is_signed_in(browser)


def test_the_answer_needs_our_token(browser):
    sign_out(browser)
    assert browser.post("/oauth/logout", data={"confirmed": "yes"}).status_code == 400
    assert is_signed_in(browser)


def test_another_sites_post_without_our_token_only_asks(browser):
    response = browser.post("/oauth/logout", data={}, headers={"Origin": "https://evil.example"})
    assert response.status_code == 200
    assert is_signed_in(browser)


def test_a_hint_of_another_session_asks(app, notes, browser, person):
    other = app.test_client()
    factories.sign_in(other, person)
    hint = notes.get_tokens(other, scope="openid")["id_token"]
    assert sign_out(browser, id_token_hint=hint).status_code == 200
    assert is_signed_in(browser)


def test_a_hint_that_was_posted_gets_into_no_address(app, notes, browser, person):
    other = app.test_client()
    factories.sign_in(other, person)
    hint = notes.get_tokens(other, scope="openid")["id_token"]
    asked = sign_out(browser, id_token_hint=hint)
    assert re.findall(r'href="/oauth/logout\?id_token_hint=[^"]+lang=de"', asked.text)
    posted = browser.post("/oauth/logout", data={"id_token_hint": hint})
    assert "Sign out of Gatepost?" in posted.text
    assert re.findall(r'href="[^"]*(?:id_token_hint|lang)=', posted.text) == []


def test_nobody_signed_in_goes_straight_on(notes, client):
    assert sign_out(client, client_id=notes.client_id, post_logout_redirect_uri=AFTER).headers["Location"] == AFTER
    assert target_of(sign_out(client)) == "/signed-out"


def test_an_address_that_is_not_registered_is_a_page_and_signs_nobody_out(notes, register, browser):
    hint = notes.get_tokens(browser, scope="openid")["id_token"]
    for uri in ("https://evil.example", AFTER + "&y=1", AFTER.upper(), "javascript:alert(1)", notes.redirect_uri):
        assert_page(sign_out(browser, id_token_hint=hint, post_logout_redirect_uri=uri))
    assert_page(sign_out(browser, post_logout_redirect_uri=AFTER))  # of nobody
    assert_page(sign_out(browser, client_id=register().client_id, post_logout_redirect_uri=AFTER))
    assert_page(sign_out(browser, client_id="nobody"))
    assert_page(sign_out(browser, id_token_hint=hint, client_id="other"))
    assert is_signed_in(browser)


def test_a_hint_that_is_not_ours_is_a_page(notes, browser):
    tokens = notes.get_tokens(browser, scope="openid")
    for hint in ("nonsense", tokens["id_token"] + "A", tokens["access_token"], "a.b.c", "ü"):
        assert_page(sign_out(browser, id_token_hint=hint))
    assert is_signed_in(browser)


def test_it_ends_the_browser_session_only(notes, browser):
    tokens = notes.get_tokens(browser, scope="openid offline_access")
    sign_out(browser, id_token_hint=tokens["id_token"])
    assert notes.refresh(tokens["refresh_token"]).status_code == 200


# --- the same person everywhere ----------------------------------------------------------------------------------------------


def test_sub_is_the_user_id_everywhere(program, server_side, browser, person):
    tokens = program.get_tokens(browser, scope="openid")
    jwt = program.get_tokens(browser, scope="openid", resource=f"{ISSUER}/api/v1")["access_token"]
    subjects = {
        claims_of(tokens["id_token"])["sub"],
        claims_of(jwt)["sub"],
        program.userinfo(tokens["access_token"]).json["sub"],
        server_side.introspect(tokens["access_token"]).json["sub"],
        program.http.get("/api/v1/whoami", headers=bearer(jwt)).json["actor"]["id"],
        browser.get("/api/v1/session").json["user"]["id"],
    }
    assert subjects == {str(person.id)}


def test_a_person_without_any_organization_gets_one_on_the_way(app, program):
    browser, user = app.test_client(), factories.make_user(personal=False)
    factories.sign_in(browser, user)
    assert "code" in answer_of(program.authorize(browser))
    with owner.at_work(app):
        assert db.session.query(Membership).filter_by(user_id=user.id).count() == 1
