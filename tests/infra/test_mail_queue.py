"""Letters that wait: nobody waits for them, there are only so many, and each is reported once."""

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.mail_queue import LETTERS, THREADS, MailQueue
from infra.mailer import Letter, MailServer
from tests.fakes.smtp import FakeSmtp
from tests.infra.test_bulkhead import wait_until

ROOT = Path(__file__).resolve().parent.parent.parent


def letters(count: int, name: str = "guest") -> list[Letter]:
    return [Letter(f"{name}-{number}@example.com", "Hello", "A line\n") for number in range(count)]


@pytest.fixture
def server(smtp: FakeSmtp) -> MailServer:
    return MailServer(smtp.url, "gatepost.example")


@pytest.fixture
def make_queue() -> Iterator[Callable[..., MailQueue]]:
    made: list[MailQueue] = []

    def make(**bounds: int) -> MailQueue:
        made.append(MailQueue(**bounds))
        return made[-1]

    yield make
    for queue in made:
        queue.close(60)


@pytest.mark.parametrize("fault", FakeSmtp.STUCK)
def test_nobody_waits_for_a_server_that_hangs(make_queue: Callable[..., MailQueue], smtp: FakeSmtp, server: MailServer, fault: str) -> None:
    queue, smtp.fault = make_queue(), fault
    assert queue.put(server, letters(50))
    wait_until(lambda: bool(smtp.held))
    assert queue.put(server, letters(50, "another"))
    assert smtp.held
    assert smtp.arrived == []
    smtp.go_on()
    assert queue.wait(60)
    assert len(smtp.arrived) == 100
    assert smtp.most_held <= THREADS


def test_only_so_many_wait_and_one_too_many_refuses_all_of_its_call(
    make_queue: Callable[..., MailQueue], smtp: FakeSmtp, server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    queue, smtp.fault = make_queue(letters=3, threads=1), "silent"
    assert queue.put(server, letters(1, "held"))
    wait_until(lambda: bool(smtp.held))
    assert queue.put(server, letters(2))
    assert not queue.put(server, letters(2, "late"))
    assert queue.put(server, letters(1, "third"))
    assert not queue.put(server, letters(1, "late"))
    told = "emails were not sent: too many are waiting, or no thread can be started"
    assert [record.getMessage() for record in caplog.records] == [told] * 2
    assert "late" not in str([record.__dict__ for record in caplog.records])
    smtp.go_on()
    assert queue.wait(60)
    assert [letter["To"].partition("@")[0] for letter in smtp.arrived] == ["held-0", "guest-0", "guest-1", "third-0"]
    assert queue.put(server, letters(3))


def test_one_letter_that_hangs_leaves_a_thread_for_the_next(
    make_queue: Callable[..., MailQueue], smtp: FakeSmtp, server: MailServer
) -> None:
    queue, smtp.fault = make_queue(), "silent"
    queue.put(server, letters(1, "held"))
    wait_until(lambda: bool(smtp.held))
    smtp.fault = ""
    queue.put(server, letters(1))
    smtp.wait_for(to="guest-0@example.com")
    assert smtp.held


def test_threads_end_when_nothing_is_left(make_queue: Callable[..., MailQueue], smtp: FakeSmtp, server: MailServer) -> None:
    queue = make_queue()
    for _ in range(3):
        assert queue.put(server, letters(1))
        assert queue.wait(60)
        assert queue._threads == 0
    assert len(smtp.arrived) == 3


def test_an_address_that_the_server_cannot_take_stops_no_other_letter(
    make_queue: Callable[..., MailQueue], smtp: FakeSmtp, server: MailServer
) -> None:
    """The server does not offer SMTPUTF8."""
    queue = make_queue()
    queue.put(server, [Letter(f"{name}@example.com", "Hello", "A line\n") for name in ("ann", "jörg", "bob", "cleo")])
    assert queue.wait(60)
    assert sorted(smtp.recipients) == ["ann@example.com", "bob@example.com", "cleo@example.com"]


def test_a_letter_that_is_not_sent_is_logged_without_its_address(
    make_queue: Callable[..., MailQueue], smtp: FakeSmtp, server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    queue, smtp.refuses = make_queue(), "guest-1@example.com"
    queue.put(server, letters(3))
    assert queue.wait(60)
    (record,) = caplog.records
    assert (record.levelno, record.__dict__["outcome"], record.__dict__["detail"]) == (
        logging.WARNING,
        "refused",
        "SMTPRecipientsRefused 550 secret upstream text about [cut]",
    )
    assert "guest" not in str(record.__dict__)
    assert len(smtp.arrived) == 2


def test_a_broken_letter_is_reported_and_the_queue_goes_on(
    make_queue: Callable[..., MailQueue], smtp: FakeSmtp, server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    queue = make_queue()
    queue.put(server, [Letter("guest@example.com", "Hello", None)])  # type: ignore[arg-type]  # as if we had a bug
    assert queue.wait(60)
    assert "failed" in [record.__dict__.get("outcome") for record in caplog.records]
    queue.put(server, letters(1))
    assert queue.wait(60)
    assert len(smtp.arrived) == 1


def test_a_process_that_ends_waits_a_moment_and_says_what_is_lost(
    make_queue: Callable[..., MailQueue], smtp: FakeSmtp, server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    queue, smtp.fault = make_queue(threads=1), "silent"
    queue.put(server, letters(25))
    wait_until(lambda: bool(smtp.held))
    queue.close(0.01)
    (record,) = caplog.records
    assert (record.getMessage(), record.__dict__["emails"]) == ("emails were lost: the process is ending", 25)
    smtp.go_on()
    assert queue.wait(60)
    queue.close(0.01)
    assert len(caplog.records) == 1


# --- real processes ----------------------------------------------------------------------------------------------------------


def _run(smtp: FakeSmtp, *lines: str) -> subprocess.CompletedProcess[str]:
    script = [
        "import os, sys, logging",
        "sys.path.insert(0, '.')",
        "from infra import mail_queue",
        "from infra.mailer import Letter, MailServer",
        f"server = MailServer({smtp.url!r}, 'gatepost.example')",
        "put = lambda count: mail_queue.put(server, [Letter('guest@example.com', 'Hello', 'A line') for _ in range(count)])",
        *lines,
    ]
    return subprocess.run([sys.executable, "-c", "\n".join(script)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)


def test_a_process_that_ends_has_sent_its_letters(smtp: FakeSmtp) -> None:
    _run(smtp, "put(45)")
    assert len(smtp.arrived) == 45


def test_a_server_that_hangs_does_not_keep_a_process_from_ending(smtp: FakeSmtp) -> None:
    smtp.fault = "silent"
    done = _run(smtp, "mail_queue.EXIT_SECONDS = 0.1", "put(5)")
    assert "emails were lost" in done.stderr
    assert smtp.arrived == []


def test_a_child_does_not_send_its_parents_letters(smtp: FakeSmtp) -> None:
    smtp.fault = "silent"
    done = _run(
        smtp,
        "put(30)",
        "while not mail_queue._queue._unreported: pass",
        "if os.fork() == 0:",
        "    assert mail_queue.wait(0) and put(1) and mail_queue._queue._threads == 1",
        "    os._exit(0)",
        "assert os.wait()[1] == 0",
        "print('forked', flush=True)",
        "mail_queue.EXIT_SECONDS = 0.1",
    )
    assert "forked" in done.stdout


def test_the_bounds_are_those_of_the_docs() -> None:
    text = (ROOT / "docs" / "operating.md").read_text()
    assert f"{LETTERS} emails" in text
    assert f"on {THREADS} threads" in text
