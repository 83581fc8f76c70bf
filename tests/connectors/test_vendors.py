"""Ten vendors in the shapes of their answers: connected, used, refreshed; a dead refresh token is told from a fault that passes."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import unquote_plus

import pytest
from flask import Flask
from sqlalchemy import select, update

from infra import clock
from models import Connection
from services.vault import connection_tokens, connections
from tests import factories, owner
from tests.fakes.browser import Browser, query_of
from tests.fakes.fixtures import vendor_settings
from tests.fakes.server import Answer, Asked
from tests.fakes.vendor import CLIENT_ID, CLIENT_SECRET, FakeVendor
from tests.fakes.vendor_shapes import SHAPES, Shape
from tests.oauth.flow import bearer


class Trade:
    """An organization, its owner's browser and key, and the vendor of one shape."""

    def __init__(self, make_app: Callable[..., Flask], vendor: FakeVendor, shape: Shape) -> None:
        self.vendor, self.shape, self.moved_seconds = vendor, shape, 0
        vendor.says |= {"exchange": [shape.tokens], "refresh": [shape.refreshed], "account": [Answer(200, shape.account)]}
        self.app = make_app(**vendor_settings(vendor, shape.name, **shape.settings))
        person = factories.make_user()
        self.organization = factories.make_organization(owner=person, slug="acme")
        self.headers = bearer(factories.make_api_key(self.organization, person).raw_key)
        self.browser = Browser(self.app)
        factories.sign_in(self.browser.client, person)

    def connect(self) -> Connection:
        start = self.browser.get(f"/orgs/acme/connections/{self.shape.name}/start").headers["Location"]
        back = self.browser.come_back(self.vendor.visit(start)).headers["Location"]
        assert "outcome=connected" in back
        return self.row

    @property
    def row(self) -> Connection:
        with owner.session(self.app) as owners:
            row = owners.scalars(select(Connection)).one()
            owners.expunge(row)
            return row

    @property
    def stored(self) -> tuple[str, str | None]:
        with self.app.app_context():
            tokens = connections.unseal(self.row.tokens, self.row.id, owner_id=self.organization.id)
            return tokens.access_token, tokens.refresh_token

    def token(self, **body: str) -> Any:
        path = f"/api/v1/orgs/acme/connections/{self.row.id}/token"
        return self.app.test_client().post(path, headers=self.headers, **({"json": body} if body else {}))

    def age(self) -> None:
        with owner.session(self.app) as owners:
            owners.execute(update(Connection).values(expires_at=clock.now() - timedelta(seconds=1)))

    def wait_out_the_pause(self) -> None:
        self.moved_seconds += connection_tokens.PAUSE_SECONDS + 1
        clock.move(self.moved_seconds)


@pytest.fixture(params=SHAPES, ids=lambda shape: shape.name)
def trade(request: pytest.FixtureRequest, make_app: Callable[..., Flask], vendor: FakeVendor) -> Trade:
    return Trade(make_app, vendor, request.param)


def members_of(answer: Any) -> dict[str, str]:
    """access_token and refresh_token of an answer, whatever its encoding."""
    body = answer.encoded()[0].decode()
    found = query_of("?" + body) if not body.startswith("{") else json.loads(body)
    return {name: found[name] for name in ("access_token", "refresh_token") if name in found}


def client_of(asked: Asked) -> tuple[str, str]:
    """Who came to the token endpoint, as its form or its header says."""
    if "client_secret" in asked.form:
        return asked.form["client_id"], asked.form["client_secret"]
    user, _, password = base64.b64decode(asked.headers["authorization"].removeprefix("Basic ")).decode().partition(":")
    return unquote_plus(user), unquote_plus(password)


def test_connecting_keeps_what_the_vendor_gave(trade: Trade) -> None:
    shape, moment = trade.shape, clock.now()
    row = trade.connect()
    given = members_of(shape.tokens)
    assert trade.stored == (given["access_token"], given["refresh_token"])
    assert (row.status, row.scope, row.account_name or None) == ("connected", shape.scope, shape.whose)
    if shape.lives_seconds is None:
        assert row.expires_at is None
    else:
        assert row.expires_at is not None
        assert abs((row.expires_at - moment).total_seconds() - shape.lives_seconds) < 60
    asked = next(asked for asked in trade.vendor.asked if asked.path == "/token")
    assert (asked.form["grant_type"], client_of(asked)) == ("authorization_code", (CLIENT_ID, CLIENT_SECRET))
    answer = trade.token()
    assert (answer.status_code, answer.json["access_token"]) == (200, given["access_token"])
    assert trade.vendor.refreshes == 0


def test_an_old_token_is_refreshed(trade: Trade) -> None:
    trade.connect()
    before = members_of(trade.shape.tokens)
    trade.age()
    answer = trade.token()
    after = {**before, **members_of(trade.shape.refreshed)}
    assert (answer.status_code, answer.json["access_token"]) == (200, after["access_token"])
    assert trade.stored == (after["access_token"], after["refresh_token"])
    asked = trade.vendor.asked[-1]
    assert (asked.form["grant_type"], asked.form["refresh_token"]) == ("refresh_token", before["refresh_token"])
    assert client_of(asked) == (CLIENT_ID, CLIENT_SECRET)
    assert trade.row.scope
    assert (trade.row.expires_at is None) == (trade.shape.lives_seconds is None)


def test_a_token_that_is_refused_is_refreshed_before_its_time(trade: Trade) -> None:
    trade.connect()
    refused = members_of(trade.shape.tokens)["access_token"]
    answer = trade.token(refused=refused)
    assert (answer.status_code, answer.json["access_token"]) == (200, members_of(trade.shape.refreshed)["access_token"])
    assert trade.vendor.refreshes == 1


def test_a_dead_refresh_token_needs_reconnecting_and_connecting_heals(trade: Trade) -> None:
    trade.connect()
    trade.age()
    trade.vendor.says["refresh"] = [trade.shape.dead]
    assert trade.token().status_code == 503
    trade.wait_out_the_pause()
    answer = trade.token()
    assert (answer.status_code, answer.json["error"]) == (409, "needs_reconnecting")
    assert (trade.row.status, trade.row.last_error) == ("needs_reconnecting", trade.shape.dead_code)
    assert trade.connect().status == "connected"
    assert trade.token().status_code == 200


def test_a_fault_that_passes_leaves_the_connection(trade: Trade) -> None:
    trade.connect()
    trade.age()
    trade.vendor.says["refresh"] = [trade.shape.passing]
    for _ in range(6):
        answer = trade.token()
        assert (answer.status_code, answer.json["error"]) == (503, "temporarily_unavailable")
        assert (trade.row.status, trade.row.last_error) == ("retrying", trade.shape.passing_code)
        trade.wait_out_the_pause()
    trade.vendor.says["refresh"] = [trade.shape.refreshed]
    assert trade.token().status_code == 200
    assert (trade.row.status, trade.row.last_error) == ("connected", None)
