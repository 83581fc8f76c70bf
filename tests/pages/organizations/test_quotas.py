"""Quotas on the pages: the form is shown again and says what to do, in the reader's language; nothing that was typed is lost."""

import itertools
from typing import Any

import pytest
from flask import Flask

from blueprints import background
from tests import factories
from tests.api.company import Company
from tests.fakes.github_api import FakeGitHubApi, Token
from tests.fakes.smtp import FakeSmtp
from tests.pages.forms import post, said

pytestmark = pytest.mark.usefixtures("database")

LIMITS = dict.fromkeys(("max_credentials", "max_agents", "max_keys", "max_organizations", "max_emails_per_day"), "1")
KEY = {"scopes": "orgs", "expires": "30"}
FORMS = [
    ("/orgs/new", {"name": "Another", "slug": "another"}, 0, "You own as many organizations as allowed (1).", "Dir gehören so viele"),
    ("/orgs/acme/agents/new", {"name": "bot"}, 1, "This organization has as many agents as allowed (1).", "so viele Agenten wie"),
    ("/orgs/acme/agents/{agent}/keys/new", {"name": "a key", **KEY}, 1, "as many keys as allowed (1).", "so viele Schlüssel wie"),
    ("/account/tokens/new", {"name": "a key {}", "organization": "acme", **KEY}, 1, "as many keys as", "so viele Schlüssel wie"),
    ("/orgs/acme/credentials/new", {"key": "NAME_{}", "value": "x"}, 1, "as many credentials as allowed (1).", "so viele Geheimnisse"),
    ("/orgs/acme/invitations/new", {"emails": "g{}@example.com", "role": "member"}, 1, "You can send 1 invitations", "1 Einladungen"),
]


@pytest.fixture
def app(make_app: Any, smtp: FakeSmtp) -> Flask:
    return make_app(mail_url=smtp.url, **LIMITS)


@pytest.fixture
def company(app: Flask) -> Company:
    return Company(app)


@pytest.mark.parametrize("is_german", [False, True])
@pytest.mark.parametrize(("page", "fields", "room", "english", "german"), FORMS, ids=[form[0] for form in FORMS])
def test_a_form_that_is_one_too_many_says_so(
    company: Company, page: str, fields: dict[str, str], room: int, english: str, german: str, is_german: bool
) -> None:
    if "{agent}" in page:
        page = page.format(agent=factories.make_agent(company.acme, company.owner.user).id)
    if is_german:
        company.owner.http.environ_base["HTTP_ACCEPT_LANGUAGE"] = "de"
    answers = [
        post(company.owner.http, page, **{name: value.format(number) for name, value in fields.items()}) for number in range(room + 1)
    ]
    assert [answer.status_code for answer in answers] == [303] * room + [409], said(answers[-1])
    assert (german if is_german else english) in said(answers[-1])
    first = next(iter(fields.values())).format(room)
    assert first in answers[-1].text


def test_a_value_that_is_one_too_many_is_refused_on_its_page(company: Company) -> None:
    factories.make_credential(value="a-value", organization=company.acme, name="NAME_1")
    factories.make_credential(value="a-value", user=company.owner.user, name="NAME_2")
    answer = post(company.owner.http, "/orgs/acme/credentials/NAME_1/value?scope=user", value="mine")
    assert answer.status_code == 409
    assert "There are as many credentials as allowed (1). Remove one first" in said(answer)
    assert "mine" not in answer.text


def test_a_tested_value_that_is_one_too_many_is_refused_too(make_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "PATIENCE_SECONDS", 60.0)
    github = FakeGitHubApi()
    good = "ghp_" + "a" * 36
    github.tokens[good] = Token()
    settings = {"client_id": "x", "client_secret": "y", "url": github.url, "api_url": github.url}
    company = Company(make_app(**LIMITS, **{f"github__{name}": value for name, value in settings.items()}))
    factories.make_credential("GITHUB_TOKEN", organization=company.acme)
    factories.make_credential("NAME_2", user=company.owner.user)
    answer = post(company.owner.http, "/orgs/acme/credentials/GITHUB_TOKEN/value?scope=user", value=good, test="y")
    github.stop()
    assert answer.status_code == 422
    assert "There are as many credentials as allowed (1). Remove one first" in said(answer)


def test_an_invitation_that_is_not_sent_again_says_so(company: Company, smtp: FakeSmtp) -> None:
    made = company.owner.send("POST", "/orgs/acme/invitations", {"email": "ann@example.com", "role": "member"})
    answer = post(company.owner.http, "/orgs/acme/invitations", f"/orgs/acme/invitations/{made.json['id']}/resend")
    assert answer.status_code == 303
    assert "You can send 1 invitations in 24 hours." in said(company.owner.http.get(answer.location))
    assert len(smtp.letters) == 1


def test_the_sixth_short_name_in_thirty_days_is_refused_on_the_settings_page(company: Company) -> None:
    slugs = ["acme", *(f"acme-{number}" for number in range(1, 7))]
    answers = [post(company.owner.http, f"/orgs/{now}/settings", name="Acme", slug=to) for now, to in itertools.pairwise(slugs)]
    assert [answer.status_code for answer in answers] == [303] * 5 + [409]
    assert "The short name was changed 5 times in the last 30 days." in said(answers[-1])
