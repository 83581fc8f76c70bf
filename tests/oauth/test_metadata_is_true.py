"""Each value that discovery names works, and its opposite does not. A value that is new there needs a test here."""

import base64
import json

import pytest

from services.access.actors import Actor
from services.tokens import seed_clients
from tests import factories
from tests.oauth.flow import ISSUER, answer_of, assert_refused, basic, bearer, claims_of, form_post_of, handoff_of, header_of, press

TRIED = {
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "revocation_endpoint",
    "introspection_endpoint",
    "userinfo_endpoint",
    "end_session_endpoint",
    "jwks_uri",
    "scopes_supported",
    "response_types_supported",
    "response_modes_supported",
    "grant_types_supported",
    "token_endpoint_auth_methods_supported",
    "revocation_endpoint_auth_methods_supported",
    "introspection_endpoint_auth_methods_supported",
    "code_challenge_methods_supported",
    "authorization_response_iss_parameter_supported",
    "subject_types_supported",
    "id_token_signing_alg_values_supported",
    "claims_supported",
    "prompt_values_supported",
    "request_parameter_supported",
    "request_uri_parameter_supported",
    "claims_parameter_supported",
}
SECRET = "s" * 43
ASSERTION = {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion": "e30.e30.x"}


@pytest.fixture
def metadata(client):
    return client.get("/.well-known/openid-configuration").json


@pytest.fixture
def every(register, metadata):
    """A client that may have all that discovery names, and introspect."""
    return register(
        type="confidential",
        trusted=True,
        secret=SECRET,
        grant_types=" ".join(metadata["grant_types_supported"]),
        scope=" ".join([*metadata["scopes_supported"], "introspect"]),
    )


def test_every_value_is_tried_here(metadata):
    assert set(metadata) == TRIED


def test_the_issuer_is_in_every_answer_and_token(every, browser, metadata):
    assert metadata["issuer"] == ISSUER
    tokens = every.get_tokens(browser, scope="openid")
    assert claims_of(tokens["id_token"])["iss"] == every.introspect(tokens["access_token"]).json["iss"] == metadata["issuer"]


def test_endpoints(every, browser, metadata):
    def path(name):
        assert metadata[name].startswith(metadata["issuer"] + "/")
        return metadata[name].removeprefix(metadata["issuer"])

    query = every.authorize_query(scope="openid offline_access")
    code = answer_of(browser.get(f"{path('authorization_endpoint')}?{query}"))["code"]
    form = {"grant_type": "authorization_code", "code": code, "code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"}
    tokens = every.post(path("token_endpoint"), form).json
    assert every.http.get(path("userinfo_endpoint"), headers=bearer(tokens["access_token"])).status_code == 200
    assert every.post(path("introspection_endpoint"), {"token": tokens["access_token"]}).json["active"] is True
    assert every.post(path("revocation_endpoint"), {"token": tokens["access_token"]}).status_code == 200
    assert every.post(path("introspection_endpoint"), {"token": tokens["access_token"]}).json["active"] is False
    assert header_of(tokens["id_token"])["kid"] in {key["kid"] for key in every.http.get(path("jwks_uri")).json["keys"]}
    assert browser.get(path("end_session_endpoint"), query_string={"id_token_hint": tokens["id_token"]}).status_code == 303
    assert browser.get("/api/v1/session").status_code == 401


def test_scopes(every, browser, metadata):
    for scope in metadata["scopes_supported"]:
        assert scope in every.exchange(every.get_code(browser, scope=scope)).json["scope"].split()
    assert answer_of(every.authorize(browser, scope="phone"))["error"] == "invalid_scope"


def test_response_types(every, browser, metadata):
    for response_type in metadata["response_types_supported"]:
        assert response_type in answer_of(every.authorize(browser, response_type=response_type))
    for other in {"code", "token", "id_token", "none", "code id_token", "code token"} - {*metadata["response_types_supported"]}:
        assert answer_of(every.authorize(browser, response_type=other))["error"] == "unsupported_response_type"


def test_response_modes(every, browser, metadata):
    for mode in metadata["response_modes_supported"]:
        response = every.authorize(browser, response_mode=mode)
        assert "code" in (answer_of(response) if mode == "query" else form_post_of(response)[1])
    for other in {"query", "fragment", "form_post", "jwt", "web_message"} - {*metadata["response_modes_supported"]}:
        assert answer_of(every.authorize(browser, response_mode=other))["error"] == "invalid_request"


def test_grant_types(every, browser, metadata):
    tokens = every.get_tokens(browser, scope="openid offline_access")
    works = {
        "authorization_code": lambda: every.exchange(every.get_code(browser)),
        "refresh_token": lambda: every.refresh(tokens["refresh_token"]),
        "client_credentials": lambda: every.ask_for_itself(scope="introspect"),
    }
    assert set(works) == set(metadata["grant_types_supported"])
    assert [work().status_code for work in works.values()] == [200] * len(works)
    for other in ("password", "implicit", "urn:ietf:params:oauth:grant-type:jwt-bearer", "urn:ietf:params:oauth:grant-type:token-exchange"):
        assert_refused(every.post("/oauth/token", {"grant_type": other}), "unsupported_grant_type")


@pytest.mark.parametrize("endpoint", ["token", "revocation", "introspection"])
def test_authentication_methods(every, program, browser, metadata, endpoint):
    path = metadata[f"{endpoint}_endpoint"].removeprefix(ISSUER)
    token = every.get_tokens(browser, scope="openid offline_access")["refresh_token"]
    form = {"token": "x"} if endpoint != "token" else {"grant_type": "refresh_token"}
    client_id = every.client_id
    sent = {
        "client_secret_basic": {"headers": {"Authorization": basic(client_id, SECRET)}},
        "client_secret_post": {"headers": {}, "client_id": client_id, "client_secret": SECRET},
        "client_secret_jwt": {"headers": {}, "client_id": client_id, **ASSERTION},
        "private_key_jwt": {"headers": {}, **ASSERTION},
        "tls_client_auth": {"headers": {}, "client_id": client_id},
    }
    named = set(metadata[f"{endpoint}_endpoint_auth_methods_supported"])
    for method, how in sent.items():
        response = every.post(path, form, {"refresh_token": token, **how} if endpoint == "token" else how)
        if method in named:
            assert response.status_code == 200, (method, response.text)
            token = response.json.get("refresh_token")
        else:
            assert_refused(response, "invalid_client", 401)
    public = program.post(path, {**form, "refresh_token": program.get_tokens(browser)["refresh_token"]})
    assert (public.status_code == 200) is ("none" in named), public.text


def test_code_challenge_methods(every, browser, metadata):
    for method in metadata["code_challenge_methods_supported"]:
        assert "code" in answer_of(every.authorize(browser, code_challenge_method=method))
    for other in {"plain", "S512", None} - {*metadata["code_challenge_methods_supported"]}:
        assert answer_of(every.authorize(browser, code_challenge_method=other))["error"] == "invalid_request"


def test_the_iss_parameter(every, browser, metadata):
    assert metadata["authorization_response_iss_parameter_supported"] is True
    for changes in ({}, {"scope": "phone"}):
        assert answer_of(every.authorize(browser, **changes))["iss"] == metadata["issuer"]


def test_subjects_are_the_same_for_every_client(every, program, browser, metadata):
    assert metadata["subject_types_supported"] == ["public"]
    subjects = {claims_of(one.get_tokens(browser, scope="openid")["id_token"])["sub"] for one in (every, program)}
    assert len(subjects) == 1


def test_algorithms(app, register, browser, metadata):
    file = '[[client]]\nclient_id = "{0}"\ntype = "public"\nredirect_uris = ["https://a.example/b"]\nid_token_alg = "{0}"\n'
    for algorithm in metadata["id_token_signing_alg_values_supported"]:
        with app.app_context():
            seed_clients.apply(Actor.operator(), file.format(algorithm))
        tokens = register(trusted=True, id_token_alg=algorithm).get_tokens(browser, scope="openid")
        assert header_of(tokens["id_token"])["alg"] == algorithm
    published = {key["alg"] for key in browser.get("/.well-known/jwks.json").json["keys"]}
    assert published == set(metadata["id_token_signing_alg_values_supported"])
    for other in {"none", "HS256", "RS512", "PS256", "ES384", "EdDSA"} - published:
        with app.app_context(), pytest.raises(seed_clients.BadSeedFile):
            seed_clients.apply(Actor.operator(), file.format(other))


def test_claims(every, browser, metadata, person):
    tokens = every.get_tokens(browser, scope=" ".join(metadata["scopes_supported"]), nonce="n")
    told = set(claims_of(tokens["id_token"])) | set(every.userinfo(tokens["access_token"]).json)
    assert told == set(metadata["claims_supported"])


def test_prompts(register, app, browser, metadata):
    third_party = register(scope="openid")
    press(browser, third_party.authorize(browser, scope="openid"), "allow")
    does = {
        "none": lambda: answer_of(third_party.authorize(browser, scope="openid", prompt="none"))["code"],
        "login": lambda: handoff_of(third_party.authorize(browser, scope="openid", prompt="login")),
        "consent": lambda: press(browser, third_party.authorize(browser, scope="openid", prompt="consent"), "allow"),
        "select_account": lambda: handoff_of(third_party.authorize(browser, scope="openid", prompt="select_account")),
    }
    assert set(does) == set(metadata["prompt_values_supported"])
    assert all(do() for do in does.values())
    assert answer_of(third_party.authorize(browser, scope="openid", prompt="create"))["error"] == "invalid_request"


def test_what_is_said_not_to_be_supported(every, browser, metadata):
    head = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).rstrip(b"=").decode()
    for name in ("request", "request_uri"):
        assert metadata[f"{name}_parameter_supported"] is False
        value = f"{head}.e30." if name == "request" else "https://app.example.com/request"
        assert answer_of(every.authorize(browser, **{name: value}))["error"] == f"{name}_not_supported"
    assert metadata["claims_parameter_supported"] is False
    wanted = json.dumps({"id_token": {"email": {"essential": True}}})
    code = every.get_code(browser, scope="openid", claims=wanted)
    assert "email" not in claims_of(every.exchange(code).json["id_token"])


def test_resources_list_what_a_token_for_them_can_have(register, browser, client):
    factories.make_resource(identifier=f"{ISSUER}/things", scope="things:read things:write")
    body = client.get("/.well-known/oauth-protected-resource/things").json
    program = register(trusted=True, scope=" ".join(["openid", "audit:read", *body["scopes_supported"]]))
    for scope in body["scopes_supported"]:
        assert "code" in answer_of(program.authorize(browser, scope=scope, resource=body["resource"]))
    assert answer_of(program.authorize(browser, scope="audit:read", resource=body["resource"]))["error"] == "invalid_scope"
    assert body["authorization_servers"] == [ISSUER]
