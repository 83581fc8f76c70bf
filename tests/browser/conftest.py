"""For the journeys: one Gatepost with its providers and a vendor for all of them, and browsers with script and without."""

import contextlib
import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright
from selenium.common.exceptions import WebDriverException
from sqlalchemy import select

from extensions import db
from models import User
from tests import factories, machine
from tests.browser import axe, site
from tests.browser.firefox import Firefox
from tests.browser.journey import APP_HOST, Program, Walk
from tests.browser.webkit import WebKit, Window
from tests.certificates import make_certificate
from tests.conftest import _missing
from tests.fakes.fixtures import github_settings, oidc_settings, vendor_settings
from tests.fakes.github import FakeGitHub, GitHubUser
from tests.fakes.oidc import FakeOidc, NodeMissing, NpmOidcProvider
from tests.fakes.smtp import FakeSmtp
from tests.fakes.vendor import FakeVendor
from tests.interop.gatepost import Gatepost, running

HAS_FAILED = pytest.StashKey[bool]()
NAMES = "ann ben cleo dora emil finn gwen hugo iris jack kate liam mona nora otto remy sara judy pete ruth".split()


@dataclass
class World:
    """Gatepost; GitHub (at `localhost`, so another site than Gatepost); npm's oidc-provider as Northwind, where everybody
    of NAMES has a verified address at example.com and bob none that is verified; a provider whose word is proved by mail;
    a vendor whose accounts are connected."""

    gatepost: Gatepost
    github: FakeGitHub
    northwind: NpmOidcProvider
    postal: FakeOidc
    smtp: FakeSmtp
    vendor: FakeVendor

    def at_github(self, number: int, login: str, email: str | None = None, **more: Any) -> GitHubUser:
        """This person now sits before GitHub."""
        self.github.cancels = False
        return self.github.add(GitHubUser.make(number, login, email or f"{login}@example.com", **more))

    def person(self, email: str) -> User:
        """Who has signed in with this address."""
        with self.gatepost.app.app_context():
            found = db.session.scalars(select(User).where(User.email == email)).one()
            db.session.expunge(found)
            return found


def _people() -> dict[str, dict[str, Any]]:
    people = {
        name: {"email": f"{name}@example.com", "email_verified": True, "name": name.title(), "preferred_username": name} for name in NAMES
    }
    return people | {"bob": {"email": "bob@example.com", "email_verified": False, "name": "Bob", "preferred_username": "bob"}}


@pytest.fixture(scope="package", params=["chromium", "firefox", "webkit"])
def engine(request: pytest.FixtureRequest) -> str:
    """What a test of the world runs in: `browser` is Chromium and Firefox, `chrome` Chromium alone, `webkit` WebKit alone."""
    return request.param


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = [item for item in items if not _is_for_another_engine(item)]


def _is_for_another_engine(item: pytest.Item) -> bool:
    if not isinstance(item, pytest.Function) or "engine" not in item.fixturenames:
        return False
    engines = {"webkit"} if "webkit" in item.fixturenames else {"chromium", "firefox"} if "browser" in item.fixturenames else {"chromium"}
    return item.callspec.params["engine"] not in engines


@pytest.fixture(scope="package")
def world(engine: str, node: str, postgres_url: str, valkey_url: str) -> Iterator[World]:
    """A new one for each engine: whoever signed in for the first time, and what was added, is not there yet."""
    github, postal, smtp, vendor = FakeGitHub(), FakeOidc(), FakeSmtp(), FakeVendor()
    providers: list[NpmOidcProvider] = []

    def settings(url: str) -> dict[str, Any]:
        try:
            providers.append(NpmOidcProvider(_people(), f"{url}/login/northwind/callback", always_says_when=True))
        except NodeMissing as error:
            _missing(str(error))
        return {
            **github_settings(github),
            "github__url": github.url.replace("127.0.0.1", "localhost"),
            **oidc_settings(providers[0], name="northwind", label="Northwind SSO"),
            **oidc_settings(postal, name="postal", label="Postal", email_trust="mail"),
            **vendor_settings(vendor, label="Acme"),
            "mail_url": smtp.url,
        }

    try:
        with running(postgres_url, valkey_url, settings=settings) as gatepost:
            yield World(gatepost, github, providers[0], postal, smtp, vendor)
    finally:
        for each in (github, postal, smtp, vendor, *providers):
            each.stop()


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """A thread can have one only."""
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="package")
def chrome(playwright: Playwright, chromium: str) -> Iterator[Browser]:
    flags = [*site.CHROMIUM_FLAGS, f"--host-resolver-rules=MAP {APP_HOST} 127.0.0.1"]
    browser = playwright.chromium.launch(executable_path=chromium, args=flags)
    yield browser
    browser.close()


