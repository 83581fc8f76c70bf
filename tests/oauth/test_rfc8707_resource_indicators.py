"""RFC 8707: a token for one registered API. Without `resource` tokens are opaque."""

import pytest
from sqlalchemy import delete, update

from extensions import db
from models import AccessToken, Resource
from services.access.actors import Actor
from services.tokens import seed_clients
from tests import factories, owner
from tests.oauth.flow import ISSUER, answer_of, assert_refused, bearer, claims_of, people, press

API, OTHER, OWN = "https://api.example.com", "https://other.example.com", f"{ISSUER}/api/v1"


@pytest.fixture
def program(register):
    factories.make_resource(identifier=API, scope="projects:read projects:write")
    factories.make_resource(identifier=OTHER, scope="projects:read")
    return register(trusted=True, scope="openid email offline_access orgs projects:read")


def test_a_token_for_a_registered_api_names_it_as_its_audience(program, browser):
    tokens = program.get_tokens(browser, scope="projects:read", resource=API)
    assert claims_of(tokens["access_token"])["aud"] == API


def test_without_resource_the_token_is_opaque(program, browser):
    assert program.get_tokens(browser, scope="projects:read")["access_token"].startswith("gpo_")


def test_our_own_api_is_always_registered(program, browser):
    token = program.get_tokens(browser, scope="orgs", resource=OWN)["access_token"]
    assert claims_of(token)["aud"] == OWN
    assert program.http.get("/api/v1/orgs", headers=bearer(token)).status_code == 200


def test_a_token_for_another_api_does_not_open_ours(program, browser):
    token = program.get_tokens(browser, scope="openid orgs projects:read", resource=API)["access_token"]
    for path in ("/api/v1/whoami", "/api/v1/orgs"):
        response = program.http.get(path, headers=bearer(token))
        assert response.status_code == 401
        assert response.json["error"] == "invalid_token"


def test_an_unknown_resource_is_an_invalid_target(program, browser):
    for resource in [
        "https://nobody.example",
        API + "/x",
        API + "//",
        API + "?",
        API + "#",
        API + "#x",
        API + ":8443",
        API + ".",
        "https://user@api.example.com",
        "https://api.ex\tample.com",
        " " + API,
        API.replace("k", "\u212a").replace("s://", "\u017f://"),
        "http://api.example.com",
        "api",
        "ü",
        "x" * 4000,
        OWN + "/",
        OWN.upper(),
    ]:
        assert answer_of(program.authorize(browser, resource=resource))["error"] == "invalid_target"


@pytest.mark.both_databases
@pytest.mark.parametrize(
    "spelling",
    [API + "/", "HTTPS://API.Example.COM", API + ":443", API + ":443/", API + ":/", API + ":0443"],
)
def test_the_audience_has_the_registered_spelling_however_the_request_spells_it(program, browser, spelling):
    tokens = program.get_tokens(browser, scope="openid offline_access projects:read", resource=spelling)
    assert claims_of(tokens["access_token"])["aud"] == API
    code = program.get_code(browser, scope="projects:read", resource=API)
    assert_refused(program.exchange(code, resource=OTHER), "invalid_target")
    assert claims_of(program.exchange(code, resource=spelling).json["access_token"])["aud"] == API
    again = program.refresh(tokens["refresh_token"], resource=spelling).json
    assert claims_of(again["access_token"])["aud"] == API
    assert program.refresh(tokens["refresh_token"], resource=API).json["refresh_token"] == again["refresh_token"]  # the same request


