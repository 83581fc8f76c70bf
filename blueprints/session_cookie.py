"""The session cookie and Flask's `session`: read lazily, kept in Redis, nothing written for anonymous visitors.

The cookie's value is opaque and taken byte for byte. A new one is set at every sign-in, by the door that signed in.
"""

from collections.abc import Container, Iterator
from typing import Any

from flask import Flask, Request, Response, current_app, request, session
from flask.sessions import SessionInterface, SessionMixin

from blueprints import cookies
from config import Settings, current
from services.access.actors import Actor, OrganizationInfo
from services.organizations import members
from services.sessions import session_snapshots, user_sessions
from services.sessions.user_sessions import SignedIn

_UNREAD = object()
_MAX_COOKIE_LENGTH = 128
_SNAPSHOT = "gatepost_snapshot"
_RECENT, _RECENT_LENGTH = "organizations", 8
_FLASHES, _FLASHES_KEPT = "_flashes", 10  # Flask's: what is flashed waits for the next page, which may never be asked for
_SNAPSHOT_PATHS = frozenset({"/api/v1/session", "/api/v1/whoami", "/account"})


def cookie_name(settings: Settings) -> str:
    return "__Host-gatepost_session" if settings.is_https else "gatepost_session"


class BrowserSession(SessionMixin):
    """Flask's `session`. The stores are asked when somebody first looks, so a Bearer request costs nothing."""

    def __init__(self, raw: str | None) -> None:
        self.raw = raw
        self.modified = False
        self.is_from_snapshot = False
        self._signed_in: Any = _UNREAD
        self._anonymous_data: dict[str, Any] = {}

    @property
    def signed_in(self) -> SignedIn | None:
        if self._signed_in is _UNREAD:
            self._signed_in = self._from_snapshot() or (user_sessions.authenticate(self.raw) if self.raw else None)
        return self._signed_in

    def _from_snapshot(self) -> SignedIn | None:
        if not self.raw or not current().session_cache_seconds or not _may_use_snapshot():
            return None
        text = request.cookies.get(_SNAPSHOT)
        found = session_snapshots.read(self.raw, text) if text else None
        self.is_from_snapshot = found is not None
        return found

    @property
    def read_already(self) -> SignedIn | None:
        return None if self._signed_in is _UNREAD else self._signed_in

    @property
    def fresh_signed_in(self) -> SignedIn | None:
        """The person as the stores told just now; None when nobody asked, or a snapshot answered."""
        return None if self._signed_in is _UNREAD or self.is_from_snapshot else self._signed_in

    @property
    def _data(self) -> dict[str, Any]:
        return self.signed_in.record.data if self.signed_in else self._anonymous_data

    def __getitem__(self, key: str) -> Any:
        return self._data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._data[key] = value[-_FLASHES_KEPT:] if key == _FLASHES else value
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
        if current().session_cache_seconds:
            _keep_snapshot(session, response)  # type: ignore[arg-type]  # our BrowserSession
        if not isinstance(session, BrowserSession) or session.raw is None:
            return
        if session.modified and session.signed_in:
            user_sessions.save(session.raw, session.signed_in.record)
        if (signed_in := session.fresh_signed_in) and signed_in.has_slid and response.status_code < 500:
            name = app.extensions["gatepost.session_cookie"]
            if not any(line.startswith(f"{name}=") for line in response.headers.getlist("Set-Cookie")):
                set_on(response, session.raw)


def _may_use_snapshot() -> bool:
    """Reads of the session, whoami and account pages; nothing that decides or changes anything."""
    return request.method == "GET" and (request.path in _SNAPSHOT_PATHS or request.path.startswith("/account/"))


def _keep_snapshot(session: BrowserSession, response: Response) -> None:
    """Refresh the snapshot after a read that asked the stores; take it away after anything that may have changed them."""
    if request.method == "GET" and _may_use_snapshot():
        signed_in = session.fresh_signed_in
        text = session_snapshots.make(session.raw, signed_in) if signed_in and session.raw else None
        if text:
            cookies.put(response, _SNAPSHOT, text, max_age_seconds=current().session_cache_seconds)
    elif _SNAPSHOT in request.cookies and request.method != "GET" and response.status_code < 500:
        cookies.take_away(response, _SNAPSHOT)


def current_signed_in() -> SignedIn | None:
    """The person whose session this request carries. Raises the store's error when the store is away."""
    return session.signed_in  # type: ignore[attr-defined]  # our BrowserSession


def fresh_signed_in() -> SignedIn | None:
    """The same person as the stores told in this request; None when nobody has asked them."""
    return session.fresh_signed_in  # type: ignore[attr-defined]


def remember_organization(actor: Actor, organization: OrganizationInfo) -> None:
    """Remember the organization that the person works in, by their own act on this site: a default for the next page, which
    authorizes nothing. Working in one that they were imported into accepts it."""
    signed_in, raw = current_signed_in(), current_raw()
    if signed_in is None or not raw:
        return
    if not organization.may_be_picked:
        members.accept_import(actor, organization)
    if signed_in.record.organization_slug != organization.slug:
        signed_in.record.data[_RECENT] = [organization.slug, *(one for one in recent_organizations() if one != organization.slug)]
        del signed_in.record.data[_RECENT][_RECENT_LENGTH:]
        user_sessions.remember_organization(raw, signed_in.record, organization.slug)


def recent_organizations() -> list[str]:
    """The short names of those that this session worked in, the last one first."""
    return list(session.get(_RECENT, []))


def known_signed_in() -> SignedIn | None:
    """The person whose session was read already; an error page asks no store for it."""
    return session.read_already if isinstance(session, BrowserSession) else None


def chosen_language(languages: Container[str]) -> str | None:
    """The language of the person whose session was read already."""
    signed_in = known_signed_in()
    language = signed_in.language if signed_in else None
    return language if language in languages else None


def chosen_theme() -> str:
    """light or dark, if the person whose session was read already chose one; else empty: as their device."""
    signed_in = known_signed_in()
    return signed_in.theme if signed_in and signed_in.theme in ("light", "dark") else ""


def current_raw() -> str | None:
    return session.raw  # type: ignore[attr-defined]


def set_on(response: Response, raw: str) -> Response:
    """Give the browser its new session."""
    cookies.put(response, current_app.extensions["gatepost.session_cookie"], raw, max_age_seconds=current().session_seconds)
    return response


def clear_on(response: Response) -> Response:
    """Take the session from the browser, after it was ended in the store."""
    for name in (current_app.extensions["gatepost.session_cookie"], _SNAPSHOT):
        cookies.take_away(response, name)
    return response


def init_app(app: Flask, settings: Settings) -> None:
    app.extensions["gatepost.session_cookie"] = cookie_name(settings)
    app.session_interface = RedisSessionInterface()
