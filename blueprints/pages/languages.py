"""The language of a page: the person's own, else what their browser asks for. English is the source."""

from flask import Flask, request
from flask_babel import Babel, get_locale

from blueprints import session_cookie

LANGUAGES = {"en": "English", "de": "Deutsch"}


def init_app(app: Flask) -> None:
    Babel(app, default_locale="en", locale_selector=_choose)
    app.jinja_env.globals.update(page_language=lambda: str(get_locale() or "en"), page_direction=_direction)


def _choose() -> str:
    """A store that is away is no reason to have no language: error pages are asked too."""
    return session_cookie.chosen_language(LANGUAGES) or request.accept_languages.best_match(list(LANGUAGES)) or "en"


def _direction() -> str:
    locale = get_locale()
    return locale.text_direction if locale else "ltr"
