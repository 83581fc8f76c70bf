"""A refused sign-in names the request that failed, and so does the log; what only the clocks are to blame for is told as that."""

import re
import time
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from infra import clock
from models import AuditEvent
from tests import factories, owner
from tests.fakes.browser import Browser, query_of
from tests.fakes.oidc import FakeOidc
from tests.fakes.server import Answer
from tests.oauth.flow import Program, handoff_of


def words_of(page: TestResponse) -> str:
    return " ".join(re.sub(r"<[^>]+>", "", page.text).split())


def refused_line(caplog: pytest.LogCaptureFixture) -> Any:
    (line,) = [record for record in caplog.records if record.message == "sign-in refused"]
    return line


def test_the_reference_is_the_request_that_failed(browser: Browser, op: FakeOidc, caplog: pytest.LogCaptureFixture) -> None:
    op.claims = {"aud": "another-client"}
    with caplog.at_level("INFO"):
        back = browser.sign_in(op, "authentik")
    failed = back.headers["X-Request-Id"]
    page = browser.get(back.headers["Location"])
    assert f"Tell your administrator: reference {failed}." in words_of(page)
    assert page.headers.get("X-Request-Id") != failed
    line = refused_line(caplog)
    assert (line.request_id, line.code, line.detail) == (failed, "provider_refused", "id_token claim aud: not ours")
    (event,) = owner.events(browser.client.application, AuditEvent.action == "sign_in.refused")
    assert event.request_id == failed


def test_the_same_callback_again_has_the_same_reference(browser: Browser, op: FakeOidc) -> None:
    op.claims = {"aud": "another-client"}
    location = op.visit(browser.start("authentik"))
    failed = browser.come_back(location).headers["X-Request-Id"]
    again = browser.come_back(location)
    assert failed in browser.get(again.headers["Location"]).text


def test_a_link_that_anybody_made_has_no_reference(browser: Browser, op: FakeOidc) -> None:
    page = browser.get("/login?error=provider_refused&provider=authentik")
    assert "Authentik refused the request" in words_of(page)
    assert "reference" not in words_of(page)
    op.claims = {"aud": "another-client"}
    location = browser.sign_in(op, "authentik").headers["Location"]
    assert "reference" in words_of(browser.get(location))
    assert "reference" not in words_of(Browser(browser.client.application).get(location))


def test_a_start_that_fails_has_a_reference_too(browser: Browser, op: FakeOidc, caplog: pytest.LogCaptureFixture) -> None:
    op.answers["/.well-known/openid-configuration"] = Answer(404, {})
    with caplog.at_level("INFO"):
        there = browser.get("/login/authentik")
    assert query_of(there.headers["Location"])["error"] == "provider_refused"
    assert refused_line(caplog).request_id == there.headers["X-Request-Id"]
    assert there.headers["X-Request-Id"] in browser.get(there.headers["Location"]).text


@pytest.mark.parametrize(("claim", "seconds"), [("exp", -300), ("iat", 300), ("nbf", 300)])
def test_clocks_that_differ_are_told_in_words_of_their_own(
    browser: Browser, op: FakeOidc, claim: str, seconds: int, caplog: pytest.LogCaptureFixture
) -> None:
    op.claims = {claim: int(time.time()) + seconds}
    with caplog.at_level("INFO"):
        back = browser.sign_in(op, "authentik")
    assert query_of(back.headers["Location"])["error"] == "provider_refused"
    page = words_of(browser.get(back.headers["Location"]))
    assert "Authentik’s clock and ours differ" in page
    assert f"Tell your administrator to check this server’s clock: reference {back.headers['X-Request-Id']}." in page
    assert "refused the request" not in page
    assert "the clocks of this server and of the provider differ" in refused_line(caplog).detail
    other = words_of(Browser(browser.client.application).get(back.headers["Location"]))
    assert "Authentik refused the request" in other


@pytest.mark.parametrize("seconds", [-600, 600])
def test_our_own_clock_may_be_the_wrong_one(browser: Browser, op: FakeOidc, seconds: int) -> None:
    url = browser.start("authentik")
    clock.move(seconds)
    page = words_of(browser.get(browser.come_back(op.visit(url)).headers["Location"]))
    assert "Authentik’s clock and ours differ" in page


def test_a_proof_that_only_the_clocks_make_too_old_is_told_as_that(
    sign_in_app: Flask, browser: Browser, op: FakeOidc, caplog: pytest.LogCaptureFixture
) -> None:
    program = Program(sign_in_app, factories.make_client(redirect_uris=["https://app.example.com/callback"], trusted=True))
    handoff = handoff_of(program.authorize(browser.client, prompt="login"))
    now = int(time.time())
    op.claims = {"iat": now - 200, "auth_time": now - 200}
    with caplog.at_level("INFO"):
        back = browser.sign_in(op, "authentik", "handoff=" + handoff)
    assert query_of(back.headers["Location"])["error"] == "auth_time_missing"
    page = words_of(browser.get(back.headers["Location"]))
    assert "Authentik’s clock and ours differ" in page
    assert back.headers["X-Request-Id"] in page
    assert "the clocks of this server and of the provider differ" in refused_line(caplog).detail
    op.claims = {"auth_time": now - 200}
    back = browser.sign_in(op, "authentik", "handoff=" + handoff)
    assert "clock" not in words_of(browser.get(back.headers["Location"]))
