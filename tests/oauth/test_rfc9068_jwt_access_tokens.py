"""RFC 9068: access tokens that a resource server verifies by itself, with the published keys."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from extensions import db
from infra import clock
from infra.clock import now_seconds
from models import Project
from services.tokens import signing_keys
from tests import factories, owner
from tests.oauth.flow import ISSUER, Program, bearer, claims_of, header_of, verified
from tests.oauth.test_claim_sizes import size_of

API, OWN = "https://api.example.com", f"{ISSUER}/api/v1"


@pytest.fixture
def program(register):
    factories.make_resource(identifier=API, scope="projects:read")
    return register(client_id="notes", trusted=True, scope="openid profile email offline_access orgs projects:read")


@pytest.fixture
def jwks(client):
    return client.get("/.well-known/jwks.json").json


def add_projects(app, organization_id, slugs):
    with owner.at_work(app):
        db.session.add_all([Project(organization_id=organization_id, slug=slug, name=slug) for slug in slugs])
        db.session.commit()


def test_a_resource_server_verifies_it_with_the_published_keys(program, browser, jwks, person):
    tokens = program.get_tokens(browser, scope="openid profile email", resource=API)
    header = header_of(tokens["access_token"])
    claims = verified(tokens["access_token"], jwks)
    assert header == {"alg": "ES256", "typ": "at+jwt", "kid": header["kid"]}
    assert header["kid"] in [key["kid"] for key in jwks["keys"]]
    assert claims["iss"] == ISSUER
    assert claims["aud"] == API
    assert claims["sub"] == str(person.id)
    assert claims["client_id"] == "notes"
    assert claims["scope"] == "openid profile email"
    assert claims["exp"] - claims["iat"] == 1800 == tokens["expires_in"]
    assert claims["email"] == "ada@example.com"
    assert claims["email_verified"] is True
    assert claims["name"] == "Ada Lovelace"
    assert claims["jti"]


def test_it_names_the_organization_with_the_role(app, program, browser, person):
    acme = factories.make_organization(slug="acme", name="Acme Inc")
    factories.make_membership(acme, person, "admin")
    claims = claims_of(program.get_tokens(browser, resource=API, scope="openid", organization="acme")["access_token"])
    assert claims["org"] == {"id": str(acme.id), "slug": "acme", "name": "Acme Inc", "role": "admin"}


def test_sid_is_the_public_id_and_never_the_cookie(app, program, client, person):
    raw = factories.sign_in(client, person)
    token = program.get_tokens(client, scope="openid", resource=API)["access_token"]
    assert claims_of(token)["sid"] == client.get("/api/v1/session").json["session"]["id"]
    assert raw not in urlsafe_b64decode(token.split(".")[1] + "==").decode()


def test_claims_follow_the_scopes(program, browser):
    claims = claims_of(program.get_tokens(browser, scope="projects:read", resource=API)["access_token"])
    assert not {"email", "email_verified", "name", "orgs"} & set(claims)
    assert claims["projects"] == []


def test_orgs_lists_all_of_them(program, browser, person):
    acme = factories.make_organization(slug="acme", owner=person)
    claims = claims_of(program.get_tokens(browser, scope="orgs", resource=API, organization="acme")["access_token"])
    assert {org["id"] for org in claims["orgs"]} == {str(acme.id), str(person.id)}
    assert all(set(org) == {"id", "slug", "name", "role"} for org in claims["orgs"])
    assert "orgs_truncated" not in claims


@pytest.mark.both_databases
def test_projects_are_those_of_the_bound_organization(app, program, browser, person):
    acme, other = factories.make_organization(slug="acme", owner=person), factories.make_organization(slug="other", owner=person)
    add_projects(app, acme.id, ["web", "api"])
    add_projects(app, other.id, ["secret"])
    tokens = program.get_tokens(browser, scope="offline_access projects:read", resource=API, organization="acme")
    claims = claims_of(tokens["access_token"])
    assert [(project["slug"], project["org"]) for project in claims["projects"]] == [("api", "acme"), ("web", "acme")]
    add_projects(app, acme.id, ["docs"])
    again = claims_of(program.refresh(tokens["refresh_token"]).json["access_token"])
    assert [project["slug"] for project in again["projects"]] == ["api", "docs", "web"]


def test_projects_are_as_many_as_fit(app, program, browser, person):
    acme = factories.make_organization(slug="acme", owner=person)
    add_projects(app, acme.id, [f"p{number:03}" for number in range(101)])
    claims = claims_of(program.get_tokens(browser, scope="projects:read", resource=API, organization="acme")["access_token"])
    assert size_of(claims) <= 4096 < size_of(claims) + 80
    assert [project["slug"] for project in claims["projects"]] == [f"p{number:03}" for number in range(len(claims["projects"]))]
    assert claims["projects_truncated"] is True


def test_every_token_has_an_id_of_its_own(program, browser):
    tokens = program.get_tokens(browser, scope="offline_access", resource=API)
    later = program.refresh(tokens["refresh_token"]).json
    assert claims_of(later["access_token"])["jti"] != claims_of(tokens["access_token"])["jti"]


# --- what our own API takes ---------------------------------------------------------------------------------------------


@pytest.fixture
def good(program, browser):
    return program.get_tokens(browser, scope="openid email orgs", resource=OWN)["access_token"]


def test_whoami_answers_from_the_claims(program, good, person):
    body = program.http.get("/api/v1/whoami", headers=bearer(good)).json
    assert body["actor"] == {"type": "user", "id": str(person.id)}
    assert body["credential"] == {"type": "jwt", "id": claims_of(good)["jti"]}
    assert body["user"]["email"] == "ada@example.com"
    assert body["org"]["role"] == "owner"
    assert body["scopes"] == ["email", "openid", "orgs"]


def test_it_expires(program, good):
    clock.move(1795)
    assert program.is_live(good)
    clock.move(1801)
    assert not program.is_live(good)


def forged(app, good, *, key=None, header=None, **claims):
    with app.app_context():
        signer = signing_keys.require("ES256")
        values = {name: value for name, value in {**claims_of(good), **claims}.items() if value is not None}
        head = {"alg": "ES256", "typ": "at+jwt", "kid": signer.kid, **(header or {})}
        return jwt.encode(head, values, key or signer.private_key, algorithms=[head["alg"]])


def test_the_forgers_workbench_makes_good_ones_when_nothing_is_changed(app, program, good):
    assert program.is_live(forged(app, good))


def test_ours_but_for_something_else_is_invalid(app, program, good):
    for changes in [
        {"header": {"typ": "JWT"}},
        {"header": {"typ": "logout+jwt"}},
        {"aud": API},
        {"aud": None},
        {"aud": [OWN]},
        {"aud": ISSUER},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"exp": 1},
    ]:
        assert not program.is_live(forged(app, good, **changes))


def test_keys_and_algorithms_that_are_not_ours_are_invalid(app, program, good, jwks):
    stranger = ECKey.generate_key("P-256")
    assert not program.is_live(forged(app, good, key=stranger))
    assert not program.is_live(forged(app, good, key=stranger, header={"kid": "unknown"}))
    assert not program.is_live(forged(app, good, key=stranger, header={"jwk": stranger.as_dict(private=False)}))
    assert not program.is_live(forged(app, good, key=stranger, header={"jku": "https://evil.example/jwks"}))
    public = json.dumps(jwks["keys"][0]).encode()
    assert not program.is_live(forged(app, good, key=OctKey.import_key(public), header={"alg": "HS256"}))
    assert not program.is_live(forged(app, good, key=RSAKey.generate_key(2048), header={"alg": "RS256"}))


def test_alg_none_and_altered_tokens_are_invalid(program, good):
    head, body, signature = good.split(".")
    none = urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode()
    changed = urlsafe_b64encode(json.dumps({**claims_of(good), "sub": "x", "exp": now_seconds() + 9}).encode()).rstrip(b"=").decode()
    for token in (
        f"{none}.{body}.",
        f"{none}.{changed}.{signature}",
        f"{head}.{changed}.{signature}",
        f"{head}.{body}.",
        good + "A",
        "." + good,
    ):
        assert not program.is_live(token), token


def test_what_only_looks_like_a_jwt_is_invalid(program):
    for token in ["..", "a.b.c", "e30.e30.e30", "bnVsbA.e30.x", "W10.e30.x", "e30=.e30.e30", "\xff.\xfe.x", "ü.ü.ü"]:
        header = f"Bearer {token}".encode().decode("latin-1")
        assert program.http.get("/api/v1/whoami", headers={"Authorization": header}).status_code == 401


def test_an_id_token_opens_nothing(program, browser):
    tokens = program.get_tokens(browser, scope="openid", resource=OWN)
    assert not program.is_live(tokens["id_token"])


def test_userinfo_takes_a_jwt_of_our_own_api(program, good):
    assert program.userinfo(good).json["email"] == "ada@example.com"


def test_another_process_verifies_it_too(make_app, browser, program, good):
    assert Program(make_app(), program.client).is_live(good)
