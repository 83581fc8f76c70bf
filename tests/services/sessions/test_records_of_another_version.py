"""Two versions of Gatepost run side by side on one Redis: a field that only the other one knows is ignored."""

import json
import zlib
from collections.abc import Callable
from typing import Any

from flask import Flask

from infra import cipher, upstream_states
from tests import factories
from tests.fakes.browser import Browser, path_of, query_of
from tests.fakes.fixtures import github_settings, vendor_settings
from tests.fakes.github import FakeGitHub, GitHubUser
from tests.fakes.vendor import FakeVendor

MORE = {"of_the_next_version": {"a": 1}}


def _with_more(sealed: bytes, secret: str, purpose: str) -> bytes:
    """A sealed record with a field more, also in the records inside it."""
    values = json.loads(zlib.decompress(cipher.open_with(secret, sealed, purpose=purpose)))
    for inner in ("journey", "account", "tokens"):
        if isinstance(values.get(inner), dict):
            values[inner].update(MORE)
    if isinstance(values.get("account"), dict) and isinstance(values["account"].get("tokens"), dict):
        values["account"]["tokens"].update(MORE)
    return cipher.seal_with(secret, zlib.compress(json.dumps({**values, **MORE}).encode()), purpose=purpose)


def test_a_session(app: Flask, redis: Any) -> None:
    person, browser = factories.make_user(), app.test_client()
    raw = factories.sign_in(browser, person)
    (key,) = redis.keys("gatepost:session:*")
    redis.set(key, json.dumps({**json.loads(redis.get(key)), **MORE}), ex=600)
    assert raw
    assert browser.get("/account").status_code == 200
    assert len(browser.get("/api/v1/user-sessions").json["items"]) == 1


def test_a_sign_in_on_its_way_and_its_outcome(make_app: Callable[..., Flask], github: FakeGitHub) -> None:
    app = make_app(**github_settings(github))
    redis = app.extensions["gatepost.redis"]
    github.add(GitHubUser.make(101, "ann", "ann@example.com"))
    browser = Browser(app)
    started = browser.start()
    state = query_of(started)["state"]
    (key,) = redis.keys("gatepost:state:*")
    redis.hset(key, "record", _with_more(redis.hget(key, "record"), state, "state"))
    back = github.visit(started)
    assert path_of(browser.come_back(back)) == "/account"
    redis.hset(key, "outcome", _with_more(redis.hget(key, "outcome"), state, "outcome"))
    assert path_of(browser.come_back(back)) == "/account"


def test_where_a_browser_was_going(make_app: Callable[..., Flask], github: FakeGitHub) -> None:
    app = make_app(**github_settings(github))
    browser = Browser(app)
    browser.start(query="next=/account/keys")
    redis = app.extensions["gatepost.redis"]
    name = upstream_states.read_note(redis, "last-journey", browser.cookie("gatepost_browser") or "")
    (key,) = redis.keys("gatepost:browser-note:{notes}:journey:*")
    secret = f"{browser.cookie('gatepost_browser')}:{(name or b'').decode()}"
    redis.set(key, _with_more(redis.get(key), secret, "journey"), ex=600)
    response = browser.get("/login/github/callback?state=another&code=x")
    assert response.status_code == 303
    assert query_of(response.headers["Location"])["next"] == "/account/keys"


def test_an_account_that_waits_for_its_owner(make_app: Callable[..., Flask], github: FakeGitHub) -> None:
    app = make_app(**github_settings(github))
    person = factories.make_user(email="ann@example.com")
    github.add(GitHubUser.make(101, "ann", "ann@example.com"))
    browser = Browser(app)
    assert query_of(browser.sign_in(github).headers["Location"])["error"] == "account_exists"
    _change_notes(app, browser, "pending-link", "refusal")
    factories.sign_in(browser.client, person)
    assert "GitHub" in browser.get("/account/link").text


def test_another_account_of_a_vendor(make_app: Callable[..., Flask], vendor: FakeVendor) -> None:
    app = make_app(**vendor_settings(vendor))
    person = factories.make_user()
    organization = factories.make_organization(owner=person, slug="northwind")
    factories.make_connection(organization=organization, account_id="another")
    browser = Browser(app)
    raw = factories.sign_in(browser.client, person)
    back = vendor.visit(browser.get("/orgs/northwind/connections/acme/start").headers["Location"])
    page = browser.come_back(back).headers["Location"]
    redis = app.extensions["gatepost.redis"]
    (key,) = redis.keys("gatepost:browser-note:{notes}:connection:*")
    kind = key.decode().removeprefix("gatepost:browser-note:{notes}:").rpartition(":")[0]
    redis.set(key, _with_more(redis.get(key), raw, kind), ex=600)
    assert "Ann at Vendor" in browser.get(page).text


def _change_notes(app: Flask, browser: Browser, *kinds: str) -> None:
    redis = app.extensions["gatepost.redis"]
    raw = browser.cookie("gatepost_browser") or ""
    for kind in kinds:
        for key in redis.keys(f"gatepost:browser-note:{{notes}}:{kind}:*"):
            redis.set(key, _with_more(redis.get(key), raw, kind), ex=600)
