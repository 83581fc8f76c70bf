"""What strangers who begin sign-ins leave in Redis is small and bounded, and costs others nothing before the bound of all."""

import random
import string
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask

from infra.secret_text import hex_hash
from infra.upstream_states import Bound
from services.sign_in import browser_notes, sign_in
from services.vault import connecting
from tests import factories
from tests.fakes.browser import Browser, path_of, query_of
from tests.fakes.fixtures import github_settings, vendor_settings
from tests.fakes.github import FakeGitHub, GitHubUser
from tests.fakes.vendor import FakeVendor
from tests.oauth.flow import Program, handoff_of

BUDGET = 10_240
QUERY_BYTES = 6000
TOKEN = "/login/oauth/access_token"

# what a client may send, from most to least dense
ALPHABETS = {
    "any visible character": "".join(set(string.printable[:94]) - set("&=+%#;")),
    "base64": string.ascii_letters + string.digits + "-_",
    "percent": "%41",
    "one letter": "x",
}


def _query(program: Program, alphabet: str) -> str:
    """An authorize request of exactly 6,000 bytes."""
    query = program.authorize_query(scope="openid offline_access", state="")
    chance = random.Random(1)
    missing = QUERY_BYTES - len(query) - len("&more=")
    filling = "".join(chance.choices(alphabet, k=missing)) if alphabet != "%41" else (alphabet * missing)[: missing - missing % 3]
    return f"{query}&more={filling}".ljust(QUERY_BYTES, "A")


def _start_as(app: Flask, address: str, query: str = "") -> tuple[Browser, str]:
    """A new browser at this address begins a sign-in."""
    browser = Browser(app)
    return browser, browser.start(query=query, environ_base={"REMOTE_ADDR": address})


def _is_kept(app: Flask, url: str) -> bool:
    return bool(app.extensions["gatepost.redis"].exists(f"gatepost:state:{{states}}:{hex_hash(query_of(url)['state'])}"))


# --- bytes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("end", ["begun", "cancelled", "signed in", "repeated"])
def test_an_anonymous_start_leaves_ten_kilobytes_at_most(
    make_app: Callable[..., Flask], github: FakeGitHub, alphabet: str, end: str
) -> None:
    app = make_app(rate_limits="on", **github_settings(github))
    github.add(GitHubUser.make(101, "ann", "ann@example.com"))
    program = Program(app, factories.make_client(trusted=True))
    browser = Browser(app)
    response = browser.get("/oauth/authorize?" + _query(program, ALPHABETS[alphabet]))
    assert path_of(response) == "/login"
    handoff = handoff_of(response)
    browser.get(response.headers["Location"])
    url = browser.start(query=urlencode({"handoff": handoff}))
    if end != "begun":
        github.cancels = end == "cancelled"
        back = github.visit(url)
        for _ in range(2 if end == "repeated" else 1):
            location = browser.come_back(back).headers["Location"]
            assert handoff in location, "the outcome still says where the browser goes"
    store = app.extensions["gatepost.redis"]
    sizes = {key: store.memory_usage(key, samples=0) for key in store.keys("*") if b"session" not in key}
    assert sum(sizes.values()) <= BUDGET, sizes


# --- bounds -------------------------------------------------------------------------------------------------------


