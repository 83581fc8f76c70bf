"""Logs: one line an event, with a request id, and no secret in it, whatever was sent."""

import base64
import contextlib
import io
import json
import logging
import secrets
import urllib.error
import urllib.request
from datetime import timedelta
from types import SimpleNamespace

import pytest
from gunicorn.config import Config as GunicornConfig

from infra import mailer
from infra.logging_setup import JsonLines, PlainLines, redact
from infra.mailer import Letter
from infra.server_log import ServerLog
from services.organizations import invitations
from tests import factories
from tests.probe_server import wait_for

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
RANDOM = secrets.token_urlsafe(32)

SECRETS = {
    f"token gpo_{RANDOM} unknown": RANDOM,
    f"client secret gpc_{RANDOM}": RANDOM,
    "key gpp_abc_defghijklmn": "defghijklmn",
    f"bad token {JWT}": "eyJzdWIiOiJhIn0",
    f"GET /oauth/authorize?handoff={RANDOM}.1.{RANDOM}": RANDOM,
    "GET /login/github/callback?code=abc123&state=xyz789 refused": "abc123",
    "callback?code=abc123&state=xyz789": "xyz789",
    "GET /login/link/short-token?next=/": "short-token",
    "POST /login/confirm/short-token": "short-token",
    "Authorization: Basic d29ya2VyOnNlY3JldA==": "d29ya2VyOnNlY3JldA",
    "Cookie: gatepost_session=abcdef; a=b": "abcdef",
    "{'refresh_token': 'hunter2hunter2'}": "hunter2",
    "client_secret=hunter2hunter2&grant_type=x": "hunter2",
    "postgresql+psycopg://gatepost:hunter2@db/gatepost": "hunter2",
    f"a stray {RANDOM}": RANDOM,
    "id_token: abc123def456": "abc123",
    "id_token_hint=hunter2.hunter3&x=y": "hunter2",
    f"'id_token': '{JWT}'": "eyJhbGciOiJFUzI1NiJ9",
}


@pytest.mark.parametrize("line", SECRETS)
def test_what_looks_like_a_secret_is_cut_out(line):
    assert SECRETS[line] not in redact(line)
    assert "[cut]" in redact(line)


@pytest.mark.parametrize(
    "line",
    [
        "refused code=invalid_grant status=400",
        "user 01a1fe02-30e6-750f-975b-173f915aa697 disabled",
        "commit 2948c8f4a1b7c3d2e5f60718293a4b5c6d7e8f90",
        "redis.exceptions.ConnectionError: Error 111 connecting to 127.0.0.1:6379. Connection refused.",
        "state: next, code: 3, token endpoint",
        "id_token: InvalidClaimError",
        "id_token claim aud: not ours",
        "id_token claim iss: https://login.microsoftonline.com/{tenantid}/v2.0 instead of https://login.microsoftonline.com/common/v2.0",
        "id_token claim exp: 300 s ago: the clocks of this server and of the provider differ",
        "test_the_contract_example_is_created_once_and_then_unchanged",
    ],
)
def test_what_helps_the_operator_stays(line):
    assert redact(line) == line


def _record(**extra) -> logging.LogRecord:
    record = logging.LogRecord("gatepost.x", logging.WARNING, "file", 1, "refused %s", ("gpr_" + RANDOM,), None)
    record.__dict__.update(extra)
    return record


def test_production_lines_are_json_and_say_what_happened():
    line = json.loads(JsonLines().format(_record(code="invalid_grant", detail=f"gpo_{RANDOM}", request_id="abc")))
    assert line["level"] == "warning"
    assert line["event"] == "refused gpr_[cut]"
    assert (line["code"], line["detail"], line["request_id"]) == ("invalid_grant", "gpo_[cut]", "abc")
    assert line["time"].endswith("Z")


def test_a_traceback_is_one_line_and_redacted_too():
    try:
        raise ValueError(f"cannot read gpo_{RANDOM}")
    except ValueError as error:
        record = _record()
        record.exc_info = (type(error), error, error.__traceback__)
    text = JsonLines().format(record)
    assert "\n" not in text
    assert RANDOM not in text
    assert "Traceback" in json.loads(text)["traceback"]
    assert RANDOM not in PlainLines().format(record)


# --- the whole application ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _log():
    """What the application's own handler writes, as text."""
    handler = next(handler for handler in logging.getLogger().handlers if isinstance(handler.formatter, PlainLines | JsonLines))
    stream, before = io.StringIO(), handler.stream
    handler.setStream(stream)
    try:
        yield stream
    finally:
        handler.setStream(before)


