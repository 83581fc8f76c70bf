"""RFC 9207: every authorization response names its issuer, errors too."""

import pytest

from tests.oauth.flow import ISSUER, answer_of, press


def test_a_good_answer_names_the_issuer(program, browser):
    assert answer_of(program.authorize(browser))["iss"] == ISSUER


def test_so_does_every_error(program, browser, client, app):
    for changes in [
        {"response_type": "token"},
        {"scope": "nonsense"},
        {"code_challenge": None},
        {"resource": "https://nobody.example"},
        {"prompt": "none"},
        {"prompt": "none", "max_age": "0"},
        {"state": ["a", "b"]},
        {"organization": "nobodys"},
        {"request": "x"},
    ]:
        who = app.test_client() if changes == {"prompt": "none"} else browser
        answer = answer_of(program.authorize(who, **changes))
        assert "error" in answer
        assert answer["iss"] == ISSUER


@pytest.mark.parametrize("decision", ["allow", "deny"])
def test_so_does_the_page_that_leads_on(register, browser, decision):
    program = register()
    assert answer_of(press(browser, program.authorize(browser), decision))["iss"] == ISSUER


def test_the_issuer_is_the_public_url_whatever_host_was_asked(program, browser):
    answer = browser.get(program.authorize_url(), headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"})
    assert "evil.example" not in answer.headers["Location"]


def test_metadata_promises_it(client):
    metadata = client.get("/.well-known/oauth-authorization-server").json
    assert metadata["authorization_response_iss_parameter_supported"] is True
    assert metadata["issuer"] == ISSUER
