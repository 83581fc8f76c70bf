"""RFC 6749 section 6 and RFC 9700 section 4.14.2: refresh tokens rotate, reuse is found, honest clients stay signed in."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text, update

from extensions import db
from infra import clock
from infra.secret_text import hash_secret
from models import AccessToken, AuditEvent, OAuthClient, RefreshFamily, RefreshToken
from services.access.actors import Actor
from services.accounts import user_administration
from services.sessions import user_sessions
from services.tokens import oauth_clients
from tests import factories, owner
from tests.oauth.flow import Program, assert_refused, claims_of, people

pytestmark = pytest.mark.both_databases

SAME = ("access_token", "refresh_token", "scope", "token_type")


@pytest.fixture
def tokens(program, browser):
    return program.get_tokens(browser, scope="openid email offline_access orgs")


def rows(app, model):
    with app.app_context():
        found = db.session.query(model).all()
        db.session.expunge_all()
        return found


def test_a_refresh_brings_a_new_pair_and_the_old_access_token_goes_on_until_it_expires(program, tokens):
    response = program.refresh(tokens["refresh_token"])
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    answer = response.json
    assert set(answer) == {"access_token", "token_type", "expires_in", "scope", "refresh_token", "id_token"}
    assert answer["refresh_token"] != tokens["refresh_token"]
    assert answer["access_token"] != tokens["access_token"]
    assert program.is_live(answer["access_token"])
    assert program.is_live(tokens["access_token"])


def test_a_chain_goes_on_for_ever(program, tokens):
    for _ in range(12):
        tokens = program.refresh(tokens["refresh_token"]).json
    assert program.is_live(tokens["access_token"])


def test_a_confidential_client_must_prove_itself_at_every_refresh(server_side, browser):
    token = server_side.get_tokens(browser)["refresh_token"]
    assert_refused(server_side.refresh(token, headers={}, client_id="portal"), "invalid_client", 401)
    assert server_side.refresh(token).status_code == 200


def test_a_client_that_another_process_has_changed_is_read_again(app, server_side, browser):
    """This process remembers the old secret; the statement that would spend something notices."""
    tokens, code = server_side.get_tokens(browser), server_side.get_code(browser)
    assert server_side.introspect(tokens["access_token"]).json["active"]
    changed = update(OAuthClient).where(OAuthClient.client_id == "portal").values(secret_hash=hash_secret("another"), version=2)
    owner.rows(app, changed)
    for answer in (
        server_side.refresh(tokens["refresh_token"]),
        server_side.exchange(code),
        server_side.introspect(tokens["access_token"]),
        server_side.revoke(tokens["access_token"]),
        server_side.ask_for_itself(),
    ):
        assert_refused(answer, "invalid_client", 401)
    server_side.secret = "another"
    assert server_side.refresh(tokens["refresh_token"]).status_code == 200
    assert server_side.exchange(code).status_code == 200


# --- a repeat within the grace ----------------------------------------------------------------------------------------


def test_a_repeat_within_the_grace_gets_the_same_tokens(program, tokens):
    first = program.refresh(tokens["refresh_token"]).json
    clock.move(10)
    second = program.refresh(tokens["refresh_token"]).json
    assert set(second) == set(first)
    assert [second[name] for name in SAME] == [first[name] for name in SAME]
    assert _when(second["id_token"]) == _when(first["id_token"])
    assert 1788 <= second["expires_in"] <= 1790  # it counts down
    third = program.refresh(second["refresh_token"])
    assert third.status_code == 200


def test_a_repeat_of_a_jwt_refresh_gets_a_jwt_of_the_same_id_and_time(program, register, browser):
    factories.make_resource(identifier="https://api.example.com", scope="projects:read")
    client = register(trusted=True, scope="openid offline_access projects:read")
    tokens = client.get_tokens(browser, scope="openid offline_access projects:read", resource="https://api.example.com")
    first = client.refresh(tokens["refresh_token"]).json
    clock.move(10)
    second = client.refresh(tokens["refresh_token"]).json
    assert first["access_token"].count(".") == 2
    assert claims_of(second["access_token"]) == claims_of(first["access_token"])
    assert _when(second["id_token"]) == _when(first["id_token"])
    assert second["refresh_token"] == first["refresh_token"]


def _when(jwt):
    claims = claims_of(jwt)
    return claims["iat"], claims["exp"]


def test_a_repeat_says_what_is_true_of_the_person_now(app, program, tokens, person):
    first = claims_of(program.refresh(tokens["refresh_token"]).json["id_token"])
    with app.app_context():
        db.session.get(type(person), person.id).email = "ada.king@example.com"
        db.session.commit()
    second = claims_of(program.refresh(tokens["refresh_token"]).json["id_token"])
    assert (first["email"], second["email"]) == ("ada@example.com", "ada.king@example.com")


def test_a_repeat_when_the_successor_was_used_revokes_nothing(program, tokens):
    successor = program.refresh(tokens["refresh_token"]).json
    newest = program.refresh(successor["refresh_token"]).json
    assert_refused(program.refresh(tokens["refresh_token"]), "invalid_grant")
    assert program.is_live(newest["access_token"])
    assert program.refresh(newest["refresh_token"]).status_code == 200


@pytest.mark.parametrize("changes", [{"scope": "openid"}, {"resource": "http://127.0.0.1:8000/api/v1"}], ids=["scope", "resource"])
def test_a_repeat_that_asks_for_something_else_revokes_nothing(program, tokens, changes):
    successor = program.refresh(tokens["refresh_token"]).json
    assert_refused(program.refresh(tokens["refresh_token"], **changes), "invalid_grant")
    again = program.refresh(tokens["refresh_token"]).json
    assert again["refresh_token"] == successor["refresh_token"]
    assert program.refresh(successor["refresh_token"]).status_code == 200


def test_a_repeat_with_the_scopes_in_another_order_is_the_same_request(program, tokens):
    first = program.refresh(tokens["refresh_token"], scope="openid email").json
    second = program.refresh(tokens["refresh_token"], scope="email openid").json
    assert second["refresh_token"] == first["refresh_token"]


def test_a_repeat_by_another_client_revokes_nothing_and_changes_nothing(program, register, tokens):
    thief = register()
    assert_refused(thief.refresh(tokens["refresh_token"]), "invalid_grant")
    first = program.refresh(tokens["refresh_token"]).json
    assert_refused(thief.refresh(tokens["refresh_token"]), "invalid_grant")
    assert program.refresh(tokens["refresh_token"]).json["refresh_token"] == first["refresh_token"]
    assert program.refresh(first["refresh_token"]).status_code == 200


def test_what_is_another_clients_is_an_invalid_grant_whatever_version_that_client_has(program, register, browser, tokens):
    thief = register(version=7)
    assert_refused(thief.refresh(tokens["refresh_token"]), "invalid_grant")
    assert_refused(thief.exchange(program.get_code(browser), redirect_uri=program.redirect_uri), "invalid_grant")


def test_a_repeat_is_answered_only_while_the_family_lives(app, program, browser, tokens):
    program.refresh(tokens["refresh_token"])
    sid = browser.get("/api/v1/session").json["session"]["id"]
    browser.delete(f"/api/v1/user-sessions/{sid}", headers={"Origin": "http://127.0.0.1:8000"})
    assert_refused(program.refresh(tokens["refresh_token"]), "invalid_grant")


def test_a_repeat_needs_nothing_that_redis_kept(program, redis, tokens):
    before = set(redis.scan_iter("*"))
    first = program.refresh(tokens["refresh_token"]).json
    assert set(redis.scan_iter("*")) == before
    redis.flushall()
    second = program.refresh(tokens["refresh_token"]).json
    assert [second[name] for name in SAME] == [first[name] for name in SAME]
    assert program.refresh(second["refresh_token"]).status_code == 200


def test_a_redis_that_is_set_back_changes_no_repeat(program, redis, tokens):
    kept = {key: redis.dump(key) for key in redis.scan_iter("*")}
    first = program.refresh(tokens["refresh_token"]).json
    redis.flushall()
    for key, value in kept.items():
        redis.restore(key, 0, value)
    assert program.refresh(tokens["refresh_token"]).json["refresh_token"] == first["refresh_token"]


KEYS = ["a-secret-key-that-came-first-0123456789", "a-secret-key-that-came-later-0123456789"]


def test_a_repeat_after_a_change_of_keys_gets_the_same_tokens_while_the_old_key_is_listed(make_app):
    program, first, token = _refreshed_under(make_app, KEYS[0])
    again = Program(make_app(secret_keys=f"{KEYS[1]},{KEYS[0]}"), program.client).refresh(token).json
    assert [again[name] for name in SAME] == [first[name] for name in SAME]


def test_a_repeat_whose_key_is_gone_is_refused_and_revokes_nothing(make_app):
    program, first, token = _refreshed_under(make_app, KEYS[0])
    later = Program(make_app(secret_keys=KEYS[1]), program.client)
    assert_refused(later.refresh(token), "invalid_grant")
    assert later.refresh(first["refresh_token"]).status_code == 200


def _refreshed_under(make_app, key):
    app = make_app(secret_keys=key)
    program = Program(app, factories.make_client(trusted=True))
    [(_, browser)] = people(app)
    token = program.get_tokens(browser)["refresh_token"]
    return program, program.refresh(token).json, token


def test_successors_differ_for_every_token_and_are_not_the_tokens_of_another_rotation(app, program, tokens):
    """Each rotation draws a salt of its own."""
    [unspent] = rows(app, RefreshToken)
    assert unspent.successor_salt is None
    seen = set()
    for _ in range(3):
        tokens = program.refresh(tokens["refresh_token"]).json
        seen |= {tokens["access_token"], tokens["refresh_token"]}
    assert len(seen) == 6
    salts = [row.successor_salt for row in rows(app, RefreshToken) if row.used_at]
    assert len(set(salts)) == len(salts) == 3


def test_a_spent_token_without_a_salt_is_refused_like_any_other(app, program, tokens):
    """As another version of Gatepost beside this one leaves it."""
    successor = program.refresh(tokens["refresh_token"]).json
    owner.rows(app, update(RefreshToken).values(successor_salt=None))
    assert_refused(program.refresh(tokens["refresh_token"]), "invalid_grant")
    assert program.refresh(successor["refresh_token"]).status_code == 200


def test_a_response_that_cannot_be_built_has_spent_nothing(app, register, browser):
    """The claims of this client are looked up after the token was read; a database that fails there is a 503, whenever one tries again."""
    factories.make_resource(identifier="https://api.example.com", scope="projects:read")
    client = register(trusted=True, scope="openid offline_access projects:read")
    wanted = {"scope": "openid offline_access projects:read", "resource": "https://api.example.com"}
    tokens, code = client.get_tokens(browser, **wanted), client.get_code(browser, **wanted)
    owner.rows(app, text("ALTER TABLE projects RENAME TO projects_away"))
    try:
        answers = [client.refresh(tokens["refresh_token"]), client.exchange(code)]
    finally:
        owner.rows(app, text("ALTER TABLE projects_away RENAME TO projects"))
    assert [answer.status_code for answer in answers] == [503, 503]
    clock.move(31)
    assert client.exchange(code).status_code == 200
    assert client.refresh(tokens["refresh_token"]).status_code == 200


def test_the_words_of_a_scope_count_once_and_in_any_order(program, tokens):
    first = program.refresh(tokens["refresh_token"], scope="openid email orgs").json
    again = program.refresh(tokens["refresh_token"], scope="orgs email openid email").json
    assert again["scope"] == first["scope"]
    assert sorted(again["scope"].split()) == ["email", "openid", "orgs"]
    assert again["access_token"] == first["access_token"]


def test_what_is_refused_spends_nothing(program, tokens):
    for changes, error in (
        ({"scope": "openid projects:read"}, "invalid_scope"),
        ({"resource": "https://nobody.example.com"}, "invalid_target"),
    ):
        assert_refused(program.refresh(tokens["refresh_token"], **changes), error)
    assert program.refresh(tokens["refresh_token"]).status_code == 200


@pytest.mark.parametrize("scope", ['"', "\\", "openid,email", "open", "openid%", "[]", "null", 'openid"', "{email,openid}"])
def test_a_scope_that_looks_like_something_else_is_more_than_was_granted(program, tokens, scope):
    assert_refused(program.refresh(tokens["refresh_token"], scope=scope), "invalid_scope")
    assert program.refresh(tokens["refresh_token"]).status_code == 200


# --- reuse ------------------------------------------------------------------------------------------------------


def test_reuse_after_the_grace_revokes_the_family_although_the_answer_is_an_error(app, program, tokens):
    successor = program.refresh(tokens["refresh_token"]).json
    clock.move(31)
    assert_refused(program.refresh(tokens["refresh_token"]), "invalid_grant")
    assert not program.is_live(successor["access_token"])
    assert not program.is_live(tokens["access_token"])
    assert_refused(program.refresh(successor["refresh_token"]), "invalid_grant")
    [family] = rows(app, RefreshFamily)
    assert family.revoked_because == "refresh_token_reused"
    assert [event.details["reason"] for event in owner.events(app, AuditEvent.action == "grant.revoked")] == ["refresh_token_reused"]


def test_reuse_of_a_grandparent_revokes_the_family_too(program, tokens):
    newest = tokens
    for _ in range(3):
        newest = program.refresh(newest["refresh_token"]).json
    clock.move(31)
    program.refresh(tokens["refresh_token"])
    assert_refused(program.refresh(newest["refresh_token"]), "invalid_grant")


def test_reuse_by_another_client_revokes_nothing(program, register, tokens):
    successor = program.refresh(tokens["refresh_token"]).json
    clock.move(31)
    assert_refused(register().refresh(tokens["refresh_token"]), "invalid_grant")
    assert program.refresh(successor["refresh_token"]).status_code == 200


def test_reuse_ends_one_grant_and_no_other(program, browser, tokens):
    other = program.get_tokens(browser, scope="offline_access")
    program.refresh(tokens["refresh_token"])
    clock.move(31)
    program.refresh(tokens["refresh_token"])
    assert program.refresh(other["refresh_token"]).status_code == 200


def test_without_a_grace_every_repeat_is_reuse(make_app):
    app = make_app(refresh_grace_seconds=0)
    program = Program(app, factories.make_client(trusted=True))
    [(_, browser)] = people(app)
    first = program.get_tokens(browser)
    successor = program.refresh(first["refresh_token"]).json
    assert_refused(program.refresh(first["refresh_token"]), "invalid_grant")
    assert_refused(program.refresh(successor["refresh_token"]), "invalid_grant")


def test_without_a_grace_of_two_at_once_none_gets_two_chains(make_app):
    app = make_app(refresh_grace_seconds=0)
    program = Program(app, factories.make_client(trusted=True))
    [(_, browser)] = people(app)
    for _ in range(5):
        token = program.get_tokens(browser)["refresh_token"]
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda side, token=token: side.refresh(token), [Program(app, program.client) for _ in range(4)]))
        assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]


def test_the_grace_is_measured_from_the_first_use_not_from_the_last_repeat(program, tokens):
    successor = program.refresh(tokens["refresh_token"]).json
    clock.move(20)
    assert program.refresh(tokens["refresh_token"]).status_code == 200
    clock.move(40)
    assert_refused(program.refresh(tokens["refresh_token"]), "invalid_grant")
    assert_refused(program.refresh(successor["refresh_token"]), "invalid_grant")


# --- concurrency in one process ----------------------------------------------------------------------------------------


def test_many_at_once_get_one_answer(app, program, tokens):
    for _ in range(4):
        with ThreadPoolExecutor(8) as pool:
            sides = [Program(app, program.client) for _ in range(8)]
            answers = list(pool.map(lambda side, token=tokens["refresh_token"]: side.refresh(token), sides))
        assert {answer.status_code for answer in answers} == {200}
        assert len({tuple(answer.json[name] for name in SAME) for answer in answers}) == 1
        tokens = answers[0].json
    assert program.is_live(tokens["access_token"])
    assert len(rows(app, RefreshToken)) == 5


def test_two_different_scopes_at_once_have_one_winner_whose_repeats_stay_identical(app, program, browser):
    for _ in range(6):
        token = program.get_tokens(browser, scope="openid email offline_access")["refresh_token"]
        scopes = ["openid", "email"] * 3
        with ThreadPoolExecutor(6) as pool:
            sides = [Program(app, program.client) for _ in scopes]
            answers = list(pool.map(lambda side, scope, token=token: side.refresh(token, scope=scope), sides, scopes))
        good = [answer.json for answer in answers if answer.status_code == 200]
        assert {answer.json["error"] for answer in answers if answer.status_code != 200} == {"invalid_grant"}
        assert len(good) == 3
        assert len({(answer["scope"], answer["access_token"], answer["refresh_token"]) for answer in good}) == 1
        assert program.refresh(token, scope=good[0]["scope"]).json["refresh_token"] == good[0]["refresh_token"]
        assert program.refresh(good[0]["refresh_token"]).status_code == 200


def test_a_revocation_that_races_rotations_leaves_nothing_alive(app, program, browser):
    for _ in range(4):
        tokens = program.get_tokens(browser, scope="offline_access")
        sides = [Program(app, program.client) for _ in range(5)]

        def work(side, tokens=tokens, sides=sides):
            if side is sides[2]:
                return side.revoke(tokens["refresh_token"])
            return side.refresh(tokens["refresh_token"])

        with ThreadPoolExecutor(5) as pool:
            answers = list(pool.map(work, sides))
        assert answers[2].status_code == 200
        for answer in answers:
            if answer.status_code == 200 and answer.json:
                assert not program.is_live(answer.json["access_token"])
                assert_refused(program.refresh(answer.json["refresh_token"]), "invalid_grant")
        assert_refused(program.refresh(tokens["refresh_token"]), "invalid_grant")


# --- scope ------------------------------------------------------------------------------------------------------------


def test_a_refresh_without_scope_keeps_the_original(program, tokens):
    assert program.refresh(tokens["refresh_token"]).json["scope"] == tokens["scope"]


def test_fewer_scopes_narrow_the_access_token_only(program, tokens):
    narrow = program.refresh(tokens["refresh_token"], scope="openid").json
    assert narrow["scope"] == "openid"
    assert program.userinfo(narrow["access_token"]).json.keys() >= {"sub"}
    assert "email" not in program.userinfo(narrow["access_token"]).json
    assert "refresh_token" in narrow
    wide = program.refresh(narrow["refresh_token"]).json
    assert wide["scope"] == tokens["scope"]
    assert program.userinfo(wide["access_token"]).json["email"] == "ada@example.com"


def test_more_scopes_are_refused_and_spend_nothing(program, tokens):
    assert_refused(program.refresh(tokens["refresh_token"], scope="openid profile"), "invalid_scope")
    assert_refused(program.refresh(tokens["refresh_token"], scope="nonsense"), "invalid_scope")
    assert program.refresh(tokens["refresh_token"]).status_code == 200


# --- time -------------------------------------------------------------------------------------------------------------


def test_a_refresh_token_dies_of_idleness_after_thirty_days(program, browser, tokens):
    other = program.get_tokens(browser, scope="offline_access")
    clock.move(2_592_000 - 5)
    assert program.refresh(other["refresh_token"]).status_code == 200
    clock.move(2_592_001)
    assert_refused(program.refresh(tokens["refresh_token"]), "invalid_grant")


def test_using_it_keeps_it_alive_until_the_absolute_end_of_the_chain(program, tokens):
    newest = tokens["refresh_token"]
    for day in (29, 58, 87):
        clock.move(day * 86_400)
        newest = program.refresh(newest).json["refresh_token"]
    clock.move(91 * 86_400)
    assert_refused(program.refresh(newest), "invalid_grant")


def test_an_expired_token_that_was_spent_before_is_still_found_out(program, tokens):
    successor = program.refresh(tokens["refresh_token"]).json
    clock.move(2_592_001 - 100)
    newest = program.refresh(successor["refresh_token"]).json
    clock.move(2_592_001 + 100)
    assert_refused(program.refresh(tokens["refresh_token"]), "invalid_grant")
    assert_refused(program.refresh(newest["refresh_token"]), "invalid_grant")


# --- who stands behind it ------------------------------------------------------------------------------------------------


def test_refresh_reads_the_person_again(app, program, tokens, person):
    with app.app_context():
        user = db.session.get(type(person), person.id)
        user.name, user.email = "Ada King", "ada.king@example.com"
        db.session.commit()
    claims = claims_of(program.refresh(tokens["refresh_token"]).json["id_token"])
    assert claims["email"] == "ada.king@example.com"


def test_disabling_the_person_ends_the_chain(app, program, tokens, person):
    with app.app_context():
        user_administration.disable(Actor.operator(), str(person.id))
    assert_refused(program.refresh(tokens["refresh_token"]), "invalid_grant")
    with app.app_context():
        user_administration.enable(Actor.operator(), str(person.id))
    assert_refused(program.refresh(tokens["refresh_token"]), "invalid_grant")
    assert not program.is_live(tokens["access_token"])


def test_signing_out_of_the_browser_does_not_sign_the_program_out(app, program, browser, tokens):
    page = browser.get("/account")
    token = page.text.split('name="csrf_token" value="')[1].split('"')[0]
    assert browser.post("/logout", data={"csrf_token": token}).status_code == 303
    assert browser.get("/api/v1/session").status_code == 401
    assert program.refresh(tokens["refresh_token"]).status_code == 200


def test_revoking_all_sessions_ends_every_chain(app, program, browser, tokens, person):
    with app.app_context():
        user_sessions.revoke_all(Actor.operator(), user_id=person.id)
    assert_refused(program.refresh(tokens["refresh_token"]), "invalid_grant")
    assert not program.is_live(tokens["access_token"])


def test_deleting_the_client_ends_the_chain_also_where_the_client_is_remembered(app, program, tokens):
    remembered = dict(oauth_clients._known)
    with app.app_context():
        oauth_clients.delete(Actor.operator(), program.client_id)
    oauth_clients._known.update(remembered)  # as in another process, which was not told
    assert program.refresh(tokens["refresh_token"]).status_code in (400, 401)
    assert rows(app, AccessToken) == []


# --- the request ------------------------------------------------------------------------------------------------------


def test_a_missing_token_is_an_invalid_request(program):
    assert_refused(program.refresh("", refresh_token=None), "invalid_request")
    assert_refused(program.refresh(""), "invalid_request")


def test_anything_else_is_an_invalid_grant(program):
    for token in ["gpr_", "gpr_x", "x" * 20_000, "gpo_x", "a.b.c", "ü", " "]:
        assert_refused(program.refresh(token), "invalid_grant")


def test_an_access_token_is_no_refresh_token_and_neither_is_a_code(program, browser, tokens):
    assert_refused(program.refresh(tokens["access_token"]), "invalid_grant")
    assert_refused(program.refresh(program.get_code(browser)), "invalid_grant")


def test_a_client_without_the_grant_is_unauthorized(register):
    assert_refused(register(grant_types="authorization_code").refresh("gpr_x"), "unauthorized_client")


def test_scopes_are_separated_by_one_or_more_spaces(program, tokens):
    narrow = program.refresh(tokens["refresh_token"], scope=" email   openid ").json
    assert narrow["scope"].split(" ") == ["openid", "email"]
    again = program.refresh(tokens["refresh_token"], scope="openid email").json  # the same request, spelled otherwise
    assert again["refresh_token"] == narrow["refresh_token"]
    assert program.refresh(narrow["refresh_token"], scope="  ").json["scope"] == tokens["scope"]  # none asked
