"""When letters leave: after the commit, outside of the request, before a command ends; and what is counted."""

import logging
import os
import re
import signal
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
import requests
from flask import Flask
from sqlalchemy import event

from commands.door import OperatorCommand
from extensions import db
from infra.clock import now_ms
from providers import ProviderAccount
from services.mail import delivery
from services.organizations import invitations
from services.sessions.user_sessions import SignInTime
from services.sign_in import email_confirmations
from services.sign_in.journeys import Journey
from tests import factories
from tests.fakes.fixtures import oidc_settings
from tests.fakes.oidc import FakeOidc
from tests.fakes.smtp import FakeSmtp
from tests.infra.test_bulkhead import wait_until
from tests.live_server import LiveServer
from tests.stores import free_port


@pytest.fixture
def app(make_app: Callable[..., Flask], smtp: FakeSmtp, op: FakeOidc) -> Flask:
    return make_app(mail_url=smtp.url, **oidc_settings(op, email_trust="mail"))


@contextmanager
def failing_commits() -> Iterator[None]:
    def fail(_session: Any) -> None:
        raise ConnectionError("no commit today")

    event.listen(db.session, "before_commit", fail)
    try:
        yield
    finally:
        event.remove(db.session, "before_commit", fail)
        db.session.rollback()


def _invite(person: Any, email: str = "ann@example.com") -> invitations.Sent:
    return invitations.invite(factories.make_actor(person), "acme", email=email, role="member")


def _begin() -> None:
    who = {"login": "ann", "name": "Ann", "email": "ann@example.com"}
    account = ProviderAccount("authentik", "https://idp.example", "1", **who, email_verified=False)
    email_confirmations.begin(factories.make_actor(), account, SignInTime(now_ms()), raw_browser="x" * 43, journey=Journey())


# --- after the commit ------------------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_nothing_is_mailed_about_what_was_not_committed(app: Flask, smtp: FakeSmtp) -> None:
    person = factories.make_user()
    factories.make_organization(owner=person, slug="acme")
    with app.app_context():
        sent = _invite(person)
    assert len(smtp.letters) == 1
    resend = lambda: invitations.resend(factories.make_actor(person), "acme", str(sent.row.id))  # noqa: E731  # one of three alike
    for act in (lambda: _invite(person, "bob@example.com"), resend, _begin):
        with app.app_context(), failing_commits(), pytest.raises(ConnectionError):
            act()
    assert len(smtp.letters) == 1
    with app.app_context():
        _begin()
    assert len(smtp.letters) == 2


def test_what_a_letter_is_about_is_committed_when_it_leaves(app: Flask, smtp: FakeSmtp, monkeypatch: pytest.MonkeyPatch) -> None:
    person = factories.make_user()
    factories.make_organization(owner=person, slug="acme")
    was_open: list[bool] = []
    real = delivery.deliver

    def watch(given: Any) -> bool:
        was_open.append(db.session().in_transaction())
        return real(given)

    monkeypatch.setattr(delivery, "deliver", watch)
    with app.app_context():
        _invite(person)
        _begin()
    assert was_open == [False, False]


# --- commands --------------------------------------------------------------------------------------------------------------------


def test_a_command_ends_after_its_letters_are_sent(app: Flask, smtp: FakeSmtp) -> None:
    person = factories.make_user()
    factories.make_organization(owner=person, slug="acme")

    @click.command("invite-ann", cls=OperatorCommand)
    def invite_ann() -> None:
        _invite(person)
        wait_until(lambda: bool(smtp.held))
        threading.Timer(0.2, smtp.go_on).start()
        raise click.exceptions.Exit(3)

    smtp.fault = "silent"
    done = app.test_cli_runner().invoke(invite_ann)
    assert len(smtp.arrived) == 1
    assert done.exit_code == 3


# --- no mail server --------------------------------------------------------------------------------------------------------------


