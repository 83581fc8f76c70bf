"""`flask doctor`: every line ok, warning or fault; exit code 1 on a fault; never a secret."""

import json
import re
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import create_engine, text

import config
from extensions import db
from infra import bulkhead, clock
from infra.clock import now
from models import AuditEvent, RevokedJwt
from services.tokens import signing_keys
from tests import factories, owner, stores
from tests.fakes.fixtures import github_settings, oidc_settings
from tests.fakes.github import FakeGitHub
from tests.fakes.oidc import FakeOidc, make_key
from tests.fakes.server import Answer


def _findings(app) -> tuple[int, dict[str, dict]]:
    result = app.test_cli_runner().invoke(args=["doctor", "--json"])
    return result.exit_code, {finding["subject"]: finding for finding in json.loads(result.stdout)}


@pytest.mark.both_databases
def test_a_good_installation_has_no_fault(app):
    with app.app_context():
        signing_keys.public_jwks()
    code, findings = _findings(app)
    assert [finding for finding in findings.values() if finding["level"] == "fault"] == []
    assert code == 0
    for subject in ("connection", "migrations", "schema", "version", "maxmemory-policy"):
        assert findings[subject]["level"] == "ok", findings[subject]


def test_lines_for_people_begin_with_the_judgement(cli):
    for line in cli.invoke(args=["doctor"]).stdout.splitlines():
        assert re.match(r"(ok|warning|fault) +(settings|database|redis|keys|providers): ", line), line


def test_every_setting_is_named_with_its_source_and_no_secret_is_told(app, environment):
    settings = app.extensions["gatepost.settings"]
    _, findings = _findings(app)
    for item in config.plain_settings():
        assert re.search(
            r"\((default|default \(development\)|environment|instance/gatepost\.toml)\)", findings["GATEPOST_" + item.name.upper()]["text"]
        )
    assert findings["GATEPOST_PUBLIC_URL"]["text"].startswith(settings.public_url)
    told = json.dumps(findings)
    for secret in (environment["GATEPOST_SECRET_KEYS"], environment["GATEPOST_ENCRYPTION_KEYS"].partition(":")[2]):
        assert secret not in told


def test_passwords_in_addresses_are_not_told(make_app):
    app = make_app(
        database_owner_url="postgresql+psycopg://owner:hunter2hunter2@127.0.0.1:1/x", mail_url="smtp://a:hunter2hunter2@mail.example:25"
    )
    code, findings = _findings(app)
    assert code == 1
    assert findings["database"]["level"] == "fault"
    assert "hunter2" not in json.dumps(findings)


def test_a_folder_that_others_can_read_is_a_warning(app, folder):
    instance = folder / "instance"
    instance.mkdir(exist_ok=True)
    for mode, is_warned in ((0o700, False), (0o750, False), (0o755, True), (0o701, True)):
        instance.chmod(mode)
        assert ("instance/" in _findings(app)[1]) is is_warned, oct(mode)


def test_another_isolation_level_than_the_one_that_quotas_count_on_is_a_fault(app, database):
    with psycopg.connect(database.owner_url.replace("+psycopg", ""), autocommit=True) as owners:
        owners.execute(f"ALTER ROLE {stores.APPLICATION_ROLE} SET default_transaction_isolation = 'repeatable read'")
        try:
            code, findings = _findings(app)
        finally:
            owners.execute(f"ALTER ROLE {stores.APPLICATION_ROLE} RESET default_transaction_isolation")
            with app.app_context():
                db.engine.dispose()  # connections of that time
    assert (code, findings["isolation"]["level"]) == (1, "fault")
    assert "isolation" not in _findings(app)[1]


def test_unknown_settings_are_a_warning(make_app):
    _, findings = _findings(make_app(colour="red"))
    assert findings["GATEPOST_COLOUR"]["level"] == "warning"
    assert "red" not in findings["GATEPOST_COLOUR"]["text"]