@pytest.mark.both_databases
def test_a_new_spelling_takes_nothing_away(app, register, server_side, browser):
    factories.make_resource(identifier=API, scope="projects:read")
    asks = register(type="confidential", scope="openid email offline_access projects:read")
    page = asks.authorize(browser, scope="openid email offline_access projects:read", resource=API)
    allowed = asks.exchange(answer_of(press(browser, page, "allow"))["code"]).json
    plain = asks.exchange(answer_of(press(browser, asks.authorize(browser, scope="projects:read offline_access"), "allow"))["code"]).json
    with app.app_context():
        entry = f'[[resource]]\nidentifier = "{API}/"\nscopes = ["projects:read"]'
        [outcome] = seed_clients.apply(Actor.operator(), entry, update=True)
    assert outcome.outcome == "updated"
    assert asks.http.get("/oauth/userinfo", headers=bearer(allowed["access_token"])).status_code == 200
    assert server_side.introspect(allowed["access_token"]).json["scope"] == "openid email offline_access projects:read"
    for spelling in (API, API + "/"):
        plain = asks.refresh(plain["refresh_token"], resource=spelling).json
        assert claims_of(plain["access_token"])["aud"] == API + "/"
    again = asks.authorize(browser, scope="openid email offline_access projects:read", resource=API, prompt="none")
    assert "code" in answer_of(again)


def test_path_and_query_compare_exactly(program, browser):
    factories.make_resource(identifier="http://things.example.com/V1?x=%7E", scope="projects:read")
    same = "HTTP://Things.example.com:80/V1?x=%7E"
    assert claims_of(program.get_tokens(browser, scope="projects:read", resource=same)["access_token"])["aud"].endswith("/V1?x=%7E")
    for other in ("/v1?x=%7E", "/V1?x=%7e", "/V1?x=~", "/V1/?x=%7E", "/V1"):
        assert answer_of(program.authorize(browser, resource="http://things.example.com" + other))["error"] == "invalid_target"


def test_a_resource_without_a_host_compares_but_for_its_scheme_exactly(program, browser):
    factories.make_resource(identifier="urn:example:Things", scope="projects:read")
    assert claims_of(program.get_tokens(browser, scope="projects:read", resource="URN:example:Things")["access_token"])["aud"][:4] == "urn:"
    assert answer_of(program.authorize(browser, resource="urn:example:things"))["error"] == "invalid_target"


def test_one_resource_at_a_time(program, browser):
    assert answer_of(program.authorize(browser, resource=[API, OTHER]))["error"] == "invalid_target"
    assert "code" in answer_of(program.authorize(browser, resource=[API, API]))
    assert "code" in answer_of(program.authorize(browser, resource=[API, API.upper().replace("HTTPS", "https") + "/"]))


def test_scopes_need_both_listings(program, register, browser):
    assert answer_of(program.authorize(browser, scope="projects:write", resource=API))["error"] == "invalid_scope"  # not the client's
    wide = register(trusted=True, scope="openid audit:read projects:read")
    assert answer_of(wide.authorize(browser, scope="audit:read", resource=API))["error"] == "invalid_scope"  # not the resource's
    assert program.get_tokens(browser, scope="openid email offline_access orgs projects:read", resource=API)


def test_no_scope_means_what_both_have(program, browser):
    assert program.exchange(program.get_code(browser, resource=API)).json["scope"] == "openid email orgs projects:read"


# --- at the token endpoint -----------------------------------------------------------------------------------------------


def test_the_exchange_may_name_the_granted_resource_and_no_other(program, browser):
    code = program.get_code(browser, scope="projects:read", resource=API)
    assert_refused(program.exchange(code, resource=OTHER), "invalid_target")
    assert_refused(program.exchange(code, resource=[API, OTHER]), "invalid_target")
    assert program.exchange(code, resource=API).status_code == 200
    assert program.exchange(program.get_code(browser, scope="projects:read", resource=API)).status_code == 200


def test_the_exchange_cannot_widen_a_grant_without_a_resource(program, browser):
    assert_refused(program.exchange(program.get_code(browser), resource=API), "invalid_target")


@pytest.mark.both_databases
def test_a_refresh_keeps_the_resource_and_may_name_it(program, browser):
    tokens = program.get_tokens(browser, scope="offline_access projects:read", resource=API)
    tokens = program.refresh(tokens["refresh_token"], resource=API).json
    assert claims_of(tokens["access_token"])["aud"] == API
    tokens = program.refresh(tokens["refresh_token"]).json
    assert claims_of(tokens["access_token"])["aud"] == API


