"""The login handoff: a signed authorize request that survives every detour of signing in, byte for byte."""

import base64
from urllib.parse import quote, urlencode

import pytest

from infra import clock
from services.access.actors import Actor
from services.sign_in import sign_in_links
from tests import factories
from tests.oauth.flow import CHALLENGE, Program, answer_of, assert_page, csrf_token_of, handoff_of, people, press, target_of


def query_in(handoff):
    text = handoff.split(".")[0]
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def resume(browser, handoff):
    return browser.get(f"/oauth/authorize?handoff={handoff}")


def assert_says_so(response, words):
    assert_page(response)
    assert words in response.text
    assert "Start again from the app" in response.text


# --- it holds every byte ------------------------------------------------------------------------------------------------


def test_it_holds_the_request_as_it_was_sent(program, client):
    query = (
        f"client_id={program.client_id}&response_type=code&code_challenge_method=S256&code_challenge={CHALLENGE}"
        f"&redirect_uri={quote(program.redirect_uri, safe='')}&state=a%20b+c%2Bd%2F%C3%A9&nonce=%7e~&prompt=login&max_age=60"
        "&login_hint=ada%40example.com&ui_locales=de%20en&UNKNOWN=%3Cx%3E&unknown=1&unknown=2&empty=&flag"
    )
    handoff = handoff_of(client.get("/oauth/authorize?" + query))
    assert query_in(handoff) == query.encode()
    card = client.get(f"/login?handoff={handoff}")
    assert card.status_code == 200


def test_a_posted_request_is_held_too(program, client):
    body = program.authorize_query(state="ü&%")
    response = client.post("/oauth/authorize", data=body, content_type="application/x-www-form-urlencoded")
    assert query_in(handoff_of(response)) == body.encode()


def test_it_is_one_value_that_needs_no_escaping_and_travels_in_no_cookie(program, client):
    response = program.authorize(client)
    handoff = handoff_of(response)
    assert quote(handoff, safe="") == handoff
    assert "Set-Cookie" not in response.headers
    client.get(f"/login?handoff={handoff}")
    assert not [cookie for cookie in client._cookies.values() if handoff in cookie.value]


def test_a_request_that_is_no_good_makes_no_handoff(program, client):
    assert answer_of(program.authorize(client, scope="nonsense"))["error"] == "invalid_scope"
    assert_page(program.authorize(client, client_id="nobody"))


# --- there and back -----------------------------------------------------------------------------------------------------


def test_after_signing_in_the_client_is_answered_with_everything_it_sent(program, client, person):
    handoff = handoff_of(program.authorize(client, state="s ü &", nonce="n1", scope="openid email"))
    factories.sign_in(client, person, handoff=handoff)
    response = resume(client, handoff)
    assert target_of(response) == program.redirect_uri
    answer = answer_of(response)
    assert answer["state"] == "s ü &"
    assert program.exchange(answer["code"]).json["scope"] == "openid email"


@pytest.mark.both_databases
def test_a_one_time_link_carries_it_through(app, program, client, person):
    handoff = handoff_of(program.authorize(client, prompt="login", state="through the link"))
    with app.app_context():
        token = sign_in_links.create(Actor.operator(), "ada@example.com")
    clock.move(1)
    page = client.get(f"/login/link/{token}?handoff={handoff}")
    onward = client.post(f"/login/link/{token}?handoff={handoff}", data={"csrf_token": csrf_token_of(page)})
    assert onward.status_code == 200  # the onward page: a form post is never redirected off the site
    assert f"/oauth/authorize?handoff={handoff}" in onward.text
    assert answer_of(resume(client, handoff))["state"] == "through the link"


def test_every_page_on_the_way_keeps_it(register, client, person):
    third_party = register()
    handoff = handoff_of(third_party.authorize(client))
    factories.sign_in(client, person, handoff=handoff)
    page = resume(client, handoff)
    assert handoff_of(page) == handoff
    assert f"handoff={handoff}" in page.text
    assert "switch=1" in page.text
    assert "code" in answer_of(press(client, page, "allow"))


def test_signing_in_with_a_session_that_is_there_goes_straight_back(program, browser):
    handoff = handoff_of(program.authorize(browser.application.test_client()))
    response = browser.get(f"/login?handoff={handoff}")
    assert response.status_code == 303
    assert response.headers["Location"].endswith(f"/oauth/authorize?handoff={handoff}")


