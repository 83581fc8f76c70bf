"""OAuth clients through their pages: adding one of each kind, a secret shown once, two that overlap, deleting."""

import re
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from infra import clock
from models import OAuthClient
from services.instance import sweeping
from services.tokens import oauth_clients
from tests import factories, owner
from tests.oauth.flow import Program, bearer, people
from tests.pages.admin.test_users import Instance
from tests.pages.forms import counted, post, said

CLIENTS = "/admin/clients"
WEB = {"name": "Boards", "kind": "web", "redirect_uris": "https://boards.example/callback", "scopes": "openid profile email"}


@pytest.fixture
def instance(app: Flask) -> Instance:
    return Instance(app)


def _rows(app: Flask) -> list[OAuthClient]:
    with owner.session(app) as owners:
        found = list(owners.scalars(select(OAuthClient).order_by(OAuthClient.id)))
        owners.expunge_all()
        return found


def _shown(text: str) -> str:
    found = re.search(r"<output[^>]+>(gpc_[^<]+)", text)
    assert found, said_of(text)
    return found[1]


def said_of(text: str) -> str:
    return re.sub(r"<[^>]+>", " ", text.partition("<main")[2])[:500]


@pytest.mark.both_databases
def test_only_administrators_and_changes_only_after_a_fresh_sign_in(instance: Instance, database: Any) -> None:
    client = factories.make_client(type="confidential")
    here, person = f"{CLIENTS}/{client.id}", instance.signed_in(instance.user)
    reading, changing = (CLIENTS, here, f"{here}/secret/created"), (f"{CLIENTS}/new", f"{here}/edit", f"{here}/secret", f"{here}/delete")
    for path in (*reading, *changing):
        assert instance.browser.get(path).status_code == 200, path
        assert person.get(path).status_code == 404, path
    for path in (*changing, f"{here}/old-secret/revoke"):
        assert post(person, "/account", path, **WEB).status_code == 404, path
        assert instance.browser.post(path, data=WEB).status_code == 400, path
    clock.move(601)
    for path in changing:
        assert instance.browser.get(path).headers["Location"].startswith("/reauth?next="), path
        assert post(instance.browser, "/account", path, **WEB).headers["Location"].startswith("/reauth?next="), path
    assert [row.client_id for row in _rows(instance.app)] == [client.client_id]
    assert instance.browser.get(f"{CLIENTS}/01939000-0000-7000-8000-000000000009").status_code == 404


@pytest.mark.both_databases
def test_a_web_client_is_added_and_its_secret_shown_once(instance: Instance, database: Any) -> None:
    answer = post(instance.browser, f"{CLIENTS}/new", **WEB, checked="y")
    assert answer.status_code == 303, said(answer)
    page = instance.browser.get(answer.headers["Location"]).text
    raw, (row,) = _shown(page), _rows(instance.app)
    assert "Copy your secret now" in page
    assert row.client_id in page
    assert (row.name, row.type, row.scope, row.trusted, row.confirm) == ("Boards", "confidential", "openid profile email", True, True)
    assert (row.redirect_uris, row.grant_types) == (["https://boards.example/callback"], "authorization_code refresh_token")
    with instance.app.app_context():
        found = oauth_clients.find(row.client_id)
        assert found is not None
        assert found.has_secret(raw)
    again = instance.browser.get(answer.headers["Location"])
    assert raw not in again.text
    assert "You’ve already seen this secret." in said(again)
    assert raw not in str([vars(event) for event in owner.events(instance.app)])
    text = said(instance.browser.get(CLIENTS))
    assert "Boards Web Trusted boards.example Never People 0" in text


def test_native_and_machine_clients(instance: Instance, database: Any) -> None:
    native = {**WEB, "kind": "native", "redirect_uris": "http://127.0.0.1/callback\r\n com.example.app:/callback \r\n\r\n"}
    answer = post(instance.browser, f"{CLIENTS}/new", **native)
    assert "Boards added." in said(instance.browser.get(answer.headers["Location"]))
    machine = {**WEB, "kind": "machine", "redirect_uris": "", "scopes": "introspect"}
    assert post(instance.browser, f"{CLIENTS}/new", **machine).headers["Location"].endswith("/created")
    first, second = _rows(instance.app)
    assert (first.type, first.redirect_uris) == ("public", ["http://127.0.0.1/callback", "com.example.app:/callback"])
    assert (second.type, second.grant_types, second.scope) == ("confidential", "client_credentials", "introspect")
    page = said(instance.browser.get(f"{CLIENTS}/{first.id}"))
    assert "Secret" not in page


