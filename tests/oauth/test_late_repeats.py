"""A confidential client that repeats a refresh after the grace: what nobody used is replaced, what was used is reuse."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from infra import clock
from models import AuditEvent, RefreshFamily, RefreshToken
from services.access.actors import Actor
from services.accounts import user_administration
from services.instance import sweeping
from tests import factories, owner
from tests.oauth.flow import ISSUER, Program, assert_refused, people

pytestmark = pytest.mark.both_databases

OWN = f"{ISSUER}/api/v1"
API = "https://api.example.com"
SAME = ("access_token", "refresh_token", "scope")
LATE = 31


@pytest.fixture
def tokens(server_side, browser):
    return server_side.get_tokens(browser, scope="openid email offline_access orgs")


def assert_goes_on(program, tokens):
    assert program.is_live(tokens["access_token"])
    assert program.refresh(tokens["refresh_token"]).status_code == 200


def ended(app):
    return [row.revoked_because for row in owner.rows(app, select(RefreshFamily.revoked_because)) if row.revoked_because]


def test_a_late_repeat_replaces_the_successor_that_nobody_used_and_revokes_nothing(app, server_side, tokens):
    lost = server_side.refresh(tokens["refresh_token"]).json
    clock.move(LATE)
    found = server_side.refresh(tokens["refresh_token"])
    assert found.status_code == 200, found.text
    assert set(found.json) == set(lost)
    assert found.json["refresh_token"] not in (lost["refresh_token"], tokens["refresh_token"])
    assert found.json["access_token"] != lost["access_token"]
    assert not server_side.is_live(lost["access_token"])
    assert not server_side.introspect(lost["access_token"]).json["active"]
    assert server_side.is_live(tokens["access_token"])  # an earlier one goes on until it expires
    assert ended(app) == []
    assert owner.events(app, AuditEvent.action == "grant.revoked") == []
    assert_goes_on(server_side, found.json)


def test_the_replaced_successor_is_refused_and_revokes_nothing(app, server_side, tokens):
    """Two workers of an honest client may hold one each: the one whose token was replaced must not sign the other out."""
    lost = server_side.refresh(tokens["refresh_token"]).json
    clock.move(LATE)
    found = server_side.refresh(tokens["refresh_token"]).json
    for _ in range(2):
        assert_refused(server_side.refresh(lost["refresh_token"]), "invalid_grant")
    assert not server_side.introspect(lost["refresh_token"]).json["active"]
    clock.move(3 * LATE)
    assert_refused(server_side.refresh(lost["refresh_token"]), "invalid_grant")
    assert_goes_on(server_side, found)


def test_whoever_signs_out_with_the_replaced_successor_ends_the_grant(app, server_side, tokens):
    lost = server_side.refresh(tokens["refresh_token"]).json
    clock.move(LATE)
    found = server_side.refresh(tokens["refresh_token"]).json
    assert server_side.revoke(lost["refresh_token"]).status_code == 200
    assert_refused(server_side.refresh(found["refresh_token"]), "invalid_grant")
    assert ended(app) == ["revoked_by_client"]


def test_once_the_successor_was_used_a_repeat_revokes_as_for_everybody(app, server_side, tokens):
    successor = server_side.refresh(tokens["refresh_token"]).json
    newest = server_side.refresh(successor["refresh_token"]).json
    clock.move(LATE)
    assert_refused(server_side.refresh(tokens["refresh_token"]), "invalid_grant")
    assert ended(app) == ["refresh_token_reused"]
    assert not server_side.is_live(newest["access_token"])


def test_so_does_a_repeat_once_the_replacement_was_used(app, server_side, tokens):
    server_side.refresh(tokens["refresh_token"])
    clock.move(LATE)
    found = server_side.refresh(tokens["refresh_token"]).json
    newest = server_side.refresh(found["refresh_token"]).json
    clock.move(2 * LATE)
    assert_refused(server_side.refresh(tokens["refresh_token"]), "invalid_grant")
    assert_refused(server_side.refresh(newest["refresh_token"]), "invalid_grant")
    assert ended(app) == ["refresh_token_reused"]


def test_the_grace_begins_again_with_the_replacement(server_side, tokens):
    server_side.refresh(tokens["refresh_token"])
    clock.move(LATE)
    found = server_side.refresh(tokens["refresh_token"]).json
    clock.move(LATE + 20)
    again = server_side.refresh(tokens["refresh_token"]).json
    assert [again[name] for name in SAME] == [found[name] for name in SAME]
    clock.move(LATE + 20 + LATE)
    third = server_side.refresh(tokens["refresh_token"]).json
    assert third["refresh_token"] != found["refresh_token"]
    assert not server_side.is_live(found["access_token"])
    assert_refused(server_side.refresh(found["refresh_token"]), "invalid_grant")
    assert_goes_on(server_side, third)


def test_a_public_client_gets_no_second_chance(app, program, browser):
    token = program.get_tokens(browser)["refresh_token"]
    program.refresh(token)
    clock.move(LATE)
    assert_refused(program.refresh(token), "invalid_grant")
    assert ended(app) == ["refresh_token_reused"]


def test_without_its_secret_a_client_replaces_nothing(server_side, register, tokens):
    successor = server_side.refresh(tokens["refresh_token"]).json
    clock.move(LATE)
    assert_refused(server_side.refresh(tokens["refresh_token"], headers={}, client_id="portal"), "invalid_client", 401)
    assert_refused(register(type="confidential").refresh(tokens["refresh_token"]), "invalid_grant")
    assert_goes_on(server_side, successor)


def test_an_expired_token_replaces_nothing_and_revokes_nothing(make_app):
    """The successor, which is younger, goes on: somebody may have it after all."""
    app = make_app(refresh_token_seconds=100)
    server_side = Program(app, factories.make_client(type="confidential", trusted=True))
    [(_, browser)] = people(app)
    token = server_side.get_tokens(browser)["refresh_token"]
    clock.move(60)
    successor = server_side.refresh(token).json
    clock.move(101)
    assert_refused(server_side.refresh(token), "invalid_grant")
    assert_goes_on(server_side, successor)


def test_a_late_repeat_may_ask_for_less_and_never_for_more(server_side, tokens):
    successor = server_side.refresh(tokens["refresh_token"]).json
    clock.move(LATE)
    assert_refused(server_side.refresh(tokens["refresh_token"], scope="openid profile"), "invalid_scope")
    assert_refused(server_side.refresh(tokens["refresh_token"], resource="https://nobody.example.com"), "invalid_target")
    assert server_side.is_live(successor["access_token"])
    narrow = server_side.refresh(tokens["refresh_token"], scope="openid").json
    assert narrow["scope"] == "openid"
    assert not server_side.is_live(successor["access_token"])
    assert_refused(server_side.refresh(tokens["refresh_token"]), "invalid_grant")  # within the new grace, that is another request
    wide = server_side.refresh(narrow["refresh_token"]).json
    assert wide["scope"] == tokens["scope"]


def test_a_late_repeat_may_name_another_resource(register, browser):
    factories.make_resource(identifier=API, scope="projects:read")
    client = register(type="confidential", trusted=True, scope="openid offline_access projects:read introspect")
    tokens = client.get_tokens(browser, scope="openid offline_access projects:read")
    lost = client.refresh(tokens["refresh_token"]).json
    clock.move(LATE)
    found = client.refresh(tokens["refresh_token"], resource=API).json
    assert found["access_token"].count(".") == 2
    assert not client.is_live(lost["access_token"])
    assert client.refresh(found["refresh_token"]).json["access_token"].count(".") == 0


def test_a_jwt_of_the_replaced_successor_ends_where_the_store_is_asked(register, browser):
    """One that is verified locally is good until it expires."""
    factories.make_resource(identifier=API, scope="projects:read")
    scope = "openid offline_access projects:read"
    client = register(type="confidential", trusted=True, scope=f"{scope} introspect")
    tokens = client.get_tokens(browser, scope=scope, resource=API)
    lost = client.refresh(tokens["refresh_token"]).json
    clock.move(LATE)
    found = client.refresh(tokens["refresh_token"]).json
    assert not client.introspect(lost["access_token"]).json["active"]
    assert client.introspect(found["access_token"]).json["active"]
    assert client.introspect(tokens["access_token"]).json["active"]
    clock.move(3000)
    assert client.refresh(tokens["refresh_token"]).status_code == 200  # what would have ended by now is not remembered


def test_a_late_repeat_is_answered_only_while_the_grant_lives(app, server_side, tokens, person):
    server_side.refresh(tokens["refresh_token"])
    clock.move(LATE)
    with app.app_context():
        user_administration.disable(Actor.operator(), str(person.id))
    assert_refused(server_side.refresh(tokens["refresh_token"]), "invalid_grant")


def test_a_late_repeat_from_elsewhere_is_reported(app, server_side, tokens):
    server_side.refresh(tokens["refresh_token"])
    clock.move(LATE)
    elsewhere = Program(app, server_side.client)
    elsewhere.http.environ_base["REMOTE_ADDR"] = "198.51.100.9"
    assert elsewhere.refresh(tokens["refresh_token"]).status_code == 200
    [event] = owner.events(app, AuditEvent.action == "refresh_token.replayed")
    assert (event.ip, event.details["other"]) == ("198.51.100.9", ["network"])


def test_the_sweep_deletes_the_replaced_successor_and_keeps_the_spent_token(app, server_side, tokens):
    server_side.refresh(tokens["refresh_token"])
    clock.move(LATE)
    found = server_side.refresh(tokens["refresh_token"]).json
    clock.move(LATE + 1)
    with owner.at_work(app):
        assert sweeping.sweep(("refresh_tokens",)) == {"refresh_tokens": 1}
    again = server_side.refresh(tokens["refresh_token"]).json
    assert again["refresh_token"] == found["refresh_token"]


# --- at once ------------------------------------------------------------------------------------------------------------


def _unspent(app):
    """Tokens that could still be exchanged."""
    return owner.rows(app, select(RefreshToken.id).where(RefreshToken.used_at.is_(None), RefreshToken.expires_at > clock.now()))


def _at_once(app, client, work, count=6):
    sides = [Program(app, client) for _ in range(count)]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count), sides))


def test_late_repeats_at_once_get_one_answer(app, server_side, tokens):
    server_side.refresh(tokens["refresh_token"])
    for round_ in range(1, 5):
        clock.move(LATE * round_)
        answers = _at_once(app, server_side.client, lambda _, side: side.refresh(tokens["refresh_token"]))
        assert {answer.status_code for answer in answers} == {200}
        assert len({tuple(answer.json[name] for name in SAME) for answer in answers}) == 1
        assert len(_unspent(app)) == 1
    assert_goes_on(server_side, answers[0].json)


def test_without_a_grace_exactly_one_successor_remains(make_app):
    app = make_app(refresh_grace_seconds=0)
    server_side = Program(app, factories.make_client(type="confidential", trusted=True))
    [(_, browser)] = people(app)
    token = server_side.get_tokens(browser)["refresh_token"]
    first = server_side.refresh(token).json
    second = server_side.refresh(token).json
    assert second["refresh_token"] != first["refresh_token"]
    assert_refused(server_side.refresh(first["refresh_token"]), "invalid_grant")
    for _ in range(4):
        answers = _at_once(app, server_side.client, lambda _, side: side.refresh(token))
        assert {answer.status_code for answer in answers} <= {200, 400}
        assert {answer.json["error"] for answer in answers if answer.status_code == 400} <= {"invalid_grant"}
        assert len(_unspent(app)) == 1
        good = [answer.json for answer in answers if answer.status_code == 200]
        assert sum(server_side.is_live(answer["access_token"]) for answer in good) == 1
    [live] = [answer for answer in good if server_side.is_live(answer["access_token"])]
    assert_goes_on(server_side, live)
    assert ended(app) == []


def test_a_late_repeat_and_the_use_of_the_successor_at_once_have_one_winner(app, server_side, browser):
    """Either the successor was replaced and is refused, or it was used and the repeat is reuse."""
    for round_ in range(8):
        tokens = server_side.get_tokens(browser, scope="openid offline_access")
        successor = server_side.refresh(tokens["refresh_token"]).json
        clock.move(LATE * (round_ + 1))
        presented = [tokens["refresh_token"], successor["refresh_token"]]
        late, used = _at_once(app, server_side.client, lambda number, side, presented=presented: side.refresh(presented[number]), count=2)
        assert sorted([late.status_code, used.status_code]) == [200, 400], (late.text, used.text)
        if late.status_code == 200:
            assert_goes_on(server_side, late.json)
        else:
            assert_refused(server_side.refresh(used.json["refresh_token"]), "invalid_grant")
