"""RFC 6749 section 2.3: a client proves who it is in one way, in the header or in the body."""

import base64

import pytest
from sqlalchemy import update

from extensions import db
from infra import clock
from models import OAuthClient
from services.access.actors import Actor
from services.tokens import oauth_clients
from tests import factories
from tests.oauth.flow import Program, assert_refused, basic

FORM = "application/x-www-form-urlencoded"
DOORS = ["/oauth/token", "/oauth/revoke", "/oauth/introspect"]


def raw_basic(text: str | bytes) -> dict[str, str]:
    data = text if isinstance(text, bytes) else text.encode()
    return {"Authorization": "Basic " + base64.b64encode(data).decode()}


@pytest.fixture
def ask(server_side):
    """A client credentials request with this authentication."""

    def request(headers=None, **parameters):
        return server_side.ask_for_itself(headers=headers or {}, **parameters)

    return request


def test_the_secret_goes_in_the_header(ask, server_side):
    assert ask({"Authorization": basic("portal", server_side.secret)}).status_code == 200
    assert ask({"Authorization": basic("portal", server_side.secret)}, client_id="portal").status_code == 200


def test_or_in_the_body(ask, server_side):
    assert ask(client_id="portal", client_secret=server_side.secret).status_code == 200


def test_the_scheme_is_read_without_regard_to_case(ask, server_side):
    assert ask({"Authorization": basic("portal", server_side.secret).replace("Basic", "bAsIc")}).status_code == 200


def test_both_parts_of_the_header_are_form_decoded(register):
    odd = register(
        client_id="https://odd.example/?a=b", type="confidential", grant_types="client_credentials", secret="s%+:é pq", redirect_uris=[]
    )
    assert odd.ask_for_itself(scope="orgs").status_code == 200
    assert odd.ask_for_itself(scope="orgs", headers={}, client_id=odd.client_id, client_secret="s%+:é pq").status_code == 200


def test_a_secret_that_is_not_ascii_is_wrong_not_a_fault(ask):
    assert_refused(ask({"Authorization": basic("portal", "geheim-ß-秘密")}), "invalid_client", 401)
    assert_refused(ask(client_id="portal", client_secret="geheim-ß-秘密"), "invalid_client", 401)
    assert_refused(ask(raw_basic("portal:ü")), "invalid_client", 401)


@pytest.mark.parametrize("door", DOORS)
def test_a_wrong_secret_is_invalid_client_and_names_the_scheme(server_side, door):
    for headers, extra in (
        ({"Authorization": basic("portal", "wrong")}, {}),
        ({}, {"client_id": "portal", "client_secret": "wrong"}),
        ({}, {"client_id": "portal"}),
        ({}, {}),
        ({"Authorization": basic("nobody", "x")}, {}),
        ({}, {"client_id": "nobody", "client_secret": "x"}),
    ):
        usual = {"grant_type": "client_credentials", "token": "gpo_x"}
        response = server_side.post(door, usual, {"headers": headers, **extra})
        assert_refused(response, "invalid_client", 401)
        assert response.headers["WWW-Authenticate"].startswith("Basic ")


def test_a_stranger_and_a_wrong_secret_get_the_same_answer(ask):
    wrong, nobody = ask({"Authorization": basic("portal", "x")}).json, ask({"Authorization": basic("nobody", "x")}).json
    assert wrong["error_description"] == nobody["error_description"]


@pytest.mark.parametrize("door", DOORS)
def test_two_ways_at_once_are_an_invalid_request(server_side, door):
    headers = {"Authorization": basic("portal", server_side.secret)}
    usual = {"grant_type": "client_credentials", "token": "gpo_x"}
    assert_refused(server_side.post(door, usual, {"headers": headers, "client_secret": server_side.secret}), "invalid_request")
    assert_refused(server_side.post(door, usual, {"headers": headers, "client_id": "other"}), "invalid_request")


@pytest.mark.parametrize("door", DOORS)
def test_anything_in_the_query_is_an_invalid_request(server_side, door):
    usual = {"grant_type": "client_credentials", "token": "gpo_x"}
    for query in ("client_id=portal", "x=1", "grant_type=client_credentials", "token=gpo_x", "="):
        assert_refused(server_side.post(f"{door}?{query}", usual), "invalid_request")


def test_secrets_in_the_query_are_never_read(server_side):
    url = f"/oauth/token?grant_type=client_credentials&client_id=portal&client_secret={server_side.secret}"
    assert_refused(server_side.http.post(url, content_type=FORM), "invalid_request")


@pytest.mark.parametrize("door", DOORS)
def test_a_parameter_given_twice_is_an_invalid_request(server_side, door):
    usual = {"grant_type": "client_credentials", "token": "gpo_x", "client_id": "portal", "client_secret": server_side.secret}
    for name in ("client_id", "client_secret", "grant_type", "token", "scope", "anything"):
        assert_refused(server_side.post(door, usual, {"headers": {}, name: ["a", "b"]}), "invalid_request")


