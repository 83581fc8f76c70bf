"""The session cookie and Flask's `session`: read lazily, kept in Redis, nothing written for anonymous visitors.

The cookie's value is opaque and taken byte for byte. A new one is set at every sign-in, by the door that signed in.
"""

from collections.abc import Iterator
from typing import Any

from flask import Flask, Request, Response, current_app, g, session
from flask.sessions import SessionInterface, SessionMixin

from config import Settings, current
from services import user_sessions
from services.user_sessions import SignedIn

_UNREAD = object()
_MAX_COOKIE_LENGTH = 128


def cookie_name(settings: Settings) -> str:
    return "__Host-gatepost_session" if settings.is_https else "gatepost_session"


class BrowserSession(SessionMixin):
    """Flask's `session`. The stores are asked when somebody first looks, so a Bearer request costs nothing."""

    def __init__(self, raw: str | None) -> None:
        self.raw = raw
        self.modified = False
        self._signed_in: Any = _UNREAD
        self._anonymous_data: dict[str, Any] = {}

    @property
    def signed_in(self) -> SignedIn | None:
        if self._signed_in is _UNREAD:
            self._signed_in = user_sessions.authenticate(self.raw) if self.raw else None
        return self._signed_in

    def become(self, signed_in: SignedIn | None) -> None:
        """Use what a snapshot said, or nobody after signing out."""
        self._signed_in = signed_in

    @property
    def _data(self) -> dict[str, Any]:
        return self.signed_in.record.data if self.signed_in else self._anonymous_data

    def __getitem__(self, key: str) -> Any:
        return self._data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._data[key] = value
        self.modified = True

    def __delitem__(self, key: str) -> None:
        del self._data[key]
        self.modified = True

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)


class RedisSessionInterface(SessionInterface):
    """Opens a BrowserSession for every request; writes it back only when application state in it changed."""

    def open_session(self, app: Flask, request: Request) -> BrowserSession:
        raw = request.cookies.get(app.extensions["gatepost.session_cookie"])
        return BrowserSession(raw if raw and len(raw) <= _MAX_COOKIE_LENGTH else None)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if session.modified and isinstance(session, BrowserSession) and session.raw and session.signed_in:
            user_sessions.save(session.raw, session.signed_in.record)


def current_signed_in() -> SignedIn | None:
    """The person whose session this request carries. Raises the store's error when the store is away."""
    return session.signed_in  # type: ignore[attr-defined]  # our BrowserSession


def current_raw() -> str | None:
    return session.raw  # type: ignore[attr-defined]


def set_on(response: Response, raw: str) -> Response:
    """Give the browser its new session."""
    settings = current()
    response.set_cookie(
        current_app.extensions["gatepost.session_cookie"],
        raw,
        max_age=settings.session_seconds,
        path="/",
        secure=settings.is_https,
        httponly=True,
        samesite="Lax",
    )
    g.session_cookie_set = True
    return response


def clear_on(response: Response) -> Response:
    """Take the session from the browser, after it was ended in the store."""
    settings = current()
    for name in (current_app.extensions["gatepost.session_cookie"], "gatepost_snapshot"):
        response.delete_cookie(name, path="/", secure=settings.is_https, httponly=True, samesite="Lax")
    return response


def init_app(app: Flask, settings: Settings) -> None:
    app.extensions["gatepost.session_cookie"] = cookie_name(settings)
    app.session_interface = RedisSessionInterface()
