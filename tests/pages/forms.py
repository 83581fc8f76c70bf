"""Posting a page's form as a browser does, and counting what a page asks the database."""

import re
from contextlib import AbstractContextManager
from html import unescape

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests import statements


def post(client: FlaskClient, page: str, action: str | None = None, **fields: str | list[str]) -> TestResponse:
    """The form of `page` to its own address, or to `action`: with its CSRF token and, where it has one, its id."""
    text = client.get(page).text
    hidden = dict(re.findall(r'name="(csrf_token|form_id)" value="([^"]+)"', text))
    assert hidden, text[:200]
    return client.post(action or page, data={**hidden, **fields})


def said(response: TestResponse) -> str:
    """The visible words of a page's main part, in one line."""
    main = response.text.partition("<main")[2].partition("</main>")[0].partition(">")[2]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", main)).split())


def counted(_app: Flask) -> AbstractContextManager[list[str]]:
    """The statements that go to the database meanwhile."""
    return statements.counted()