def test_a_header_that_cannot_be_read_is_invalid_client(server_side):
    for header in [
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic cG9ydGFs",
        "Basic cG9ydGFsOng=, Basic cG9ydGFsOng=",
        "Bearer gpo_x",
        "Digest username=portal",
        "Basic \xff\xfe",
        "",
        "Basic " + "A" * 20_000,
    ]:
        response = server_side.post("/oauth/token", {"grant_type": "client_credentials"}, {"headers": {"Authorization": header}})
        assert_refused(response, "invalid_client", 401)


def test_strange_bytes_in_the_header_are_invalid_client(ask):
    for raw in [b"\xff\xfe:x", b"portal:\x00", b"\x00:x", b":", b":x", b"%00:x", b"%ED%A0%80:x", b"%zz:%"]:
        assert_refused(ask(raw_basic(raw)), "invalid_client", 401)


def test_a_public_client_says_its_id_and_needs_no_secret(program):
    assert_refused(program.refresh("gpr_x"), "invalid_grant")


def test_a_public_client_has_no_secret_to_prove(program):
    assert_refused(program.refresh("gpr_x", client_secret="x"), "invalid_client", 401)
    assert_refused(program.refresh("gpr_x", headers={"Authorization": basic(program.client_id, "x")}), "invalid_client", 401)


@pytest.fixture
def empty_basic(program):
    """What oidc-agent and Go's x/oauth2 send for a client without a secret."""
    return {"Authorization": basic(program.client_id, "")}


def test_an_empty_secret_in_the_header_is_none(program, empty_basic, browser):
    code = program.get_code(browser, scope="openid offline_access")
    tokens = program.exchange(code, headers=empty_basic)
    assert tokens.status_code == 200, tokens.text
    refreshed = program.refresh(tokens.json["refresh_token"], headers=empty_basic)
    assert refreshed.status_code == 200
    assert program.refresh(refreshed.json["refresh_token"], headers=empty_basic, client_id=program.client_id).status_code == 200
    assert program.revoke(refreshed.json["access_token"], headers=empty_basic).status_code == 200
    assert not program.is_live(refreshed.json["access_token"])


def test_an_empty_secret_in_the_body_is_none_too(program):
    assert_refused(program.refresh("gpr_x", client_id=program.client_id, client_secret=""), "invalid_grant")


def test_an_empty_secret_opens_neither_introspection_nor_another_grant(program, empty_basic):
    assert_refused(program.introspect("gpo_x", headers=empty_basic), "invalid_client", 401)
    assert_refused(program.ask_for_itself(headers=empty_basic), "unauthorized_client")


@pytest.mark.parametrize("door", DOORS)
def test_an_empty_secret_is_none_of_a_confidential_client(server_side, door):
    usual = {"grant_type": "client_credentials", "token": "gpo_x"}
    assert_refused(server_side.post(door, usual, {"headers": {"Authorization": basic("portal", "")}}), "invalid_client", 401)
    assert_refused(server_side.post(door, usual, {"headers": raw_basic("portal:%")}), "invalid_client", 401)
    assert_refused(server_side.post(door, usual, {"headers": {}, "client_id": "portal", "client_secret": ""}), "invalid_client", 401)


def test_an_empty_secret_beside_one_in_the_body_is_two_ways_at_once(program, empty_basic):
    assert_refused(program.refresh("gpr_x", headers=empty_basic, client_secret="x"), "invalid_request")
    assert_refused(program.refresh("gpr_x", headers=empty_basic, client_id="other"), "invalid_request")


def test_the_id_before_an_empty_secret_is_form_decoded(register):
    odd = register(client_id="https://odd.example/?a=b c", type="public")
    assert_refused(odd.refresh("gpr_x", headers={"Authorization": basic(odd.client_id, "")}), "invalid_grant")


def test_a_header_without_a_colon_has_no_secret_not_an_empty_one(program):
    assert_refused(program.refresh("gpr_x", headers=raw_basic(program.client_id)), "invalid_client", 401)


def test_a_client_that_registered_one_method_uses_that_one(register):
    post = register(
        type="confidential", grant_types="client_credentials", token_endpoint_auth_method="client_secret_post", redirect_uris=[]
    )
    assert_refused(post.ask_for_itself(scope="orgs"), "invalid_client", 401)
    assert post.ask_for_itself(scope="orgs", headers={}, client_id=post.client_id, client_secret=post.secret).status_code == 200


@pytest.mark.parametrize("name", ["client_assertion", "client_assertion_type"])
def test_assertions_are_not_supported(ask, name):
    assert_refused(ask(client_id="portal", **{name: "x"}), "invalid_client", 401)


