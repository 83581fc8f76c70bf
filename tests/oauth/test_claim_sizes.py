"""Lists in tokens are limited by size, and no token of ours is too long for our own server."""

import json
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import requests
from sqlalchemy import select

from extensions import db
from models import Membership, OAuthClient, Organization, Project, User
from services.access.actors import Actor
from services.tokens import seed_clients
from tests import factories, owner
from tests.oauth.flow import ISSUER, VERIFIER, Program, answer_of, claims_of

OWN = f"{ISSUER}/api/v1"
LONG = "\U0001f600" * 200  # 800 bytes, the longest that a name can be
SCOPE = "openid profile email offline_access orgs projects:read"


def size_of(claims):
    lists = {name: claims[name] for name in ("orgs", "projects") if name in claims}
    return len(json.dumps(lists, ensure_ascii=False, separators=(",", ":")).encode())


def join(app, user, names):
    """Organizations that the person belongs to, one of each name."""
    with owner.at_work(app):
        rows = [Organization(slug=f"o{number:03}", name=name) for number, name in enumerate(names)]
        db.session.add_all(rows)
        db.session.flush()
        db.session.add_all(Membership(organization_id=row.id, user_id=user.id, role="member") for row in rows)
        db.session.commit()


def add_projects(app, organization_id, count):
    with owner.at_work(app):
        slugs = [f"project-{number:03}" for number in range(count)]
        db.session.add_all(Project(organization_id=organization_id, slug=slug, name=slug) for slug in slugs)
        db.session.commit()


@pytest.fixture
def program(register):
    return register(client_id="notes", trusted=True, scope=SCOPE)


def every_list(program, browser, organization):
    """The claims of the id_token, the access token and userinfo."""
    tokens = program.get_tokens(browser, scope=SCOPE, resource=OWN, organization=organization)
    return claims_of(tokens["id_token"]), claims_of(tokens["access_token"]), program.userinfo(tokens["access_token"]).json


@pytest.mark.both_databases
@pytest.mark.parametrize("name", [LONG, "n", "Ä" * 60], ids=["long", "short", "umlauts"])
def test_the_bound_organization_is_first_and_the_others_are_as_many_as_fit(app, program, browser, person, name):
    join(app, person, [name] * 110)
    last = "o109"
    in_order = [org["slug"] for org in browser.get("/api/v1/session").json["orgs"] if org["slug"] != last]
    for claims in every_list(program, browser, last):
        assert claims["orgs"][0] == {"id": claims["orgs"][0]["id"], "slug": last, "name": name, "role": "member"}
        told = [org["slug"] for org in claims["orgs"][1:]]
        assert told == in_order[: len(told)]
        assert claims["orgs_truncated"] is True
        assert size_of(claims) <= 4096 < size_of(claims) + len(name.encode()) + 120
        assert not claims.get("projects")


def test_all_of_them_are_there_when_they_fit(app, program, browser, person):
    join(app, person, [LONG] * 3)
    for claims in every_list(program, browser, "o001"):
        assert len(claims["orgs"]) == 4
        assert claims["orgs"][0]["slug"] == "o001"
        assert "orgs_truncated" not in claims
        assert "projects_truncated" not in claims


def test_projects_have_what_the_organizations_leave(app, program, browser, person):
    acme = factories.make_organization(slug="acme", owner=person)
    join(app, person, [LONG] * 2)
    add_projects(app, acme.id, 60)
    id_token, access_token, _ = every_list(program, browser, "acme")
    assert "projects" not in id_token
    assert len(access_token["orgs"]) == 4
    assert "orgs_truncated" not in access_token
    assert access_token["projects_truncated"] is True
    assert 0 < len(access_token["projects"]) < 60
    assert size_of(access_token) <= 4096 < size_of(access_token) + 100


def test_projects_that_find_no_room_are_said_to_be_missing(app, program, browser, person):
    acme = factories.make_organization(slug="acme", owner=person)
    join(app, person, ["n"] * 110)
    add_projects(app, acme.id, 1)
    _, claims, _ = every_list(program, browser, "acme")
    assert (claims["projects"], claims["projects_truncated"]) == ([], True)


def test_a_machine_names_no_lists(app, server_side, person):
    join(app, person, ["n"] * 3)
    assert size_of(claims_of(server_side.ask_for_itself(scope="orgs projects:read", resource=OWN).json["access_token"])) == 2


# --- no limit of ours is smaller than a token of ours -------------------------------------------------------------------------


def words(count, size=104):
    return [f"{number:03}:".ljust(size, "x") for number in range(count)]


