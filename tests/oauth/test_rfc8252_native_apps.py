"""RFC 8252: programs on the person's own machine. Any port on loopback; nobody is signed in without noticing."""

import re

import pytest

from infra import clock
from tests import factories
from tests.oauth.flow import answer_of, assert_page, assert_refused, handoff_of, press, target_of

# --- section 7.3: the port is free, all else is exact ---------------------------------------------------------------------


@pytest.fixture
def quiet(register):
    """A native program that does not ask for confirmation."""
    return register(trusted=True, confirm=False, redirect_uris=["http://127.0.0.1/callback"])


@pytest.mark.parametrize("port", ["", ":1", ":80", ":3000", ":53211", ":65535"])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_any_port_of_a_registered_loopback_host_is_good(register, browser, host, port):
    program = register(trusted=True, confirm=False, redirect_uris=[f"http://{host}/callback"])
    uri = f"http://{host}{port}/callback"
    response = program.authorize(browser, redirect_uri=uri)
    assert target_of(response) == uri
    assert program.exchange(answer_of(response)["code"], redirect_uri=uri).status_code == 200


def test_a_port_in_the_registration_is_free_too(register, browser):
    program = register(trusted=True, confirm=False, redirect_uris=["http://localhost:3000/cb?a=1"])
    assert target_of(program.authorize(browser, redirect_uri="http://localhost:8123/cb?a=1")) == "http://localhost:8123/cb"


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1/callback", "http://127.0.0.1:99/callback"])
def test_the_exchange_names_the_very_port_of_the_request(quiet, browser, uri):
    code = quiet.get_code(browser, redirect_uri="http://127.0.0.1:5000/callback")
    assert_refused(quiet.exchange(code, redirect_uri=uri), "invalid_grant")


@pytest.mark.parametrize(("host", "query"), [("127.0.0.1", ""), ("[::1]", "?x=1"), ("localhost", "")])
@pytest.mark.parametrize(("registered", "asked", "named"), [("", "/", ""), ("/", "", "/"), ("", "", "/"), ("/", "/", "")])
def test_an_empty_path_on_loopback_is_a_slash(register, browser, registered, asked, named, host, query):
    program = register(trusted=True, confirm=False, redirect_uris=[f"http://{host}{registered}{query}"])
    uri = f"http://{host}:5000{asked}{query}"
    response = program.authorize(browser, redirect_uri=uri)
    assert target_of(response) == uri.partition("?")[0], "the browser goes where the program said"
    code = answer_of(response)["code"]
    for other in (f"http://{host}:5001{named}{query}", f"http://{host}:5000//{query}", f"http://{host}:5000{named}?y"):
        assert_refused(program.exchange(code, redirect_uri=other), "invalid_grant")
    assert program.exchange(code, redirect_uri=f"http://{host}:5000{named}{query}").status_code == 200


def test_an_empty_path_elsewhere_is_another_address(register, browser):
    for uri in ("https://app.example.com", "https://localhost:3000", "com.example.notes:"):
        program = register(trusted=True, confirm=False, redirect_uris=[f"{uri}/"])
        assert_page(program.authorize(browser, redirect_uri=uri))
        code = program.get_code(browser, redirect_uri=f"{uri}/")
        assert_refused(program.exchange(code, redirect_uri=uri), "invalid_grant")