def test_a_missing_column_is_a_fault(app, database):
    owner = create_engine(database.owner_url)
    with owner.begin() as connection:
        connection.execute(text("ALTER TABLE users RENAME COLUMN theme TO colour"))
    try:
        code, findings = _findings(app)
        assert (code, findings["schema"]["level"]) == (1, "fault")
        assert "theme" in findings["schema"]["text"]
    finally:
        with owner.begin() as connection:
            connection.execute(text("ALTER TABLE users RENAME COLUMN colour TO theme"))
        owner.dispose()


def test_a_database_that_was_not_migrated_is_a_fault(make_app, tmp_path):
    code, findings = _findings(make_app(database_url=f"sqlite:///{tmp_path / 'empty.sqlite'}"))
    assert (code, findings["migrations"]["level"]) == (1, "fault")
    assert "flask db upgrade" in findings["migrations"]["text"]


def test_a_redis_that_evicts_is_a_fault(app, redis):
    redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        code, findings = _findings(app)
    finally:
        redis.config_set("maxmemory-policy", "noeviction")
    assert (code, findings["maxmemory-policy"]["level"]) == (1, "fault")


def test_a_redis_in_cluster_mode_is_a_fault(make_app):
    server = stores.Valkey("--cluster-enabled", "yes").start()
    try:
        code, findings = _findings(make_app(redis_url=server.url))
    finally:
        server.remove()
    assert (code, findings["cluster"]["level"]) == (1, "fault")
    assert "not in this version" in findings["cluster"]["text"]


def test_stores_that_are_away_are_faults_and_not_tracebacks(make_app):
    code, findings = _findings(make_app(redis_url="redis://127.0.0.1:1"))
    assert (code, findings["redis"]["level"]) == (1, "fault")
    assert findings["connection"]["level"] == "ok"


def test_a_signing_key_that_does_not_open_is_a_fault(app, make_app):
    with app.app_context():
        signing_keys.public_jwks()
    other = make_app(encryption_keys="new:" + "A" * 43 + "=")
    code, findings = _findings(other)
    assert code == 1
    assert any(finding["level"] == "fault" and finding["area"] == "keys" for finding in findings.values())


def test_a_powerful_role_is_a_warning(make_app, database):
    _, findings = _findings(make_app(database_url=database.owner_url))
    assert findings["role"]["level"] == "warning"
    assert "owner of the tables" in findings["role"]["text"]


@pytest.fixture
def heir_url(database):
    """A role that owns nothing and is a member of the tables' owner, which PostgreSQL's policies do not bind either."""
    with psycopg.connect(database.owner_url.replace("+psycopg", ""), autocommit=True) as owner:
        role = "heir_of_" + owner.info.dbname
        owner.execute(f'CREATE ROLE "{role}" LOGIN IN ROLE gatepost')
        yield database.owner_url.replace("//gatepost@", f"//{role}@", 1)
        owner.execute(f'DROP ROLE "{role}"')


def test_a_role_that_inherits_the_owners_rights_is_a_warning(make_app, heir_url):
    _, findings = _findings(make_app(database_url=heir_url))
    assert findings["role"]["level"] == "warning"
    assert "in its role" in findings["role"]["text"]
    assert (findings["row-level security"]["level"], findings["row-level security"]["text"].split(":")[0]) == ("warning", "inert")


def test_an_unwise_setting_is_a_warning_and_not_a_fault(make_app):
    app = make_app(env="production", public_url="https://id.example.com", rate_limits="off")
    _, findings = _findings(app)
    for name in ("GATEPOST_RATE_LIMITS", "GATEPOST_MAIL_URL", "GATEPOST_PUBLIC_URL"):
        assert findings[name]["level"] == "warning", findings[name]