@pytest.mark.both_databases
def test_a_client_has_a_default_resource_and_an_algorithm_for_its_id_tokens(instance: Instance, database: Any) -> None:
    factories.make_resource(identifier="https://api.example.com", name="Things")
    form = instance.browser.get(f"{CLIENTS}/new")
    assert '<option value="https://api.example.com">' in form.text
    chosen = {**WEB, "resource": "https://api.example.com", "id_token_alg": "RS256"}
    post(instance.browser, f"{CLIENTS}/new", **chosen)
    [row] = _rows(instance.app)
    assert (row.resource, row.id_token_alg, row.pkce) == ("https://api.example.com", "RS256", "required")
    here = f"{CLIENTS}/{row.id}"
    assert "Default API https://api.example.com" in said(instance.browser.get(here))
    assert "ID tokens signed with RS256" in said(instance.browser.get(here))
    post(instance.browser, f"{here}/edit", **{**WEB, "name": "Other"})  # a form that does not name them changes neither
    [row] = _rows(instance.app)
    assert (row.name, row.resource, row.id_token_alg) == ("Other", "https://api.example.com", "RS256")
    assert '<option value="https://api.example.com" selected>' in instance.browser.get(f"{here}/edit").text
    post(instance.browser, f"{here}/edit", **WEB, resource="", id_token_alg="ES256")
    [row] = _rows(instance.app)
    assert (row.resource, row.id_token_alg) == (None, "ES256")


def test_editing_keeps_what_only_the_seed_file_says(instance: Instance, database: Any) -> None:
    client = factories.make_client(type="confidential", pkce="optional", scope="openid profile email")
    post(instance.browser, f"{CLIENTS}/{client.id}/edit", **WEB)
    [row] = _rows(instance.app)
    assert (row.name, row.pkce) == ("Boards", "optional")


def test_a_client_with_more_permissions_than_fit_into_a_token_is_told_so(instance: Instance, database: Any) -> None:
    many = [f"{number:03}".ljust(127, "x") for number in range(32)]  # 4,095 characters with the spaces
    factories.make_resource(scope=" ".join(many))
    client = factories.make_client(type="confidential", scope=" ".join(many))
    answer = post(instance.browser, f"{CLIENTS}/{client.id}/edit", **{**WEB, "scopes": ["orgs", *many]})
    assert answer.status_code == 422
    assert "Choose fewer permissions: access tokens have no room for so many" in said(answer)
    assert post(instance.browser, f"{CLIENTS}/{client.id}/edit", **{**WEB, "scopes": ["orgs", *many[1:]]}).status_code == 303


def test_schemes_of_apps_need_no_dot(instance: Instance, database: Any) -> None:
    uris = "cursor://anysphere.cursor-mcp/oauth/callback\r\nvscode://vscode.example/callback"
    post(instance.browser, f"{CLIENTS}/new", **{**WEB, "kind": "native", "redirect_uris": uris})
    [row] = _rows(instance.app)
    assert row.redirect_uris == uris.split("\r\n")
    assert "cursor" in said(instance.browser.get(CLIENTS))


WRONG = [
    ({"name": " "}, "Enter a name"),
    ({"name": "x" * 81}, "Use 80 characters or fewer"),
    ({"name": "a\u202eb"}, "Use letters, numbers and spaces"),
    ({"kind": "x"}, "Choose a kind"),
    ({"redirect_uris": " \r\n"}, "Enter at least one address"),
    ({"redirect_uris": "https://a.example/x\r\n\r\nhttp://a.example/x"}, "Line 3: use https, or http with 127.0.0.1"),
    ({"redirect_uris": "http://evil.example\\@127.0.0.1/"}, "Line 1: use https, or http with 127.0.0.1"),
    ({"redirect_uris": "https://a.example/#x"}, "Line 1: use https"),
    ({"redirect_uris": "https://*.a.example/x"}, "Line 1: use https"),
    ({"redirect_uris": "https://a.example%40b.example/x"}, "Line 1: use https"),
    ({"redirect_uris": 'https://a.example"><b>/x'}, "Line 1: use https"),
    *(
        ({"redirect_uris": f"{scheme}:x"}, "Line 1: use https")
        for scheme in ("javascript", "JavaScript", "data", "file", "blob", "about", "vbscript")
    ),
    ({"resource": "https://nobody.example"}, "Not a valid choice"),
    ({"id_token_alg": "HS256"}, "Not a valid choice"),
    ({"redirect_uris": "\r\n".join(f"https://a.example/{number}" for number in range(51))}, "Enter 50 addresses or fewer"),
    ({"kind": "machine"}, "Leave this empty"),
    ({"scopes": ""}, "Choose at least one permission"),
    ({"scopes": "everything"}, "not a valid"),
    ({"kind": "native", "scopes": "introspect"}, "Only an app with a secret may check access tokens"),
]


