"""Every operator command: what it does, what it prints, how it ends."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from extensions import db
from infra.ids import uuid7
from models import AuditEvent, OAuthClient, RefreshFamily, User
from services.access.actors import Actor
from services.accounts import user_administration
from tests import factories, owner
from tests.oauth.flow import bearer

pytestmark = pytest.mark.both_databases


@pytest.fixture
def run(cli):
    """Run a command; its exit code, its plain output."""

    def invoke(*words: str):
        result = cli.invoke(args=list(words))
        assert "Traceback" not in result.output
        return result.exit_code, result.stdout

    return invoke


def _json(run, *words: str):
    code, output = run(*words, "--json")
    assert code == 0
    return json.loads(output)


def test_every_command_of_the_contract_is_there_and_takes_json(app):
    wanted = {
        "seed-clients": (),
        "sweep": (),
        "doctor": (),
        "clients": ("list", "show", "rotate-secret", "delete"),
        "users": ("list", "show", "admin", "disable", "enable", "sign-in-link"),
        "sessions": ("list", "revoke"),
        "keys": ("list", "rotate", "retire", "jwks"),
        "orgs": ("list", "show"),
    }
    for name, parts in wanted.items():
        command = app.cli.commands[name]
        commands = [command.commands[part] for part in parts] if parts else [command]
        for each in commands:
            assert "--json" in [option for parameter in each.params for option in parameter.opts], (name, each.name)
            assert each.help, (name, each.name)


def test_users_are_found_by_address_in_any_case_and_by_id(run):
    user = factories.make_user(email="Ada@Example.com", name="Ada")
    assert str(user.id) in run("users", "list")[1]
    for word in ("Ada@Example.com", "ada@example.com", str(user.id)):
        shown = _json(run, "users", "show", word)
        assert shown["user"]["id"] == str(user.id)
        assert shown["user"]["email"] == "Ada@Example.com"
    assert shown["organizations"] == [{"slug": shown["organizations"][0]["slug"], "role": "owner"}]


def test_an_unknown_user_is_one_line_and_exit_code_1(cli):
    for word in ("nobody@example.com", str(uuid7()), "x", ""):
        for verb in ("show", "admin", "disable", "enable"):
            result = cli.invoke(args=["users", verb, word])
            assert (result.exit_code, result.stdout) == (1, ""), (verb, word)
            assert len(result.stderr.splitlines()) == 1
            assert result.stderr.startswith("error: ")


def test_a_verified_address_wins_and_two_unverified_ones_must_be_named_by_id(run):
    first = factories.make_user(email="a@example.com", email_verified=False)
    second = factories.make_user(email="A@example.com", email_verified=False)
    assert run("users", "show", "a@example.com")[0] == 1
    assert run("users", "show", str(first.id))[0] == 0
    third = factories.make_user(email="a@example.com", email_verified=True)
    assert _json(run, "users", "show", "a@example.com")["user"]["id"] == str(third.id)
    assert second.id != third.id


@pytest.mark.parametrize("words", [("admin",), ("enable",), ("sign-in-link",)])
def test_who_only_claims_an_address_is_given_nothing_by_it(app, run, words):
    claimant = factories.make_user(email="boss@example.com", email_verified=False)
    assert run("users", *words, "boss@example.com")[0] == 1
    with app.app_context():
        assert not db.session.get(User, claimant.id).is_admin
    assert run("users", *words, str(claimant.id))[0] == 0


def test_a_link_for_an_address_that_somebody_only_claims_is_not_made_and_makes_nobody(app, run):
    claimant = factories.make_user(email="boss@example.com", email_verified=False)
    assert run("users", "sign-in-link", "boss@example.com", "--create")[0] == 1
    with app.app_context():
        assert [user.id for user in db.session.scalars(db.select(User))] == [claimant.id]


def test_admin_is_given_once_and_audited(app, run):
    user = factories.make_user()
    assert run("users", "admin", user.email) == run("users", "admin", user.email) == (0, f"admin {user.id}\n")
    with app.app_context():
        assert db.session.get(User, user.id).is_admin
    events = owner.events(app, AuditEvent.action == "user.made_admin")
    assert [(event.actor_type, event.target_id) for event in events] == [("operator", str(user.id))]


def test_administration_is_taken_away_but_never_from_the_last_one_who_can_sign_in(app, client, sign_in, run):
    first, second = (factories.make_user(is_admin=True) for _ in range(2))
    sign_in(client, first)
    assert client.get("/admin").status_code == 200
    assert run("users", "admin", first.email, "--revoke") == (0, f"not admin {first.id}\n")
    assert run("users", "admin", first.email, "--revoke")[0] == 0
    assert client.get("/admin").status_code == 404
    assert run("users", "admin", second.email, "--revoke") == (1, "")
    assert run("users", "admin", first.email)[0] == 0
    assert run("users", "disable", first.email)[0] == 0
    assert run("users", "admin", second.email, "--revoke") == (1, "")
    events = owner.events(app, AuditEvent.action == "user.admin_revoked")
    assert [(event.actor_type, event.target_id) for event in events] == [("operator", str(first.id))]


def test_two_administrators_cannot_be_made_ordinary_at_the_same_time(app):
    people = [factories.make_user(is_admin=True) for _ in range(4)]

    def revoke(person) -> str:
        with app.app_context():
            try:
                user_administration.revoke_admin(Actor.operator(), str(person.id))
            except user_administration.LastAdministrator:
                return "refused"
            return "done"

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(revoke, people)) == ["done"] * 3 + ["refused"]


def test_disabling_ends_sessions_and_tokens_at_once_and_enabling_brings_none_back(app, client, sign_in, run):
    user = factories.make_user()
    sign_in(client, user)
    raw = factories.make_grant(user, sid=client.get("/api/v1/session").json["session"]["id"]).raw_token
    token = app.test_client()
    assert token.get("/api/v1/whoami", headers=bearer(raw)).status_code == 200
    code, output = run("users", "disable", user.email)
    assert (code, output) == (0, f"disabled {user.email}, 2 sessions and grants ended\n")
    assert client.get("/api/v1/session").status_code == 401
    assert token.get("/api/v1/whoami", headers=bearer(raw)).status_code == 401
    assert run("users", "disable", user.email)[0] == 0
    assert run("users", "enable", user.email)[0] == 0
    assert client.get("/api/v1/session").status_code == 401
    assert token.get("/api/v1/whoami", headers=bearer(raw)).status_code == 401
    assert [item["disabled_at"] for item in _json(run, "users", "list")] == [None]


def test_a_sign_in_link_is_for_somebody_known_or_created_on_purpose(app, run):
    public_url = app.extensions["gatepost.settings"].public_url
    assert run("users", "sign-in-link", "new@example.com") == (1, "")
    code, output = run("users", "sign-in-link", "new@example.com", "--create")
    assert code == 0
    assert re.fullmatch(re.escape(public_url) + r"/login/link/[A-Za-z0-9_-]{43}\n", output)
    assert run("users", "sign-in-link", "New@example.com")[0] == 0
    assert _json(run, "users", "sign-in-link", "new@example.com")["expires_in"] == 600
    with app.app_context():
        assert [user.created_by_operator for user in db.session.scalars(select(User))] == [True]
    actions = [action for action in owner.actions(app) if action.startswith("sign_in_link")]
    assert actions == ["sign_in_link.created"] * 3


def test_sessions_are_listed_and_ended_by_id_or_person(app, client, sign_in, run):
    user, other = factories.make_user(), factories.make_user()
    sign_in(client, user)
    browser = app.test_client()
    sign_in(browser, other)
    sid = client.get("/api/v1/session").json["session"]["id"]
    grant = factories.make_grant(user, sid="elsewhere")
    assert {(item["id"], item["type"]) for item in _json(run, "sessions", "list", user.email)} == {
        (sid, "browser"),
        (str(grant.id), "grant"),
    }
    assert len(_json(run, "sessions", "list")) == 3
    assert run("sessions", "revoke", sid) == (0, f"revoked {sid}\n")
    assert client.get("/api/v1/session").status_code == 401
    assert run("sessions", "revoke", str(grant.id))[0] == 0
    assert app.test_client().get("/api/v1/whoami", headers=bearer(grant.raw_token)).status_code == 401
    assert run("sessions", "revoke", "nonsense")[0] == 1
    assert run("sessions", "revoke", "--user", other.email) == (0, "revoked 1\n")
    assert browser.get("/api/v1/session").status_code == 401
    assert run("sessions", "revoke")[0] == 2
    assert run("sessions", "revoke", sid, "--user", other.email)[0] == 2


def test_keys_rotate_and_retire_and_the_signing_key_cannot_be_retired(run):
    assert run("keys", "list") == (0, "")
    before = {key["kid"] for key in json.loads(run("keys", "jwks")[1])["keys"]}
    assert len(before) == 2
    states = {key["state"]: key["kid"] for key in _json(run, "keys", "list")}
    code, output = run("keys", "rotate")
    assert (code, output) == (0, f"signing {states['next']}\n")
    published = json.loads(run("keys", "jwks")[1])["keys"]
    assert len(published) == 3
    assert all("d" not in key for key in published)
    assert run("keys", "retire", states["next"])[0] == 1, "it signs now"
    assert run("keys", "retire", states["signing"]) == (0, f"retired {states['signing']}\n")
    assert states["signing"] not in {key["kid"] for key in json.loads(run("keys", "jwks")[1])["keys"]}
    assert run("keys", "retire", "unknown")[0] == 1


def test_clients_are_shown_without_secret_rotated_and_deleted(app, run):
    client = factories.make_client(client_id="worker", type="confidential", grant_types="client_credentials", scope="introspect")
    public = factories.make_client(client_id="cli")
    assert run("clients", "list") == (0, "cli  public  Example App\nworker  confidential  Example App\n")
    shown = _json(run, "clients", "show", "worker")
    assert shown["has_secret"] is True
    assert client.raw_secret not in json.dumps(shown)
    assert "secret_hash" not in shown
    code, output = run("clients", "rotate-secret", "worker")
    assert code == 0
    new = output.split()[2]
    assert new.startswith("gpc_")
    http = app.test_client()
    for raw in (client.raw_secret, new):
        data = {"grant_type": "client_credentials", "client_id": "worker", "client_secret": raw}
        assert http.post("/oauth/token", data=data).status_code == 200, "both work for a day"
    assert run("clients", "rotate-secret", public.client_id)[0] == 1
    assert run("clients", "delete", "worker") == (0, "deleted worker\n")
    assert http.post("/oauth/token", data=data).status_code == 401
    for verb in ("show", "rotate-secret", "delete"):
        assert run("clients", verb, "worker")[0] == 1


def test_deleting_a_client_takes_its_grants_along(app, run):
    user = factories.make_user()
    raw = factories.make_grant(user).raw_token
    with app.app_context():
        client_id = db.session.scalar(select(OAuthClient.client_id))
    assert run("clients", "delete", client_id)[0] == 0
    assert app.test_client().get("/api/v1/whoami", headers=bearer(raw)).status_code == 401
    with app.app_context():
        assert db.session.scalars(select(RefreshFamily)).all() == []


def test_organizations_are_listed_with_their_members(run):
    user = factories.make_user(personal=False)
    factories.make_organization(owner=user, slug="acme", name="Acme")
    assert run("orgs", "list") == (0, "acme  Acme  1\n")
    shown = _json(run, "orgs", "show", "acme")
    assert shown["members"] == [{"user_id": str(user.id), "email": user.email, "role": "owner"}]
    assert run("orgs", "show", "nobody")[0] == 1


def test_sweep_prints_a_line_for_each_kind(run):
    kinds = ["sessions", "authorization_codes", "access_tokens", "refresh_tokens", "device_codes", "invitations", "verifications"]
    assert run("sweep") == (0, "".join(f"{kind}: 0\n" for kind in kinds))
    assert _json(run, "sweep", "--dry-run") == dict.fromkeys(kinds, 0)
    assert run("sweep", "--kind", "verifications", "--kind", "sessions", "--batch-size", "10") == (0, "sessions: 0\nverifications: 0\n")
    assert run("sweep", "--kind", "everything")[0] == 2
    assert run("sweep", "--batch-size", "0")[0] == 2


@pytest.mark.parametrize("words", [("users",), ("users", "shout"), ("clients", "show"), ("keys", "retire"), ("sweep", "--colour")])
def test_wrong_usage_is_exit_code_2(run, words):
    assert run(*words)[0] == 2


@pytest.mark.parametrize("words", [("users", "show"), ("orgs", "show"), ("clients", "show"), ("keys", "retire"), ("sessions", "revoke")])
def test_an_argument_that_is_no_text_is_wrong_usage(cli, words):
    """Python hands on what is no UTF-8 as surrogates."""
    done = cli.invoke(args=[*words, "ann\udcff"])
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (2, "Error: an argument is not valid UTF-8")


STORES_AWAY = {
    "redis": {"redis_url": "redis://:hunter2hunter2@127.0.0.1:1"},
    "database": {"database_url": "postgresql+psycopg://gatepost:hunter2hunter2@127.0.0.1:1/gatepost"},
}


@pytest.mark.parametrize("store", STORES_AWAY)
def test_a_store_that_is_away_is_one_line_without_its_password(make_app, tmp_path, store):
    cli = make_app(**STORES_AWAY[store]).test_cli_runner()
    (tmp_path / "empty.toml").write_text("")
    by_store = {
        "redis": [["sweep"], ["sessions", "list", "--json"], ["sessions", "revoke", "x"]],
        "database": [
            ["users", "list"],
            ["clients", "list"],
            ["keys", "rotate"],
            ["seed-clients", str(tmp_path / "empty.toml")],
            ["orgs", "list"],
        ],
    }[store]
    if store == "redis":
        factories.make_user()
    for words in by_store:
        result = cli.invoke(args=words)
        assert result.exit_code == 1, words
        assert len(result.stderr.splitlines()) == 1, result.stderr
        assert "hunter2" not in result.output
        assert "Traceback" not in result.output