def test_a_public_provider_without_an_allowlist_is_a_warning_in_production(make_app):
    names = {"client_id": "gatepost", "client_secret": "swordfish"}
    groups = {"github": names, "oidc__forge": {**names, "issuer": "https://gitlab.com", "label": "Forge"}}
    given = {f"{group}__{key}": value for group, values in groups.items() for key, value in values.items()}
    production = {"env": "production", "public_url": "https://id.example.com"}
    code, findings = _findings(make_app(**production, github__client_id="gatepost", github__client_secret="swordfish"))
    found = findings["GATEPOST_SIGNUP_ALLOWLIST"]
    assert (found["level"], found["text"]) == ("warning", "off (default): everyone with an account at GitHub can create one here")
    assert code == 0
    found = _findings(make_app(**production, **given))[1]["GATEPOST_SIGNUP_ALLOWLIST"]
    assert found["text"].endswith("everyone with an account at GitHub or Forge can create one here")
    own = {"github__url": "https://github.example.com", "oidc__forge__issuer": "https://gitlab.example.com"}
    for settings in (
        {**production, **given, "signup_allowlist": "@example.com"},
        {**production, **given, **own},
        {**production},
        given,
    ):
        assert _findings(make_app(**settings))[1]["GATEPOST_SIGNUP_ALLOWLIST"]["level"] == "ok"


def test_it_says_which_providers_prove_no_fresh_sign_in(make_app):
    names = {"client_id": "gatepost", "client_secret": "swordfish"}
    oidc = {**names, "issuer": "https://sso.example.com"}
    groups = {
        "github": names,
        "google": {**names, "auth_time": "require"},
        "oidc__staff": oidc,
        "oidc__partners": {**oidc, "auth_time": "ignore"},
    }
    _, findings = _findings(make_app(**{f"{group}__{key}": value for group, values in groups.items() for key, value in values.items()}))
    found = {group: findings[f"GATEPOST_{group.upper()}__AUTH_TIME"] for group in groups}
    assert [finding["level"] for finding in found.values()] == ["warning", "ok", "ok", "warning"]
    assert found["github"]["text"].startswith("ignore (default): GitHub proves no fresh sign-in")
    assert found["oidc__partners"]["text"].startswith("ignore (environment): Partners proves no fresh sign-in")
    assert [found[group]["text"] for group in ("google", "oidc__staff")] == ["require (environment)", "require (default)"]
    _, findings = _findings(make_app(**{f"github__{key}": value for key, value in {**names, "auth_time": "require"}.items()}))
    assert "cannot prove" in findings["GATEPOST_GITHUB__AUTH_TIME"]["text"]


def test_an_unknown_organization_that_people_would_join_by_signing_in_is_a_warning(make_app):
    app = make_app(automatic_invitations="northwind,not-there, gone")
    factories.make_organization(slug="northwind")
    factories.make_organization(slug="gone", deleted_at=now())
    result = app.test_cli_runner().invoke(args=["doctor", "--json"])
    found = [finding for finding in json.loads(result.stdout) if finding["subject"] == "GATEPOST_AUTOMATIC_INVITATIONS"]
    assert [finding["level"] for finding in found] == ["ok", "warning", "warning"]
    assert found[0]["text"].startswith("northwind, not-there, gone (")
    assert "there is no organization not-there" in found[1]["text"]
    assert "there is no organization gone" in found[2]["text"]


# --- sign-in providers --------------------------------------------------------------------------------------------


def _of_provider(make_app, op: FakeOidc, **more) -> tuple[int, dict[str, str]]:
    code, findings = _findings(make_app(**oidc_settings(op, "staff", **more)))
    finding = findings["staff"]
    assert (finding["area"], code) == ("providers", 1 if any(each["level"] == "fault" for each in findings.values()) else 0)
    assert "secret upstream text" not in finding["text"]
    return finding["level"], finding["text"]


def test_a_providers_metadata_and_keys_are_read(make_app, op: FakeOidc) -> None:
    assert _of_provider(make_app, op) == ("ok", f"{op.issuer}, 1 key")
    assert (op.count("/.well-known/openid-configuration"), op.count("/jwks")) == (1, 1)
    op.keys = [op.published, make_key("RS256").as_dict(private=False)]
    assert _of_provider(make_app, op) == ("ok", f"{op.issuer}, 2 keys")


