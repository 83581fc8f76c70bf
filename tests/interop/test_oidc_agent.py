"""Debian's oidc-agent, with its defaults: a public client that sends an empty secret by HTTP Basic, and asks for consent each time."""

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
import requests

from tests import machine
from tests.certificates import make_certificate
from tests.conftest import _missing
from tests.interop.gatepost import Gatepost, Person, running
from tests.interop.oidc_agent import OidcAgent

SCOPE = "openid profile email offline_access"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def gatepost(postgres_url: str, valkey_url: str, certificate: tuple[Path, Path]) -> Iterator[Gatepost]:
    if machine.find_oidc_agent() is None:
        _missing(f"oidc-agent (Debian: apt-get install {machine.OIDC_AGENT_PACKAGE})")
    arguments = ("--certfile", str(certificate[0]), "--keyfile", str(certificate[1]))
    with running(postgres_url, valkey_url, scheme="https", arguments=arguments, verify=str(certificate[0])) as gatepost:
        yield gatepost


@pytest.fixture
def agent(gatepost: Gatepost, certificate: tuple[Path, Path]) -> Iterator[OidcAgent]:
    started = OidcAgent(gatepost.url, authority=certificate[0])
    yield started
    started.stop()


def press_allow(person: Person, url: str) -> requests.Response:
    """`prompt=consent`: the page is shown, and its button leads back to the program by a page, so that it may lead to another site."""
    page = person.open(url)
    action = found(r'<form[^>]* action="(/oauth/[^"]+)"', page.text)
    fields = {"csrf_token": found(r'name="csrf_token" value="([^"]+)"', page.text), "decision": "allow"}
    answer = person.browser.post(f"{person.gatepost.url}{action}", data=fields, timeout=30)
    return person.open(found(r'http-equiv="refresh" content="0;url=([^"]+)"', answer.text))


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, text
    return unescape(match[1])


def test_it_signs_in_and_refreshes(gatepost: Gatepost, person: Person, agent: OidcAgent) -> None:
    client = gatepost.register(redirect_uris=[agent.redirect_uri], scope=SCOPE)
    agent.sign_in("mine", client_id=client.client_id, client_secret="", scope=SCOPE, browse=lambda url: press_allow(person, url))
    tokens = [agent.get_token("mine") for _ in range(3)]
    assert len(set(tokens)) == len(tokens), "each was to be a new one"
    for token in tokens:
        headers = {"Authorization": f"Bearer {token}"}
        claims = requests.get(f"{gatepost.url}/oauth/userinfo", headers=headers, verify=gatepost.verify, timeout=30).json()
        assert (claims["sub"], claims["email"]) == (str(person.user.id), person.user.email)


def test_a_confidential_client_signs_in_with_its_secret(gatepost: Gatepost, person: Person, agent: OidcAgent) -> None:
    client = gatepost.register(type="confidential", redirect_uris=[agent.redirect_uri], scope=SCOPE)
    agent.sign_in(
        "mine", client_id=client.client_id, client_secret=client.raw_secret or "", scope=SCOPE, browse=lambda url: press_allow(person, url)
    )
    assert len({agent.get_token("mine") for _ in range(2)}) == 2
