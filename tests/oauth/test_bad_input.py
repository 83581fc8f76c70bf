"""Malformed, doubled, huge, unreadable: every protocol and API route refuses in the shape of its door, and never breaks."""

import json
from urllib.parse import quote_from_bytes

import pytest

from tests.oauth.flow import basic, handoff_of
from tests.statements import counted

FORM = "application/x-www-form-urlencoded"
DOORS = ("/oauth/token", "/oauth/revoke", "/oauth/introspect")

# Percent-encoded values of one parameter.
VALUES = [
    "",
    "%00",
    "a%00b",
    "%FF%FE",
    "%C3%28",
    "%ED%A0%80",
    "%ED%B0%80%ED%A0%80",
    "%F4%90%80%80",
    "%EF%BF%BD",
    "%E2%80%AE%E2%81%A6",
    "%0D%0ASet-Cookie:%20x=1",
    "%0A",
    "%25",
    "%zz",
    "%",
    "+",
    quote_from_bytes("𝒜\u0130ß\u0000".encode()),
    "-1",
    "99999999999999999999999999",
    "1e308",
    "NaN",
    "[]",
    "{}",
    "null",
    "'%20OR%20''='",
    "<script>",
    "../../etc/passwd",
    "A" * 5000,
]
BODIES = [
    b"",
    b"\0",
    b"\xff\xfe\xfd",
    b"=",
    b"&&&&&&",
    b"=&=&=",
    b"a",
    b"%",
    b"%00=%00",
    b"%FF=%FF",
    b"%ED%A0%80=%ED%A0%80",
    b"a=1&" * 90,
    b"a=1&" * 5000,
    b"a%5B%5D=1&a%5B0%5D=2",
    b"resource=" + b"x" * 500_000,
    b"resource=a&" * 99,
    b"grant_type=client_credentials;client_id=x",
    b"grant_type=client_credentials\nscope=x",
    b'{"grant_type": "client_credentials"}',
    "grant_type=ü".encode(),
    b"\xef\xbb\xbfgrant_type=client_credentials",
]


def assert_in_shape(response, what):
    """Not a fault; a refusal is JSON with an error, or a page."""
    assert response.status_code < 500, (response.status_code, what, response.text[:300])
    if response.status_code < 400:
        return
    path = response.request.path
    if path.startswith(("/api/", "/.well-known/", *DOORS, "/oauth/userinfo")):
        assert response.mimetype == "application/json", what
        assert set(response.json) >= {"error", "error_description", "request_id"}, what
        assert response.headers["Cache-Control"] == "no-store", what
    else:
        assert response.mimetype == "text/html", what
        assert "Location" not in response.headers, what
    assert "Traceback" not in response.text
    assert "Set-Cookie" not in response.headers or "gatepost_session" not in response.headers["Set-Cookie"], what


@pytest.mark.parametrize("door", DOORS)
def test_bodies_that_make_no_sense(server_side, door):
    headers = {"Authorization": basic("portal", server_side.secret)}
    for body in BODIES:
        for sent in (headers, {}):
            response = server_side.http.post(door, data=body, content_type=FORM, headers=sent)
            assert_in_shape(response, body[:80])
            assert response.status_code in (400, 401, 413), body[:80]


@pytest.mark.parametrize("door", DOORS)
def test_a_body_that_is_too_large_is_413(server_side, door):
    response = server_side.http.post(door, data=b"token=" + b"x" * (1024 * 1024), content_type=FORM)
    assert_in_shape(response, "large")
    assert response.status_code == 413


@pytest.mark.parametrize("door", DOORS)
def test_content_types_that_nobody_asked_for(server_side, door):
    for method in ("post", "put", "get"):
        for kind in (
            "application/json",
            "text/xml",
            "multipart/form-data; boundary=x",
            "multipart/form-data",
            "x",
            "application/x-www-form-urlencoded-not",
            ";",
            "\xff",
        ):
            response = getattr(server_side.http, method)(door, data=b'{"a": [1]}', content_type=kind)
            assert_in_shape(response, (kind, method))
            assert response.status_code == (400 if method == "post" else 405)