def test_without_a_mail_server_letters_are_in_the_log_at_once_and_in_order(
    make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()
    person = factories.make_user()
    factories.make_organization(owner=person, slug="acme")
    with app.app_context(), caplog.at_level(logging.INFO, "gatepost.mail"):
        for name in ("ann", "bob"):
            assert _invite(person, f"{name}@example.com").is_mailed
            assert f"mail to {name}@example.com" in caplog.records[-1].getMessage()


# --- workers ---------------------------------------------------------------------------------------------------------------------


class Site:
    """A server of one worker whose letters are counted."""

    def __init__(self, live_server: Callable[..., LiveServer], smtp: FakeSmtp) -> None:
        person = factories.make_user()
        organization = factories.make_organization(owner=person, slug="acme")
        self.headers = {"Authorization": f"Bearer {factories.make_api_key(organization, person).raw_key}"}
        self.bind = f"127.0.0.1:{free_port()}"
        self.server = live_server(workers=1, env={"GATEPOST_MAIL_URL": smtp.url, "GATEPOST_METRICS_BIND": self.bind})

    def invite(self, name: str) -> int:
        body = {"email": f"{name}@example.com", "role": "member"}
        path = "/api/v1/orgs/acme/invitations"
        return requests.post(self.server.url + path, headers=self.headers, json=body, timeout=60).status_code

    def counted(self) -> dict[str, int]:
        with urllib.request.urlopen(f"http://{self.bind}/metrics", timeout=60) as answer:
            found = re.findall(r'gatepost_mail_letters_total{outcome="(\w+)"} (\d+)', answer.read().decode())
        return {outcome: int(number) for outcome, number in found if int(number)}

    def replace_worker(self) -> None:
        """The worker ends gracefully, at once: the mail server's deadline runs meanwhile. gunicorn starts another."""
        assert self.server.process is not None
        arbiter = self.server.process.pid
        children = Path(f"/proc/{arbiter}/task/{arbiter}/children").read_text().split()
        (worker,) = [pid for pid in children if b"gunicorn" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(int(worker), signal.SIGTERM)


def test_letters_are_counted_by_outcome(app: Flask, live_server: Callable[..., LiveServer], smtp: FakeSmtp) -> None:
    site = Site(live_server, smtp)
    smtp.refuses = "bob@example.com"
    assert [site.invite(name) for name in ("ann", "bob", "cleo")] == [201, 201, 201]
    wait_until(lambda: sum(site.counted().values()) == 6)
    assert site.counted() == {"accepted": 3, "sent": 2, "refused": 1}
    assert "outcome=refused" in site.server.log
    assert "bob@example.com" not in site.server.log


def test_a_worker_that_ends_gracefully_sends_its_letters_or_counts_them(
    app: Flask, live_server: Callable[..., LiveServer], smtp: FakeSmtp
) -> None:
    site = Site(live_server, smtp)
    smtp.fault = "silent"
    assert {site.invite(f"guest-{number}") for number in range(5)} == {201}
    wait_until(lambda: bool(smtp.held))
    site.replace_worker()
    smtp.go_on()
    wait_until(lambda: sum(site.counted().values()) >= 10)  # each accepted, and then one thing more
    assert len(smtp.arrived) + site.counted().get("lost", 0) >= 5


def test_a_worker_that_ends_while_the_mail_server_hangs_counts_its_letters_as_lost(
    app: Flask, live_server: Callable[..., LiveServer], smtp: FakeSmtp
) -> None:
    site = Site(live_server, smtp)
    smtp.fault = "silent"
    assert {site.invite(f"guest-{number}") for number in range(5)} == {201}
    wait_until(lambda: bool(smtp.held))
    site.replace_worker()
    wait_until(lambda: site.counted().get("lost") == 5)
    assert "emails were lost: the process is ending emails=5" in site.server.log
    assert smtp.arrived == []
    assert site.invite("another") == 201, "the new worker serves"
