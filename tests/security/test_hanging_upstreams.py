"""While providers and vendors hang, everybody else is answered: a real server, upstreams that keep their callers.

Each claim is made of a moment in which the upstream still holds the very callers that it held before, never of a duration.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from infra import mail_queue
from tests import factories
from tests.fakes.fixtures import github_settings, oidc_settings, vendor_settings
from tests.fakes.github import FakeGitHub
from tests.fakes.oidc import FakeOidc
from tests.fakes.server import FakeServer
from tests.fakes.smtp import FakeSmtp
from tests.fakes.vendor import FakeVendor
from tests.live_server import LiveServer

DISCOVERY = "/.well-known/openid-configuration"
LOOPS = 12
CALLERS = 16


@pytest.fixture
def other() -> Iterator[FakeOidc]:
    """Another provider, which answers."""
    fake = FakeOidc()
    yield fake
    fake.stop()


class Site:
    """A server of one worker, and what others want of it meanwhile."""

    def __init__(self, server: LiveServer, other: FakeOidc) -> None:
        self.server, self.other = server, other
        self.machine = factories.make_client(type="confidential", grant_types="client_credentials", scope="introspect", redirect_uris=[])

    def ask(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        return requests.request(method, self.server.url + path, allow_redirects=False, timeout=60, **kwargs)

    def others_are_answered(self) -> None:
        assert self.ask("GET", "/healthz").status_code == 200
        form = {"grant_type": "client_credentials", "client_id": self.machine.client_id, "client_secret": self.machine.raw_secret}
        assert self.ask("POST", "/oauth/token", data=form).status_code == 200
        browser = Visitor(self.server.url)
        assert "error=" not in browser.sign_in(self.other, "other").headers["Location"]
        assert browser.is_signed_in

    def while_stuck(self, upstream: FakeServer | FakeSmtp, act: Callable[[], None] | None = None) -> None:
        """`act` ends while the upstream keeps a caller that it kept before. Three tries: a slow machine may miss the end of one."""
        for _ in range(3):
            wait_until(lambda: bool(upstream.held))
            before = set(upstream.held)
            (act or self.others_are_answered)()
            if before & upstream.held:
                return
        pytest.fail("nobody was answered before the upstream let its callers go")


class Visitor:
    """A browser that keeps cookies and follows nothing by itself."""

    def __init__(self, url: str) -> None:
        self.url, self.http = url, requests.Session()

    def get(self, path: str) -> requests.Response:
        return self.http.get(self.url + path, allow_redirects=False, timeout=60)

    def start(self, provider_id: str) -> str:
        return self.get(f"/login/{provider_id}").headers["Location"]

    def back(self, upstream: Any, location: str) -> str:
        """The callback's address on this site."""
        parts = urlsplit(upstream.visit(location))
        return f"{parts.path}?{parts.query}"

    def sign_in(self, upstream: Any, provider_id: str) -> requests.Response:
        return self.get(self.back(upstream, self.start(provider_id)))

    @property
    def is_signed_in(self) -> bool:
        return self.get("/login").status_code == 303


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def nobody_stays(upstream: FakeServer | FakeSmtp) -> None:
    """The deadline ends the connection too, however the upstream keeps it busy."""
    wait_until(lambda: not upstream.held)


@contextmanager
def loops(count: int, act: Callable[[], Any]) -> Iterator[list[Any]]:
    """`count` callers that do it again and again until the block ends; what they got."""
    got: list[Any] = []
    is_over = threading.Event()

    def run() -> None:
        while not is_over.is_set():
            got.append(act())
            is_over.wait(0.2)

    with ThreadPoolExecutor(count) as pool:
        running = [pool.submit(run) for _ in range(count)]
        try:
            yield got
        finally:
            is_over.set()
    for one in running:
        one.result()


@pytest.fixture
def start(app: Any, live_server: Callable[..., LiveServer], other: FakeOidc) -> Callable[..., Site]:
    """`start(**settings)`: the site, with the other provider beside what the settings name."""

    def make(threads: int = 4, **settings: Any) -> Site:
        named = {**oidc_settings(other, "other"), **settings}
        env = {f"GATEPOST_{name.upper()}": str(value) for name, value in named.items()}
        return Site(live_server(workers=1, env=env, arguments=("--threads", str(threads))), other)

    return make


# --- sign-in ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FakeServer.STUCK)
def test_others_are_answered_while_a_providers_discovery_hangs(start: Callable[..., Site], op: FakeOidc, fault: str) -> None:
    site = start(**oidc_settings(op))
    op.faults[DISCOVERY] = fault
    with loops(LOOPS, lambda: site.ask("GET", "/login/authentik")) as refused:
        site.while_stuck(op)
    assert {answer.status_code for answer in refused} == {303}
    assert {parse_qs(urlsplit(answer.headers["Location"]).query)["error"][0] for answer in refused} == {"provider_unavailable"}
    page = site.ask("GET", refused[0].headers["Location"].removeprefix(site.server.url)).text
    assert "/login/authentik" in page, "there is no way to try again"
    nobody_stays(op)