def test_a_machine_names_one_too(register):
    factories.make_resource(identifier=API, scope="projects:read")
    machine = register(type="confidential", grant_types="client_credentials", scope="projects:read", redirect_uris=[])
    assert_refused(machine.ask_for_itself(resource="https://nobody.example"), "invalid_target")
    assert_refused(machine.ask_for_itself(resource=[API, OWN]), "invalid_target")
    assert claims_of(machine.ask_for_itself(resource=API).json["access_token"])["aud"] == API


# --- another resource at a refresh ------------------------------------------------------------------------------------------


@pytest.fixture
def many(register):
    """A trusted client of three APIs, with a grant for none of them."""
    factories.make_resource(identifier=API, scope="api:read api:write")
    factories.make_resource(identifier=OTHER, scope="other:read")
    return register(trusted=True, scope="openid email offline_access orgs api:read other:read")


EVERYTHING = "openid email offline_access orgs api:read other:read"


@pytest.mark.both_databases
@pytest.mark.parametrize("first", [None, API], ids=["opaque", "jwt"])
def test_a_refresh_may_name_another_resource_and_only_the_access_token_changes(many, server_side, browser, first):
    scope = EVERYTHING if first is None else "openid email offline_access orgs api:read"
    tokens = many.get_tokens(browser, scope=scope, resource=first)
    wanted = {"resource": API.upper().replace("HTTPS", "https"), "scope": "openid api:read"}
    other = many.refresh(tokens["refresh_token"], **wanted)
    assert other.status_code == 200, other.text
    claims = claims_of(other.json["access_token"])
    assert (claims["aud"], claims["scope"], other.json["scope"]) == (API, "openid api:read", "openid api:read")
    assert claims_of(other.json["id_token"])["aud"] == many.client_id
    again = many.refresh(tokens["refresh_token"], **wanted).json
    assert again["refresh_token"] == other.json["refresh_token"]
    assert claims_of(again["access_token"])["jti"] == claims["jti"]
    usual = many.refresh(other.json["refresh_token"]).json
    assert usual["scope"] == scope
    if first is None:
        assert usual["access_token"].startswith("gpo_")
    else:
        assert claims_of(usual["access_token"])["aud"] == first
    assert many.is_live(many.refresh(usual["refresh_token"], resource=OWN, scope="orgs").json["access_token"])


def test_without_a_scope_such_a_refresh_asks_for_those_that_both_have(many, browser):
    tokens = many.get_tokens(browser, scope=EVERYTHING)
    answer = many.refresh(tokens["refresh_token"], resource=API).json
    assert answer["scope"] == "openid email offline_access orgs api:read"
    assert claims_of(answer["access_token"])["scope"] == answer["scope"]


@pytest.mark.both_databases
def test_no_opaque_token_is_made_beside_the_jwt_for_another_resource(app, many, browser):
    tokens = many.get_tokens(browser, scope=EVERYTHING)
    with app.app_context():
        before = db.session.query(AccessToken).count()
        db.session.rollback()
        many.refresh(tokens["refresh_token"], resource=API)
        assert db.session.query(AccessToken).count() == before


@pytest.mark.both_databases
def test_such_a_refresh_needs_a_scope_of_the_resource_itself(many, browser):
    tokens = many.get_tokens(browser, scope="openid offline_access api:read")
    for changes in ({}, {"scope": "openid"}, {"scope": "openid offline_access"}):
        assert_refused(many.refresh(tokens["refresh_token"], resource=OTHER, **changes), "invalid_target")
    assert_refused(many.refresh(tokens["refresh_token"], resource=OTHER, scope="other:read"), "invalid_scope")  # was not granted
    assert_refused(many.refresh(tokens["refresh_token"], resource="https://nobody.example", scope="api:read"), "invalid_target")
    assert_refused(many.refresh(tokens["refresh_token"], resource=API, scope="openid api:write"), "invalid_scope")
    assert many.refresh(tokens["refresh_token"], resource=API, scope="openid api:read").status_code == 200  # nothing was spent


