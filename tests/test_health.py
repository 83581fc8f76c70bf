"""`/healthz`, `/readyz`: alive, and ready; told fast when a store is away."""

import os
import signal
import time

import config


def test_healthz_asks_no_store(make_app):
    app = make_app(redis_url="redis://127.0.0.1:1", database_url="postgresql+psycopg://x@127.0.0.1:1/x")
    response = app.test_client().get("/healthz")
    assert (response.status_code, response.json) == (200, {"status": "ok", "version": config.VERSION})
    assert response.headers["Cache-Control"] == "no-store"


def test_readyz_names_version_and_stores(client):
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json == {"status": "ok", "version": config.VERSION, "stores": {"database": "ok", "redis": "ok"}, "keys": "ok"}


def test_readyz_says_which_store_is_away(make_app):
    for away, overrides in (
        ("redis", {"redis_url": "redis://127.0.0.1:1"}),
        ("database", {"database_url": "postgresql+psycopg://x@127.0.0.1:1/x"}),
    ):
        response = make_app(**overrides).test_client().get("/readyz")
        assert response.status_code == 503
        assert response.json["stores"] == {"database": "ok", "redis": "ok", away: "away"}
        assert response.headers["Retry-After"] == "5"


def test_readyz_answers_within_two_seconds_when_a_store_hangs_and_recovers(client, redis):
    """A store that accepts connections and says nothing is the worst kind of away."""
    pid = redis.info("server")["process_id"]
    assert client.get("/readyz").status_code == 200
    os.kill(pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        response = client.get("/readyz")
        assert (response.status_code, response.json["stores"]) == (503, {"database": "ok", "redis": "away"})
        assert time.monotonic() - started < 2.5
    finally:
        os.kill(pid, signal.SIGCONT)
    deadline = time.monotonic() + 10
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline, "it does not recover"
        time.sleep(0.2)