@pytest.mark.parametrize(
    ("redirect_uris", "kind"),
    [
        (["http://127.0.0.1/callback", "com.example.app:/callback"], "Native"),
        (["https://app.example.com/callback", "http://127.0.0.1/callback"], "Web"),  # the second one is for development
        ([], "Service"),
    ],
)
def test_its_kind_is_told_by_its_addresses(instance: Instance, redirect_uris: list[str], kind: str) -> None:
    client = factories.make_client(redirect_uris=redirect_uris)
    assert f"Kind {kind}" in said(instance.browser.get(f"/admin/clients/{client.id}"))


def test_the_case_of_a_scheme_makes_no_web_client_a_native_one(instance: Instance, database: Any) -> None:
    post(instance.browser, f"{CLIENTS}/new", **{**WEB, "redirect_uris": "HTTPS://boards.example/callback"})
    (row,) = _rows(instance.app)
    assert row.redirect_uris == ["HTTPS://boards.example/callback"]
    assert "Boards Web Added here boards.example" in said(instance.browser.get(CLIENTS))


def test_what_is_wrong_is_said_at_its_field_and_nothing_is_made(instance: Instance, database: Any) -> None:
    for changes, error in WRONG:
        fields = {name: value for name, value in {**WEB, **changes}.items() if value or name != "scopes"}
        answer = post(instance.browser, f"{CLIENTS}/new", **fields)
        assert (answer.status_code, error in said(answer)) == (422, True), (changes, said(answer)[:400])
        assert "There is a problem" in said(answer)
    assert _rows(instance.app) == []


def test_a_form_sent_twice_makes_one_client(instance: Instance, database: Any) -> None:
    page = instance.browser.get(f"{CLIENTS}/new").text
    hidden = dict(re.findall(r'name="(csrf_token|form_id)" value="([^"]+)"', page))
    for expected in ("/created", CLIENTS):
        answer = instance.browser.post(f"{CLIENTS}/new", data={**hidden, **WEB})
        assert answer.headers["Location"].endswith(expected)
    assert len(_rows(instance.app)) == 1
    assert "Nothing changed." in said(instance.browser.get(CLIENTS))


@pytest.mark.both_databases
def test_two_secrets_overlap_until_the_old_one_is_revoked(instance: Instance, database: Any) -> None:
    client = factories.make_client(type="confidential")
    here = f"{CLIENTS}/{client.id}"
    answer = post(instance.browser, f"{here}/secret")
    new = _shown(instance.browser.get(answer.headers["Location"]).text)

    def good() -> list[bool]:
        with instance.app.app_context():
            found = oauth_clients.find(client.client_id)
            assert found is not None
            return [found.has_secret(raw) for raw in (client.raw_secret, new)]  # type: ignore[attr-defined]

    assert good() == [True, True]
    assert "It has two secrets. The old one works until" in said(instance.browser.get(here))
    third = post(instance.browser, f"{here}/secret")
    assert (third.status_code, "Revoke the old one first." in said(third)) == (409, True)
    assert good() == [True, True]
    assert post(instance.browser, here, f"{here}/old-secret/revoke").headers["Location"] == here
    assert good() == [False, True]
    assert "Old secret revoked." in said(instance.browser.get(here))
    post(instance.browser, here, f"{here}/old-secret/revoke")
    assert "Nothing changed." in said(instance.browser.get(here))
    assert owner.actions(instance.app)[-2:] == ["oauth_client.secret_rotated", "oauth_client.old_secret_revoked"]