def test_a_storm_of_requests_leaves_no_presented_secret_in_the_log(make_app):
    app = make_app(env="production", public_url="https://id.example.com", rate_limits="token=100,api=5")
    worker = factories.make_client(type="confidential", grant_types="client_credentials", scope="introspect")
    native = factories.make_client(redirect_uris=["http://127.0.0.1/cb"])
    factories.make_user()
    secret = {
        name: secrets.token_urlsafe(24) for name in ("token", "code", "verifier", "state", "cookie", "link", "form", "nonce", "query")
    }
    http = app.test_client()
    http.set_cookie("__Host-gatepost_session", secret["cookie"], domain="id.example.com", secure=True)
    basic = {"Authorization": "Basic " + base64.b64encode(f"{worker.client_id}:{secret['token']}".encode()).decode()}
    good = {"Authorization": "Basic " + base64.b64encode(f"{worker.client_id}:{worker.raw_secret}".encode()).decode()}
    authorize = (
        f"response_type=code&client_id={native.client_id}&redirect_uri=http%3A%2F%2F127.0.0.1%3A9%2Fcb&scope=openid"
        f"&code_challenge={'a' * 43}&code_challenge_method=S256&state={secret['state']}&nonce={secret['nonce']}&x={secret['query']}"
    )
    jwt = f"eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJqdGkiOiJ4In0.{secret['token']}"
    with _log() as log:
        for prefix in ("gpo_", "gpr_", "gpc_", "gpi_", "gpp_", "gpa_", "", "a b", "é"):
            raw = prefix + secret["token"]
            http.get("/api/v1/whoami", headers={"Authorization": f"Bearer {raw}"})
            http.get(f"/api/v1/whoami?access_token={raw}")
            for form in ({"grant_type": "refresh_token", "refresh_token": raw}, {"token": raw}, {"client_secret": raw}):
                for door in ("token", "revoke", "introspect"):
                    http.post(f"/oauth/{door}", data={**form, "client_id": native.client_id})
                    http.post(f"/oauth/{door}?token={raw}", data=form, headers=good)
        http.post("/oauth/token", data={"grant_type": "client_credentials"}, headers=basic)
        code = {"grant_type": "authorization_code", "code": secret["code"], "code_verifier": secret["verifier"]}
        http.post("/oauth/token", data={**code, "client_id": native.client_id, "redirect_uri": "http://127.0.0.1:9/cb"})
        http.get("/api/v1/whoami", headers={"Authorization": f"Bearer {jwt}"})
        http.get("/oauth/userinfo", headers={"Authorization": f"Bearer {jwt}"})
        waiting = http.get(f"/oauth/authorize?{authorize}")
        secret["handoff"] = waiting.headers["Location"].partition("handoff=")[2].rpartition(".")[2]
        http.get(waiting.headers["Location"])
        http.get(waiting.headers["Location"] + "x")
        http.get(f"/oauth/authorize?handoff={secret['handoff']}")
        http.get(f"/oauth/authorize?{authorize}&client_id=twice")
        http.get(f"/login/link/{secret['link']}")
        http.post(f"/login/link/{secret['link']}", data={"csrf_token": secret["form"]})
        http.get(f"/login/confirm/{secret['link']}")
        http.get(f"/login/github/callback?code={secret['code']}&state={secret['state']}")
        http.get(f"/nowhere/{secret['link']}?token={secret['token']}")
        http.post("/logout", data={"csrf_token": secret["form"]})
        http.get("/account", headers={"Referer": waiting.headers["Location"]})
        http.delete(f"/api/v1/user-sessions/{secret['cookie']}")
        logging.getLogger("gatepost").exception("broken", exc_info=ValueError(f"unexpected gpo_{secret['token']}"))
    text = log.getvalue()
    assert text.count("\n") > 30, "the refusals are logged"
    for name, value in [*secret.items(), ("client secret", worker.raw_secret)]:
        assert value not in text, name
    for line in text.splitlines():
        json.loads(line)


def test_a_refusal_is_logged_once_with_code_endpoint_and_the_id_of_the_answer(client):
    with _log() as log:
        response = client.get("/api/v1/whoami", headers={"Authorization": "Bearer gpo_nonsense"})
    lines = log.getvalue().splitlines()
    assert len(lines) == 1
    for word in ("refused", "code=invalid_token", "status=401", "endpoint=api_whoami.show", "request_id=" + response.json["request_id"]):
        assert word in lines[0]
    assert response.headers["X-Request-Id"] == response.json["request_id"]


def test_what_breaks_is_logged_with_its_traceback(make_app):
    app = make_app(rate_limits="off")  # one of its own, for the route

    @app.get("/breaks")
    def breaks():
        raise RuntimeError("out of paper")

    app.testing = False
    with _log() as log:
        response = app.test_client().get("/breaks")
    assert response.status_code == 500
    assert "out of paper" not in response.text
    assert "RuntimeError: out of paper" in log.getvalue()
    assert "in breaks" in log.getvalue()