@pytest.fixture
def bounded(make_app: Callable[..., Flask], github: FakeGitHub, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """Three of a network, and eight in all."""
    monkeypatch.setattr(sign_in, "STATES", Bound("sign-ins", of_group=3, in_all=8))
    github.add(GitHubUser.make(101, "ann", "ann@example.com"))
    return make_app(**github_settings(github))


@pytest.mark.parametrize(
    ("crowd", "neighbor"),
    [
        ([f"192.0.2.{number}" for number in range(1, 21)], "192.0.3.1"),
        ([f"2001:db8:1:{number}::1" for number in range(1, 21)], "2001:db8:2::1"),
        ([f"::ffff:192.0.2.{number}" for number in range(1, 21)], "192.0.3.1"),
    ],
)
def test_the_oldest_of_a_network_go_first_and_other_networks_keep_theirs(
    bounded: Flask, github: FakeGitHub, crowd: list[str], neighbor: str
) -> None:
    other, of_the_other = _start_as(bounded, neighbor)
    urls = [_start_as(bounded, address)[1] for address in crowd]
    assert [_is_kept(bounded, url) for url in urls] == [False] * 17 + [True] * 3
    assert _is_kept(bounded, of_the_other)
    assert path_of(other.come_back(github.visit(of_the_other))) == "/account"


def test_at_the_bound_of_all_the_oldest_go_whose_ever_they_are(bounded: Flask) -> None:
    urls = [_start_as(bounded, f"198.51.{number}.1")[1] for number in range(12)]
    assert [_is_kept(bounded, url) for url in urls] == [False] * 4 + [True] * 8


def test_what_went_because_of_all_takes_no_place_of_its_network(bounded: Flask) -> None:
    early = [_start_as(bounded, "192.0.2.1")[1] for _ in range(3)]
    for number in range(8):
        _start_as(bounded, f"198.51.{number}.1")
    late = [_start_as(bounded, "192.0.2.1")[1] for _ in range(3)]
    assert [_is_kept(bounded, url) for url in early + late] == [False] * 3 + [True] * 3


def test_an_address_that_is_not_known_counts_among_all_only(bounded: Flask) -> None:
    urls = [_start_as(bounded, "unix:")[1] for _ in range(10)]
    assert [_is_kept(bounded, url) for url in urls] == [False] * 2 + [True] * 8


def test_who_was_pushed_out_starts_again_from_where_they_were_and_no_code_is_sent(bounded: Flask, github: FakeGitHub) -> None:
    program = Program(bounded, factories.make_client(trusted=True))
    handoff = handoff_of(program.authorize(bounded.test_client()))
    browser, url = _start_as(bounded, "192.0.2.1", urlencode({"handoff": handoff}))
    for _ in range(3):
        _start_as(bounded, "192.0.2.2")
    response = browser.come_back(github.visit(url))
    assert path_of(response) == "/login"
    assert query_of(response.headers["Location"]) == {"error": "state_mismatch", "handoff": handoff}
    assert "Set-Cookie" not in response.headers
    assert browser.get(response.headers["Location"]).status_code == 200
    assert github.count(TOKEN) == 0


def test_who_was_pushed_out_with_everything_meets_the_plain_sign_in_page(
    bounded: Flask, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser_notes, "OF_A_NETWORK", 3)
    browser, url = _start_as(bounded, "192.0.2.1", "next=/account/sessions")
    for _ in range(3):
        _start_as(bounded, "192.0.2.2")
    response = browser.come_back(github.visit(url))
    assert response.headers["Location"] == "/login?error=state_mismatch"
    assert browser.get(response.headers["Location"]).status_code == 200


def test_a_browser_that_begins_again_and_again_keeps_its_handoff_once(bounded: Flask) -> None:
    program = Program(bounded, factories.make_client(trusted=True))
    browser, handoff = Browser(bounded), handoff_of(program.authorize(bounded.test_client()))
    for _ in range(3):
        browser.start(query=urlencode({"handoff": handoff}))
    store = bounded.extensions["gatepost.redis"]
    assert len(store.keys("gatepost:state:*")) == 3
    assert len(store.keys("gatepost:browser-note:*")) == 2


@pytest.mark.parametrize("kind", ["journey", "last-journey", "refusal"])
def test_notes_for_browsers_are_bounded_too(
    make_app: Callable[..., Flask], github: FakeGitHub, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(browser_notes, "OF_A_NETWORK", 3)
    app = make_app(**github_settings(github))
    github.cancels = True
    for _ in range(6):
        browser, url = _start_as(app, "192.0.2.1")
        browser.come_back(github.visit(url), environ_base={"REMOTE_ADDR": "192.0.2.1"})
    other, url = _start_as(app, "192.0.3.1")
    other.come_back(github.visit(url), environ_base={"REMOTE_ADDR": "192.0.3.1"})
    assert len(app.extensions["gatepost.redis"].keys(f"gatepost:browser-note:{{notes}}:{kind}:*")) == 3 + 1


def test_a_person_who_connects_accounts_pushes_out_their_own_only(
    make_app: Callable[..., Flask], vendor: FakeVendor, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "STATES", Bound("connections", of_group=2, in_all=8))
    monkeypatch.setattr(sign_in, "STATES", Bound("sign-ins", of_group=3, in_all=8))
    app = make_app(**vendor_settings(vendor), **github_settings(github))
    people = [factories.make_user(), factories.make_user()]
    organization = factories.make_organization(owner=people[0], slug="northwind")
    factories.make_membership(organization, people[1], role="admin")
    browsers = [Browser(app), Browser(app)]
    for person, browser in zip(people, browsers, strict=True):
        factories.sign_in(browser.client, person)

    def start(browser: Browser) -> Any:
        return browser.get("/orgs/northwind/connections/acme/start").headers["Location"]

    theirs = start(browsers[1])
    mine = [start(browsers[0]) for _ in range(4)]
    for _ in range(20):
        _start_as(app, "127.0.0.1")  # a crowd of sign-ins in the same network
    assert [_is_kept(app, url) for url in mine] == [False, False, True, True]
    assert "outcome=connected" in browsers[1].come_back(vendor.visit(theirs)).headers["Location"]
