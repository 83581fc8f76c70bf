"""The signed snapshot in the cookie (GATEPOST_SESSION_CACHE_SECONDS): spares the stores on reads, and only there."""

import base64
import json

import pytest

from config import current
from infra import clock
from services.access.actors import Actor
from services.sessions import session_snapshots, user_sessions
from tests.factories import make_invitation, make_organization, make_user


@pytest.fixture
def snapshot_app(make_app):
    yield make_app(session_cache_seconds=60)
    clock.move(0)


def _read(client):
    return client.get("/api/v1/session")


def test_a_read_answers_from_the_snapshot_until_it_is_old(snapshot_app, sign_in, valkey):
    user, client = make_user(), snapshot_app.test_client()
    sign_in(client, user)
    first = _read(client)
    assert client.get_cookie("gatepost_snapshot", domain="127.0.0.1") is not None
    with snapshot_app.app_context():
        user_sessions.revoke_all(Actor.operator(), user_id=user.id)
    assert _read(client).json == first.json
    clock.move(61)
    assert _read(client).status_code == 401


def test_a_snapshot_of_another_session_or_an_altered_one_is_not_believed(snapshot_app, sign_in):
    first, second = snapshot_app.test_client(), snapshot_app.test_client()
    sign_in(first, make_user())
    sign_in(second, make_user())
    other = _read(first).json["user"]["id"]
    stolen = first.get_cookie("gatepost_snapshot", domain="127.0.0.1").value
    for value in (stolen, stolen[:-1] + ("0" if stolen[-1] != "0" else "1"), "x", "." * 10, stolen.replace(".", "")):
        second.set_cookie("gatepost_snapshot", value, domain="127.0.0.1")
        answer = _read(second)
        assert answer.status_code == 200
        assert answer.json["user"]["id"] != other


@pytest.mark.parametrize(
    "unknown", [{"pages": []}, {"pages": ["de", "UTC", "dark", "more"]}, {"user": {"id": 1}}, {"orgs": [{}]}, {"record": "{}"}]
)
def test_a_snapshot_that_another_version_made_is_none(snapshot_app, sign_in, unknown):
    user, client = make_user(), snapshot_app.test_client()
    sign_in(client, user)
    _read(client)
    made = client.get_cookie("gatepost_snapshot", domain="127.0.0.1").value
    content = {**json.loads(base64.urlsafe_b64decode(made.partition(".")[0])), **unknown}
    body = base64.urlsafe_b64encode(json.dumps(content).encode()).decode()
    with snapshot_app.app_context():
        client.set_cookie("gatepost_snapshot", f"{body}.{session_snapshots._mac(current().secret_keys[0], body)}", domain="127.0.0.1")
    for path in ("/api/v1/session", "/account/sessions"):
        assert client.get(path).status_code == 200
    assert _read(client).json["user"]["id"] == str(user.id)


def test_what_changes_something_asks_the_stores_and_takes_the_snapshot_away(snapshot_app, sign_in):
    user, client = make_user(), snapshot_app.test_client()
    sign_in(client, user)
    sid = _read(client).json["session"]["id"]
    origin = {"Origin": "http://127.0.0.1:8000"}
    assert client.delete(f"/api/v1/user-sessions/{sid}", headers=origin).status_code == 204
    assert client.get_cookie("gatepost_snapshot", domain="127.0.0.1") is None
    assert _read(client).status_code == 401


def test_what_waits_is_shown_beside_a_snapshot_and_an_answer_takes_the_snapshot_away(snapshot_app, sign_in):
    user, client = make_user(has_invitations=True), snapshot_app.test_client()
    made = make_invitation(make_organization(slug="acme"), user.email)
    sign_in(client, user)
    for _ in range(2):
        assert [item["id"] for item in _read(client).json["invitations"]] == [str(made.id)]
        assert "/accept" in client.get("/account").text
    origin = {"Origin": "http://127.0.0.1:8000"}
    assert client.post(f"/api/v1/invitations/{made.id}/accept", headers=origin).status_code == 200
    assert _read(client).json["invitations"] == []
    assert "acme" in [org["slug"] for org in _read(client).json["orgs"]]


def test_there_is_no_snapshot_without_the_setting(client, sign_in):
    sign_in(client, make_user())
    _read(client)
    assert client.get_cookie("gatepost_snapshot", domain="127.0.0.1") is None
