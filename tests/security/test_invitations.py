"""What a stranger gains by inviting somebody: a line on that person's pages. Nothing that the person does next turns out differently."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from models import Membership, User
from tests import factories, owner
from tests.api.company import Company, Person
from tests.api.test_invitations import invite
from tests.api.test_members import role_of
from tests.fakes.browser import Browser
from tests.fakes.fixtures import github_settings
from tests.fakes.github import FakeGitHub, GitHubUser
from tests.oauth.flow import Program, answer_of, bearer
from tests.pages.forms import post, said
from tests.statements import counted

pytestmark = pytest.mark.both_databases


@pytest.fixture
def app(make_app: Callable[..., Flask], github: FakeGitHub) -> Flask:
    github.add(GitHubUser.make(101, "ann", "ann@example.com", name="Ann Example"))
    return make_app(**github_settings(github))


@pytest.fixture
def attackers(app: Flask) -> Company:
    return Company(app)


@pytest.fixture
def program(app: Flask) -> Program:
    return Program(app, factories.make_client(client_id="notes", name="Notes", trusted=True))


@pytest.fixture
def cli(app: Flask) -> Program:
    return Program(app, factories.make_client(client_id="cli", name="CLI", trusted=True, redirect_uris=["http://127.0.0.1/callback"]))


@pytest.fixture(params=["member", "admin", "owner"])
def victim(request: pytest.FixtureRequest, attackers: Company) -> Iterator[Person]:
    """Somebody with an organization of their own whom strangers invite; at the end they are still not in the strangers'."""
    person = attackers.person("ann@example.com", personal=True, name="Ann Example")
    invite(attackers, role=request.param)
    yield person
    assert role_of(attackers.app, attackers.acme, person.user) is None


def slugs(person: Person) -> list[str]:
    return [org["slug"] for org in person.get("/session").json["orgs"]]


def org_of(program: Program, token: str) -> str:
    return program.http.get("/api/v1/whoami", headers=bearer(token)).json["org"]["slug"]


def test_nothing_that_a_person_reads_takes_them_in(app: Flask, attackers: Company, victim: Person) -> None:
    token = factories.make_grant(victim.user).raw_token
    for _ in range(2):
        assert slugs(victim) == ["ann-example"]
        assert [row["slug"] for row in victim.get("/orgs").json["items"]] == ["ann-example"]
        assert [row["slug"] for row in app.test_client().get("/api/v1/orgs", headers=bearer(token)).json["items"]] == ["ann-example"]
        for page in ("/", "/account", "/orgs", "/account/apps", "/orgs/ann-example/members"):
            assert victim.http.get(page).status_code in (200, 303)
    assert victim.http.get("/orgs/acme/members").status_code == 404
    assert victim.get("/session").json["active_org"] == "ann-example"


def test_the_first_sign_in_of_somebody_invited_before_is_into_their_own_organization(
    app: Flask, attackers: Company, github: FakeGitHub
) -> None:
    invite(attackers, role="owner")
    browser = Browser(app)
    back = browser.sign_in(github)
    assert back.location == "/account"
    session = browser.get("/api/v1/session").json
    assert [(org["slug"], org["role"]) for org in session["orgs"]] == [("ann", "owner")]
    assert session["active_org"] == "ann"
    assert "Acme" in browser.get("/account").text
    assert owner.rows(app, select(func.count()).where(Membership.organization_id == attackers.acme.id))[0][0] == 3


def test_a_program_on_the_persons_machine_gets_a_token_of_their_own_organization(
    app: Flask, attackers: Company, cli: Program, github: FakeGitHub
) -> None:
    """The flow of a command line that somebody uses on their first day, after strangers invited their address."""
    invite(attackers, role="owner")
    browser = Browser(app)
    changes = {"scope": "openid offline_access orgs", "redirect_uri": "http://127.0.0.1:3100/callback"}
    there = browser.get(cli.authorize_url(**changes))
    handoff = there.location.partition("handoff=")[2]
    back = browser.sign_in(github, query=f"handoff={handoff}")
    code = answer_of(browser.get(back.location))["code"]
    answer = cli.exchange(code, redirect_uri=changes["redirect_uri"]).json
    assert org_of(cli, answer["access_token"]) == "ann"
    assert [row["slug"] for row in cli.http.get("/api/v1/orgs", headers=bearer(answer["access_token"])).json["items"]] == ["ann"]
    renewed = cli.refresh(answer["refresh_token"]).json
    assert org_of(cli, renewed["access_token"]) == "ann"


def test_a_silent_request_still_succeeds_with_a_token_of_the_same_organization(victim: Person, program: Program) -> None:
    tokens = program.exchange(answer_of(program.authorize(victim.http, prompt="none", scope="openid orgs"))["code"]).json
    assert org_of(program, tokens["access_token"]) == "ann-example"
    victim.get("/session")
    victim.http.get("/account")
    assert "code" in answer_of(program.authorize(victim.http, prompt="none"))


