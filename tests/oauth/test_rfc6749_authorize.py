"""RFC 6749 sections 4.1.1 and 4.1.2: the authorization request, judged before anybody is asked anything.

A client or redirect URI that is no good ends on a page; everything else goes back to the client.
"""

from urllib.parse import parse_qs, urlsplit

import pytest

from extensions import db
from models import Consent, OAuthClient
from services.access.actors import Actor
from services.tokens import oauth_clients
from tests import factories
from tests.oauth.flow import ISSUER, Program, answer_of, assert_page, csrf_token_of, handoff_of, people, press, target_of


def assert_sent_back(response, error, state="st-1"):
    answer = answer_of(response)
    assert answer["error"] == error
    assert answer.get("state") == state
    assert answer["iss"] == ISSUER
    assert "code" not in answer
    assert answer["error_description"]
    return answer


# --- the answer --------------------------------------------------------------------------------------------------------


def test_a_signed_in_person_and_a_first_party_client_are_answered_at_once(program, browser):
    response = program.authorize(browser, scope="openid")
    assert target_of(response) == "https://app.example.com/callback"
    answer = answer_of(response)
    assert set(answer) == {"code", "state", "iss"}
    assert answer["state"] == "st-1"
    assert response.headers["Cache-Control"] == "no-store"


def test_state_comes_back_as_it_was_sent(program, browser):
    for state in ("a b&c=d#e?f/%25+ü€", "x" * 4000, "1", " "):
        assert answer_of(program.authorize(browser, state=state))["state"] == state


def test_no_state_sent_means_no_state_in_the_answer(program, browser):
    assert set(answer_of(program.authorize(browser, state=None))) == {"code", "iss"}
    assert set(answer_of(program.authorize(browser, state=""))) == {"code", "iss"}


def test_a_redirect_uri_with_a_query_keeps_it(register, browser):
    program = register(trusted=True, redirect_uris=["https://app.example.com/cb?tenant=1"])
    parts = urlsplit(program.authorize(browser).headers["Location"])
    assert parts.query.startswith("tenant=1&code=")


def test_the_only_redirect_uri_may_be_left_out(program, register, browser):
    assert target_of(program.authorize(browser, redirect_uri=None)) == "https://app.example.com/callback"
    two = register(trusted=True, redirect_uris=["https://a.example.com/", "https://b.example.com/"])
    assert_page(two.authorize(browser, redirect_uri=None))


def test_post_works_like_get(program, browser, app):
    body = program.authorize_query()
    response = browser.post("/oauth/authorize", data=body, content_type="application/x-www-form-urlencoded")
    assert set(answer_of(response)) == {"code", "state", "iss"}
    stranger = app.test_client()
    response = stranger.post("/oauth/authorize", data=body, content_type="application/x-www-form-urlencoded")
    assert handoff_of(response)


def test_a_post_needs_no_csrf_token_because_it_is_the_clients_not_ours(program, browser):
    headers = {"Origin": "https://app.example.com", "Sec-Fetch-Site": "cross-site"}
    response = browser.post(
        "/oauth/authorize", data=program.authorize_query(), content_type="application/x-www-form-urlencoded", headers=headers
    )
    assert "code" in answer_of(response)


def test_a_post_of_another_content_type_is_a_page(program, browser):
    assert_page(browser.post("/oauth/authorize", json={"client_id": program.client_id}))


def test_without_a_session_the_way_leads_to_sign_in_with_the_whole_request(program, client):
    response = program.authorize(client, foo="bar")
    assert target_of(response) == "/login"
    assert response.headers["Cache-Control"] == "no-store"


def test_other_methods_are_not_allowed(program, browser):
    for method in ("put", "delete", "patch"):
        response = getattr(browser, method)(program.authorize_url())
        assert response.status_code == 405
        assert set(response.headers["Allow"].split(", ")) >= {"GET", "POST"}


# --- what must never redirect ---------------------------------------------------------------------------------------------