@pytest.mark.both_databases  # what a database cannot hold it says in its own way
def test_every_parameter_of_the_token_endpoint(server_side, browser):
    usual = {
        "authorization_code": {
            "code": "x",
            "redirect_uri": "https://portal.example.com/back",
            "code_verifier": "v" * 43,
            "resource": "",
            "scope": "",
            "client_id": "portal",
        },
        "refresh_token": {"refresh_token": "gpr_x", "scope": "openid", "resource": "", "client_id": "portal"},
        "client_credentials": {"scope": "openid", "resource": "", "client_id": "portal", "audience": ""},
    }
    code = server_side.get_code(browser, scope="openid offline_access")
    token = server_side.exchange(code).json["refresh_token"]
    usual["authorization_code"]["code"] = server_side.get_code(browser)
    usual["refresh_token"]["refresh_token"] = token
    headers = {"Authorization": basic("portal", server_side.secret)}
    for grant_type, parameters in usual.items():
        for name in [*parameters, "grant_type"]:
            for value in VALUES:
                given = {"grant_type": grant_type, **parameters, name: value}
                body = "&".join(f"{key}={text}" for key, text in given.items() if text or key == name)
                response = server_side.http.post("/oauth/token", data=body, content_type=FORM, headers=headers)
                assert_in_shape(response, (grant_type, name, value[:60]))


@pytest.mark.both_databases  # what a database cannot hold it says in its own way
def test_every_parameter_of_revocation_and_introspection(server_side):
    headers = {"Authorization": basic("portal", server_side.secret)}
    for door in DOORS[1:]:
        for value in VALUES:
            for body in (
                f"token={value}",
                f"token=gpr_{value}",
                f"token=gpo_{value}",
                f"token={value}.{value}.{value}",
                f"token=x&token_type_hint={value}",
            ):
                assert_in_shape(server_side.http.post(door, data=body, content_type=FORM, headers=headers), (door, body[:60]))
            for body in (f"token=x&client_id={value}", f"token=x&client_id=portal&client_secret={value}"):
                assert_in_shape(server_side.http.post(door, data=body, content_type=FORM), (door, body[:60]))


def test_every_parameter_of_authorize(app, program, browser):
    names = "response_type client_id redirect_uri scope state code_challenge code_challenge_method nonce prompt max_age login_hint".split()
    names += "ui_locales organization response_mode request request_uri resource id_token_hint claims acr_values display anything".split()
    stranger = app.test_client(use_cookies=False)
    for name in names:
        url = program.authorize_url(**{name: None})
        for value in VALUES:
            response = browser.get(f"{url}&{name}={value}")
            assert_in_shape(response, (name, value[:60]))
            if response.status_code == 303:
                location = response.headers["Location"]
                assert location.startswith((program.redirect_uri, "/login?handoff=")), (name, value, location)
                assert location.isascii()
                assert not {"\r", "\n"} & set(location)
        for value in VALUES[:8]:
            assert_in_shape(stranger.get(f"{url}&{name}={value}"), (name, value[:60]))
            body = f"{url.partition('?')[2]}&{name}={value}"
            assert_in_shape(browser.post("/oauth/authorize", data=body, content_type=FORM), (name, value[:60]))


def test_raw_bytes_in_the_query(app, program, browser):
    for raw in (
        "\xff\xfe",
        "state=\xff",
        "\xc3\xa9=\xc3\xa9",
        "\0",
        "client_id=\0",
        "handoff=\xff",
        "handoff=\xc3\xa9",
        "%",
        "&" * 300,
        "a&" * 300,
    ):
        for path in (
            "/oauth/authorize",
            "/login",
            "/oauth/logout",
            "/signed-out",
            "/oauth/userinfo",
            "/api/v1/whoami",
            "/.well-known/jwks.json",
        ):
            response = browser.get(path, environ_overrides={"QUERY_STRING": raw})
            assert_in_shape(response, (path, raw[:40]))


def test_every_parameter_of_signing_out_and_of_the_sign_in_page(browser):
    for value in VALUES:
        for name in ("id_token_hint", "client_id", "post_logout_redirect_uri", "state", "confirmed"):
            assert_in_shape(browser.get(f"/oauth/logout?{name}={value}"), (name, value[:60]))
            assert_in_shape(browser.post("/oauth/logout", data=f"{name}={value}", content_type=FORM), (name, value[:60]))
        for name in ("handoff", "next", "error", "provider", "switch"):
            assert_in_shape(browser.get(f"/login?{name}={value}"), (name, value[:60]))