@pytest.mark.both_databases
def test_an_untrusted_client_names_only_what_its_consent_page_named(register, browser):
    factories.make_resource(identifier=API, scope="api:read api:write")
    factories.make_resource(identifier=OTHER, scope="other:read")
    reports = register(name="Reports", scope="openid offline_access api:read api:write other:read")
    page = reports.authorize(browser, scope="openid offline_access api:read api:write other:read")
    tokens = reports.exchange(answer_of(press(browser, page, "allow"))["code"]).json
    assert_refused(reports.refresh(tokens["refresh_token"], resource=API, scope="api:read"), "invalid_target")
    press(browser, reports.authorize(browser, scope="openid api:read", resource=API), "allow")
    answer = reports.refresh(tokens["refresh_token"], resource=API).json
    assert (claims_of(answer["access_token"])["aud"], answer["scope"]) == (API, "openid offline_access api:read")  # as the page said
    assert_refused(reports.refresh(answer["refresh_token"], resource=API, scope="api:write"), "invalid_target")
    assert_refused(reports.refresh(answer["refresh_token"], resource=OTHER, scope="other:read"), "invalid_target")
    assert_refused(reports.refresh(answer["refresh_token"], resource=OWN), "invalid_target")


@pytest.mark.both_databases
def test_who_the_person_is_goes_to_another_resource_only_as_its_consent_page_said(register, browser):
    factories.make_resource(identifier=API, scope="api:read")
    reports = register(name="Reports", scope="openid profile email orgs offline_access api:read")
    page = reports.authorize(browser, scope="openid profile email orgs offline_access api:read")
    refresh_token = reports.exchange(answer_of(press(browser, page, "allow"))["code"]).json["refresh_token"]
    press(browser, reports.authorize(browser, scope="api:read", resource=API), "allow")
    for scope in ("openid", "profile", "email", "orgs"):
        assert_refused(reports.refresh(refresh_token, resource=API, scope=f"api:read {scope}"), "invalid_scope")
    answer = reports.refresh(refresh_token, resource=API).json
    assert answer["scope"] == "offline_access api:read"  # the grant can still be refreshed
    assert "id_token" not in answer
    assert not {"name", "email", "email_verified", "orgs"} & set(claims_of(answer["access_token"]))
    press(browser, reports.authorize(browser, scope="openid email", resource=API), "allow")
    answer = reports.refresh(answer["refresh_token"], resource=API).json
    assert answer["scope"] == "openid email offline_access api:read"
    assert claims_of(answer["access_token"])["email"] == "ada@example.com"
    assert reports.refresh(answer["refresh_token"]).json["scope"] == "openid profile email orgs offline_access api:read"


def test_the_consent_of_one_person_or_organization_opens_no_other_resource_for_another(app, register, browser, person):
    factories.make_resource(identifier=API, scope="api:read")
    factories.make_organization(slug="acme", owner=person)
    reports = register(scope="openid offline_access api:read")

    def allow(browser, **asked):
        page = reports.authorize(browser, scope="openid offline_access api:read", **asked)
        return answer_of(press(browser, page, "allow"))["code"]

    [(_, theirs)] = people(app)
    mine = reports.exchange(allow(browser, organization="acme")).json["refresh_token"]
    allow(browser, organization=slug_of(browser), resource=API)
    allow(theirs, resource=API)
    assert_refused(reports.refresh(mine, resource=API, scope="api:read"), "invalid_target")
    allow(browser, organization="acme", resource=API)
    assert reports.refresh(mine, resource=API, scope="api:read").status_code == 200


def slug_of(browser):
    return next(org["slug"] for org in browser.get("/api/v1/session").json["orgs"] if org["slug"] != "acme")


