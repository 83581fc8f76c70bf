"""Every grant leaves one event when it begins, those to trusted clients too; refreshing leaves none."""

import pytest

from tests import factories, owner, statements
from tests.oauth.flow import ISSUER, answer_of, bearer, claims_of, press

OWN = f"{ISSUER}/api/v1"
SCOPE = "openid email offline_access"


def _grants(app):
    return [event for event in owner.events(app) if event.action == "grant.created"]


@pytest.mark.both_databases
@pytest.mark.parametrize("resource", [None, OWN], ids=["opaque", "jwt"])
def test_a_grant_to_a_trusted_client_is_audited_when_its_code_is_redeemed(app, program, browser, person, resource):
    code = program.get_code(browser, scope=SCOPE, resource=resource)
    assert _grants(app) == []
    tokens = program.exchange(code).json
    (event,) = _grants(app)
    grant = next(item for item in browser.get("/api/v1/user-sessions").json["items"] if item["type"] == "grant")
    assert (event.actor_type, event.actor_id) == ("user", str(person.id))
    assert (event.credential_type, event.credential_id) == ("session", claims_of(tokens["id_token"])["sid"])
    assert (event.target_type, event.target_id) == ("grant", grant["id"])
    assert event.organization_id == person.id
    assert event.details == {"client_id": "notes", "scope": SCOPE, "resource": resource}
    assert (event.outcome, event.ip, event.sequence, event.hash) == ("ok", "127.0.0.1", None, None)
    assert event.request_id
    assert event.at is not None


@pytest.mark.both_databases
def test_with_an_organization_it_is_in_its_audit_log(app, program, browser, person):
    acme = factories.make_organization(slug="acme", owner=person)
    program.get_tokens(browser, scope=SCOPE, organization="acme")
    (event,) = _grants(app)
    assert event.organization_id == acme.id
    page = browser.get("/orgs/acme/audit").text
    assert "gave app" in page
    assert "Notes" in page


@pytest.mark.both_databases
def test_one_event_for_each_grant_and_none_for_a_refresh(app, program, browser):
    tokens = program.get_tokens(browser, scope=SCOPE)
    program.refresh(tokens["refresh_token"])
    program.refresh(tokens["refresh_token"])
    assert len(_grants(app)) == 1
    program.get_tokens(browser, scope=SCOPE)
    assert len({event.target_id for event in _grants(app)}) == 2


@pytest.mark.both_databases
def test_a_code_that_is_refused_or_used_again_leaves_no_grant(app, program, browser):
    code = program.get_code(browser, scope=SCOPE)
    program.exchange(code, code_verifier="x" * 43)
    assert _grants(app) == []
    program.exchange(code)
    program.exchange(code)
    (event,) = _grants(app)
    (revoked,) = [event for event in owner.events(app) if event.action == "grant.revoked"]
    assert revoked.target_id == event.target_id


@pytest.mark.both_databases
def test_one_that_was_consented_to_leaves_both(app, register, browser):
    untrusted = register(client_id="boards", scope="openid")
    untrusted.exchange(answer_of(press(browser, untrusted.authorize(browser), "allow"))["code"])
    assert [event.action for event in owner.events(app)][-2:] == ["consent.granted", "grant.created"]


@pytest.mark.both_databases
def test_a_client_that_acts_for_itself_has_no_grant_of_anybody(app, server_side):
    server_side.ask_for_itself(scope="introspect")
    assert _grants(app) == []


@pytest.mark.both_databases
def test_it_is_sealed_exported_and_verified_as_any_other(app, program, browser, person):
    program.get_tokens(browser, scope=SCOPE)
    runner = app.test_cli_runner()
    assert runner.invoke(args=["audit", "seal"]).exit_code == 0
    assert runner.invoke(args=["audit", "verify"]).exit_code == 0
    slug = browser.get("/api/v1/orgs").json["items"][0]["slug"]
    (item,) = browser.get(f"/api/v1/orgs/{slug}/audit-events?action=grant.created").json["items"]
    assert item["details"]["client_id"] == "notes"


def test_it_costs_no_statement_and_no_round_trip(app, program, browser):
    """On PostgreSQL it is a part of the statement that spends the code."""
    program.get_tokens(browser, scope=SCOPE)
    code = program.get_code(browser, scope=SCOPE)
    with statements.counted() as seen:
        tokens = program.exchange(code).json
    assert len([statement for statement in seen if "audit_events" in statement]) == 1
    assert "UPDATE authorization_codes" in next(statement for statement in seen if "audit_events" in statement)
    with statements.counted() as seen:
        program.refresh(tokens["refresh_token"])
    assert not any("audit_events" in statement for statement in seen)
    assert program.http.get("/api/v1/whoami", headers=bearer(tokens["access_token"])).status_code == 200
