"""`flask seed-clients`: the contract's words, all or nothing, the same again is no change."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from extensions import db
from infra.clock import now
from infra.secret_text import hash_secret
from infra.shell_user import shell_user
from models import AuditEvent, Consent, OAuthClient, RefreshFamily, Resource
from services.access.actors import Actor
from services.tokens import seed_clients
from tests import factories, owner

pytestmark = pytest.mark.both_databases

CLI = """
[[client]]
client_id = "gatepost-cli"
name = "Gatepost CLI"
type = "public"
redirect_uris = ["http://127.0.0.1/callback", "http://localhost/callback"]
grant_types = ["authorization_code", "refresh_token"]
scopes = ["openid", "profile", "email", "offline_access", "orgs", "credentials:read"]
trusted = true
confirm = true
"""
WORKER = """
[[client]]
client_id = "worker"
name = "Worker"
type = "confidential"
secret_env = "WORKER_CLIENT_SECRET"
grant_types = ["client_credentials"]
scopes = ["introspect"]
"""
GENERATED = WORKER.replace('secret_env = "WORKER_CLIENT_SECRET"\n', "")
RESOURCE = """
[[resource]]
identifier = "https://api.example.com"
name = "Example API"
scopes = ["projects:read", "example:do"]
"""
SECRET = "a-secret-of-the-environment-with-many-letters"


@pytest.fixture
def seed(app, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKER_CLIENT_SECRET", SECRET)
    monkeypatch.setenv("SHORT_CLIENT_SECRET", "x" * 31)

    def run(text: str, *options: str):
        file = tmp_path / "clients.toml"
        file.write_text(text)
        return app.test_cli_runner().invoke(args=["seed-clients", str(file), *options])

    return run


def _clients(app) -> dict[str, OAuthClient]:
    with app.app_context():
        return {row.client_id: row for row in db.session.scalars(select(OAuthClient))}


def test_the_contract_example_is_created_once_and_then_unchanged(app, seed):
    first, second = seed(CLI + WORKER + RESOURCE), seed(CLI + WORKER + RESOURCE)
    ids = ["client gatepost-cli", "client worker", "resource https://api.example.com"]
    assert (first.exit_code, first.stdout.splitlines()) == (0, [f"created {name}" for name in ids])
    assert (second.exit_code, second.stdout.splitlines()) == (0, [f"unchanged {name}" for name in ids])
    rows = _clients(app)
    assert rows["gatepost-cli"].trusted
    assert rows["gatepost-cli"].secret_hash is None
    assert rows["gatepost-cli"].scope == "openid profile email offline_access orgs credentials:read"
    assert rows["worker"].secret_hash == hash_secret(SECRET)
    assert rows["worker"].version == 1


def test_a_secret_is_generated_and_printed_once(app, seed):
    lines = seed(GENERATED).stdout.splitlines()
    assert lines[0] == "created client worker"
    word, client_id, raw = lines[1].split(" ")
    assert (word, client_id) == ("secret", "worker")
    assert raw.startswith("gpc_")
    assert _clients(app)["worker"].secret_hash == hash_secret(raw)
    assert seed(GENERATED).stdout.splitlines() == ["unchanged client worker"]
    assert _clients(app)["worker"].secret_hash == hash_secret(raw)


def test_json_has_the_same_and_the_secret_as_a_member(seed):
    items = json.loads(seed(CLI + GENERATED, "--json").stdout)
    assert items[0] == {"outcome": "created", "kind": "client", "id": "gatepost-cli"}
    assert items[1]["secret"].startswith("gpc_")


def test_one_conflict_and_nothing_of_the_file_is_applied(app, seed):
    seed(CLI)
    result = seed(CLI.replace("trusted = true", "trusted = false") + GENERATED + RESOURCE)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "conflict client gatepost-cli",
        "created client worker",
        "created resource https://api.example.com",
    ]
    assert "gpc_" not in result.output, "a secret that was not stored is not shown"
    assert set(_clients(app)) == {"gatepost-cli"}
    assert _clients(app)["gatepost-cli"].trusted
    with app.app_context():
        assert db.session.scalar(select(Resource)) is None


def test_update_makes_the_database_follow_and_moves_the_version(app, seed):
    seed(CLI + RESOURCE)
    changed = CLI.replace('"credentials:read"', '"example:do"') + RESOURCE.replace("Example API", "Another name")
    assert seed(changed, "--update").stdout.splitlines() == ["updated client gatepost-cli", "updated resource https://api.example.com"]
    assert _clients(app)["gatepost-cli"].version == 2
    assert _clients(app)["gatepost-cli"].scope.endswith("example:do")
    with app.app_context():
        assert db.session.scalar(select(Resource)).version == 2
    (event,) = owner.events(app, AuditEvent.action == "oauth_client.updated")
    assert event.details == {"changed": ["scope"], "known_as": {"target": "Gatepost CLI"}, "operator": shell_user()}
    assert event.actor_type == "operator"


def test_another_order_of_a_list_is_no_change(seed):
    seed(CLI)
    turned = CLI.replace(
        '"http://127.0.0.1/callback", "http://localhost/callback"', '"http://localhost/callback", "http://127.0.0.1/callback"'
    )
    assert seed(turned.replace('"openid", "profile"', '"profile", "openid"')).stdout.splitlines() == ["unchanged client gatepost-cli"]


def test_a_secret_that_drifted_is_a_conflict_and_update_keeps_the_old_one_for_a_day(app, seed, monkeypatch):
    seed(WORKER)
    monkeypatch.setenv("WORKER_CLIENT_SECRET", "another-" + SECRET)
    refused = seed(WORKER)
    assert (refused.exit_code, refused.stdout.splitlines()) == (1, ["conflict client worker"])
    assert _clients(app)["worker"].secret_hash == hash_secret(SECRET)
    assert seed(WORKER, "--update").stdout.splitlines() == ["updated client worker"]
    row = _clients(app)["worker"]
    assert row.secret_hash == hash_secret("another-" + SECRET)
    assert row.previous_secret_hash == hash_secret(SECRET)
    assert timedelta(hours=23) < row.previous_secret_expires_at - now() <= timedelta(hours=24)
    assert row.version == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"{SECRET}   # of the worker", "contains a comment"),
        (f"{SECRET}# of the worker", "contains a comment"),
        (f"'{SECRET}'", "is wrapped in quotes"),
        (f"{SECRET} ", "starts or ends with a space"),
    ],
)
def test_a_secret_with_a_comment_after_it_is_refused(app, seed, monkeypatch, text, problem):
    monkeypatch.setenv("WORKER_CLIENT_SECRET", text)
    result = seed(WORKER)
    assert (result.exit_code, _clients(app)) == (2, {})
    assert f"WORKER_CLIENT_SECRET {problem}" in result.stderr.replace("'", "").replace('"', "")
    assert SECRET not in result.output


def test_a_client_that_becomes_public_loses_its_secrets(app, seed):
    seed(WORKER)
    public = WORKER.replace("confidential", "public").replace('secret_env = "WORKER_CLIENT_SECRET"\n', "")
    public = public.replace("client_credentials", "authorization_code").replace(
        '["introspect"]', '["openid"]\nredirect_uris = ["https://a.example/cb"]'
    )
    assert seed(public, "--update").exit_code == 0
    row = _clients(app)["worker"]
    assert row.secret_hash is None
    assert row.previous_secret_hash is None


BAD = {
    "not TOML": "[[client",
    "lists in lists without end": CLI + "deep = " + "[" * 5000,
    "a number without end": CLI + "long = " + "9" * 5000,
    "an unknown table": "[[customer]]\nclient_id = 'a'",
    "one table instead of a list": "[client]\nclient_id = 'a'",
    "an unknown key": CLI + "colour = 'red'",
    "no type": CLI.replace('type = "public"', ""),
    "another type": CLI.replace('"public"', '"secret"'),
    "no client_id": CLI.replace('client_id = "gatepost-cli"', ""),
    "a client_id with a space": CLI.replace("gatepost-cli", "gatepost cli"),
    "a client_id with a NUL": CLI.replace("gatepost-cli", "gatepost\\u0000"),
    "a number as a name": CLI.replace('"Gatepost CLI"', "5"),
    "trusted as a text": CLI.replace("trusted = true", 'trusted = "yes"'),
    "a client twice": CLI + CLI,
    "an unknown scope": CLI.replace("credentials:read", "world:rule"),
    "a scope with a space": CLI.replace("credentials:read", "a b"),
    "an unknown grant type": CLI.replace('"refresh_token"', '"password"'),
    "refresh_token alone": CLI.replace('"authorization_code", ', ""),
    "a code client without redirect": CLI.replace('["http://127.0.0.1/callback", "http://localhost/callback"]', "[]"),
    "plain http": CLI.replace("http://localhost/", "http://app.example/"),
    "plain http that looks like loopback": CLI.replace("http://localhost/", "http://localhost.evil.example/"),
    "a backslash": CLI.replace("http://localhost/", "http://evil.example\\\\@127.0.0.1/"),
    "userinfo": CLI.replace("http://localhost/", "https://user@app.example/"),
    "a fragment": CLI.replace("http://localhost/callback", "https://app.example/cb#x"),
    "a bad port": CLI.replace("http://localhost/", "http://localhost:99999/"),
    "a scheme that begins with a digit": CLI.replace("http://localhost/", "1app:/"),
    "an address without a scheme": CLI.replace("http://localhost/", "//app.example/"),
    "a private scheme with a fragment": CLI.replace("http://localhost/callback", "myapp:/cb#x"),
    **{
        f"the scheme {scheme}": CLI.replace("http://localhost/callback", f"{scheme}:x")
        for scheme in ("javascript", "JavaScript", "data", "DATA", "file", "blob", "about", "vbscript", "VBScript", "ftp", "wss", "mailto")
    },
    "javascript after sign-out": CLI + 'post_logout_redirect_uris = ["javascript:alert(1)"]',
    "client_credentials for a public client": CLI.replace('"refresh_token"', '"client_credentials"'),
    "a public client with a secret": CLI + 'secret_env = "WORKER_CLIENT_SECRET"',
    "a public client with a method": CLI + 'token_endpoint_auth_method = "client_secret_basic"',
    "an unknown method": WORKER + 'token_endpoint_auth_method = "private_key_jwt"',
    "a secret that is not set": WORKER.replace("WORKER_CLIENT_SECRET", "NOT_SET_ANYWHERE"),
    "a secret that is too short": WORKER.replace("WORKER_CLIENT_SECRET", "SHORT_CLIENT_SECRET"),
    "introspect for a public client": CLI.replace("credentials:read", "introspect"),
    "a resource with a fragment": RESOURCE.replace(".com", ".com/#x"),
    "a relative resource": RESOURCE.replace("https://api.example.com", "api"),
    "our own API as a resource": RESOURCE.replace("https://api.example.com", "{public_url}/api/v1"),
    "our own API in capitals": RESOURCE.replace("https://api.example.com", "HTTP://127.0.0.1:8000/api/v1"),
    "a resource twice": RESOURCE + RESOURCE,
    **{
        f"equal resources: {other}": RESOURCE + RESOURCE.replace("https://api.example.com", other)
        for other in ("https://api.example.com/", "https://API.example.com", "HTTPS://api.example.com", "https://api.example.com:443/")
    },
    "an unknown default resource": CLI + 'resource = "https://nobody.example.com"',
    "another id_token_alg": CLI + 'id_token_alg = "HS256"',
    "no id_token_alg": CLI + 'id_token_alg = "none"',
    "another word for pkce": WORKER + 'pkce = "none"',
    "pkce optional for a public client": CLI + 'pkce = "optional"',
    "a back-channel address in plain http": WORKER + 'backchannel_logout_uri = "http://app.example/logout"',
}


@pytest.mark.parametrize("why", BAD)
def test_a_bad_file_is_wrong_usage_and_nothing_is_applied(app, seed, why):
    text = BAD[why].replace("{public_url}", app.extensions["gatepost.settings"].public_url)
    result = seed(text if why == "not TOML" else GENERATED.replace('"worker"', '"good"') + text)
    assert result.exit_code == 2, result.output
    assert "gpc_" not in result.output
    assert "Traceback" not in result.output
    assert _clients(app) == {}


def test_there_are_no_more_scopes_than_a_token_has_room_for(app, seed):
    many = [f"{number:03}".ljust(127, "x") for number in range(32)]  # 4,095 characters with the spaces
    for text, known in ((RESOURCE, "example:do"), (CLI, "credentials:read")):
        result = seed(text.replace(known, '", "'.join(many)))
        assert result.exit_code == 2
        assert "scopes must have at most 4096 characters together" in result.output
    assert _clients(app) == {}
    assert seed(f'[[resource]]\nidentifier = "https://api.example.com"\nscopes = {json.dumps(many)}').exit_code == 0


def test_a_missing_file_and_one_that_is_not_text_are_wrong_usage(app, tmp_path):
    runner = app.test_cli_runner()
    assert runner.invoke(args=["seed-clients", str(tmp_path / "none.toml")]).exit_code == 2
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    assert runner.invoke(args=["seed-clients", str(tmp_path / "bytes.toml")]).exit_code == 2


@pytest.mark.parametrize(
    "uri",
    [
        "https://app.example/cb?x=1",
        "http://127.0.0.1:8400/cb",
        "http://[::1]/cb",
        "http://localhost",
        "com.example.app:/cb",
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "vscode://vscode.github-authentication/did-authenticate",
        "myapp:/cb",
    ],
)
def test_good_redirect_uris_are_accepted(app, seed, uri):
    assert seed(CLI.replace("http://localhost/callback", uri)).exit_code == 0
    assert uri in _clients(app)["gatepost-cli"].redirect_uris


def test_several_at_once_create_each_entry_once(app):
    def apply(_number: int) -> list[str]:
        with app.app_context():
            return [outcome.outcome for outcome in seed_clients.apply(Actor.operator(), CLI + GENERATED + RESOURCE)]

    with ThreadPoolExecutor(4) as pool:
        outcomes = sorted(pool.map(apply, range(4)))
    assert outcomes == [["created"] * 3, *[["unchanged"] * 3] * 3]


def test_a_default_resource_has_the_registered_spelling(app, seed):
    assert seed(RESOURCE + CLI + 'resource = "HTTPS://Api.example.com/"').exit_code == 0
    assert _clients(app)["gatepost-cli"].resource == "https://api.example.com"
    assert seed(CLI + 'resource = "https://api.example.com:443"').stdout.splitlines() == ["unchanged client gatepost-cli"]
    assert seed(CLI).exit_code == 1
    assert seed(CLI, "--update").exit_code == 0
    assert _clients(app)["gatepost-cli"].resource is None
    own = f"{app.extensions['gatepost.settings'].public_url}/api/v1"
    assert seed(CLI + f'resource = "{own.upper().replace("/API/V1", "/api/v1")}"', "--update").exit_code == 0
    assert _clients(app)["gatepost-cli"].resource == own


def test_a_resource_that_is_there_in_another_spelling_is_a_conflict_and_update_changes_it(app, seed):
    seed(RESOURCE)
    other = RESOURCE.replace("https://api.example.com", "https://api.example.com/")
    assert seed(other).stdout.splitlines() == ["conflict resource https://api.example.com/"]
    assert seed(other, "--update").stdout.splitlines() == ["updated resource https://api.example.com/"]
    with app.app_context():
        assert [row.identifier for row in db.session.scalars(select(Resource))] == ["https://api.example.com/"]


def test_grants_for_a_resource_follow_its_new_spelling(app, seed):
    seed(RESOURCE)
    person = factories.make_user()
    grant, elsewhere = factories.make_grant(person), factories.make_grant(person)
    with owner.at_work(app):
        for sid, resource in ((grant.sid, "https://api.example.com"), (elsewhere.sid, "https://other.example.com")):
            db.session.execute(update(RefreshFamily).where(RefreshFamily.sid == sid).values(resource=resource))
        db.session.commit()
    assert seed(RESOURCE.replace("https://api.example.com", "https://api.example.com/"), "--update").exit_code == 0
    with app.app_context():
        found = dict(db.session.execute(select(RefreshFamily.sid, RefreshFamily.resource)).all())
    assert found == {grant.sid: "https://api.example.com/", elsewhere.sid: "https://other.example.com"}


def test_consents_and_default_resources_follow_it_too(app, seed):
    before, after = "https://api.example.com", "https://api.example.com/"
    client = CLI + f'resource = "{before}"'
    seed(RESOURCE + client)
    ann, eve = factories.make_user(), factories.make_user()
    with owner.at_work(app):
        client_pk = db.session.scalar(select(OAuthClient.id).where(OAuthClient.client_id == "gatepost-cli"))
        for person, resource in ((ann, before), (ann, after), (ann, ""), (eve, before)):  # ann's second one: of an earlier spelling
            db.session.add(Consent(user_id=person.id, client_pk=client_pk, organization_id=person.id, resource=resource, scope="openid"))
        db.session.commit()
    assert seed(RESOURCE.replace(before, after), "--update").exit_code == 0
    with owner.at_work(app):
        found = [(row.user_id, row.resource) for row in db.session.scalars(select(Consent))]
    assert sorted(found) == sorted([(ann.id, ""), (ann.id, after), (eve.id, after)])
    assert _clients(app)["gatepost-cli"].resource == after
    assert seed(client).stdout.splitlines() == ["unchanged client gatepost-cli"]


def test_the_algorithm_of_id_tokens_and_optional_pkce_are_kept_and_shown(app, seed):
    web = WORKER.replace('"client_credentials"', '"authorization_code"').replace('"introspect"', '"openid"')
    web += 'redirect_uris = ["https://a.example/cb"]\n'
    assert seed(web + 'id_token_alg = "RS256"\npkce = "optional"').exit_code == 0
    row = _clients(app)["worker"]
    assert (row.id_token_alg, row.pkce, row.resource) == ("RS256", "optional", None)
    shown = json.loads(app.test_cli_runner().invoke(args=["clients", "show", "worker", "--json"]).stdout)
    assert (shown["id_token_alg"], shown["pkce"], shown["resource"]) == ("RS256", "optional", None)
    assert seed(web, "--update").exit_code == 0
    row = _clients(app)["worker"]
    assert (row.id_token_alg, row.pkce) == ("ES256", "required")
