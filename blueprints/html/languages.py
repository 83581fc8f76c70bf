"""The language of a page: the person's own, else the one chosen in this browser, else the one that the app which waits asks
for (`ui_locales`), else what the browser asks for. English is the source.

The foot of every page without navigation offers the others, as links: the same address with `?lang=`. It speaks for that page at
once, and in this browser from then on for whoever has chosen none in their account.

Pages are never kept by caches (`no-store`), so no answer says `Vary`.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from urllib.parse import urlencode

from babel import Locale
from babel.support import NullTranslations
from flask import Flask, Response, after_this_request, g, request
from flask_babel import Babel, Domain, get_locale, refresh
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

from blueprints import browser, cookies, session_cookie
from blueprints.html import errors
from blueprints.html.catalogues import catalogue, in_markup, number_in_markup
from services.authorization import authorize_requests, handoffs
from services.users import users

_NAMES = {"en": "English", "de": "Deutsch"}
LANGUAGES = {language: _NAMES[language] for language in users.LANGUAGES}
COOKIE = "gatepost_language"
_LINK = "lang"
_LOCALES = {language: Locale(language) for language in LANGUAGES}
_DIRECTIONS = {language: locale.text_direction for language, locale in _LOCALES.items()}
_CARRIED = ("handoff", "next", "error", "provider", "purpose", "switch")  # what pages without navigation pass on


class _Catalogue(Domain):
    """The words of the language of this request."""

    def get_translations(self) -> NullTranslations:
        return catalogue()


def init_app(app: Flask) -> None:
    Babel(app, default_locale="en", locale_selector=lambda: _LOCALES[_choose()]).domain_instance = _Catalogue()
    environment = app.jinja_env
    environment.globals.update(gettext=in_markup, _=in_markup, ngettext=number_in_markup)
    environment.globals.update(page_language=current_language, page_direction=_direction, other_languages=other_languages)
    environment.globals["page_theme"] = session_cookie.chosen_theme


def current_language() -> str:
    """Of this request's page."""
    locale = get_locale()
    return locale.language if locale else "en"


def choose(language: str | None) -> None:
    """The person has just chosen this for their account: what the rest of the request says is said in it, and what was chosen
    in this browser before is over."""
    g.language_chosen = language
    g.pop("catalogue", None)
    refresh()
    if COOKIE in request.cookies:
        after_this_request(_forget_choice)


def other_languages() -> list[tuple[str, str, str]]:
    """The languages that this page could speak instead: code, name, address. None after a form post, which has no address."""
    if request.method not in ("GET", "HEAD") and "page_address" not in g:
        return []
    if "page_address" in g:
        path, _, query = g.page_address.partition("?")
        query = "&".join(part for part in query.split("&") if part and not part.startswith(f"{_LINK}="))
    else:
        path, query = errors.own(request.path), urlencode({name: value for name, value in _asked_for().items() if name in _CARRIED})
    here = current_language()
    return [(code, name, f"{path}?{query}{'&' if query else ''}{_LINK}={code}") for code, name in LANGUAGES.items() if code != here]


def set_page_address(address: str) -> None:
    """Where this page is found again, when that is not the address that was asked for."""
    g.page_address = address


def _choose() -> str:
    """A store that is away is no reason to have no language: error pages are asked too."""
    if asked := _just_asked():
        return asked
    own = g.language_chosen if "language_chosen" in g else session_cookie.chosen_language(LANGUAGES)
    return own or _kept() or _of_app() or _of_browser(request.headers.get("Accept-Language", "")) or "en"


def _asked_for() -> Mapping[str, str]:
    """The query. One that cannot be read asks for nothing: the page that says so needs a language too."""
    try:
        return request.args
    except UnicodeDecodeError:
        return {}


def _just_asked() -> str | None:
    """A link in the foot of a page without navigation; it is kept for the pages that follow, unless another site has it."""
    asked = _asked_for().get(_LINK)
    if asked not in LANGUAGES or g.get("page_kind") == "app":
        return None
    if asked != request.cookies.get(COOKIE) and browser.is_own_act():
        after_this_request(lambda response: _keep_choice(response, asked))
    return asked


def _keep_choice(response: Response, language: str) -> Response:
    if response.status_code < 500:  # a store that is away touches no cookie
        cookies.put(response, COOKIE, language, max_age_seconds=cookies.A_YEAR_SECONDS)
    return response


def _forget_choice(response: Response) -> Response:
    cookies.take_away(response, COOKIE)
    return response


def _kept() -> str | None:
    kept = request.cookies.get(COOKIE)
    return kept if kept in LANGUAGES else None


def _of_app() -> str | None:
    """What the waiting app asks for (OpenID Connect Core section 3.1.2.1). A query that cannot be read asks for nothing: the
    page that says so needs a language too."""
    if not request.query_string:
        return None
    try:
        handoff = handoffs.find(request.args.get("handoff"))
        return _first_spoken(authorize_requests.ui_locales_of(handoff.query if handoff else request.query_string))
    except UnicodeError:
        return None


@lru_cache(maxsize=256)
def _of_browser(header: str) -> str | None:
    return _first_spoken(tag for tag, quality in parse_accept_header(header, LanguageAccept) if quality > 0)


def _first_spoken(tags: Iterable[str]) -> str | None:
    """tags: the best first, `de-CH` or `de`."""
    return next((language for tag in tags if (language := tag.partition("-")[0].lower()) in LANGUAGES), None)


def _direction() -> str:
    return _DIRECTIONS[current_language()]
