"""Which language a page speaks, who decides, and how times are said in it."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from flask.testing import FlaskClient

from blueprints.pages import languages, words
from errors import Invalid
from extensions import db
from models import User
from services import handoffs, users
from tests import factories
from tests.pages.forms import post, said

NOW = datetime(2026, 11, 21, 9, 4, tzinfo=UTC)
OSLO = ZoneInfo("Europe/Oslo")
GERMAN = {"Accept-Language": "de-CH, en;q=0.5"}


@pytest.fixture
def user(app: Flask) -> User:
    return factories.make_user(name="Maya", email="maya@northwind.dev")


def language_of(client: FlaskClient, path: str, **headers: str) -> str:
    text = client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()}).text
    return text.partition('<html lang="')[2].partition('"')[0]


# --- who decides --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "spoken"),
    [("", "en"), ("de", "de"), ("de-AT,de;q=0.9", "de"), ("fr, de;q=0.8, en;q=0.2", "de"), ("fr", "en"), ("*", "en"), (";;q=x,\x7f", "en")],
)
def test_the_browser_is_heard(client: FlaskClient, asked: str, spoken: str) -> None:
    assert language_of(client, "/login", Accept_Language=asked) == spoken


def test_the_waiting_app_goes_before_the_browser(app: Flask, client: FlaskClient) -> None:
    """The first of its `ui_locales` that we speak; also on the pages that come after, which carry the handoff."""
    with app.app_context():
        made = {
            text: handoffs.sign(f"client_id=x&ui_locales={text}".encode()) for text in ("de-CH+en", "fr+de", "fr", "", "%00", "x" * 900)
        }
    spoken = {text: language_of(client, f"/login?handoff={handoff}") for text, handoff in made.items()}
    assert spoken == {"de-CH+en": "de", "fr+de": "de", "fr": "en", "": "en", "%00": "en", "x" * 900: "en"}
    assert language_of(client, f"/login?handoff={made['fr']}", Accept_Language="de") == "de"


def test_an_altered_handoff_decides_nothing(app: Flask, client: FlaskClient) -> None:
    with app.app_context():
        altered = handoffs.sign(b"client_id=x&ui_locales=de")[:-2] + "AA"
    assert language_of(client, f"/login?handoff={altered}") == "en"


def test_the_refusal_of_an_authorize_request_is_in_the_language_it_asks_for(client: FlaskClient) -> None:
    page = client.get("/oauth/authorize?client_id=nobody&ui_locales=de")
    assert page.status_code == 400
    assert "Gatepost kennt diese App nicht" in page.text


def test_a_person_chooses_and_it_holds_at_once_on_every_page(client: FlaskClient, user: User) -> None:
    factories.sign_in(client, user)
    post(client, "/account", name="Maya", theme="device", time_zone="", language="de")
    page = client.get("/account")
    assert "Gespeichert." in said(page)
    assert '<option value="de" selected>Deutsch</option>' in page.text
    assert language_of(client, "/account/sessions", Accept_Language="en") == "de"
    post(client, "/account", name="Maya", theme="device", time_zone="", language="")
    assert "Saved." in said(client.get("/account"))
    assert language_of(client, "/account", Accept_Language="de") == "de"


@pytest.mark.parametrize("language", ["fr", "DE", "../../etc", "de\x00"])
def test_only_known_languages_are_kept(app: Flask, client: FlaskClient, user: User, language: str) -> None:
    factories.sign_in(client, user)
    assert post(client, "/account", name="Maya", theme="device", time_zone="", language=language).status_code in (400, 422)
    with app.app_context():
        with pytest.raises(Invalid):
            users.update_profile(factories.make_actor(user), user.id, name="Maya", language=language)
        db.session.rollback()
        assert users.get_profile(user.id).language is None


def test_every_language_of_the_service_has_a_name() -> None:
    assert tuple(languages.LANGUAGES) == users.LANGUAGES


def test_api_answers_are_english(client: FlaskClient) -> None:
    assert client.get("/api/v1/whoami", headers=GERMAN).json["error_description"] == "Sign in, or send a credential."


# --- sentences ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("then", "text"),
    [
        (NOW, "gerade eben"),
        (NOW - timedelta(seconds=61), "vor 1 Minute"),
        (NOW - timedelta(minutes=6), "vor 6 Minuten"),
        (NOW - timedelta(hours=1), "vor 1 Stunde"),
        (datetime(2026, 11, 19, 23, 30, tzinfo=UTC), "gestern um 00:30"),
        (datetime(2026, 3, 2, 9, 20, tzinfo=UTC), "2. März um 10:20"),
        (datetime(2025, 10, 2, 9, 20, tzinfo=UTC), "2. Okt. 2025"),
    ],
)
def test_moments_in_german(app: Flask, monkeypatch: pytest.MonkeyPatch, then: datetime, text: str) -> None:
    monkeypatch.setattr(words.moments, "now", lambda: NOW)
    with app.test_request_context(headers=GERMAN):
        assert words.moment(then, OSLO).striptags() == text
        assert words.duration(86_400) == "1 Tag"
        assert words.joined(["A", "B", "C"]) == "A, B und C"
        assert words.role("owner") == "Inhaber"


def test_a_name_within_a_sentence_stays_text_in_every_language(app: Flask) -> None:
    with app.test_request_context(headers=GERMAN):
        quoted = words.untrusted("<b>%(name)s</b> 100%", quoted=True)
        assert quoted == "„<bdi>&lt;b&gt;%(name)s&lt;/b&gt; 100%</bdi>“"
        assert words.filled("%(a)s is <b>%(b)s</b>", a="<i>", b="%(a)s") == "&lt;i&gt; is <b>%(a)s</b>"
