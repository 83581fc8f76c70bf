"""Somebody who has never seen Gatepost comes from signing in to a resolved credential by what the pages say."""

import json
import re
import shlex
from html import unescape
from string import Template
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from tests import factories
from tests.pages.forms import post, said


def _blocks(text: str) -> list[str]:
    """The blocks of code of a page."""
    return [unescape(block) for block in re.findall(r"<pre [^>]*>([^<]*)</pre>", text)]


def _in_a_shell(client: FlaskClient, environment: str, request: str) -> Any:
    """What the server answers to the curl command."""
    variables = dict(line.split("=", 1) for line in environment.splitlines())
    words = [Template(word).substitute(variables) for word in shlex.split(request.replace("\\\n", ""))]
    url = next(word for word in words if word.startswith("http"))
    headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
    path = url.removeprefix(variables["GATEPOST_URL"])
    return client.post(path, headers=headers, data=words[words.index("-d") + 1])


def test_the_way_from_signing_in_to_a_resolved_credential(app: Flask, database: Any) -> None:
    user = factories.make_user(name="Maya Lind")
    browser = app.test_client()
    factories.sign_in(browser, user)
    arrived = browser.get(browser.get("/").location).text
    assert 'href="/orgs/maya-lind/' in arrived, "where somebody arrives, the way on is on the page"
    assert 'href="/orgs/new"' in arrived

    made = browser.get(post(browser, "/orgs/new", name="Fjord Labs", slug="fjord").location)
    page = browser.get(made.location)
    assert "Next: add a credential, or create an agent." in said(page)
    assert 'href="/orgs/fjord/credentials"' in page.text
    assert "Go to Fjord Labs" in said(browser.get("/account")), "the one used last"

    page = browser.get("/orgs/fjord/credentials")
    assert 'href="/orgs/fjord/credentials/new"' in page.text
    post(browser, "/orgs/fjord/credentials/new", key="LINEAR_API_KEY", set_by="both", value="lin_0123456789abcdef")

    agent = post(browser, "/orgs/fjord/agents/new", name="deploy-bot").location
    assert "Create a key so it can work." in said(browser.get(agent))
    created = browser.get(post(browser, f"{agent}/keys/new", name="prod", expires="30", scopes="credentials:read").location)
    environment, request = _blocks(created.text)
    assert '"names": ["LINEAR_API_KEY"]' in request, "one that is there"
    answer = _in_a_shell(app.test_client(), environment, request)
    assert json.loads(answer.data)["items"] == [{"name": "LINEAR_API_KEY", "scope": "org", "value": "lin_0123456789abcdef"}]


def test_a_key_that_reads_no_credentials_is_shown_without_that_request(app: Flask, database: Any) -> None:
    user = factories.make_user()
    agent = factories.make_agent(factories.make_organization(owner=user, slug="northwind"), user)
    browser = app.test_client()
    factories.sign_in(browser, user)
    here = f"/orgs/northwind/agents/{agent.id}/keys"
    text = browser.get(post(browser, f"{here}/new", name="prod", expires="30", scopes="projects:read").location).text
    assert len(_blocks(text)) == 1
    assert "credentials/resolve" not in text
