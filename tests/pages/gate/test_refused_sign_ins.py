"""Why somebody could not sign in: at every door a refusal leaves a log line and an audit event with the reference that the page shows,
about the person whose identity, address or link it was."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from infra import clock
from models import AuditEvent, Identity
from services.access.actors import Actor
from services.accounts import user_administration
from services.sign_in import refusals, sign_in_links
from tests import factories, owner
from tests.api.company import Company
from tests.api.test_invitations import invite
from tests.fakes.browser import Browser, path_of, query_of
from tests.fakes.fixtures import github_settings, oidc_settings
from tests.fakes.github import FakeGitHub, GitHubUser
from tests.fakes.oidc import FakeOidc
from tests.fakes.smtp import FakeSmtp
from tests.pages.gate.test_sign_in_mail import link_in

REFUSED = AuditEvent.outcome == "refused"


@pytest.fixture
def ann(github: FakeGitHub) -> GitHubUser:
    return github.add(GitHubUser.make(101, "ann", "ann@example.com", name="Ann Example"))


def event_of(app: Flask) -> AuditEvent:
    """The newest event of a refusal; it belongs to no organization."""
    *_, event = owner.events(app, REFUSED)
    assert event.organization_id is None
    return event


def line_of(caplog: pytest.LogCaptureFixture) -> Any:
    *_, line = [record for record in caplog.records if record.message == "sign-in refused"]
    return line


def reference_on(page: TestResponse) -> str:
    found = re.search(r"[Rr]eference <[^>]*>([0-9a-f]{16})<", page.text)
    assert found, page.text
    return found[1]


def found_by(app: Flask, *words: str) -> list[dict[str, Any]]:
    result = app.test_cli_runner().invoke(args=["audit", "list", "--json", *words])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def user_id_of(app: Flask, provider: str = "github") -> str:
    with owner.session(app) as owners:
        return str(owners.query(Identity).filter_by(provider=provider).one().user_id)


# --- the way back from a provider -------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_a_disabled_person_is_the_target_and_page_log_and_event_share_a_reference(
    browser: Browser, github: FakeGitHub, ann: GitHubUser, caplog: pytest.LogCaptureFixture
) -> None:
    app = browser.client.application
    browser.sign_in(github)
    user_id = user_id_of(app)
    with owner.at_work(app):
        user_administration.disable(Actor.operator(), user_id)
    other = Browser(app)
    with caplog.at_level("INFO"):
        back = other.sign_in(github)
    reference = back.headers["X-Request-Id"]
    page = other.get(back.headers["Location"])
    event, line = event_of(app), line_of(caplog)
    assert reference_on(page) == event.request_id == line.request_id == reference
    assert (event.target_type, event.target_id, event.details["code"]) == ("user", user_id, "account_disabled")
    assert "email" not in event.details
    assert (line.code, line.user) == ("account_disabled", user_id)
    listed = app.test_cli_runner().invoke(args=["audit", "list", "--target", "ann@example.com", "--action", "sign_in.refused"]).stdout
    assert listed.endswith(f"refused  127.0.0.1  account_disabled  {reference}\n")
    for words in (["--target", "Ann@Example.com"], ["--target", user_id], ["--request", reference]):
        assert [found["id"] for found in found_by(app, *words, "--action", "sign_in.refused")] == [str(event.id)]


@pytest.mark.both_databases
def test_an_address_that_is_somebodys_is_that_person_and_the_subject_is_told(
    browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser
) -> None:
    app = browser.client.application
    Browser(app).sign_in(github)
    back = browser.sign_in(op, "authentik")
    assert query_of(back.headers["Location"])["error"] == "account_exists"
    event = event_of(app)
    assert (event.target_type, event.target_id) == ("user", user_id_of(app))
    assert (event.details["issuer"], event.details["subject"]) == (op.issuer, "sub-1")
    assert reference_on(browser.get(back.headers["Location"])) == event.request_id


@pytest.mark.both_databases
def test_nobodys_address_and_subject_are_in_the_details_for_operators(
    browser: Browser, github: FakeGitHub, caplog: pytest.LogCaptureFixture
) -> None:
    app = browser.client.application
    github.add(GitHubUser.make(7, "eve", "Eve@Example.com", verified=False))
    with caplog.at_level("INFO"):
        back = browser.sign_in(github)
    event = event_of(app)
    assert (event.target_type, event.target_id) == (None, None)
    assert (event.details["email"], event.details["subject"], event.details["provider"]) == ("eve@example.com", "7", "github")
    assert line_of(caplog).email == "eve@example.com"
    assert reference_on(browser.get(back.headers["Location"])) == event.request_id
    assert [found["id"] for found in found_by(app, "--target", "eve@EXAMPLE.com")] == [str(event.id)]


def test_without_an_address_the_subject_is_told(browser: Browser, github: FakeGitHub) -> None:
    github.add(GitHubUser.make(8, "ghost"))
    browser.sign_in(github)
    event = event_of(browser.client.application)
    assert (event.details["code"], event.details["subject"], "email" in event.details) == ("email_is_missing", "8", False)


def test_a_state_that_is_not_known_is_told_as_every_refusal(
    browser: Browser, github: FakeGitHub, ann: GitHubUser, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        location = github.visit(browser.start())
        browser.client.application.extensions["gatepost.redis"].flushall()
        back = browser.come_back(location)
    assert query_of(back.headers["Location"])["error"] == "state_mismatch"
    event = event_of(browser.client.application)
    assert (event.details["code"], event.details["provider"]) == ("state_mismatch", "github")
    page = browser.get(back.headers["Location"])
    assert reference_on(page) == event.request_id == line_of(caplog).request_id == back.headers["X-Request-Id"]


def test_an_account_that_is_linked_elsewhere_is_about_the_person_who_asked(
    browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser
) -> None:
    app = browser.client.application
    op.signed_in.claims["email"] = "bob@example.com"
    Browser(app).sign_in(op, "authentik")
    browser.sign_in(github)
    back = browser.bring_to_link(op, "authentik")
    assert query_of(back.headers["Location"])["error"] == "identity_in_use"
    event = event_of(app)
    assert (event.target_id, event.details["identity_of"]) == (user_id_of(app), user_id_of(app, "authentik"))


def test_linking_that_is_refused_at_its_form_is_about_its_person(
    browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser
) -> None:
    app = browser.client.application
    browser.sign_in(github)
    address = browser.bring_to_link(op, "authentik").headers["Location"]
    page = browser.get(address)
    op.signed_in.claims["email"] = "bob@example.com"
    Browser(app).sign_in(op, "authentik")
    answer = browser.post(address, page)
    assert query_of(answer.headers["Location"])["error"] == "identity_in_use"
    event = event_of(app)
    assert (event.target_id, event.actor_type) == (user_id_of(app), "user")
    assert event.details["identity_of"] == user_id_of(app, "authentik")


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_a_one_time_link_that_has_ended_is_its_persons_and_the_log_says_why(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    user = factories.make_user(email="maria@example.com")
    with app.app_context():
        raw = sign_in_links.create(Actor.operator(), "maria@example.com")
    clock.move(601)
    with caplog.at_level("INFO"):
        page = Browser(app).get(f"/login/link/{raw}")
    assert page.status_code == 410
    event = event_of(app)
    assert (event.action, event.target_id, event.details) == (
        "sign_in.refused",
        str(user.id),
        {"code": "sign_in_link_ended", "provider": None, "why": "expired"},
    )
    assert reference_on(page) == event.request_id == line_of(caplog).request_id
    assert raw not in str([vars(record) for record in caplog.records])
    clock.move(0)
    browser = Browser(app)
    browser.post(f"/login/link/{raw}", browser.get(f"/login/link/{raw}"))
    Browser(app).get(f"/login/link/{raw}")
    assert event_of(app).details["why"] == "used"


def test_a_link_of_a_disabled_person_is_about_them(app: Flask) -> None:
    user, browser = factories.make_user(email="maria@example.com"), Browser(app)
    with app.app_context():
        raw = sign_in_links.create(Actor.operator(), "maria@example.com")
    page = browser.get(f"/login/link/{raw}")
    with owner.at_work(app):
        user_administration.disable(Actor.operator(), "maria@example.com")
    answer = browser.post(f"/login/link/{raw}", page)
    assert query_of(answer.headers["Location"])["error"] == "account_disabled"
    assert event_of(app).target_id == str(user.id)


def test_a_mailed_confirmation_that_has_ended_names_its_address(
    make_app: Callable[..., Flask], github: FakeGitHub, op: FakeOidc, smtp: FakeSmtp
) -> None:
    op.signed_in.claims["email_verified"] = False
    app = make_app(**github_settings(github), **oidc_settings(op, email_trust="mail"), mail_url=smtp.url)
    browser = Browser(app)
    assert path_of(browser.sign_in(op, "authentik")) == "/login/check-mail"
    waiting = browser.get("/login/check-mail")
    browser.post("/login/check-mail", waiting, {"code": "BBBB-BBBB"})
    assert (event_of(app).action, event_of(app).details["email"]) == ("email_confirmation.tried", "ann@example.com")
    assert [event["action"] for event in found_by(app, "--target", "ann@example.com")] == ["email_confirmation.tried"]
    clock.move(86_401)
    page = browser.get(link_in(smtp))
    event = event_of(app)
    assert (page.status_code, event.action, event.details["code"]) == (410, "sign_in.refused", "confirmation_ended")
    assert (event.details["email"], event.details["why"], event.details["provider"]) == ("ann@example.com", "expired", "authentik")
    assert reference_on(page) == event.request_id


@pytest.mark.both_databases
def test_an_invitation_that_refuses_its_reader_is_told_to_operators_only(app: Flask) -> None:
    company = Company(app)
    token = invite(company, "ann@example.com").json["token"]
    bob, browser = factories.make_user(email="bob@example.com"), Browser(app)
    factories.sign_in(browser.client, bob)
    page = browser.get(f"/invitations/{token}")
    event = event_of(app)
    assert (page.status_code, event.action, event.target_id) == (403, "invitation.refused", str(bob.id))
    assert (event.actor_type, event.actor_id, event.details["code"]) == ("user", str(bob.id), "email_mismatch")
    assert reference_on(page) == event.request_id
    company.owner.send("DELETE", f"/orgs/acme/invitations/{event.details['invitation']}")
    stranger = Browser(app).get(f"/invitations/{token}")
    event = event_of(app)
    assert (stranger.status_code, event.details["code"], event.details["why"]) == (410, "invitation_ended", "revoked")
    assert (event.details["email"], reference_on(stranger)) == ("ann@example.com", event.request_id)
    listed = company.owner.send("GET", "/orgs/acme/audit-events").json["items"]
    assert not [each for each in listed if each["outcome"] == "refused"]
    exported = company.owner.send("GET", "/orgs/acme/audit-events?format=csv").text
    assert "bob@example.com" not in exported


@pytest.mark.both_databases
def test_the_api_tells_a_refused_invitation_too(app: Flask) -> None:
    company = Company(app)
    token = invite(company, "ann@example.com").json["token"]
    answer = company.member.send("POST", "/invitations/accept", {"token": token})
    event = event_of(app)
    assert (answer.status_code, answer.json["error"], answer.json["request_id"]) == (403, "email_mismatch", event.request_id)
    assert (event.action, event.target_id) == ("invitation.refused", str(company.member.user.id))


# --- how many -----------------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_a_stranger_cannot_fill_the_audit_trail_and_hides_nobody_elses_refusal(
    browser: Browser, github: FakeGitHub, ann: GitHubUser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = browser.client.application
    monkeypatch.setattr(refusals, "OF_A_NETWORK", 3)
    browser.sign_in(github)
    with owner.at_work(app):
        user_administration.disable(Actor.operator(), "ann@example.com")
    with caplog.at_level("INFO"):
        for _ in range(5):
            Browser(app).get("/login/github/callback?state=x&code=y")
        assert [event.details.get("last_of_the_hour") for event in owner.events(app, REFUSED)] == [None, None, True]
        assert line_of(caplog).audited is False
        Browser(app).sign_in(github)
    assert event_of(app).details["code"] == "account_disabled"
    assert len([record for record in caplog.records if record.message == "sign-in refused"]) == 6


def test_refusals_of_one_person_and_of_all_networks_are_bounded_too(
    browser: Browser, github: FakeGitHub, ann: GitHubUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = browser.client.application
    monkeypatch.setattr(refusals, "OF_A_PERSON", 2)
    monkeypatch.setattr(refusals, "IN_ALL", 3)
    browser.sign_in(github)
    with owner.at_work(app):
        user_administration.disable(Actor.operator(), "ann@example.com")
    for _ in range(4):
        Browser(app).sign_in(github)
    assert len(owner.events(app, REFUSED)) == 2
    for number in range(5):
        Browser(app).get("/login/github/callback?state=x&code=y", environ_base={"REMOTE_ADDR": f"192.0.{number}.1"})
    assert len(owner.events(app, REFUSED)) == 2 + 3


@pytest.mark.both_databases
def test_a_read_only_store_or_a_lost_count_does_not_change_what_the_page_says(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    from redis import RedisError

    def away(*_: Any, **__: Any) -> Any:
        raise RedisError("away")

    monkeypatch.setattr(refusals, "_count", away)
    assert Browser(app).get("/login/link/nothing").status_code == 410
    assert event_of(app).details["code"] == "sign_in_link_ended"