def test_a_client_that_asks_for_the_strangers_organization_is_refused(victim: Person, program: Program) -> None:
    assert answer_of(program.authorize(victim.http, organization="acme"))["error"] == "access_denied"


def test_a_page_that_asks_for_an_organization_offers_no_other(attackers: Company, victim: Person, program: Program) -> None:
    factories.make_organization(owner=victim.user, slug="second")
    page = program.authorize(victim.http).text
    assert 'value="second"' in page
    assert "acme" not in page.lower()


def test_who_is_invited_deletes_their_account(app: Flask, attackers: Company, victim: Person) -> None:
    """Else the strangers' only owner could leave a person behind who cannot."""
    victim.get("/session")
    attackers.owner.send("DELETE", f"/orgs/acme/members/{attackers.owner.id}")
    page = victim.http.get("/account/delete")
    assert "only owner" not in said(page)
    assert post(victim.http, "/account/delete", typed="ann@example.com").status_code in (200, 303)
    assert owner.rows(app, select(User.id).where(User.id == victim.user.id)) == []


def test_an_invitation_costs_an_ordinary_check_of_a_session_no_statement(attackers: Company, victim: Person) -> None:
    other = attackers.person("bob@example.com", personal=True)
    for person in (victim, other):
        person.get("/whoami")
        person.get("/session")
    statements = []
    for person in (victim, other):
        with counted() as sent:
            assert person.get("/whoami").status_code == 200
        statements.append(list(sent))
    assert statements[0] == statements[1]
    assert not any("JOIN invitations" in statement for statement in statements[0])


def test_being_invited_and_removed_again_leaves_no_trace_in_a_session(attackers: Company, victim: Person) -> None:
    made = attackers.owner.get("/orgs/acme/invitations").json["items"][0]["id"]
    assert victim.get("/session").json["invitations"] != []
    attackers.owner.send("DELETE", f"/orgs/acme/invitations/{made}")
    assert victim.get("/session").json["invitations"] == []


def test_the_names_of_strangers_are_only_text(app: Flask, attackers: Company, victim: Person) -> None:
    owner.rows(app, User.__table__.update().where(User.id == attackers.owner.user.id).values(name="<b>Bank</b>\u202e"))
    attackers.owner.send("PATCH", "/orgs/acme", {"name": "<script>x</script>"})
    for page in ("/account", "/orgs"):
        text = victim.http.get(page).text
        assert "&lt;script&gt;" in text
        assert "<script>x" not in text
        assert "<b>Bank" not in text
        assert "\u202e" not in text


def _others(attackers: Company, invitation: str) -> list[tuple[Any, str]]:
    """Everybody for whom the invitation is not."""
    ann = attackers.person("ann@example.org", personal=True)  # nearly the same address
    unverified = attackers.person("Ann@example.com", email_verified=False, personal=True)
    return [(person, invitation) for person in (ann, unverified, attackers.owner, attackers.admin, attackers.member, attackers.stranger)]


@pytest.mark.parametrize("act", ["accept", "decline"])
def test_an_invitation_of_somebody_else_is_unknown(app: Flask, attackers: Company, act: str) -> None:
    made = invite(attackers, role="owner").json["id"]
    for person, invitation in _others(attackers, made):
        answer = person.send("POST", f"/invitations/{invitation}/{act}")
        assert (answer.status_code, answer.json["error"]) == (404, "not_found")
        assert post(person.http, "/orgs/new", f"/invitations/{invitation}/{act}").status_code == 404
    (item,) = attackers.owner.get("/orgs/acme/invitations").json["items"]
    assert item["state"] == "pending"


def test_a_request_from_another_site_neither_accepts_nor_declines(app: Flask, attackers: Company, victim: Person) -> None:
    (item,) = victim.get("/session").json["invitations"]
    for act in ("accept", "decline"):
        path = f"/invitations/{item['id']}/{act}"
        assert victim.http.get(path).status_code == 405
        assert victim.http.post(path).status_code == 400
        assert victim.http.post(path, headers={"Origin": "https://evil.example"}).status_code == 400
        assert victim.http.post("/api/v1" + path, headers={"Origin": "https://evil.example"}).status_code == 403
    assert attackers.owner.get("/orgs/acme/invitations").json["items"][0]["state"] == "pending"


def test_no_key_of_an_agent_accepts_or_declines(app: Flask, victim: Person) -> None:
    (item,) = victim.get("/session").json["invitations"]
    organization = factories.make_organization(owner=victim.user)
    raw = factories.make_api_key(organization, victim.user, agent=factories.make_agent(organization, victim.user)).raw_key
    for act in ("accept", "decline"):
        answer = app.test_client().post(f"/api/v1/invitations/{item['id']}/{act}", headers=bearer(raw))
        assert (answer.status_code, answer.json["error"]) == (403, "agents_cannot_manage_account")
