"""Which language a page speaks, who decides, and how times are said in it."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from flask.testing import FlaskClient

from blueprints.html import languages, words
from errors import Invalid
from extensions import db
from models import User
from services.authorization import handoffs
from services.users import users
from tests import factories
from tests.pages.forms import post, said

NOW = datetime(2026, 11, 21, 9, 4, tzinfo=UTC)
OSLO = ZoneInfo("Europe/Oslo")
FOOT = re.compile(r'<a href="([^"]+)" lang="(\w+)" hreflang')
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


# --- the links in the foot ------------------------------------------------------------------------------------------


def links(client: FlaskClient, path: str) -> dict[str, str]:
    """Where the foot of a page leads, by language."""
    foot = client.get(path).text.partition('<footer class="gate-foot">')[2]
    return {language: unescape(href) for href, language in FOOT.findall(foot)}


def test_a_link_in_the_foot_changes_the_page_and_the_ones_after_it_and_loses_nothing(app: Flask, client: FlaskClient) -> None:
    with app.app_context():
        handoff = handoffs.sign(b"client_id=x&ui_locales=en")
    for carried in (f"handoff={handoff}", "next=%2Faccount%2Ftokens%3Fpage%3D2&error=access_denied"):
        one = app.test_client()
        (german,) = links(one, f"/login?{carried}").values()
        assert german == f"/login?{carried}&lang=de"
        page = one.get(german)
        assert '<html lang="de"' in page.text
        assert page.text.count(carried) == client.get(f"/login?{carried}").text.count(carried)
        assert language_of(one, "/signed-out") == "de"
        assert language_of(one, f"/login?{carried}", Accept_Language="en") == "de"
        assert links(one, german) == {"en": f"/login?{carried}&lang=en"}
        assert language_of(one, links(one, german)["en"]) == "en"
        assert language_of(one, "/signed-out", Accept_Language="de") == "en"
    assert language_of(client, "/signed-out", Accept_Language="de") == "de"


@pytest.mark.parametrize("asked", ["fr", "DE", "../../etc", "de%00", ""])
def test_no_other_language_is_kept_in_the_browser(client: FlaskClient, asked: str) -> None:
    answer = client.get(f"/login?lang={asked}")
    assert not [line for line in answer.headers.getlist("Set-Cookie") if languages.COOKIE in line]
    client.set_cookie(languages.COOKIE, asked)
    assert language_of(client, "/login", Accept_Language="de") == "de"


def test_what_the_account_says_goes_before_what_this_browser_chose(client: FlaskClient, user: User) -> None:
    client.get("/login?lang=de")
    factories.sign_in(client, user)
    assert language_of(client, "/account", Accept_Language="en") == "de"
    assert language_of(client, "/account?lang=en") == "de"  # pages of the account have their place for it
    post(client, "/account", name="Maya", theme="device", time_zone="", language="en")
    assert client.get_cookie(languages.COOKIE) is None
    assert language_of(client, "/account", Accept_Language="de") == "en"
    client.get("/done?lang=de")
    assert language_of(client, "/done") == "en"
    assert language_of(client, "/done?lang=de") == "de"


def test_the_link_leads_to_no_other_site(app: Flask, client: FlaskClient) -> None:
    for path in ("/%2Fevil.example/x", "/%5Cevil.example", "//evil.example/x", "/\u00e4"):
        for href in links(client, path).values():
            assert href.startswith("/") and not href.startswith(("//", "/\\")), (path, href)


def test_an_error_page_keeps_its_whole_address(client: FlaskClient) -> None:
    path = "/oauth/authorize?client_id=nobody&state=a%20b"
    assert links(client, path) == {"de": f"{path}&lang=de"}
    assert links(client, f"{path}&lang=de") == {"en": f"{path}&lang=en"}


def test_a_page_after_a_form_has_no_link_that_would_lose_it(client: FlaskClient) -> None:
    page = client.post("/logout", data={"csrf_token": "x"})
    assert (page.status_code, 'hreflang="' in page.text) == (400, False)


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


def test_where_a_click_would_go_to_a_provider_the_link_leads_to_the_card(make_app: Any) -> None:
    app = make_app(github__client_id="x", github__client_secret="x")
    with app.app_context():
        handoff = handoffs.sign(b"client_id=x")
    ahead = {"Sec-Purpose": "prefetch"}
    text = app.test_client().get(f"/login/github?handoff={handoff}", headers=ahead).text
    assert [unescape(href) for href, _ in FOOT.findall(text)] == [f"/login?handoff={handoff}&lang=de"]