def test_a_spelling_that_is_not_the_registered_address_is_a_page(quiet, browser):
    for uri in [
        "http://127.0.0.1:5000/callback/",
        "http://127.0.0.1:5000/Callback",
        "http://127.0.0.1:5000/callbackX",
        "http://127.0.0.1:5000/callback?x=1",
        "http://127.0.0.1:5000/callback?",
        "http://127.0.0.1:5000/callback#f",
        "http://127.0.0.1:5000/callback#",
        "http://127.0.0.1:5000/%63allback",
        "http://127.0.0.1:5000/./callback",
        "http://127.0.0.1:5000/x/../callback",
        "http://127.0.0.1:5000//callback",
        "http://127.0.0.1:5000",
        "https://127.0.0.1:5000/callback",
        "HTTP://127.0.0.1:5000/callback",
        "//127.0.0.1:5000/callback",
        "http:/127.0.0.1:5000/callback",
        "http:\\\\127.0.0.1:5000/callback",
        "http://127.0.0.2:5000/callback",
        "http://localhost:5000/callback",
        "http://[::1]:5000/callback",
        "http://[::ffff:127.0.0.1]:5000/callback",
        "http://127.1:5000/callback",
        "http://2130706433:5000/callback",
        "http://0x7f.0.0.1:5000/callback",
        "http://0:5000/callback",
        "http://127.0.0.1.:5000/callback",
        "http://127.0.0.1.evil.example:5000/callback",
        "http://127.0.0.1:5000.evil.example/callback",
        "http://evil.example\\@127.0.0.1/callback",
        "http://evil.example\\@127.0.0.1:5000/callback",
        "http://evil.example/\\@127.0.0.1/callback",
        "http://127.0.0.1\\@evil.example/callback",
        "http://127.0.0.1:5000\\.evil.example/callback",
        "http://evil.example@127.0.0.1:5000/callback",
        "http://user:pass@127.0.0.1:5000/callback",
        "http://@127.0.0.1:5000/callback",
        "http://127.0.0.1@evil.example/callback",
        "http://127.0.0.1:5000@evil.example/callback",
        "http://127.0.0.1:80#@evil.example/callback",
        "http://evil.example#@127.0.0.1/callback",
        "http://evil.example?@127.0.0.1/callback",
        "http://127.0.0.1:/callback",
        "http://127.0.0.1:0/callback",
        "http://127.0.0.1:65536/callback",
        "http://127.0.0.1:99999/callback",
        "http://127.0.0.1:123456/callback",
        "http://127.0.0.1:-1/callback",
        "http://127.0.0.1:+5000/callback",
        "http://127.0.0.1:5e3/callback",
        "http://127.0.0.1:\u0661\u0662/callback",
        "http://127.0.0.1: 5000/callback",
        "http://127\u30020.0.1:5000/callback",
        " http://127.0.0.1:5000/callback",
        "http://127.0.0.1:5000/callback\n",
        "http://127.0.0.1:5000/callback\t",
        "http://127.0.0.1:5000/call\nback",
        "http://127.0.0.1:5000/callback\u00a0",
        "http://127.0.0.1%00.evil.example:5000/callback",
        "javascript://127.0.0.1/callback",
    ]:
        assert_page(quiet.authorize(browser, redirect_uri=uri))


def test_a_registered_loopback_address_with_a_sign_that_browsers_read_differently_is_an_exact_string(register, browser):
    for path in ("/@me", "/a\\b", "/x?to=a@b"):
        program = register(trusted=True, confirm=False, redirect_uris=[f"http://127.0.0.1{path}"])
        assert_page(program.authorize(browser, redirect_uri=f"http://127.0.0.1:5000{path}"))
        assert "code" in answer_of(program.authorize(browser))


@pytest.mark.parametrize(
    "uri", ["https://app.example.com:8443/callback", "http://app.example.com/callback", "https://app.example.com:443/callback"]
)
def test_the_port_is_free_on_loopback_only(program, browser, uri):
    assert_page(program.authorize(browser, redirect_uri=uri))


def test_https_on_a_loopback_host_is_an_exact_string(register, browser):
    program = register(trusted=True, redirect_uris=["https://localhost:3000/callback"])
    assert_page(program.authorize(browser, redirect_uri="https://localhost:3001/callback"))
    assert "code" in answer_of(program.authorize(browser, redirect_uri="https://localhost:3000/callback"))


def test_a_private_scheme_is_an_exact_string(register, browser):
    program = register(trusted=True, confirm=False, redirect_uris=["com.example.notes:/callback"])
    assert target_of(program.authorize(browser)) == "com.example.notes:/callback"
    for uri in ("com.example.notes:/callback2", "com.example.notes://callback", "COM.example.notes:/callback"):
        assert_page(program.authorize(browser, redirect_uri=uri))


# --- section 8.6: a session that was there before does not sign a program in by itself --------------------------------------