# --- changing one -----------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_a_client_is_changed_and_what_is_not_on_the_form_stays(instance: Instance, database: Any) -> None:
    factories.make_resource(identifier="https://api.example.com", scope="parts:read")
    client = factories.make_client(
        type="confidential",
        name="Boards",
        scope="openid email offline_access parts:read",
        post_logout_redirect_uris=["https://app.example.com/bye"],
        origin="registered",
    )
    page = f"{CLIENTS}/{client.id}/edit"
    text = instance.browser.get(page).text
    assert re.findall(r'name="scopes" value="([^"]+)" checked', text) == [
        "offline_access",
        "openid",
        "email",
        "parts:read",
    ]
    assert "https://app.example.com/callback</textarea>" in text
    asked = {
        "name": "Boards 2",
        "redirect_uris": "https://a.example/x\r\nhttps://b.example/x",
        "scopes": ["openid profile email", "parts:read"],
    }
    answer = post(instance.browser, page, **asked, checked="y")
    assert answer.headers["Location"] == f"{CLIENTS}/{client.id}"
    assert "Saved." in said(instance.browser.get(answer.headers["Location"]))
    (row,) = _rows(instance.app)
    assert (row.name, row.redirect_uris, row.trusted) == ("Boards 2", ["https://a.example/x", "https://b.example/x"], True)
    assert (row.scope, row.version) == ("openid profile email parts:read", 2)
    assert (row.type, row.origin, row.secret_hash, row.post_logout_redirect_uris) == (
        "confidential",
        "registered",
        client.secret_hash,
        ["https://app.example.com/bye"],
    )
    assert owner.actions(instance.app)[-1] == "oauth_client.updated"
    post(instance.browser, page, **asked, checked="y")
    assert "Nothing changed." in said(instance.browser.get(CLIENTS))
    assert _rows(instance.app)[0].version == 2


def test_what_is_wrong_with_a_change_is_said_at_its_field_and_kept(instance: Instance, database: Any) -> None:
    client = factories.make_client(type="public", redirect_uris=["http://127.0.0.1/callback"])
    page = f"{CLIENTS}/{client.id}/edit"
    good = {"name": "App", "redirect_uris": "http://127.0.0.1/callback", "scopes": "openid profile email"}
    for changes, error in (
        ({"name": ""}, "Enter a name"),
        ({"redirect_uris": ""}, "Enter at least one address"),
        ({"redirect_uris": "https://a.example/x\r\njavascript:x"}, "Line 2: use https, or http with 127.0.0.1"),
        ({"scopes": "introspect"}, "Only an app with a secret may check access tokens"),
        ({"scopes": "parts:read"}, "not a valid"),
    ):
        answer = post(instance.browser, page, **{**good, **changes})
        assert (answer.status_code, error in said(answer)) == (422, True), (changes, said(answer)[:400])
    assert _rows(instance.app)[0].version == 1
    machine = factories.make_client(type="confidential", redirect_uris=[], grant_types="client_credentials", scope="introspect")
    page = f"{CLIENTS}/{machine.id}/edit"
    assert "Leave this empty" in said(post(instance.browser, page, **{**good, "scopes": "introspect"}))
    assert post(instance.browser, page, name="Job", redirect_uris="", scopes="introspect").status_code == 303
    assert post(instance.browser, page, f"{CLIENTS}/01939000-0000-7000-8000-000000000009/edit", **good).status_code == 404


def test_a_change_holds_from_the_next_sign_in_on_and_whoever_is_signed_in_stays_so(instance: Instance, database: Any) -> None:
    grant = factories.make_grant(instance.user)
    token = bearer(grant.raw_token)  # type: ignore[attr-defined]
    page = f"{CLIENTS}/{grant.client_pk}/edit"
    post(instance.browser, page, name="App", redirect_uris="https://new.example/x", scopes="openid profile email")
    assert instance.app.test_client().get("/api/v1/whoami", headers=token).status_code == 200
    (row,) = _rows(instance.app)
    asked = f"/oauth/authorize?response_type=code&client_id={row.client_id}&redirect_uri="
    assert "This app’s return address isn’t registered" in said(instance.browser.get(f"{asked}https://app.example.com/callback"))


def test_a_native_client_gets_no_secret(instance: Instance, database: Any) -> None:
    client = factories.make_client(type="public")
    assert f"{CLIENTS}/{client.id}/secret" not in instance.browser.get(f"{CLIENTS}/{client.id}").text
    assert instance.browser.get(f"{CLIENTS}/{client.id}/secret").status_code == 404
    for path in ("secret", "old-secret/revoke"):
        assert post(instance.browser, CLIENTS, f"{CLIENTS}/{client.id}/{path}").status_code == 404