@pytest.fixture(scope="package")
def browser(engine: str, playwright: Playwright, request: pytest.FixtureRequest) -> Iterator[Browser | Firefox]:
    if engine == "chromium":
        yield request.getfixturevalue("chrome")
        return
    program = machine.find_firefox() or _missing(f"Firefox (Debian: apt-get install {machine.FIREFOX_PACKAGE})")
    firefox = Firefox(playwright, program, preferences={"network.dns.localDomains": APP_HOST})
    yield firefox
    firefox.close()


@pytest.fixture(scope="package")
def webkit() -> Iterator[WebKit]:
    programs = machine.find_webkit() or _missing(f"WebKit (Debian: apt-get install {' '.join(machine.WEBKIT_PACKAGES)})")
    webkit = WebKit(*programs)
    yield webkit
    webkit.close()


@pytest.fixture(scope="package")
def axe_source(node: str) -> str:
    return axe.find(node) or _missing("axe-core (npm)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[HAS_FAILED] = report.failed
    return report


def _keep_pictures(test: pytest.Item, browsers: list[Walk] | list[Window]) -> None:
    """What every browser showed when the test failed."""
    folder = Path(__file__).parent / "failures"
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9]+", "-", test.name).strip("-")
    for number, browser in enumerate(browsers, 1):
        browser.take_picture(folder / f"{name}-{number}.png")
        print(f"browser {number} was at {browser.at}: tests/browser/failures/{name}-{number}.png")


@pytest.fixture
def open_browser(
    browser: Browser | Firefox, world: World, axe_source: str, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Walk]]:
    """`open_browser(person)`: another browser, of somebody who signed in a moment ago, or of nobody yet. It has no script
    unless told. What its console complained about fails the test."""
    walks: list[Walk] = []

    def make(person: User | None = None, *, width: int = 1280, script: bool = False, **options: Any) -> Walk:
        settings = {"viewport": {"width": width, "height": 900}, "ignore_https_errors": True, "reduced_motion": "reduce", **options}
        context = browser.new_context(java_script_enabled=script, **settings)
        axe_of_it = "" if isinstance(browser, Firefox) else axe_source
        walks.append(Walk(context, world.gatepost.url, axe_of_it, has_script=script))
        if person is not None:
            walks[-1].is_signed_in(factories.make_session(person))
        return walks[-1]

    yield make
    if request.node.stash.get(HAS_FAILED, False):
        _keep_pictures(request.node, walks)
    complaints = [complaint for walk in walks for complaint in walk.complaints]
    for walk in walks:
        walk.context.close()
    assert not complaints


@pytest.fixture
def open_window(webkit: WebKit, world: World, request: pytest.FixtureRequest) -> Iterator[Callable[..., Window]]:
    """`open_window(person, at=url)`: a WebKit of its own, of somebody who signed in a moment ago."""
    windows: list[Window] = []

    def make(person: User, *, at: str | None = None, **environment: str) -> Window:
        windows.append(webkit.open(at or world.gatepost.url, **environment))
        windows[-1].is_signed_in(factories.make_session(person))
        return windows[-1]

    yield make
    if request.node.stash.get(HAS_FAILED, False):
        with contextlib.suppress(WebDriverException):  # there is no picture of a page that hangs
            _keep_pictures(request.node, windows)
    for window in windows:
        window.close()


@pytest.fixture(params=[False, True], ids=["without script", "with script"])
def script(request: pytest.FixtureRequest) -> bool:
    """Whether the browsers of this journey have script: it is walked both ways."""
    return request.param


@pytest.fixture
def walk(open_browser: Callable[..., Walk]) -> Walk:
    return open_browser()


@pytest.fixture(scope="package")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def make_program(world: World, engine: str, certificate: tuple[Path, Path]) -> Iterator[Callable[..., Program]]:
    """`make_program("https", name="Notes", trusted=True)`: a registered program that listens; else on loopback."""
    app_host = "app.localhost" if engine == "webkit" else APP_HOST  # it cannot be told of other names
    programs: list[Program] = []

    def make(kind: str = "127.0.0.1", **registration: Any) -> Program:
        is_https = kind == "https"
        program = Program(world.gatepost.url, certificate=certificate if is_https else None, host=app_host if is_https else kind)
        programs.append(program)
        redirect_uri = program.redirect_uri if is_https else f"http://{kind}/callback"
        program.client = world.gatepost.register(
            **{"redirect_uris": [redirect_uri], "confirm": True, "name": "Gatepost CLI", **registration}
        )
        return program

    yield make
    for program in programs:
        program.stop()