@pytest.mark.parametrize("uri", ["http://127.0.0.1:4711/callback", "http://localhost:4711/callback"])
def test_a_native_program_that_meets_a_session_is_confirmed_first(native, browser, uri):
    page = native.authorize(browser, redirect_uri=uri)
    assert page.status_code == 200
    assert "Sign in the Notes CLI?" in page.text
    assert "ada@example.com" in page.text
    onward = press(browser, page, "allow")
    assert onward.status_code == 200
    answer = answer_of(onward)
    assert set(answer) == {"code", "state", "iss"}
    assert native.exchange(answer["code"], redirect_uri=uri).status_code == 200


def test_it_is_confirmed_every_time(native, browser):
    for _ in range(2):
        page = native.authorize(browser)
        assert page.status_code == 200
        press(browser, page, "allow")


def test_stopping_is_access_denied(native, browser):
    answer = answer_of(press(browser, native.authorize(browser), "deny"))
    assert answer["error"] == "access_denied"
    assert answer["state"] == "st-1"


def test_what_looks_like_a_host_behind_a_private_scheme_is_not_shown_as_one(app, register, browser):
    program = register(trusted=True, redirect_uris=["cursor://accounts.bank.example/back"])
    waiting = app.test_client().get("/login?handoff=" + handoff_of(program.authorize(app.test_client())))
    page = program.authorize(browser)
    onward = press(browser, page, "allow")
    assert "code" in answer_of(onward)
    for shown in (waiting, page, onward):
        text = re.sub("<[^>]+>", "", shown.text)
        assert "bank.example" not in text
    assert "Taking you back to cursor" in text


def test_a_private_scheme_is_confirmed_too(register, browser):
    program = register(trusted=True, redirect_uris=["com.example.notes:/callback"])
    assert "com.example.notes" in program.authorize(browser).text


def test_who_has_just_signed_in_for_this_program_is_not_asked_again(native, client, person):
    handoff = handoff_of(native.authorize(client))
    clock.move(3)
    factories.sign_in(client, person, handoff=handoff)
    assert "code" in answer_of(client.get(f"/oauth/authorize?handoff={handoff}"))


def test_a_sign_in_for_another_program_does_not_count(native, program, client, person):
    other = handoff_of(program.authorize(client))
    factories.sign_in(client, person, handoff=other)
    page = native.authorize(client)
    assert page.status_code == 200
    assert "Sign in the Notes CLI?" in page.text


def test_a_sign_in_for_an_earlier_request_of_the_same_program_does_not_count(native, client, person):
    earlier = handoff_of(native.authorize(client))
    factories.sign_in(client, person, handoff=earlier)
    clock.move(1)
    later = native.authorize(client, state="st-2")
    assert later.status_code == 200
    assert "Sign in the Notes CLI?" in later.text


def test_continue_as_is_a_choice_that_need_not_be_confirmed(native, browser):
    handoff = handoff_of(native.authorize(browser, prompt="select_account"))
    card = browser.get(f"/login?handoff={handoff}")
    token = card.text.split('name="csrf_token" value="')[1].split('"')[0]
    onward = browser.post("/login/continue", data={"csrf_token": token, "handoff": handoff})
    assert onward.status_code == 200
    assert "code" in answer_of(browser.get(f"/oauth/authorize?handoff={handoff}"))


def test_confirm_false_turns_it_off_for_one_client(quiet, native, browser):
    assert "code" in answer_of(quiet.authorize(browser))
    assert native.authorize(browser).status_code == 200


def test_a_web_client_is_not_confirmed(program, browser):
    assert "code" in answer_of(program.authorize(browser))


def test_prompt_none_never_skips_it(native, browser):
    assert answer_of(native.authorize(browser, prompt="none"))["error"] == "interaction_required"


def test_a_native_client_that_is_not_ours_needs_consent_every_time(register, browser):
    stranger = register(name="Stranger", redirect_uris=["http://127.0.0.1/callback"])
    for _ in range(2):
        page = stranger.authorize(browser, scope="openid")
        assert "<title>Allow Stranger?" in page.text
        press(browser, page, "allow")
    assert answer_of(stranger.authorize(browser, scope="openid", prompt="none"))["error"] == "consent_required"
