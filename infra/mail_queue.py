"""Letters that wait to be sent, and the few threads of this process that send them, so that no request waits for a mail server.

Letters are kept in memory only and tried once. A thread starts when letters come and ends when none are left, so a process that forks
has none. A process that ends waits a moment for its letters; what is still unsent then is counted as lost. A process that is killed
loses them uncounted.
"""

import atexit
import logging
import os
import threading
from collections import deque
from collections.abc import Sequence
from typing import get_args

from infra import mailer, metrics
from infra.mailer import Letter, MailServer, Outcome

log = logging.getLogger("gatepost.mail")

metrics.expect("mail_letters", outcome=("accepted", "dropped", "lost", *get_args(Outcome)))

LETTERS = 500
THREADS = 2
EXIT_SECONDS = 3.0  # half of the graceful timeout in gunicorn.conf.py
_BATCH = 20  # letters over one connection


class MailQueue:
    """The waiting letters of one process."""

    def __init__(self, letters: int = LETTERS, threads: int = THREADS) -> None:
        self._limit, self._most_threads = letters, threads
        self.forget()

    def forget(self) -> None:
        """Start empty, also after a fork: the parent's letters are the parent's."""
        self._changed = threading.Condition()
        self._waiting: deque[tuple[MailServer, Letter]] = deque()
        self._threads = 0
        self._unreported = 0  # letters that a thread has taken and not yet reported

    def put(self, server: MailServer, letters: Sequence[Letter]) -> bool:
        """Let a thread send these letters. False if there is no room for all of them: then none is sent."""
        with self._changed:
            is_taken = len(self._waiting) + len(letters) <= self._limit and self._has_thread()
            if is_taken:
                self._waiting.extend((server, letter) for letter in letters)
        metrics.count("mail_letters", len(letters), outcome="accepted" if is_taken else "dropped")
        if not is_taken:
            log.warning("emails were not sent: too many are waiting, or no thread can be started", extra={"emails": len(letters)})
        return is_taken

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until nothing is left to send. False if that takes longer than `seconds`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._threads, seconds)

    def close(self, seconds: float) -> None:
        """Wait for what can still be sent, and count the rest as lost. For a process that ends."""
        if self.wait(seconds):
            return
        with self._changed:
            lost = len(self._waiting) + self._unreported
            self._waiting.clear()
        metrics.count("mail_letters", lost, outcome="lost")
        log.warning("emails were lost: the process is ending", extra={"emails": lost})

    def _has_thread(self) -> bool:
        """Start another thread if there may be one more."""
        if self._threads < self._most_threads:
            try:
                threading.Thread(target=self._run, name="mail", daemon=True).start()
            except RuntimeError:  # the machine has no more threads, or the interpreter ends
                log.warning("no thread to send email on")
            else:
                self._threads += 1
        return self._threads > 0

    def _run(self) -> None:
        while batch := self._take():
            try:
                mailer.send_all(*batch, self._report)
            except Exception:  # a report that failed; the thread goes on, or nobody would know that it ended
                log.exception("the outcome of emails was not counted")

    def _take(self) -> tuple[MailServer, list[Letter]] | None:
        """The next letters for one connection. None when there are no more: the thread ends."""
        with self._changed:
            if not self._waiting:
                self._threads -= 1
                self._changed.notify_all()
                return None
            server, letters = self._waiting[0][0], []
            while self._waiting and len(letters) < _BATCH and self._waiting[0][0] == server:
                letters.append(self._waiting.popleft()[1])
            self._unreported += len(letters)
            return server, letters

    def _report(self, outcome: Outcome, why: str) -> None:
        with self._changed:
            self._unreported -= 1
        metrics.count("mail_letters", outcome=outcome)
        if outcome != "sent":
            log.warning("an email was not sent", extra={"outcome": outcome, "detail": why})


_queue = MailQueue()
put, wait, close = _queue.put, _queue.wait, _queue.close
os.register_at_fork(after_in_child=_queue.forget)
atexit.register(close, EXIT_SECONDS)
