"""The overview: who sees it, what its pictures and their tables say, in the zone of whoever looks."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask

from blueprints.pages.admin import overview as admin_overview
from blueprints.pages.admin.overview import HEIGHT, WIDTH, columns
from extensions import redis
from services.tokens import signing_keys
from tests import factories
from tests.pages.admin.test_users import Instance
from tests.pages.forms import counted, said

NOW = datetime(2026, 3, 10, 22, 30, tzinfo=UTC)


@pytest.fixture
def instance(app: Flask) -> Instance:
    return Instance(app)


@pytest.mark.both_databases
def test_administrators_see_stores_keys_counts_and_versions(instance: Instance, database: Any) -> None:
    with instance.app.app_context():
        signing_keys.key_set()  # a server makes them when it starts
    text = said(instance.browser.get("/admin"))
    for expected in ("Last 24 hours", "Last 30 days", "Refused sign-ins", "Database Answers", "Next signing key", "Users 2", "Python 3."):
        assert expected in text, text
    assert "No sign-in provider is set up" in text
    assert instance.signed_in(instance.user).get("/admin").status_code == 404
    assert instance.app.test_client().get("/admin").headers["Location"] == "/login?next=%2Fadmin"


def test_a_sign_in_is_in_both_pictures_at_once(instance: Instance, database: Any) -> None:
    before = re.findall(r'<b class="num">(\d+)', instance.browser.get("/admin").text)
    factories.sign_in(instance.app.test_client(), instance.user)
    after = re.findall(r'<b class="num">(\d+)', instance.browser.get("/admin").text)
    assert [int(b) - int(a) for a, b in zip(before, after, strict=True)] == [1, 0, 0, 1, 0, 0]


def test_the_page_asks_the_same_number_of_questions_whatever_happened(instance: Instance, database: Any) -> None:
    instance.browser.get("/admin")
    with counted(instance.app) as few:
        instance.browser.get("/admin")
    for _ in range(5):
        factories.sign_in(instance.app.test_client(), instance.user)
    with counted(instance.app) as many:
        instance.browser.get("/admin")
    assert len(few) == len(many)


def test_a_redis_that_does_not_tell_its_version_is_no_fault(instance: Instance, database: Any) -> None:
    """Some providers' do not let users ask."""
    client = redis.client
    client.execute_command("ACL", "SETUSER", "default", "-info")
    try:
        text = said(instance.browser.get("/admin"))
    finally:
        client.execute_command("ACL", "SETUSER", "default", "+info")
    assert "Sessions and limits Answers Version unknown" in text


def test_hours_are_counted_to_the_days_of_the_readers_zone(app: Flask) -> None:
    hour = NOW.replace(minute=0)
    activity: Any = {"sign_ins": {hour: 3, hour - timedelta(hours=23): 2, hour - timedelta(hours=24): 1}, "refreshes": {}, "refusals": {}}
    with app.test_request_context():
        hours, days = admin_overview.periods(activity, ZoneInfo("Asia/Tokyo"), NOW)
    assert len(hours.rows) == 24
    assert len(days.rows) == 30
    assert (hours.rows[0], hours.rows[-1][1]) == (("11 Mar, 07:00", ["3", "0", "0"]), ["2", "0", "0"])
    assert [row for row in days.rows if row[1][0] != "0"] == [("11 Mar", ["3", "0", "0"]), ("10 Mar", ["3", "0", "0"])]
    assert hours.pictures[0].summary == "Sign-ins: 5, most 3 at 11 Mar, 07:00"
    assert hours.pictures[1].summary == "Refreshes: none"


def test_a_column_for_each_count_and_the_smallest_is_seen() -> None:
    assert columns([0, 0]) == ""
    assert columns([10_000, 0, 1]) == f"M0 {HEIGHT}v-48h79v48zM160 {HEIGHT}v-1h79v1z"
    assert WIDTH == 240