def test_it_is_repeatable_until_it_expires(program, browser):
    handoff = handoff_of(program.authorize(browser, prompt="select_account"))
    factories.sign_in(browser, factories.make_user(), handoff=handoff)
    codes = {answer_of(resume(browser, handoff))["code"] for _ in range(3)}
    assert len(codes) == 3


def test_it_works_for_whoever_signs_in_in_another_browser(app, program, client):
    handoff = handoff_of(program.authorize(client))
    [(_, other)] = people(app)
    assert "code" in answer_of(resume(other, handoff))


# --- altered, expired ----------------------------------------------------------------------------------------------------


def test_an_altered_one_says_so_and_leads_nowhere(program, browser, app):
    handoff = handoff_of(program.authorize(app.test_client()))
    body, time_ms, mac = handoff.split(".")
    evil = base64.urlsafe_b64encode(query_in(handoff).replace(b"st-1", b"st-2")).rstrip(b"=").decode()
    for altered in (
        f"{evil}.{time_ms}.{mac}",
        f"{body}.{int(time_ms) + 1}.{mac}",
        f"{body}.{time_ms}.{'A' * 43}",
        f"{body}.{time_ms}.{mac}A",
        f"{body}A.{time_ms}.{mac}",
        f"{body}.{time_ms}",
        f"{body}..{mac}",
        body,
        "x",
        "",
        "..",
        "ü.1.ü",
        handoff + "%00",
        handoff.upper(),
        "A" * 9000 + f".{time_ms}.{mac}",
    ):
        assert_says_so(resume(browser, altered), "is damaged")
        card = browser.get(f"/login?handoff={altered}")
        if altered:
            assert_page(card)


def test_an_expired_one_says_so_and_leads_nowhere(program, browser, app):
    handoff = handoff_of(program.authorize(app.test_client()))
    clock.move(595)
    assert "code" in answer_of(resume(browser, handoff))
    clock.move(601)
    assert_says_so(resume(browser, handoff), "took too long")
    assert_page(browser.get(f"/login?handoff={handoff}"))


def test_one_from_the_future_says_so(program, browser, app):
    clock.move(300)
    handoff = handoff_of(program.authorize(app.test_client()))
    clock.move(0)
    assert_page(resume(browser, handoff))


def test_its_life_is_a_setting(make_app, program):
    app = make_app(handoff_seconds=60)
    [(_, browser)] = people(app)
    handoff = handoff_of(Program(app, program.client).authorize(app.test_client()))
    clock.move(61)
    assert_page(resume(browser, handoff))


def test_one_signed_with_another_servers_key_is_altered(make_app, program, browser):
    stranger = make_app(secret_keys="another-secret-key-of-another-server-0123456789")
    handoff = handoff_of(Program(stranger, program.client).authorize(stranger.test_client()))
    assert_says_so(resume(browser, handoff), "is damaged")


def test_one_signed_before_the_key_was_rotated_goes_on(make_app, program, app):
    from tests.conftest import SECRET_KEY

    handoff = handoff_of(program.authorize(app.test_client()))
    rotated = make_app(secret_keys=f"a-new-secret-key-of-the-same-server-0123456789,{SECRET_KEY}")
    [(_, browser)] = people(rotated)
    assert "code" in answer_of(resume(browser, handoff))


def test_it_is_validated_again_when_it_comes_back(app, program, browser):
    from services.tokens import oauth_clients

    handoff = handoff_of(program.authorize(app.test_client()))
    with app.app_context():
        oauth_clients.delete(Actor.operator(), program.client_id)
    assert_page(resume(browser, handoff))


def test_other_parameters_beside_it_are_not_read(program, browser, app):
    handoff = handoff_of(program.authorize(app.test_client()))
    extra = urlencode({"state": "evil", "redirect_uri": "https://evil.example", "client_id": "evil", "scope": "evil"})
    response = browser.get(f"/oauth/authorize?handoff={handoff}&{extra}")
    assert target_of(response) == program.redirect_uri
    assert answer_of(response)["state"] == "st-1"


def test_the_longest_request_goes_through(program, client, person):
    query = program.authorize_query(state="x" * 3000)
    query += "&pad=" + "%C3%A9" * ((6000 - len(query) - 5) // 6)
    handoff = handoff_of(client.get("/oauth/authorize?" + query))
    factories.sign_in(client, person, handoff=handoff)
    assert answer_of(resume(client, handoff))["state"] == "x" * 3000
