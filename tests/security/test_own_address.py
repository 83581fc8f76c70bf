"""A server that people open at another address than its public URL says so; a browser without cookies is told that."""

import logging
import re

import pytest
from flask.testing import FlaskClient

from blueprints import csrf

FORM = "/login/link/x"


@pytest.fixture
def https_client(make_app) -> FlaskClient:
    return make_app(public_url="https://id.example.com").test_client()


@pytest.mark.parametrize(
    ("base_url", "origin"),
    [
        ("http://id.example.com", "http://id.example.com"),  # plain http behind TLS
        ("https://10.0.0.5:8000", "https://10.0.0.5:8000"),
        ("http://other.example.com", "http://other.example.com"),
        ("https://id.example.com:8443", "https://id.example.com:8443"),
        ("https://ID.example.com.", "https://id.example.com."),
    ],
)
@pytest.mark.parametrize("path", [FORM, "/login/continue", "/logout"])
def test_a_form_that_was_opened_elsewhere_names_both_addresses(https_client: FlaskClient, base_url: str, origin: str, path: str) -> None:
    answer = https_client.post(path, base_url=base_url, data={"csrf_token": "a.b.c.d"}, headers={"Origin": origin})
    assert answer.status_code == 400
    assert "This address doesn’t match" in answer.text
    assert f"configured as https://id.example.com, but you opened {origin}." in re.sub("</?code[^>]*>", "", answer.text)
    assert 'href="https://id.example.com/"' in answer.text
    assert "Open https://id.example.com" in answer.text


def test_behind_a_proxy_that_changes_the_host_the_browser_says_whose_page_it_was(https_client: FlaskClient) -> None:
    headers = {"Origin": "https://old.example.com", "Sec-Fetch-Site": "same-origin"}
    answer = https_client.post(FORM, base_url="http://127.0.0.1:8000", data={"csrf_token": "x"}, headers=headers)
    assert "but you opened" in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://id.example.com", "Sec-Fetch-Site": "same-site"},
        {"Origin": "null"},
        {"Origin": "https://" + "a" * 400},
        {},
    ],
)
def test_another_sites_form_is_told_nothing_of_it(https_client: FlaskClient, headers: dict[str, str]) -> None:
    answer = https_client.post(FORM, base_url="https://id.example.com", data={"csrf_token": "x"}, headers=headers)
    assert answer.status_code == 400
    assert "This form has expired" in answer.text


def test_what_was_opened_is_shown_as_text(https_client: FlaskClient) -> None:
    answer = https_client.post(
        FORM,
        base_url="https://id.example.com",
        data={"csrf_token": "x"},
        headers={"Origin": "https://<b>x", "Sec-Fetch-Site": "same-origin"},
    )
    assert "https://&lt;b&gt;x" in answer.text
    assert "<b>x" not in answer.text


def test_the_log_names_an_address_once(https_client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    origin = "https://once.example.com"
    with caplog.at_level(logging.WARNING, "gatepost.address"):
        for _ in range(3):
            https_client.post(FORM, base_url=origin, data={"csrf_token": "x"}, headers={"Origin": origin})
    assert [record.origin for record in caplog.records if record.name == "gatepost.address"] == [origin]


def test_a_browser_without_cookies_is_told_so(make_app) -> None:
    app = make_app()
    with app.test_request_context():
        token = csrf.new_token()
    answer = app.test_client(use_cookies=False).post(FORM, data={"csrf_token": token})
    assert answer.status_code == 400
    assert "Cookies are off" in answer.text
    assert "This form has expired" not in answer.text
    with_others = app.test_client()
    with_others.set_cookie("gatepost_lang", "en", domain="127.0.0.1")
    assert "This form has expired" in with_others.post(FORM, data={"csrf_token": token}).text


@pytest.mark.parametrize("path", ["/login", "/account?tab=a%20b"])
def test_another_name_of_this_machine_leads_to_the_public_url(client: FlaskClient, path: str) -> None:
    answer = client.get(path, base_url="http://localhost:8000")
    assert (answer.status_code, answer.headers["Location"]) == (307, f"http://127.0.0.1:8000{path}")


@pytest.mark.parametrize("base_url", ["http://localhost:8001", "http://10.0.0.5:8000", "http://evil.example:8000", "http://127.0.0.1:8000"])
def test_no_other_host_is_led_there(client: FlaskClient, base_url: str) -> None:
    assert client.get("/login", base_url=base_url).status_code == 200


@pytest.mark.parametrize("host", ["[", "]", "[::1", "[x]", "localhost:x", "127.0.0.1:99999"])
def test_a_host_that_is_none_is_led_nowhere(client: FlaskClient, host: str) -> None:
    assert client.get("/login", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://[", "https://[x]:1", "//", "x"])
@pytest.mark.parametrize("path", [FORM, "/login/continue", "/logout", "/secure/x"])
def test_an_origin_that_is_none_is_another_site(client: FlaskClient, origin: str, path: str) -> None:
    answer = client.post(path, data={"csrf_token": "a.b.c.d"}, headers={"Origin": origin})
    assert answer.status_code == 400
    assert "This form has expired" in answer.text


def test_in_production_no_host_is_led_anywhere(https_client: FlaskClient) -> None:
    assert https_client.get("/login", base_url="http://localhost:8000").status_code == 200


def test_programs_are_not_led_anywhere(client: FlaskClient) -> None:
    for path in ("/healthz", "/.well-known/openid-configuration", "/oauth/jwks"):
        assert client.get(path, base_url="http://localhost:8000").status_code in (200, 404)
    assert client.get("/api/v1/whoami", base_url="http://localhost:8000").status_code == 401