@pytest.mark.both_databases
def test_the_registration_of_the_resource_that_is_named_counts_and_not_that_of_the_grant(app, register, browser):
    factories.make_resource(identifier=API, scope="things:read things:write")
    factories.make_resource(identifier=OTHER, scope="things:read things:write")
    program = register(trusted=True, scope="openid offline_access things:read things:write")
    tokens = program.get_tokens(browser, scope="openid offline_access things:read things:write", resource=API)
    with owner.session(app) as owners:
        owners.execute(update(Resource).where(Resource.identifier == API).values(scope="things:read"))
        owners.execute(update(Resource).where(Resource.identifier == OTHER).values(scope="things:write"))
    answer = program.refresh(tokens["refresh_token"], resource=OTHER).json
    assert claims_of(answer["access_token"])["scope"] == answer["scope"] == "openid offline_access things:write"
    again = program.refresh(tokens["refresh_token"], resource=OTHER).json
    assert claims_of(again["access_token"]) == claims_of(answer["access_token"])
    assert (again["refresh_token"], again["scope"]) == (answer["refresh_token"], answer["scope"])
    assert_refused(program.refresh(answer["refresh_token"], resource=OTHER, scope="things:read"), "invalid_target")
    assert program.refresh(answer["refresh_token"]).json["scope"] == "openid offline_access things:read"


def test_a_repeat_is_refused_when_the_resource_may_no_longer_be_named_and_revokes_nothing(app, many, browser):
    tokens = many.get_tokens(browser, scope=EVERYTHING)
    first = many.refresh(tokens["refresh_token"], resource=API, scope="api:read").json
    with owner.session(app) as owners:
        owners.execute(delete(Resource))
    assert_refused(many.refresh(tokens["refresh_token"], resource=API, scope="api:read"), "invalid_target")
    assert many.refresh(first["refresh_token"]).status_code == 200


# --- the default resource of a client ---------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_a_client_may_have_a_default_resource(register, browser):
    factories.make_resource(identifier=API, scope="api:read")
    factories.make_resource(identifier=OTHER, scope="api:read")
    program = register(trusted=True, scope="openid email offline_access api:read", resource=API)
    tokens = program.get_tokens(browser, scope="openid offline_access api:read")
    assert claims_of(tokens["access_token"])["aud"] == API
    assert claims_of(program.refresh(tokens["refresh_token"]).json["access_token"])["aud"] == API
    assert claims_of(program.get_tokens(browser, scope="api:read", resource=OTHER)["access_token"])["aud"] == OTHER
    assert program.exchange(program.get_code(browser)).json["scope"] == "openid email api:read"
    machine = register(
        type="confidential", grant_types="client_credentials", scope="api:read", redirect_uris=[], resource=API, trusted=True
    )
    assert claims_of(machine.ask_for_itself().json["access_token"])["aud"] == API


def test_a_consent_page_names_the_default_resource(register, browser):
    factories.make_resource(identifier=API, scope="api:read")
    assert API in register(scope="openid api:read", resource=API).authorize(browser, scope="api:read").text


# --- userinfo -------------------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_userinfo_takes_any_live_access_token_with_openid(program, browser, person):
    tokens = program.get_tokens(browser, scope="openid email projects:read", resource=API)
    body = program.userinfo(tokens["access_token"]).json
    assert (body["sub"], body["email"]) == (str(person.id), "ada@example.com")
    assert program.userinfo(tokens["id_token"]).json["error"] == "invalid_token"
    narrow = program.get_tokens(browser, scope="projects:read", resource=API)["access_token"]
    assert (program.userinfo(narrow).status_code, program.userinfo(narrow).json["error"]) == (403, "insufficient_scope")
    program.revoke(tokens["access_token"])
    assert program.userinfo(tokens["access_token"]).status_code == 401


def test_a_machines_token_has_no_userinfo(register):
    factories.make_resource(identifier=API, scope="projects:read")
    machine = register(type="confidential", grant_types="client_credentials", scope="openid projects:read", redirect_uris=[])
    token = machine.ask_for_itself(resource=API, scope="openid projects:read").json["access_token"]
    assert machine.userinfo(token).status_code == 401
