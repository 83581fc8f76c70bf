"""OAuth 2.0 Form Post Response Mode: the answer, or the error, goes to the client in a form that the browser posts."""

import html
import re

import pytest

from tests.oauth.flow import ISSUER, answer_of, form_post_of, handoff_of, people, press, target_of

MODE = {"response_mode": "form_post"}


def policy_of(response):
    return dict(part.partition(" ")[::2] for part in response.headers["Content-Security-Policy"].split("; "))


def assert_posts(response, redirect_uri):
    """It is the page that posts, with the headers that are for it alone. Returns the fields."""
    assert response.status_code == 200, response.text
    action, fields = form_post_of(response)
    assert action == redirect_uri
    policy = policy_of(response)
    assert "form-action" not in policy  # browsers would hold the client's own redirects to it
    assert policy == {
        "default-src": "'none'",
        "style-src": "'self'",
        "script-src": "'self'",
        "img-src": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    assert response.headers["Referrer-Policy"] == "strict-origin"
    assert response.headers["Cache-Control"] == "no-store"
    assert "http-equiv" not in response.text
    assert re.findall(r"<script[^>]*>.*?</script>", response.text, re.DOTALL) == re.findall(
        r'<script src="/static/form_post\.[0-9a-f]{12}\.js" defer></script>', response.text
    )
    assert "csrf_token" not in fields
    return fields


def test_an_answer_at_once(program, browser):
    fields = assert_posts(program.authorize(browser, **MODE), program.redirect_uri)
    assert set(fields) == {"code", "state", "iss"}
    assert (fields["state"], fields["iss"]) == ("st-1", ISSUER)
    assert program.exchange(fields["code"]).status_code == 200


def test_an_answer_from_our_own_form(register, browser):
    third_party = register(name="Reports", scope="openid")
    page = third_party.authorize(browser, **MODE)
    assert policy_of(page)["form-action"] == "'self'"
    fields = assert_posts(press(browser, page, "allow"), third_party.redirect_uri)
    assert third_party.exchange(fields["code"]).status_code == 200
    assert assert_posts(press(browser, third_party.authorize(browser, **MODE, prompt="consent"), "deny"), third_party.redirect_uri)[
        "error"
    ] == ("access_denied")


def test_it_survives_signing_in(app, program):
    [(_, browser)] = people(app)
    handoff = handoff_of(program.authorize(app.test_client(), **MODE))
    assert "code" in assert_posts(browser.get("/oauth/authorize?handoff=" + handoff), program.redirect_uri)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"scope": "nonsense"}, "invalid_scope"),
        ({"code_challenge": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"request": "x"}, "request_not_supported"),
        ({"state": ["a", "b"]}, "invalid_request"),
        ({"resource": "https://nobody.example"}, "invalid_target"),
        ({"organization": "nobody"}, "access_denied"),
    ],
)
def test_errors_travel_the_same_way(program, browser, changes, error):
    fields = assert_posts(program.authorize(browser, **MODE, **changes), program.redirect_uri)
    assert fields["error"] == error
    assert fields["iss"] == ISSUER
    assert fields.get("state") == ("st-1" if "state" not in changes else None)


def test_so_do_those_of_prompt_none(app, program, register, browser):
    assert assert_posts(program.authorize(app.test_client(), **MODE, prompt="none"), program.redirect_uri)["error"] == "login_required"
    third_party = register(scope="openid")
    fields = assert_posts(third_party.authorize(browser, **MODE, prompt="none"), third_party.redirect_uri)
    assert fields["error"] == "consent_required"


def test_a_request_by_post(program, browser):
    answer = browser.post("/oauth/authorize", data=program.authorize_query(**MODE), content_type="application/x-www-form-urlencoded")
    assert "code" in assert_posts(answer, program.redirect_uri)


def test_query_is_the_default_and_may_be_named(program, browser):
    for changes in ({}, {"response_mode": "query"}, {"response_mode": ""}):
        response = program.authorize(browser, **changes)
        assert "code" in answer_of(response)
        assert target_of(response) == program.redirect_uri


@pytest.mark.parametrize("mode", ["fragment", "form_post.jwt", "FORM_POST", "web_message", "query form_post", ["form_post", "form_post"]])
def test_what_is_no_mode_is_told_in_the_query(program, browser, mode):
    response = program.authorize(browser, response_mode=mode)
    assert answer_of(response)["error"] == "invalid_request"
    assert target_of(response) == program.redirect_uri


def test_nothing_can_be_posted_to_a_private_scheme(register, browser):
    native = register(trusted=True, redirect_uris=["com.example.app:/back", "http://127.0.0.1/back"])
    response = native.authorize(browser, **MODE)
    assert (answer_of(response)["error"], target_of(response)) == ("invalid_request", "com.example.app:/back")
    loopback = "http://127.0.0.1:4711/back"
    page = native.authorize(browser, **MODE, redirect_uri=loopback)
    assert "code" in assert_posts(press(browser, page, "allow"), loopback)


def test_a_redirect_uri_with_a_query_keeps_it(register, browser):
    program = register(trusted=True, redirect_uris=["https://app.example.com/back?tenant=a&x=%22"])
    assert "code" in assert_posts(program.authorize(browser, **MODE), program.redirect_uri)


def test_what_the_client_sent_stays_text(register, browser):
    state = "\"'><script>alert(1)</script>&amp;%41+ü€\u202e"
    stranger = register(name="<b>Evil\u202e</b>", origin="registered", scope="openid")
    page = press(browser, stranger.authorize(browser, **MODE, state=state), "allow")
    assert assert_posts(page, stranger.redirect_uri)["state"] == state
    assert "<script>alert" not in page.text
    assert "<b>Evil" not in page.text


def test_there_is_a_button_for_browsers_without_script(program, browser):
    page = program.authorize(browser, **MODE)
    form = re.search(r"<form.*?</form>", page.text, re.DOTALL)[0]
    assert "Continue to Notes" in re.sub("<[^>]+>", "", re.search(r"<button.*</button>", form, re.DOTALL)[0])
    assert " hidden>" not in form
    assert "app.example.com" in html.unescape(re.sub("<[^>]+>", "", page.text))


def test_its_script_is_served(program, browser):
    found = re.search(r'src="(/static/form_post[^"]+)"', program.authorize(browser, **MODE).text)[1]
    script = browser.get(found)
    assert script.status_code == 200
    assert "javascript" in script.mimetype


def test_pages_before_any_client_is_known_stay_pages(program, browser):
    response = program.authorize(browser, **MODE, redirect_uri="https://evil.example/")
    assert response.status_code == 400
    assert policy_of(response)["form-action"] == "'self'"


def test_discovery_lists_both(client):
    assert client.get("/.well-known/openid-configuration").json["response_modes_supported"] == ["query", "form_post"]
