"""How pages say moments, devices and names."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from markupsafe import Markup

from blueprints.html import permissions, sign_in_errors, words

NOW = datetime(2026, 11, 21, 9, 4, tzinfo=UTC)
OSLO = ZoneInfo("Europe/Oslo")


@pytest.mark.parametrize(
    ("then", "text"),
    [
        (NOW - timedelta(seconds=30), "just now"),
        (NOW + timedelta(seconds=30), "just now"),
        (NOW - timedelta(seconds=61), "1 minute ago"),
        (NOW - timedelta(minutes=6), "6 minutes ago"),
        (NOW - timedelta(hours=1), "1 hour ago"),
        (NOW - timedelta(hours=23, minutes=59), "23 hours ago"),
        (NOW - timedelta(hours=25), "yesterday at 09:04"),
        (datetime(2026, 11, 19, 23, 30, tzinfo=UTC), "yesterday at 00:30"),
        (datetime(2026, 10, 2, 9, 20, tzinfo=UTC), "2 Oct at 11:20"),
        (datetime(2025, 10, 2, 9, 20, tzinfo=UTC), "2 Oct 2025"),
    ],
)
def test_moments_are_said_as_people_say_them(monkeypatch: pytest.MonkeyPatch, then: datetime, text: str) -> None:
    monkeypatch.setattr(words.moments, "now", lambda: NOW)
    said = words.moment(then, OSLO)
    assert said.striptags() == text
    assert said.startswith('<time datetime="20')


def test_inside_a_sentence_a_date_gets_its_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words.moments, "now", lambda: NOW)
    assert words.on_moment(datetime(2026, 10, 2, 9, 20, tzinfo=UTC), OSLO).striptags() == "on 2 Oct at 11:20"
    assert words.on_moment(int((NOW - timedelta(minutes=6)).timestamp() * 1000)).striptags() == "6 minutes ago"


def test_an_unknown_zone_is_utc() -> None:
    for name in (None, "", "Mars/Olympus", "../../etc/passwd", "Europe/Oslo\0"):
        assert words.zone_of(name) is UTC
    assert str(words.zone_of("Europe/Oslo")) == "Europe/Oslo"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(30, "30 seconds"), (60, "1 minute"), (90, "2 minutes"), (1800, "30 minutes"), (7200, "2 hours"), (86_400, "1 day")],
)
def test_time_limits_are_rounded_up(seconds: int, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("user_agent", "text"),
    [
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:145.0) Gecko/20100101 Firefox/145.0", "Firefox on macOS"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
            "Chrome on Windows",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36 Edg/142.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Version/18.1 Mobile/15E148 Safari/604.1",
            "Safari on iPhone",
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        ("Mozilla/5.0", "An unknown browser"),
        ("gatepost-cli/1.4.2 (maya-mbp.local)", "gatepost-cli 1.4.2"),
        ("python-requests/2.32.3", "python-requests 2.32.3"),
        ("<script>/1", "An unknown device"),
        ("", "An unknown device"),
        (None, "An unknown device"),
    ],
)
def test_a_user_agent_is_a_device_in_words(user_agent: str | None, text: str) -> None:
    assert words.device(user_agent) == text


def test_untrusted_names_lose_what_could_deceive() -> None:
    assert words.untrusted("safe\u202eexe.\u2066pdf\x00\x1b") == Markup("<bdi>safeexe.pdf</bdi>")
    assert words.untrusted("a\nb\tc") == Markup("<bdi>a b c</bdi>")
    assert words.untrusted("<b>", quoted=True) == Markup("“<bdi>&lt;b&gt;</bdi>”")
    assert words.untrusted("") == words.untrusted(" \u200b\ufeff ") == Markup("<bdi>No name</bdi>")
    assert len(words.plain("W" * 200)) == 60
    assert words.plain("👩‍💻 Ada") == "👩‍💻 Ada"
    assert words.plain("lone \ud800 surrogate") == "lone surrogate"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Maya Kovač", "MK"),
        ("maya@northwind.dev", "MD"),
        ("Plato", "P"),
        ("", "?"),
        ("!!!", "?"),
        ("Ada B. Lovelace", "AL"),
        ("李 小龍", "李小"),
    ],
)
def test_initials_are_two_letters_at_most(name: str, text: str) -> None:
    assert words.initials(name) == text


def test_a_colour_stays_with_its_id() -> None:
    assert words.colour("a") == words.colour("a")
    assert {words.colour(number) for number in range(100)} == {f"c{number}" for number in range(1, 7)}


def test_every_error_code_of_the_sign_in_page_has_words_with_and_without_facts() -> None:
    bare = sign_in_errors.Facts(host="id.example")
    full = sign_in_errors.Facts("id.example", "github", "GitHub", "a<b>@example.com", ("Google", "<i>"), (), "ref")
    for code in sign_in_errors.TABLE:
        for facts in (bare, full):
            error = sign_in_errors.describe(code, facts)
            assert error is not None
            assert error.heading
            assert not error.heading.endswith(".")
            assert error.text.endswith(".")
            assert " Your provider" not in error.text, "in the midst of a sentence"
            assert error.code.isupper()
            assert "<i>" not in error.text
            assert "a<b>" not in error.text
    assert sign_in_errors.describe("no_such_code", bare) is None
    assert sign_in_errors.describe(None, bare) is None


def test_refused_sign_ups_name_the_domains_only_when_nothing_else_is_allowed() -> None:
    assert sign_in_errors.domains_of(["@example.com", "@example.org"]) == ["example.com", "example.org"]
    assert sign_in_errors.domains_of(["@example.com", "ada@example.net"]) == []
    assert sign_in_errors.domains_of([]) == []
    facts = sign_in_errors.Facts(host="id.example", email="ada@example.net", domains=["example.com", "example.org"])
    error = sign_in_errors.describe("signup_not_allowed", facts)
    assert error is not None
    assert error.code == "DOMAIN_NOT_ALLOWED"
    assert error.text.striptags() == "Only example.com and example.org addresses can sign in here. You used ada@example.net."


def test_permissions_are_sorted_and_unknown_scopes_are_owned_up_to() -> None:
    rows = permissions.in_words(
        ["offline_access", "credentials:write", "orgs", "weird", "email", "openid", "profile"], organization="Northwind", refresh_days=30
    )
    assert [row.title for row in rows] == [
        "See who you are",
        "See your organizations",
        "Set credential values",
        "Use “weird”",
        "Keep working while you’re away",
    ]
    assert rows[0].detail == "Your name, email address and role in Northwind"
    assert [row.badge for row in rows] == ["", "", "Can make changes", "Can make changes", ""]
    assert rows[4].detail == "Until 30 days after you last use it"


def test_what_an_app_cannot_do_is_said_only_where_it_is_true() -> None:
    assert permissions.what_not(["openid"]) == ["Can’t read credential values", "Can’t change settings"]
    assert permissions.what_not(["credentials:read"]) == ["Can’t change settings"]
    assert permissions.what_not(["credentials:read", "orgs:write"]) == []