def test_our_own_form(register, browser):
    page = register().authorize(browser)
    url = "/oauth/authorize?handoff=" + handoff_of(page)
    token = page.text.split('name="csrf_token" value="')[1].split('"')[0]
    for value in VALUES:
        for body in (
            f"csrf_token={value}",
            f"csrf_token={token}&decision={value}",
            f"csrf_token={token}&organization={value}&decision=allow",
        ):
            response = browser.post(url, data=body, content_type=FORM)
            assert response.status_code < 500, body[:80]
    assert browser.post(url, data=b"x", content_type="multipart/form-data; boundary=x").status_code == 400
    assert browser.post(url, json={"csrf_token": token, "decision": "allow"}).status_code == 400
    assert browser.post(url, data=b"decision=allow&x=" + b"x" * 2_000_000, content_type=FORM).status_code in (400, 413)


def test_authorization_headers_at_every_door_that_reads_one(app, program, browser):
    http = app.test_client(use_cookies=False)
    values = [
        "",
        " ",
        "Bearer",
        "Bearer ",
        "Bearer \xff\xfe",
        "Bearer gpo_\xff",
        "Bearer a.b.c",
        "Bearer ..",
        "Bearer \t",
        "Basic \xff",
        "Basic Og==",
        "Negotiate x",
    ]
    values += [
        "Bearer " + "." * 5000,
        "Bearer " + "x" * 100_000,
        "Bearer gpo_" + "x" * 15_000,
        "Bearer e30.e30.e30",
        "Bearer bnVsbA.bnVsbA.x",
        ",",
    ]
    for value in values:
        for path in ("/oauth/userinfo", "/api/v1/whoami", "/api/v1/session", "/api/v1/orgs", "/api/v1/orgs/x", "/api/v1/user-sessions"):
            response = http.get(path, headers={"Authorization": value})
            assert_in_shape(response, (path, value[:40]))
            assert response.status_code in (400, 401, 403), (path, value[:40])
        for door in DOORS:
            response = http.post(door, data="token=x&grant_type=refresh_token", content_type=FORM, headers={"Authorization": value})
            assert_in_shape(response, (door, value[:40]))
            assert response.status_code in (400, 401)


@pytest.mark.both_databases  # what a database cannot hold it says in its own way
def test_paths_and_queries_of_the_api(browser):
    origin = {"Origin": "http://127.0.0.1:8000"}
    for value in VALUES:
        assert_in_shape(browser.get(f"/api/v1/orgs/{value}x"), value[:60])
        assert_in_shape(browser.delete(f"/api/v1/user-sessions/{value}x", headers=origin), value[:60])
        assert_in_shape(browser.delete(f"/api/v1/user-sessions?others={value}", headers=origin), value[:60])
        assert_in_shape(browser.get(f"/api/v1/orgs?cursor={value}&limit={value}"), value[:60])
        assert_in_shape(browser.get(f"/.well-known/oauth-protected-resource/{value}x"), value[:60])
    assert browser.get("/api/v1/session").status_code == 200


def test_bodies_where_the_api_wants_none(browser):
    origin = {"Origin": "http://127.0.0.1:8000"}
    for body in (b"{", b"\xff", b'"\\ud800"', b"[" * 10_000, b"x" * 2_000_000, json.dumps({"a": 10**400}).encode()):
        for path in ("/api/v1/session", "/api/v1/whoami", "/api/v1/orgs", "/api/v1/user-sessions"):
            for method in ("GET", "DELETE", "POST", "PUT", "PATCH"):
                response = browser.open(path, method=method, data=body, content_type="application/json", headers=origin)
                assert_in_shape(response, (method, path, body[:20]))


