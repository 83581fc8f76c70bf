"""Work that may take longer than a page should: it is waited for a moment, and goes on in a thread when that is not enough.

So many at once in each worker; one more is waited for to its end, as if there were no background.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from flask import current_app

from services.sessions import background_runs

log = logging.getLogger("gatepost.background")

PATIENCE_SECONDS = 2.0
AT_ONCE = 8
BROKEN = {"status": "broken"}
_places = threading.BoundedSemaphore(AT_ONCE)


def work_out(raw_session: str, run_id: str, work: Callable[[], Mapping[str, str]]) -> Mapping[str, str] | None:
    """What `work` returns or raises; None when that takes longer: then the run (services/sessions/background_runs.py) will say it."""
    if not _places.acquire(blocking=False):
        return work()
    ended: list[Any] = []
    thread = threading.Thread(target=_in_thread, args=(_application(), raw_session, run_id, work, ended), name="background", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the machine has no more of them
        _places.release()
        return work()
    thread.join(PATIENCE_SECONDS)
    if not ended:
        return None
    if isinstance(ended[0], Exception):
        raise ended[0]
    outcome: Mapping[str, str] = ended[0]
    return outcome


def _in_thread(application: Any, raw_session: str, run_id: str, work: Callable[[], Mapping[str, str]], ended: list[Any]) -> None:
    try:
        with application.app_context():
            try:
                outcome = work()
            except Exception as error:  # whatever it is: the page that waits must end
                log.warning("work in the background failed", extra={"detail": type(error).__name__})
                ended.append(error)
                outcome = BROKEN
            else:
                ended.append(outcome)
            background_runs.finish(raw_session, run_id, outcome)
    finally:
        _places.release()


def _application() -> Any:
    return current_app._get_current_object()  # type: ignore[attr-defined]  # Flask's own way to hand it to a thread