def test_others_are_answered_while_code_exchanges_hang(start: Callable[..., Site], op: FakeOidc) -> None:
    site = start(**oidc_settings(op))
    trips = []
    for _ in range(LOOPS):
        visitor = Visitor(site.server.url)
        trips.append((visitor, visitor.back(op, visitor.start("authentik"))))
    op.faults["/token"] = "silent"
    with ThreadPoolExecutor(LOOPS) as pool:
        coming_back = [pool.submit(visitor.get, callback) for visitor, callback in trips]
        site.while_stuck(op)
        answers = [one.result() for one in coming_back]
    assert {answer.status_code for answer in answers} == {303}
    assert all("error=provider_unavailable" in answer.headers["Location"] for answer in answers)


def test_others_are_answered_while_the_same_callback_comes_again_and_again(start: Callable[..., Site], op: FakeOidc) -> None:
    """Duplicates wait for the first one's outcome; only so many of them."""
    site = start(**oidc_settings(op))
    visitor = Visitor(site.server.url)
    callback = visitor.back(op, visitor.start("authentik"))
    op.faults["/token"] = "silent"
    cookies = visitor.http.cookies.get_dict()

    with ThreadPoolExecutor(LOOPS) as pool:
        first = pool.submit(site.ask, "GET", callback, cookies=cookies)
        wait_until(lambda: bool(op.held))
        again = [pool.submit(site.ask, "GET", callback, cookies=cookies) for _ in range(LOOPS - 1)]
        site.while_stuck(op)
        answers = [one.result() for one in again]
        assert first.result().status_code == 303
    refused = [answer for answer in answers if answer.status_code == 503]
    assert refused
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
    assert op.count("/token") == 1


# --- vendors ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FakeServer.STUCK)
def test_others_are_answered_while_sixteen_ask_for_an_expired_connection(
    start: Callable[..., Site], vendor: FakeVendor, fault: str
) -> None:
    site = start(**vendor_settings(vendor))
    person = factories.make_user()
    organization = factories.make_organization(owner=person, slug="acme")
    key = factories.make_api_key(organization, person).raw_key
    tokens = vendor.consent()
    connection = factories.make_connection(
        organization=organization, access_token=tokens["access_token"], refresh_token=tokens["refresh_token"], expires_in=-1
    )
    path = f"/api/v1/orgs/acme/connections/{connection.id}/token"
    headers = {"Authorization": f"Bearer {key}"}
    vendor.faults["/token"] = fault
    with ThreadPoolExecutor(CALLERS) as pool:
        asking = [pool.submit(site.ask, "POST", path, headers=headers) for _ in range(CALLERS)]
        site.while_stuck(vendor)
        answers = [one.result() for one in asking]
    assert {(answer.status_code, answer.json()["error"]) for answer in answers} == {(503, "temporarily_unavailable")}
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
    assert vendor.count("/token") == 1
    nobody_stays(vendor)


@pytest.mark.parametrize(("threads", "at_most"), [(4, 1), (8, 3)])
def test_others_are_answered_while_tests_of_a_credential_hang(
    start: Callable[..., Site], github: FakeGitHub, threads: int, at_most: int
) -> None:
    site = start(threads, **github_settings(github))
    person = factories.make_user()
    organization = factories.make_organization(owner=person, slug="acme")
    key = factories.make_api_key(organization, person).raw_key
    headers = {"Authorization": f"Bearer {key}"}
    path = "/api/v1/orgs/acme/credentials/GITHUB_TOKEN"
    assert site.ask("PUT", path, headers=headers, json={"value": "ghp_" + "a" * 36}).status_code in (200, 201)
    github.faults["/user"] = "silent"
    with loops(LOOPS, lambda: site.ask("POST", f"{path}/check", headers=headers, json={})) as answers:
        wait_until(lambda: len(github.held) == at_most)
        site.while_stuck(github)
    assert github.most_held == at_most
    assert {answer.status_code for answer in answers} == {503}
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)


# --- mail ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FakeSmtp.STUCK)
def test_fifty_invitations_are_answered_while_the_mail_server_hangs(start: Callable[..., Site], smtp: FakeSmtp, fault: str) -> None:
    site = start(mail_url=smtp.url)
    person = factories.make_user()
    organization = factories.make_organization(owner=person, slug="acme")
    headers = {"Authorization": f"Bearer {factories.make_api_key(organization, person).raw_key}"}
    smtp.fault = fault
    numbers = itertools.count()

    def invite() -> int:
        body = {"email": f"guest-{next(numbers)}@example.com", "role": "member"}
        return site.ask("POST", "/api/v1/orgs/acme/invitations", headers=headers, json=body).status_code

    def fifty() -> None:
        with ThreadPoolExecutor(LOOPS) as pool:
            assert {one.result() for one in [pool.submit(invite) for _ in range(50)]} == {201}
        site.others_are_answered()

    assert invite() == 201
    site.while_stuck(smtp, fifty)
    assert smtp.most_held <= mail_queue.THREADS
    smtp.go_on()
    assert invite() == 201
    smtp.wait_for(to=f"guest-{next(numbers) - 1}@example.com")
