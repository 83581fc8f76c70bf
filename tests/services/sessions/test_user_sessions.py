"""Browser sessions: hashed keys, an index both ways, sliding expiry, what revoking takes along."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import delete, func, select

from extensions import db
from infra import clock
from infra.secret_text import hex_hash
from models import Membership, Organization
from services.access.actors import Actor
from services.sessions import user_sessions
from tests import owner
from tests.factories import make_user

DAY = 86_400
OPERATOR = Actor(type="operator", ip="192.0.2.1", user_agent="Tests")


@pytest.fixture(autouse=True)
def _real_time():
    yield
    clock.move(0)


def _start(user_id):
    return user_sessions.start(OPERATOR, user_id=user_id, provider="link")


def test_the_store_knows_only_the_hash_of_the_cookie(context, redis):
    raw = _start(make_user().id)
    everything = b"".join(redis.dump(key) + key for key in redis.keys("*"))
    assert raw.encode() not in everything
    assert redis.exists(f"gatepost:session:{{{hex_hash(raw)}}}")


def test_every_key_has_one_hash_tag_so_that_a_cluster_can_hold_it(context, redis):
    _start(make_user().id)
    assert all(key.count(b"{") == key.count(b"}") == 1 for key in redis.keys("*"))


def test_expiry_slides_but_is_written_at_most_once_a_minute(context, redis):
    raw = _start(make_user().id)
    first = user_sessions.find(raw)
    clock.move(59)
    assert user_sessions.find(raw).last_seen_ms == first.last_seen_ms
    clock.move(61)
    later = user_sessions.find(raw)
    assert later.last_seen_ms > first.last_seen_ms
    assert later.expires_at_ms > first.expires_at_ms


def test_the_organization_used_last_is_there_after_the_next_sign_in(context):
    user = make_user()
    raw = _start(user.id)
    user_sessions.remember_organization(raw, user_sessions.find(raw), "acme")
    user_sessions.end(OPERATOR, user_sessions.find(raw))
    assert user_sessions.find(_start(user.id)).organization_slug == "acme"
    assert user_sessions.find(_start(make_user().id)).organization_slug is None
    user_sessions.forget_all(user.id)
    assert user_sessions.find(_start(user.id)).organization_slug is None


def test_of_very_many_sessions_those_that_were_not_used_for_longest_end(context, monkeypatch):
    monkeypatch.setattr(user_sessions, "MAX_SESSIONS", 10)
    user, other = make_user(), make_user()
    used, *unused = [_start(user.id) for _ in range(10)]
    of_other = _start(other.id)
    clock.move(61)
    assert user_sessions.find(used)
    newest = _start(user.id)
    assert user_sessions.find(newest) and user_sessions.find(used) and user_sessions.find(of_other)
    assert len(user_sessions.list_for(user.id)) == 9
    assert [bool(user_sessions.find(raw)) for raw in unused].count(True) == 7
    for _ in range(30):
        newest = _start(user.id)
        assert user_sessions.find(newest)
    assert len(user_sessions.list_for(user.id)) <= 10


@pytest.fixture
def short_lived(app, settings):
    """Sessions of ten days at most, seven without use."""
    app.extensions["gatepost.settings"] = settings(session_seconds=7 * DAY, session_max_seconds=10 * DAY)
    with app.app_context():
        yield app


def test_a_session_in_daily_use_ends_at_its_absolute_lifetime(short_lived):
    user = make_user()
    raw = _start(user.id)
    began_ms = user_sessions.find(raw).created_at_ms
    for day in range(1, 10):
        clock.move(day * DAY)
        record = user_sessions.find(raw)
        assert record.expires_at_ms <= began_ms + 10 * DAY * 1000
    clock.move(10 * DAY - 1)
    assert user_sessions.find(raw).expires_at_ms == began_ms + 10 * DAY * 1000
    clock.move(10 * DAY + 1)
    assert user_sessions.find(raw) is None
    assert user_sessions.list_for(user.id) == []


def test_a_shorter_absolute_lifetime_ends_older_sessions_at_once(app, settings, short_lived):
    user = make_user()
    raw = _start(user.id)
    clock.move(3 * DAY)
    app.extensions["gatepost.settings"] = settings(session_max_seconds=2 * DAY)
    assert user_sessions.find(raw) is None
    assert user_sessions.list_for(user.id) == []


@pytest.mark.parametrize("seconds", [0, 400 * DAY])
def test_without_an_absolute_lifetime_use_keeps_a_session(app, settings, short_lived, seconds):
    app.extensions["gatepost.settings"] = settings(session_max_seconds=seconds)
    raw = _start(make_user().id)
    for day in range(5, 101, 5):
        clock.move(day * DAY)
        assert user_sessions.find(raw) is not None


def test_the_cookie_lives_on_with_its_session(client, sign_in):
    raw = sign_in(client, make_user())
    assert client.get("/api/v1/session").headers.getlist("Set-Cookie") == []
    clock.move(61)
    (line,) = client.get("/api/v1/session").headers.getlist("Set-Cookie")
    assert line.startswith(f"gatepost_session={raw};")
    assert "Max-Age=604800" in line


def test_a_session_revoked_while_its_expiry_slides_stays_gone(context, redis):
    user = make_user()
    raw = _start(user.id)
    record = user_sessions.find(raw)
    user_sessions.revoke(OPERATOR, user_id=user.id, sid=record.sid)
    user_sessions.save(raw, record)
    assert user_sessions.find(raw) is None


def test_the_same_person_again_confirms_the_session_which_stays_what_it_is(context, app):
    user = make_user()
    old = user_sessions.start(OPERATOR, user_id=user.id, provider="link", handoff="a handoff")
    before = user_sessions.find(old)
    before.data["kept"] = "by the application"
    user_sessions.remember_organization(old, before, "acme")
    clock.move(3600)
    new = user_sessions.start(OPERATOR, user_id=user.id, provider="github", replaces=old)
    assert new != old
    assert user_sessions.find(old) is None
    (after,) = user_sessions.list_for(user.id)
    assert after == user_sessions.find(new)
    for name in ("sid", "created_at_ms", "handoff_hash", "organization_slug"):
        assert getattr(after, name) == getattr(before, name), name
    assert after.data == {"kept": "by the application"}
    assert (after.provider, after.auth_time_ms - before.auth_time_ms) == ("github", pytest.approx(3_600_000, abs=60_000))
    assert after.expires_at_ms > before.expires_at_ms
    assert owner.actions(app) == ["organization.created", "user_session.started", "user_session.confirmed"]
    user_sessions.revoke(OPERATOR, user_id=user.id, sid=before.sid)
    assert user_sessions.find(new) is None


def test_somebody_else_in_the_same_browser_begins_a_session_of_their_own(context, app):
    user, other = make_user(), make_user()
    old = _start(user.id)
    sid = user_sessions.find(old).sid
    new = user_sessions.start(OPERATOR, user_id=other.id, provider="link", replaces=old)
    assert user_sessions.find(old) is None
    assert user_sessions.list_for(user.id) == []
    assert user_sessions.find(new).sid != sid
    assert "user_session.confirmed" not in owner.actions(app)


def test_confirming_a_session_that_is_over_begins_another(context):
    user = make_user()
    old = _start(user.id)
    sid = user_sessions.find(old).sid
    user_sessions.revoke(OPERATOR, user_id=user.id, sid=sid)
    new = user_sessions.start(OPERATOR, user_id=user.id, provider="link", replaces=old)
    assert user_sessions.find(new).sid != sid


def test_confirming_and_revoking_at_once_leave_no_session_that_nobody_can_end(app, redis):
    """Whoever comes second, what lives is in the index: listing shows it, and revoking ends it."""
    user = make_user()

    def confirm(raw):
        with app.app_context():
            return user_sessions.start(OPERATOR, user_id=user.id, provider="link", replaces=raw)

    def revoke(sid):
        with app.app_context():
            user_sessions.revoke(OPERATOR, user_id=user.id, sid=sid)
            user_sessions.list_for(user.id)

    with ThreadPoolExecutor(4) as pool:
        for _ in range(25):
            with app.app_context():
                raw = _start(user.id)
                sid = user_sessions.find(raw).sid
            acts = [pool.submit(confirm, raw), pool.submit(revoke, sid), pool.submit(confirm, raw), pool.submit(revoke, sid)]
            assert [act.exception() for act in acts] == [None] * 4
            live = {key.decode()[len("gatepost:session:{") : -1] for key in redis.keys("gatepost:session:*")}
            listed = {value.decode() for value in redis.hvals(f"gatepost:user-sessions:{{{user.id}}}")}
            assert live <= listed
    with app.app_context():
        user_sessions.revoke_all(OPERATOR, user_id=user.id)
    assert redis.keys("gatepost:session:*") == []


def test_one_person_cannot_revoke_the_session_of_another(context):
    mine, other = make_user(), make_user()
    raw = _start(other.id)
    assert user_sessions.revoke(OPERATOR, user_id=mine.id, sid=user_sessions.find(raw).sid) is False
    assert user_sessions.find(raw) is not None


def test_an_index_entry_without_a_session_is_dropped_when_somebody_looks(context, redis):
    user = make_user()
    raw = _start(user.id)
    redis.delete(f"gatepost:session:{{{hex_hash(raw)}}}")
    assert user_sessions.list_for(user.id) == []
    assert redis.hlen(f"gatepost:user-sessions:{{{user.id}}}") == 0


def test_an_unknown_value_is_never_adopted(client, redis):
    client.set_cookie("gatepost_session", "a-value-that-the-visitor-chose", domain="127.0.0.1")
    answer = client.get("/login")
    assert answer.status_code == 200
    assert redis.keys("gatepost:session:*") == []
    assert "gatepost_session" not in " ".join(answer.headers.getlist("Set-Cookie"))


def test_anonymous_visitors_leave_nothing_in_the_store(client, redis):
    for path in ("/", "/login", "/signed-out", "/account", "/nothing-here", "/oauth/authorize"):
        client.get(path)
    assert redis.keys("gatepost:session:*") == []


@pytest.mark.both_databases
def test_a_hundred_first_requests_at_once_make_one_personal_organization(app, database):
    user = make_user()
    with owner.at_work(app):
        db.session.execute(delete(Membership).where(Membership.user_id == user.id))
        db.session.execute(delete(Organization).where(Organization.id == user.id))
        db.session.commit()
        raw = _start(user.id)

    def first_request(_):
        browser = app.test_client()
        browser.set_cookie("gatepost_session", raw, domain="127.0.0.1")
        return json.loads(browser.get("/api/v1/session").data)["orgs"]

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(first_request, range(100)))
    assert all([org["id"] for org in orgs] == [str(user.id)] for orgs in answers)
    with owner.at_work(app):
        assert db.session.scalar(select(func.count()).select_from(Membership).where(Membership.user_id == user.id)) == 1