def test_the_longest_registered_scope_makes_a_token_that_every_door_takes(app, register, server_side, browser, person):
    api = "https://api.example.com/" + "x" * 1976
    with owner.at_work(app):
        db.session.get_one(User, person.id).name = LONG
        db.session.commit()
        own = ["openid", "profile", "email", "orgs"]
        scopes = [*own, *words(38)]
        scopes.append("y" * (4096 - len(" ".join(scopes)) - 1))
        entry = f'[[resource]]\nidentifier = "{api}"\nscopes = {json.dumps(scopes[len(own) :])}\n'
        entry += f'[[client]]\nclient_id = "{"c" * 255}"\ntype = "public"\nredirect_uris = ["https://app.example.com/cb"]\n'
        entry += f"trusted = true\nscopes = {json.dumps(scopes)}"
        assert [outcome.outcome for outcome in seed_clients.apply(Actor.operator(), entry)] == ["created"] * 2
        client = db.session.scalar(select(OAuthClient).where(OAuthClient.client_id == "c" * 255))
        db.session.expunge(client)
    join(app, person, [LONG] * 110)
    program = Program(app, client)
    token = program.get_tokens(browser, scope=None, resource=api, organization="o109")["access_token"]
    assert set(claims_of(token)["scope"].split()) == set(scopes)
    assert program.userinfo(token).status_code == 200
    assert server_side.introspect(token).json["active"]


def test_a_token_of_ours_is_revoked_however_long_it_is(register, server_side, browser):
    api, scope = "https://api.example.com", " ".join(words(250))
    factories.make_resource(identifier=api, scope=scope)
    program = register(trusted=True, scope=scope)
    token = program.get_tokens(browser, scope=None, resource=api)["access_token"]
    assert len(token) > 32_768
    assert server_side.introspect(token).json["active"]
    assert program.revoke(token).status_code == 200
    assert server_side.introspect(token).json == {"active": False}


@pytest.mark.parametrize("nonce", ["n" * 4096, '"' * 1500], ids=["plain", "escaped"])
def test_the_largest_tokens_pass_our_own_server(app, live_server, person, nonce):
    """As bearers, and as hints at the end of a session, in the address and in a body."""
    with owner.at_work(app):
        db.session.get_one(User, person.id).name = LONG
        db.session.commit()
    join(app, person, [LONG] * 110)
    server = live_server(workers=1)
    own, after = f"{server.url}/api/v1", "https://app.example.com/after?" + "x" * 1500
    client = factories.make_client(trusted=True, scope=SCOPE, id_token_alg="RS256", post_logout_redirect_uris=[after])
    program = Program(app, client)

    def browser() -> requests.Session:
        session = requests.Session()
        session.headers["Cookie"] = "gatepost_session=" + factories.make_session(person)
        return session

    def tokens(session: requests.Session) -> dict[str, str]:
        query = program.authorize_query(scope=SCOPE, resource=own, organization="o109", nonce=nonce)
        answer = session.get(f"{server.url}/oauth/authorize?{query}", allow_redirects=False, timeout=30)
        code = parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]
        form = {"grant_type": "authorization_code", "code": code, "client_id": client.client_id, "code_verifier": VERIFIER}
        answer = requests.post(f"{server.url}/oauth/token", data=form, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    for path in ("/api/v1/whoami", "/api/v1/orgs", "/oauth/userinfo"):
        bearer = {"Authorization": f"Bearer {tokens(browser())['access_token']}"}
        assert requests.get(server.url + path, headers=bearer, timeout=30).status_code == 200, path
    for method in ("GET", "POST"):
        session = browser()
        hint = tokens(session)["id_token"]
        assert len(hint) > 10_000
        values = {"id_token_hint": hint, "post_logout_redirect_uri": after, "state": "s" * 500}
        where = {"params": values} if method == "GET" else {"data": values}
        answer = session.request(method, f"{server.url}/oauth/logout", allow_redirects=False, timeout=30, **where)
        assert answer.status_code == 303, answer.text[:500]
        assert answer.headers["Location"].startswith(after)


def test_a_nonce_that_no_token_could_carry_is_refused(app, program, browser):
    for nonce in ("n" * 4097, '"' * 2049, "\u00e9" * 2000, "\x01" * 700):
        query = program.authorize_query(scope="openid", nonce=None) + "&nonce=" + quote(nonce, safe="").replace("%22", '"')
        if len(query.encode()) <= 6000:
            assert answer_of(browser.get("/oauth/authorize?" + query))["error"] == "invalid_request", nonce[:3]


def test_a_token_with_the_longest_scope_is_read_and_revoked(app, register, browser):
    names = [f"things:{number:03}:" + "x" * 100 for number in range(45)]
    factories.make_resource(identifier="https://api.example.com/" + "p" * 1900, scope=" ".join(names))
    program = register(trusted=True, scope=" ".join(["openid", *names]), resource="https://api.example.com/" + "p" * 1900)
    token = program.exchange(program.get_code(browser)).json["access_token"]
    assert len(token) > 9000
    assert program.userinfo(token).status_code == 200
    program.revoke(token)
    assert program.userinfo(token).status_code == 401