def test_metadata_of_another_issuer_is_a_fault_that_names_both(make_app, op: FakeOidc) -> None:
    op.metadata = {"issuer": op.issuer + "/"}
    assert _of_provider(make_app, op) == ("fault", f"the metadata is that of {op.issuer}/, not of {op.issuer}")
    op.metadata = {"issuer": "https://login.microsoftonline.com/{tenantid}/v2.0"}
    level, told = _of_provider(make_app, op)
    assert level == "fault"
    assert "{tenantid}/v2.0, not of " + op.issuer in told
    assert "name one tenant" in told


@pytest.mark.parametrize(
    ("path", "answer", "told"),
    [
        ("/.well-known/openid-configuration", Answer(404, {}), "404 from /.well-known/openid-configuration"),
        (
            "/.well-known/openid-configuration",
            Answer(200, b"<h1>secret upstream text</h1>"),
            "no JSON from /.well-known/openid-configuration",
        ),
        ("/.well-known/openid-configuration", Answer(200, []), "malformed answer: AttributeError"),
        ("/jwks", Answer(500, {}), "500 from /jwks"),
        ("/jwks", Answer(200, {"keys": [{"kty": "AKP", "kid": "new"}]}), "no usable key: new AKP"),
        ("/jwks", Answer(200, {}), "malformed answer: KeyError"),
    ],
)
def test_a_provider_that_nobody_can_sign_in_with_is_a_fault(make_app, op: FakeOidc, path: str, answer: Answer, told: str) -> None:
    op.answers[path] = answer
    level, text_ = _of_provider(make_app, op)
    assert level == "fault"
    assert told in text_


def test_a_provider_that_hangs_is_a_fault_after_its_deadline(make_app, op: FakeOidc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulkhead, "DEADLINE_SECONDS", 0.5)
    op.faults["/jwks"] = "silent"
    assert _of_provider(make_app, op) == ("fault", "the deadline has passed")


def test_what_will_fail_some_sign_ins_is_a_warning(make_app, op: FakeOidc) -> None:
    op.keys = [op.published, {"kty": "EC", "crv": "BP-256", "x": "AA", "y": "AA", "kid": "bp"}]
    level, told = _of_provider(make_app, op)
    assert (level, "1 key; unusable: bp EC BP-256 (" in told) == ("warning", True)
    op.keys, op.metadata = None, {"id_token_signing_alg_values_supported": ["HS256"]}
    assert _of_provider(make_app, op) == ("warning", f"{op.issuer}, 1 key; it signs with HS256 only, which is not taken")
    op.metadata = {"id_token_signing_alg_values_supported": ["HS256", "ES256"]}
    assert _of_provider(make_app, op)[0] == "ok"


def test_a_providers_clock_is_compared_with_ours(make_app, op: FakeOidc) -> None:
    clock.move(-300)
    finding = _findings(make_app(**oidc_settings(op, "staff")))[1]["staff"]
    assert finding["level"] == "warning"
    assert re.search(r"; the clocks of this server and of the provider differ, by (299|300|301) s", finding["text"])
    clock.move(0)
    assert _of_provider(make_app, op)[0] == "ok"


def test_github_has_nothing_to_read(make_app, github: FakeGitHub) -> None:
    _, findings = _findings(make_app(**github_settings(github)))
    assert (findings["github"]["level"], findings["github"]["text"]) == ("ok", f"{github.url}, which has no metadata")
    assert github.asked == []


@pytest.mark.both_databases
def test_chores_that_nobody_does_are_a_warning(app):
    at = now() - timedelta(days=3)
    with owner.session(app) as owners:
        owners.add(AuditEvent(at=at, actor_type="user", action="thing.done"))
        owners.add(RevokedJwt(jti="a", expires_at=at))
    _, findings = _findings(app)
    for subject in ("sweeping", "sealing"):
        assert findings[subject]["level"] == "warning", findings[subject]
        assert "have waited 3 days" in findings[subject]["text"]
    assert app.test_cli_runner().invoke(args=["sweep"]).exit_code == 0
    _, findings = _findings(app)
    assert [findings[subject]["level"] for subject in ("sweeping", "sealing")] == ["ok", "ok"]
