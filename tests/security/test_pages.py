"""Pages made of names that others chose, walked from link to link: nobody's name becomes markup, an address or a format."""

import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from markupsafe import escape

from models import Credential, CredentialDeclaration, OAuthClient, Organization, User
from tests import factories, owner
from tests.api.company import Company

pytestmark = pytest.mark.usefixtures("database")

EVIL = "\"'><img src=x onerror=a()><script>b</script>%(x)s%s{0}"  # as long as a name that is shown whole
_LEADS = ("href", "action", "formaction", "src", "poster", "data")


class _Page(HTMLParser):
    """What a browser would make of a page: its addresses, and what has no place in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: set[str] = set()
        self.foreign: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("img", "iframe", "object", "embed", "base") or (tag == "script" and not (given.get("src") or "").startswith("/static/")):
            self.foreign.append(self.get_starttag_text() or tag)
        self.foreign += [f"{tag} {name}" for name in given if not re.fullmatch(r"[a-z][a-z-]*", name, re.I) or name.startswith("on")]
        self.foreign += [f"{tag} style" for name in given if name == "style"]
        self.addresses |= {value for name, value in attrs if name in _LEADS and value is not None}


def _walk(http: FlaskClient, *starts: str) -> Iterator[tuple[str, Any, _Page]]:
    """Every page that links lead to from here; two of those that differ by an id or a filter alone."""
    waiting, seen = list(starts), Counter(starts)
    while waiting:
        path = waiting.pop()
        answer = http.get(path)
        page = _Page(answer.text)
        yield path, answer, page
        for address in sorted(page.addresses):
            kind = re.sub(r"[0-9a-f-]{36}|=[^&]*", "*", address.partition("#")[0])
            if kind.startswith("/") and not re.match(r"/(static|logout|login)|.*\.(csv|jsonl)\b", kind) and seen[kind] < 2:
                seen[kind] += 1
                waiting.append(address)


@pytest.fixture
def company(app: Flask) -> Company:
    found = Company(app)
    with owner.session(app) as owners:
        for person in (found.owner, found.admin, found.member):
            owners.get_one(User, person.user.id).name = EVIL
        owners.get_one(User, found.owner.user.id).is_admin = True
        owners.get_one(Organization, found.acme.id).name = EVIL
    for person in (found.owner, found.member):
        agent = factories.make_agent(found.acme, person.user, name=EVIL, acts_for_owner=True)
        factories.make_api_key(found.acme, person.user, agent=agent)
        factories.make_connection(user=person.user, account_name=EVIL)
        factories.make_credential("B_KEY", user=person.user)
        factories.make_grant(person.user, organization=found.acme)
    factories.make_credential("A_KEY", organization=found.acme)
    factories.make_connection(organization=found.acme, account_name=EVIL, last_error="status_500", status="retrying")
    with owner.session(app) as owners:
        owners.add(CredentialDeclaration(organization_id=found.acme.id, name="A_KEY", kind="generic", note=EVIL, set_by="both"))
        for client in owners.query(OAuthClient):
            client.name, client.origin = EVIL, "registered"
        for credential in owners.query(Credential):
            credential.updated_by = found.member.user.id
    found.owner.send("PATCH", "/orgs/acme", {"name": EVIL + "!"})
    found.owner.send("POST", "/orgs/acme/invitations", {"email": "ann@example.com", "role": "member"})
    return found


@pytest.mark.parametrize("language", ["en", "de"])
def test_no_name_becomes_markup_leads_elsewhere_or_is_read_as_a_format(company: Company, language: str) -> None:
    with owner.session(company.app) as owners:
        owners.get_one(User, company.owner.user.id).language = language
    starts = ("/account", "/orgs", "/orgs/acme/members", "/admin", "/orgs/acme/nothing", "/login", "/reauth")
    met = 0
    for path, answer, page in _walk(company.owner.http, *starts):
        assert answer.status_code < 500, path
        assert page.foreign == [], path
        assert [address for address in page.addresses if not re.match(r"/(?![/\\])|#", address)] == [], path
        assert answer.headers["Cache-Control"] == "no-store", path
        met += str(escape(EVIL)) in answer.text
    assert met > 30
