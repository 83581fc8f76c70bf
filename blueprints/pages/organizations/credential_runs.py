"""Testing a credential's value at its service: begun, waited for a moment, and told in words when it is over.

Two kinds of run: `put` tests a new value and stores it when it is good; `check` tests the one that is stored.
"""

from collections.abc import Callable, Mapping

from flask import g
from flask_babel import gettext as _
from markupsafe import Markup, escape

from blueprints import background, session_cookie
from blueprints.html import quotas, words
from errors import Unauthenticated, Unavailable
from services.access.actors import Actor
from services.access.quotas import QuotaReached
from services.sessions import background_runs, user_sessions
from services.vault import credential_checks
from services.vault.credential_declarations import NotOfItsKind

Told = tuple[str, Markup]  # the kind of note, and the sentence


def test_stored(slug: str, name: str, *, scope: str, service: str) -> tuple[str, Mapping[str, str] | None]:
    """The run's id, and its outcome if that came at once.   Raises: as `credential_checks.check`, if it came at once."""
    actor, raw_session = g.actor, session_cookie.current_raw() or ""

    def look_again() -> Actor:
        if not user_sessions.is_live(raw_session):
            raise Unauthenticated()
        return actor

    def work() -> Mapping[str, str]:
        try:
            found = credential_checks.check(actor, slug, name, scope=scope, address=None, look_again=look_again)
        except Unavailable:
            return {"status": "unavailable"}
        return {"status": found.status, "code": found.code}

    return _begin(slug, name, service, "check", work)


def put_tested(slug: str, name: str, *, scope: str, service: str, value: str) -> tuple[str, Mapping[str, str] | None]:
    """The same of a new value.   Raises: as `credentials.put`, if it came at once."""
    actor, raw_session = g.actor, session_cookie.current_raw() or ""

    def work() -> Mapping[str, str]:
        try:
            trial, stored = credential_checks.put_tried(actor, slug, name, scope=scope, value=value, raw_session=raw_session)
        except QuotaReached as error:
            return {"status": error.code, "code": str(error.limit)}
        return {"status": trial.status, "code": trial.code, "is_new": "yes" if stored and stored.is_new else ""}

    return _begin(slug, name, service, "put", work)


def _begin(slug: str, name: str, service: str, kind: str, work: Callable[[], Mapping[str, str]]) -> tuple[str, Mapping[str, str] | None]:
    raw_session = session_cookie.current_raw() or ""
    run_id = background_runs.begin(raw_session, {"slug": slug, "name": name, "service": service, "kind": kind})
    return run_id, background.work_out(raw_session, run_id, work)


def told(about: Mapping[str, str], outcome: Mapping[str, str]) -> Told:
    """How it ended."""
    status, service, key = outcome["status"], words.untrusted(about["service"]), words.mono(about["name"])
    if status not in ("ok", "rejected", "unavailable", "rate_limited", "missing", QuotaReached.code):
        return "warn", words.filled(_("The test didn’t finish. Open %(key)s to check its current state."), key=key)
    if about["kind"] == "put":
        if status == "ok":
            return "ok", stored(key, is_new=bool(outcome.get("is_new")))
        return "danger", refusal(status, outcome.get("code", ""), service)
    if status == "ok":
        return "ok", words.filled(_("%(service)s accepts %(key)s."), service=service, key=key)
    if status == "missing":
        return "danger", words.filled(_("%(key)s is blank. Replace its value."), key=key)
    if status != "rejected":
        return "warn", words.filled(_("%(service)s isn’t answering. Try again."), service=service)
    text = _("%(service)s refused %(key)s (%(code)s). Replace its value.") if outcome.get("code") else _("%(service)s refused %(key)s.")
    return "danger", words.filled(text, service=service, key=key, code=words.mono(outcome.get("code", "")))


def stored(key: Markup | str, *, is_new: bool) -> Markup:
    """What is said of a value that was put."""
    text = _("%(key)s set. It’s used from the next request.") if is_new else _("%(key)s replaced. It’s used from the next request.")
    return words.filled(text, key=key)


def not_of_its_kind(error: NotOfItsKind) -> str:
    """What is said at the field."""
    return _("This doesn’t look like a value for %(service)s. Check that you copied all of it", service=error.label)


def refusal(status: str, code: str, service: Markup | str) -> Markup:
    """Why a new value was not put."""
    if status == QuotaReached.code:
        return escape(quotas.reached(QuotaReached("credentials", int(code))))
    if status == "unavailable":
        return words.filled(_("%(service)s isn’t answering. Nothing changed. Try again, or save it without a test"), service=service)
    if not code:
        return words.filled(_("%(service)s refused the new value. Nothing changed."), service=service)
    text = _("%(service)s refused the new value (%(code)s). Nothing changed.")
    return words.filled(text, service=service, code=words.mono(code))