def test_a_client_or_redirect_uri_that_is_no_good_ends_on_a_page(program, browser):
    for changes in [
        {"client_id": "nobody"},
        {"client_id": None},
        {"client_id": ""},
        {"client_id": ["notes", "notes"]},
        {"client_id": ["notes", "other"]},
        {"client_id": "NOTES"},
        {"client_id": "notes\0"},
        {"client_id": "x" * 3000},
        {"redirect_uri": "https://evil.example.com/callback"},
        {"redirect_uri": "https://app.example.com/callback/"},
        {"redirect_uri": "https://app.example.com/callback?x=1"},
        {"redirect_uri": "https://app.example.com/callback#x"},
        {"redirect_uri": "https://app.example.com:443/callback"},
        {"redirect_uri": "https://APP.example.com/callback"},
        {"redirect_uri": "https://app.example.com/./callback"},
        {"redirect_uri": "https://app.example.com.evil.example/callback"},
        {"redirect_uri": "https://user@app.example.com/callback"},
        {"redirect_uri": "http://app.example.com/callback"},
        {"redirect_uri": "https://app.example.com/callback "},
        {"redirect_uri": "https://app.example.com/callback\n"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": "data:text/html,x"},
        {"redirect_uri": ["https://app.example.com/callback"] * 2},
        {"redirect_uri": ["https://app.example.com/callback", "https://evil.example.com"]},
    ]:
        assert_page(program.authorize(browser, **changes))


def test_the_page_comes_before_sign_in(program, client):
    assert_page(program.authorize(client, client_id="nobody"))
    assert_page(program.authorize(client, redirect_uri="https://evil.example.com"))


def test_what_was_asked_is_shown_as_text_only(program, browser):
    page = program.authorize(browser, client_id="<script>alert(1)</script>")
    assert_page(page)
    assert "<script>alert" not in page.text


def test_a_redirect_uri_that_was_removed_or_a_client_that_was_deleted_is_noticed_at_once(app, program, browser):
    assert "code" in answer_of(program.authorize(browser))
    remembered = dict(oauth_clients._known)
    with app.app_context():
        row = db.session.query(OAuthClient).filter_by(client_id="notes").one()
        row.redirect_uris, row.version = ["https://app.example.com/new"], 2
        db.session.commit()
    oauth_clients._known.update(remembered)  # another process did that
    assert_page(program.authorize(browser))
    oauth_clients._known.update(remembered)
    with app.app_context():
        oauth_clients.delete(Actor.operator(), "notes")
    oauth_clients._known.update(remembered)
    assert_page(program.authorize(browser))


# --- what goes back to the client -----------------------------------------------------------------------------------------


def test_everything_else_goes_back_with_error_state_and_iss(program, browser):
    for changes, error in [
        ({"response_type": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code token"}, "unsupported_response_type"),
        ({"response_type": "id_token"}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"scope": "openid nonsense"}, "invalid_scope"),
        ({"scope": "projects:read"}, "invalid_scope"),
        ({"scope": "OPENID"}, "invalid_scope"),
        ({"scope": "openid\temail"}, "invalid_scope"),
        ({"resource": "https://nobody.example.com"}, "invalid_target"),
        ({"request": "eyJhbGciOiJub25lIn0.e30."}, "request_not_supported"),
        ({"request_uri": "urn:x"}, "request_uri_not_supported"),
        ({"registration": "{}"}, "registration_not_supported"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"prompt": "create"}, "invalid_request"),
        ({"max_age": "soon"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"max_age": "99999999999999999999"}, "invalid_request"),
        ({"nonce": "n" * 5000}, "invalid_request"),
    ]:
        assert_sent_back(program.authorize(browser, **changes), error)


def test_a_known_parameter_given_twice_is_an_invalid_request(program, browser):
    for name in [
        "response_type",
        "scope",
        "code_challenge",
        "code_challenge_method",
        "nonce",
        "prompt",
        "max_age",
        "login_hint",
        "organization",
    ]:
        usual = parse_qs(program.authorize_query()).get(name, ["1"])[0]
        assert_sent_back(program.authorize(browser, **{name: [usual, usual]}), "invalid_request")


def test_state_given_twice_is_an_invalid_request_and_neither_comes_back(program, browser):
    assert_sent_back(program.authorize(browser, state=["a", "b"]), "invalid_request", state=None)


def test_unknown_parameters_are_ignored_also_twice(program, browser):
    assert "code" in answer_of(program.authorize(browser, foo=["1", "2"], audience="x"))


def test_errors_go_back_without_a_session_too(program, client):
    assert_sent_back(program.authorize(client, scope="nonsense"), "invalid_scope")


def test_a_client_without_the_code_grant_is_unauthorized(register, browser):
    machine = register(type="confidential", grant_types="client_credentials")
    assert_sent_back(machine.authorize(browser), "unauthorized_client")


def test_a_state_fills_the_six_thousand_bytes(app, program, browser):
    state = "x" * (6000 - len(program.authorize_query(scope="openid", state="")))
    assert answer_of(program.authorize(browser, scope="openid", state=state))["state"] == state
    assert len(handoff_of(program.authorize(app.test_client(), scope="openid", state=state))) > 8000
    assert_page(program.authorize(browser, scope="openid", state=state + "x"))


def test_a_request_over_six_thousand_bytes_is_a_page(app, program, browser):
    assert_page(program.authorize(browser, foo="x" * 6000))
    query = program.authorize_query()
    fits = query + "&foo=" + "x" * (6000 - len(query) - 5)
    assert "code" in answer_of(browser.get("/oauth/authorize?" + fits))
    assert len(handoff_of(app.test_client().get("/oauth/authorize?" + fits))) > 8000


# --- scopes ---------------------------------------------------------------------------------------------------------------


def test_no_scope_means_the_registered_ones_less_offline_access(program, browser):
    answer = program.exchange(program.get_code(browser)).json
    assert answer["scope"] == "openid profile email orgs"
    assert "refresh_token" not in answer


def test_a_scope_given_twice_counts_once(program, browser):
    assert program.exchange(program.get_code(browser, scope="email openid email")).json["scope"] == "email openid"


def test_scopes_are_separated_by_one_or_more_spaces(program, browser):
    assert program.exchange(program.get_code(browser, scope="  openid   email ")).json["scope"] == "openid email"
    assert program.exchange(program.get_code(browser, scope="  ")).json["scope"] == "openid profile email orgs"  # none asked
    for separator in ("\t", "\n", "\u00a0", ","):
        assert answer_of(program.authorize(browser, scope=f"openid{separator}email"))["error"] == "invalid_scope"


def test_prompts_are_separated_by_one_or_more_spaces(program, browser):
    assert handoff_of(program.authorize(browser, prompt=" login  consent "))
    assert answer_of(program.authorize(browser, prompt="none  login"))["error"] == "invalid_request"


@pytest.mark.parametrize(
    "registration",
    [{"scope": "openid email"}, {"scope": "openid email offline_access", "grant_types": "authorization_code"}],
    ids=["not-registered", "no-refresh-grant"],
)
def test_an_offline_access_that_the_client_may_not_have_is_dropped(register, browser, registration):
    program = register(trusted=True, **registration)
    answer = program.exchange(program.get_code(browser, scope="openid offline_access email")).json
    assert answer["scope"] == "openid email"
    assert "refresh_token" not in answer
    assert program.exchange(program.get_code(browser, scope="offline_access")).json["scope"] == ""  # never more than asked for
    assert answer_of(program.authorize(browser, scope="openid offline_access audit:read"))["error"] == "invalid_scope"


def test_a_dropped_offline_access_is_not_asked_for_on_the_consent_page(register, browser):
    page = register(scope="openid email").authorize(browser, scope="openid offline_access")
    assert page.status_code == 200
    assert "offline_access" not in page.text


# --- consent --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def third_party(register):
    return register(client_id="reports", name="Reports", scope="openid email offline_access orgs projects:read")


def test_a_client_that_is_not_ours_needs_consent_once(app, third_party, browser, person):
    page = third_party.authorize(browser, scope="openid email")
    assert page.status_code == 200
    assert "<title>Allow Reports?" in page.text
    assert page.headers["Cache-Control"] == "no-store"
    onward = press(browser, page, "allow")
    assert onward.status_code == 200  # a form post never leaves the site by a redirect
    assert onward.headers["Referrer-Policy"] == "no-referrer"
    answer = answer_of(onward)
    assert set(answer) == {"code", "state", "iss"}
    assert third_party.exchange(answer["code"]).json["scope"] == "openid email"
    assert "code" in answer_of(third_party.authorize(browser, scope="email"))
    with app.app_context():
        [row] = db.session.query(Consent).all()
        assert (row.user_id, row.scope) == (person.id, "openid email")


def test_more_than_was_allowed_asks_again_and_adds_up(third_party, browser):
    press(browser, third_party.authorize(browser, scope="openid"), "allow")
    assert third_party.authorize(browser, scope="openid email").status_code == 200
    press(browser, third_party.authorize(browser, scope="email"), "allow")
    assert "code" in answer_of(third_party.authorize(browser, scope="openid email"))


def test_consent_for_one_resource_is_none_for_another(third_party, browser):
    factories.make_resource(identifier="https://api.example.com")
    press(browser, third_party.authorize(browser, scope="projects:read"), "allow")
    page = third_party.authorize(browser, scope="projects:read", resource="https://api.example.com")
    assert page.status_code == 200
    assert "https://api.example.com" in page.text


def test_the_consent_of_one_person_is_none_of_another(app, third_party, browser):
    press(browser, third_party.authorize(browser, scope="openid"), "allow")
    [(_, other)] = people(app)
    assert third_party.authorize(other, scope="openid").status_code == 200


@pytest.mark.parametrize("asked", [{"scope": "offline_access"}, {"resource": "https://api.example.com"}], ids=["dropped", "none in common"])
def test_a_client_whose_request_is_left_without_a_scope_is_asked_for_too(app, register, browser, person, asked):
    """Its token would still tell whose it is and in which organization."""
    factories.make_resource(identifier="https://api.example.com", scope="api:read")
    program = register(scope="projects:read")
    assert answer_of(program.authorize(browser, prompt="none", **asked))["error"] == "consent_required"
    page = program.authorize(browser, **asked)
    assert (page.status_code, "An ID for your account and your role" in page.text) == (200, True)
    assert program.exchange(answer_of(press(browser, page, "allow"))["code"]).json["scope"] == ""
    assert "code" in answer_of(program.authorize(browser, prompt="none", **asked))
    assert program.authorize(browser, scope="projects:read").status_code == 200
    [(_, other)] = people(app)
    assert program.authorize(other, **asked).status_code == 200
    with app.app_context():
        [row] = db.session.query(Consent).all()
        assert (row.user_id, row.scope) == (person.id, "")


def test_not_allowing_is_access_denied(third_party, browser):
    answer = answer_of(press(browser, third_party.authorize(browser), "deny"))
    assert set(answer) == {"error", "error_description", "state", "iss"}
    assert answer["error"] == "access_denied"
    assert third_party.authorize(browser).status_code == 200


def test_a_self_registered_client_always_asks(register, browser):
    stranger = register(name="Stranger", origin="registered")
    for _ in range(2):
        page = stranger.authorize(browser, scope="openid")
        assert page.status_code == 200
        assert "Nobody has checked this app" in page.text
        assert "code" in answer_of(press(browser, page, "allow"))


def test_prompt_consent_asks_also_for_a_trusted_client(program, browser):
    page = program.authorize(browser, prompt="consent")
    assert page.status_code == 200
    assert "code" in answer_of(press(browser, page, "allow"))


# --- our form -------------------------------------------------------------------------------------------------------------


def test_our_form_needs_its_token_and_keeps_the_handoff(third_party, browser):
    page = third_party.authorize(browser)
    url = "/oauth/authorize?handoff=" + handoff_of(page)
    for data in ({"decision": "allow"}, {"decision": "allow", "csrf_token": "x"}, {"decision": "allow", "csrf_token": "a.ü"}):
        refused = browser.post(url, data=data)
        assert refused.status_code == 400
        assert "Location" not in refused.headers
        assert handoff_of(page) in refused.text


def test_the_token_of_another_browser_is_no_good(app, third_party, browser, person):
    page = third_party.authorize(browser)
    other = app.test_client()
    factories.sign_in(other, person)
    foreign = third_party.authorize(other)
    data = {"decision": "allow", "csrf_token": csrf_token_of(foreign)}
    assert browser.post("/oauth/authorize?handoff=" + handoff_of(page), data=data).status_code == 400


def test_a_form_that_another_site_sends_is_refused_even_with_a_token(third_party, browser):
    for headers in [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ]:
        page = third_party.authorize(browser)
        data = {"decision": "allow", "csrf_token": csrf_token_of(page)}
        assert browser.post("/oauth/authorize?handoff=" + handoff_of(page), data=data, headers=headers).status_code == 400


def test_a_form_without_a_decision_asks_again(third_party, browser):
    page = third_party.authorize(browser)
    again = browser.post("/oauth/authorize?handoff=" + handoff_of(page), data={"csrf_token": csrf_token_of(page)})
    assert again.status_code == 422
    assert "<title>Allow Reports?" in again.text


def test_allowing_after_signing_out_elsewhere_leads_to_sign_in_with_the_same_handoff(third_party, browser):
    page = third_party.authorize(browser)
    browser.delete_cookie("gatepost_session", domain="127.0.0.1")
    response = press(browser, page, "allow")
    assert handoff_of(response) == handoff_of(page)


def test_allowing_after_the_client_was_deleted_is_a_page(app, third_party, browser):
    page = third_party.authorize(browser)
    with app.app_context():
        oauth_clients.delete(Actor.operator(), "reports")
    assert_page(press(browser, page, "allow"))


def test_the_page_lets_nobody_frame_it_and_runs_no_script(third_party, browser):
    policy = third_party.authorize(browser).headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "script-src 'none'" in policy
    assert "form-action 'self'" in policy
    assert "unsafe" not in policy


def test_a_browser_of_nobody_gets_no_cookie_for_looking(app, program):
    response = Program(app, program.client).authorize(app.test_client())
    assert "Set-Cookie" not in response.headers