def test_a_cookie_needs_this_sites_origin_for_what_changes_something(browser):
    for headers in (
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://127.0.0.1:8000.evil.example"},
        {"Origin": "http://127.0.0.1:8001"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
    ):
        response = browser.delete("/api/v1/user-sessions?others=true", headers=headers)
        assert (response.status_code, response.json["error"]) == (403, "bad_origin"), headers
        assert_in_shape(response, headers)
    assert browser.delete("/api/v1/user-sessions?others=true", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 204


def test_every_method_on_every_route(app, browser, program):
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "FOO"]
    rules = [rule for rule in app.url_map.iter_rules() if rule.rule.startswith(("/oauth/", "/api/", "/.well-known/"))]
    assert len(rules) > 15
    for http in (browser, app.test_client(use_cookies=False)):
        for rule in rules:
            path = rule.rule
            for argument in rule.arguments:
                path = path.replace(f"<{argument}>", "x").replace(f"<path:{argument}>", "x")
            taken = set(app.url_map.bind("").allowed_methods(path))  # `resolve` is also where a credential's name stands
            for method in methods:
                response = http.open(path, method=method)
                if method == "HEAD":
                    assert response.status_code < 500, (path, method)
                    continue
                assert_in_shape(response, (path, method))
                if method not in taken:
                    assert response.status_code == 405, (path, method)
                    assert taken <= set(response.headers["Allow"].replace(" ", "").split(",")), (path, method)


def test_what_is_not_there_is_404_in_the_shape_of_the_door(client):
    for path in (
        "/api/v1/nothing",
        "/api/v2/session",
        "/api/v1",
        "/api/v1/",
        "/.well-known/nothing",
        "/oauth/token/x",
        "/oauth/introspect/",
    ):
        response = client.get(path)
        assert response.status_code == 404, path
        assert_in_shape(response, path)
    for path in ("/nothing", "/oauth/nothing", "/oauth", "/login/nobody/callback/x", "/%00", "/\ufffd"):
        response = client.get(path)
        assert response.status_code == 404, path
        assert response.mimetype == "text/html"


def test_an_address_that_is_too_long_is_414(browser, program):
    for path in ("/oauth/authorize", "/login", "/api/v1/whoami"):
        response = browser.get(f"{path}?x=" + "x" * 17_000)
        assert response.status_code == 414
        assert_in_shape(response, path)


@pytest.mark.parametrize("door", DOORS)
def test_a_form_of_a_program_is_64_kib_at_most_and_a_longer_one_is_not_read(server_side, door):
    """A megabyte of percent signs took 140 ms to decode, whoever sent it."""
    headers = {"Authorization": basic("portal", server_side.secret)}
    fields = b"grant_type=client_credentials&token="
    body = fields + b"%41" * ((131_072 - len(fields)) // 3)
    body += b"x" * (131_072 - len(body))
    assert server_side.http.post(door, data=body, content_type=FORM, headers=headers).status_code == 200
    with counted() as statements:
        response = server_side.http.post(door, data=body + b"x", content_type=FORM, headers=headers)
    assert (response.status_code, response.json["error"]) == (413, "request_too_large")
    assert_in_shape(response, "one byte more")
    assert statements == []


def test_an_address_has_200_parameters_at_most(browser, program):
    for path in ("/oauth/authorize", "/login", "/account", "/api/v1/whoami", "/healthz"):
        assert browser.get(f"{path}?" + "&" * 199).status_code == browser.get(path).status_code, path
        for query in ("&" * 200, "a&" * 8000, "a=%41&" * 300):
            response = browser.get(f"{path}?{query}")
            assert response.status_code == 400, path
            if path != "/healthz":
                assert_in_shape(response, path)
    assert browser.get("/api/v1/whoami?" + "a&" * 8000).json["error"] == "invalid_request"


def test_a_form_of_a_page_is_quick_to_read_or_refused(browser):
    """Half a megabyte of fields, or of escaped bytes, took over 100 ms."""
    for path in ("/logout", "/login/continue", "/account", "/oauth/logout"):
        for body in (b"a&" * 200_000, b"a=" + b"%41" * 200_000):
            response = browser.post(path, data=body, content_type=FORM)
            assert response.status_code == 413, path
            assert_in_shape(response, path)
    for body in (b"a&" * 4_999, b"a=" + b"%41" * 100_000, b"a=" + b"b" * 1_000_000):
        assert browser.post("/logout", data=body, content_type=FORM).status_code == 400
