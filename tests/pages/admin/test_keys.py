"""Signing keys through their page: when the next one may sign, starting it once, retiring one by its id."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from infra import clock
from models import SigningKey
from services.tokens import signing_keys
from tests import factories, owner
from tests.pages.admin.test_users import Instance
from tests.pages.forms import post, said

KEYS = "/admin/keys"


@pytest.fixture
def instance(app: Flask) -> Instance:
    return Instance(app)


def _states(app: Flask) -> dict[str, str]:
    """State -> kid, of the keys that are there once."""
    with app.app_context():
        signing_keys.key_set()
        return {key.state: key.kid for key in signing_keys.list_keys()}


def _publish_next(app: Flask, *, ago: timedelta) -> None:
    _states(app)
    with owner.session(app) as owners:
        owners.execute(update(SigningKey).where(SigningKey.state == "next").values(created_at=datetime.now(UTC) - ago))


@pytest.mark.both_databases
def test_only_administrators_and_only_after_a_fresh_sign_in(instance: Instance, database: Any) -> None:
    kid, person = _states(instance.app)["next"], instance.signed_in(instance.user)
    for path in (f"{KEYS}/{kid}/start", f"{KEYS}/{kid}/retire"):
        assert person.get(path).status_code == 404
        assert post(person, "/account", path).status_code == 404
        assert instance.browser.get(path).status_code == 200
    assert person.get(KEYS).status_code == person.get(f"{KEYS}/rotate").status_code == 404
    clock.move(601)
    for path in (f"{KEYS}/{kid}/start", f"{KEYS}/{kid}/retire"):
        assert instance.browser.get(path).headers["Location"].startswith("/reauth?next=")
        assert post(instance.browser, "/account", path, typed=kid).headers["Location"].startswith("/reauth?next=")
    assert _states(instance.app)["next"] == kid


def test_the_next_key_waits_until_services_have_had_it_for_an_hour(instance: Instance, database: Any) -> None:
    kid = _states(instance.app)["next"]
    _publish_next(instance.app, ago=timedelta(minutes=59))
    text = said(instance.browser.get(KEYS))
    assert "when every service has had the key for 1 hour." in text
    assert f'href="{KEYS}/{kid}/start"' not in instance.browser.get(KEYS).text
    assert instance.browser.get(f"{KEYS}/rotate").location == f"{KEYS}/{kid}/start"
    answer = post(instance.browser, f"{KEYS}/{kid}/start")
    assert (answer.status_code, "1 hour" in said(answer)) == (409, True)
    assert _states(instance.app)["next"] == kid


def test_before_anything_was_signed_there_is_no_next_key(instance: Instance) -> None:
    assert instance.browser.get(f"{KEYS}/rotate").location == KEYS


@pytest.mark.both_databases
def test_starting_it_twice_rotates_once(instance: Instance, database: Any) -> None:
    before = _states(instance.app)
    _publish_next(instance.app, ago=timedelta(minutes=61))
    page = f"{KEYS}/{before['next']}/start"
    assert f'href="{page}"' in instance.browser.get(KEYS).text
    assert post(instance.browser, page).headers["Location"] == KEYS
    after = _states(instance.app)
    assert (after["signing"], after["old"]) == (before["next"], before["signing"])
    assert f"{before['next']} is now the signing key." in said(instance.browser.get(KEYS))
    post(instance.browser, KEYS, page)
    assert _states(instance.app) == after
    assert "Nothing changed." in said(instance.browser.get(KEYS))
    event = owner.events(instance.app)[-1]
    assert (event.action, event.actor_id) == ("signing_key.rotated", str(instance.admin.id))


@pytest.mark.both_databases
def test_retiring_takes_the_typed_id_and_ends_what_the_key_signed(instance: Instance, database: Any) -> None:
    _publish_next(instance.app, ago=timedelta(minutes=61))
    with instance.app.app_context():
        token = signing_keys.sign({"sub": "x"}, typ="JWT")
        signing_keys.start(factories.make_actor(instance.admin), _states(instance.app)["next"])
    old = _states(instance.app)["old"]
    page = f"{KEYS}/{old}/retire"
    assert "Every token it signed will stop working." in said(instance.browser.get(page))
    for typed, error in (("", f"Type {old} to confirm"), ("x", f"That doesn’t match. Type {old}")):
        answer = post(instance.browser, page, typed=typed)
        assert (answer.status_code, error in said(answer)) == (422, True)
    with instance.app.app_context():
        assert signing_keys.verify(token, typ="JWT") == {"sub": "x"}
    assert post(instance.browser, page, typed=old).headers["Location"] == KEYS
    with instance.app.app_context(), pytest.raises(signing_keys.TokenUnreadable):
        signing_keys.verify(token, typ="JWT")
    assert _states(instance.app)["retired"] == old
    assert post(instance.browser, KEYS, page, typed=old).headers["Location"] == KEYS
    assert "Nothing changed." in said(instance.browser.get(KEYS))


def test_the_key_that_signs_cannot_be_retired_and_an_unknown_one_is_not_there(instance: Instance, database: Any) -> None:
    signing = _states(instance.app)["signing"]
    assert f"{KEYS}/{signing}/retire" not in instance.browser.get(KEYS).text
    for kid in (signing, "0000"):
        assert instance.browser.get(f"{KEYS}/{kid}/retire").status_code == 404
        assert post(instance.browser, KEYS, f"{KEYS}/{kid}/retire", typed=kid).status_code == 404
    assert instance.browser.get(f"{KEYS}/0000/start").status_code == 404
    assert _states(instance.app)["signing"] == signing


def test_a_next_key_that_is_retired_is_replaced(instance: Instance, database: Any) -> None:
    kid = _states(instance.app)["next"]
    assert "Another next key" in said(instance.browser.get(f"{KEYS}/{kid}/retire"))
    post(instance.browser, f"{KEYS}/{kid}/retire", typed=kid)
    after = _states(instance.app)
    assert after["retired"] == kid != after["next"]