@pytest.mark.both_databases
def test_deleting_ends_every_token_and_twice_is_no_error(instance: Instance, database: Any) -> None:
    grant = factories.make_grant(instance.user)
    here = f"{CLIENTS}/{grant.client_pk}"
    token = bearer(grant.raw_token)  # type: ignore[attr-defined]
    client = instance.app.test_client()
    assert client.get("/api/v1/whoami", headers=token).status_code == 200
    assert "1 person uses it." in said(instance.browser.get(f"{here}/delete"))
    page = instance.browser.get(f"{here}/delete").text
    data = dict(re.findall(r'name="(csrf_token)" value="([^"]+)"', page))
    for words in ("deleted.", "Nothing changed."):
        assert instance.browser.post(f"{here}/delete", data=data).headers["Location"] == CLIENTS
        assert words in said(instance.browser.get(CLIENTS))
    assert client.get("/api/v1/whoami", headers=token).status_code == 401
    assert instance.browser.get(here).status_code == 404
    assert instance.browser.get(f"{here}/delete").status_code == 404


def test_the_list_asks_the_same_number_of_questions_for_any_number_of_clients(instance: Instance, database: Any) -> None:
    factories.make_client()
    with counted(instance.app) as few:
        instance.browser.get(CLIENTS)
    for _ in range(5):
        factories.make_grant(instance.user)
    with counted(instance.app) as many:
        instance.browser.get(CLIENTS)
    assert len(few) == len(many)


# --- when it was last used ------------------------------------------------------------------------------------------------


def _last_used(instance: Instance, client: OAuthClient) -> str:
    return said(instance.browser.get(f"{CLIENTS}/{client.id}")).partition("Last used ")[2].partition(" People")[0]


def _later(instance: Instance) -> None:
    """Two days on, after sweeping: nothing that was handed out then is left."""
    clock.move(2 * 86_400)
    instance.browser = instance.signed_in(instance.admin)
    with instance.app.app_context():
        sweeping.sweep()


@pytest.mark.both_databases
@pytest.mark.parametrize("resource", [None, "https://api.example.com"])
def test_a_machines_last_use_is_its_last_token_of_any_kind(instance: Instance, database: Any, resource: str | None) -> None:
    factories.make_resource(scope="projects:read")
    machine = factories.make_client(type="confidential", grant_types="client_credentials", scope="projects:read")
    assert _last_used(instance, machine) == "Never"
    asked = {"resource": resource} if resource else {}
    assert Program(instance.app, machine).ask_for_itself(**asked).status_code == 200
    assert _last_used(instance, machine) == "just now"
    _later(instance)
    assert _last_used(instance, machine) not in ("Never", "just now")


@pytest.mark.both_databases
def test_an_app_that_cannot_refresh_was_last_used_when_somebody_signed_in(instance: Instance, database: Any) -> None:
    client = factories.make_client(grant_types="authorization_code", scope="openid", trusted=True, confirm=False)
    program = Program(instance.app, client)
    [(_, browser)] = people(instance.app)
    program.get_tokens(browser, scope="openid")
    assert _last_used(instance, client) == "just now"
    _later(instance)
    assert _last_used(instance, client) not in ("Never", "just now")


@pytest.mark.both_databases
def test_a_refused_request_is_no_use(instance: Instance, database: Any) -> None:
    machine = factories.make_client(type="confidential", grant_types="client_credentials", scope="introspect")
    program = Program(instance.app, machine)
    program.secret = "gpc_wrong"
    assert program.ask_for_itself().status_code == 401
    assert _last_used(instance, machine) == "Never"


@pytest.mark.parametrize("uri", ["http://localhost:3000/callback", "http://127.0.0.1:8080/callback"])
def test_an_app_added_as_web_stays_one_while_it_is_developed_on_this_computer(instance: Instance, uri: str) -> None:
    post(instance.browser, f"{CLIENTS}/new", **{**WEB, "redirect_uris": uri})
    [row] = _rows(instance.app)
    assert row.type == "confidential"
    assert "Kind Web" in said(instance.browser.get(f"{CLIENTS}/{row.id}"))
    assert "Boards Web" in said(instance.browser.get(CLIENTS))