def test_what_goes_well_makes_no_line_and_no_id(client):
    with _log() as log:
        response = client.get("/.well-known/jwks.json")
    assert response.status_code == 200
    assert log.getvalue() == ""
    assert "X-Request-Id" not in response.headers


@pytest.mark.parametrize(
    ("proxies", "sent", "is_taken"),
    [(0, "abcdef-123456", False), (1, "abcdef-123456", True), (1, "bad id\u00e9", False), (1, "x" * 65, False)],
)
def test_a_request_id_is_taken_from_trusted_proxies_only_and_when_it_looks_like_one(make_app, proxies, sent, is_taken):
    response = make_app(trusted_proxies=proxies).test_client().get("/api/v1/whoami", headers={"X-Request-Id": sent})
    assert (response.json["request_id"] == sent) is is_taken


def _invite(app):
    person = factories.make_user()
    factories.make_organization(owner=person, slug="acme")
    with app.app_context():
        return invitations.invite(factories.make_actor(person), "acme", email="bob@example.com", role="member").url


def test_without_a_mail_server_a_laptops_log_has_the_whole_letter(make_app):
    """The link is what the letter is for; other lines lose theirs all the same."""
    app = make_app()
    with _log() as log:
        url = _invite(app)
        logging.getLogger("gatepost.mail").warning("a stray %s", url)
    letter, _, rest = log.getvalue().partition("a stray")
    assert url in letter
    assert url.rpartition("/")[2] not in rest


def test_in_production_no_letter_is_written_to_the_log(make_app):
    app = make_app(env="production", public_url="https://id.example.com")
    with _log() as log:
        url = _invite(app)
        mailer.write_to_log([Letter("bob@example.com", "Invitation", url)])
    assert url.rpartition("/")[2] not in log.getvalue()
    assert log.getvalue().count("mail to") == 1, "that of this test"


# --- the access log -------------------------------------------------------------------------------------------


def _access_line(*, headers=(), trusted_proxies=1, **environ) -> dict:
    class Log(ServerLog):
        pass

    Log.trusted_proxies = trusted_proxies
    settings = GunicornConfig()
    settings.set("accesslog", "-")
    settings.set("access_log_format", "request")
    log = Log(settings)
    stream = io.StringIO()
    log.access_log.handlers[0].setStream(stream)
    environ = {
        "REMOTE_ADDR": "127.0.0.1",
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/account",
        "RAW_URI": "/account",
        "SERVER_PROTOCOL": "HTTP/1.1",
        **environ,
    }
    answer = SimpleNamespace(status="200", sent=12, headers=list(headers))
    log.access(answer, SimpleNamespace(headers=[]), environ, timedelta(milliseconds=7))
    return json.loads(stream.getvalue())


def test_a_line_of_the_access_log_is_flat_and_has_the_clients_address_and_the_request_id():
    sent = {"HTTP_X_FORWARDED_FOR": "203.0.113.9", "HTTP_X_REQUEST_ID": "from-the-proxy"}
    line = _access_line(**sent)
    assert (line["event"], line["client"], line["request_id"]) == ("request", "203.0.113.9", "from-the-proxy")
    assert (line["method"], line["path"], line["status"], line["bytes"], line["milliseconds"]) == ("GET", "/account", 200, 12, 7)
    assert _access_line(**sent, headers=[("X-Request-Id", "of-the-answer")])["request_id"] == "of-the-answer"
    line = _access_line(**sent, trusted_proxies=0)
    assert line["client"] == "127.0.0.1" and "request_id" not in line


@pytest.mark.parametrize("path", ["/login/link/", "/login/confirm/", "/invitations/", "/secure/"])
def test_the_access_log_has_no_query_and_no_one_time_token(path):
    secret = "gpi_" + RANDOM
    query = f"code={secret}&state=xyz789&handoff={secret}"
    line = _access_line(PATH_INFO=path + secret, RAW_URI=f"{path}{secret}?{query}", QUERY_STRING=query)
    assert line["path"] == path + "[cut]"
    assert secret not in json.dumps(line) and "xyz789" not in json.dumps(line)


def test_a_server_writes_such_lines(app, live_server):
    server = live_server(workers=1, env={"GATEPOST_TRUSTED_PROXIES": "1"}, arguments=("--access-logfile", "-"))
    asked = urllib.request.Request(server.url + "/nothing-here?code=abc123", headers={"X-Forwarded-For": "203.0.113.9"})
    with pytest.raises(urllib.error.HTTPError) as failure:
        urllib.request.urlopen(asked, timeout=5)
    request_id = failure.value.headers["X-Request-Id"]
    wait_for(lambda: "path=/nothing-here" in server.log)
    line = next(line for line in server.log.splitlines() if "path=/nothing-here" in line)
    assert "request client=203.0.113.9 method=GET path=/nothing-here status=404 " in line
    assert line.endswith(f"request_id={request_id}") and "abc123" not in line