def test_after_a_rotation_both_secrets_are_good_for_a_day(app, server_side):
    old = server_side.secret
    with app.app_context():
        new = oauth_clients.rotate_secret(Actor.operator(), "portal")
    for secret in (old, new):
        server_side.secret = secret
        assert server_side.ask_for_itself().status_code == 200
    clock.move(24 * 3600 + 1)
    assert server_side.ask_for_itself().status_code == 200
    server_side.secret = old
    assert_refused(server_side.ask_for_itself(), "invalid_client", 401)


@pytest.mark.parametrize("door", ["/oauth/introspect", "/oauth/revoke", "/oauth/token"])
def test_a_rotation_by_another_process_is_noticed_at_every_door(app, server_side, door):
    usual = {"grant_type": "client_credentials", "token": "gpo_x"}
    assert server_side.post(door, usual).status_code == 200
    remembered = dict(oauth_clients._known)
    with app.app_context():
        oauth_clients.rotate_secret(Actor.operator(), "portal")
        oauth_clients.rotate_secret(Actor.operator(), "portal")
    oauth_clients._known.update(remembered)  # this process was not told
    assert_refused(server_side.post(door, usual), "invalid_client", 401)


def test_the_doors_take_posts_only(program):
    for door in DOORS:
        for method in ("get", "put", "patch", "delete"):
            response = getattr(program.http, method)(door)
            assert response.status_code == 405
            assert "POST" in response.headers["Allow"]
            assert response.json["error"] == "method_not_allowed"
            assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("door", DOORS)
def test_another_content_type_is_an_invalid_request(server_side, door):
    headers = {"Authorization": basic("portal", server_side.secret)}
    for kind in ("application/json", "text/plain", "multipart/form-data; boundary=x", ""):
        response = server_side.http.post(door, data="grant_type=client_credentials&token=x", content_type=kind, headers=headers)
        assert_refused(response, "invalid_request")


def test_a_charset_beside_the_content_type_is_fine(server_side):
    headers = {"Authorization": basic("portal", server_side.secret)}
    response = server_side.http.post(
        "/oauth/token", data="grant_type=client_credentials", content_type=f"{FORM}; charset=UTF-8", headers=headers
    )
    assert response.status_code == 200


def test_public_clients_cannot_introspect(program):
    assert_refused(program.introspect("gpo_x"), "invalid_client", 401)


def test_behind_a_proxy_that_ends_tls_the_doors_work_over_plain_http(make_app):
    app = make_app(public_url="https://login.example.com", env="production")
    machine = Program(app, factories.make_client(type="confidential", grant_types="client_credentials", scope="orgs", redirect_uris=[]))
    headers = {"Authorization": basic(machine.client_id, machine.secret)}
    for url in ("http://10.0.0.7:8000", "http://login.example.com", "https://login.example.com"):
        body = "grant_type=client_credentials"
        response = machine.http.post("/oauth/token", base_url=url, data=body, content_type=FORM, headers=headers)
        assert response.status_code == 200, response.text


@pytest.fixture
def change_after_reading(monkeypatch, app):
    """`change_after_reading(2)`: another process changes a client's row after each of the next 2 reads of it."""
    read = oauth_clients.find_fresh

    def arrange(times):
        left = iter(range(times))

        def read_then_change(client_id):
            client = read(client_id)
            if next(left, None) is not None:
                with app.app_context(), db.engine.begin() as connection:
                    connection.execute(update(OAuthClient).values(version=OAuthClient.version + 1))
            return client

        monkeypatch.setattr(oauth_clients, "find_fresh", read_then_change)

    return arrange


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("times", [1, 2])
def test_a_client_that_changes_while_a_request_is_answered_is_read_again(change_after_reading, server_side, door, times):
    change_after_reading(times)
    assert server_side.post(door, {"grant_type": "client_credentials", "token": "gpo_x"}).status_code == 200


@pytest.mark.parametrize("door", DOORS)
def test_a_client_that_changes_again_and_again_may_repeat_the_request(change_after_reading, server_side, door):
    change_after_reading(100)
    response = server_side.post(door, {"grant_type": "client_credentials", "token": "gpo_x"})
    assert_refused(response, "temporarily_unavailable", 503)
    assert response.headers["Retry-After"] == "1"


@pytest.mark.both_databases
def test_a_client_that_was_deleted_by_another_process_is_invalid_client_at_every_door(app, server_side, browser):
    code, tokens = server_side.get_code(browser, scope="openid offline_access"), server_side.get_tokens(browser)
    remembered = dict(oauth_clients._known)
    with app.app_context():
        oauth_clients.delete(Actor.operator(), "portal")
    for ask in (
        lambda: server_side.refresh(tokens["refresh_token"]),
        lambda: server_side.exchange(code),
        lambda: server_side.ask_for_itself(),
        lambda: server_side.introspect(tokens["access_token"]),
        lambda: server_side.revoke(tokens["refresh_token"]),
    ):
        oauth_clients._known.update(remembered)  # this process was not told
        assert_refused(ask(), "invalid_client", 401)
