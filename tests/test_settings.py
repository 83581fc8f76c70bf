"""Settings that are wrong are named, and those that can be read in two ways are read in one."""

import base64
import json
from pathlib import Path

import pytest

import config

GOOD = {
    "ENV": "production",
    "PUBLIC_URL": "https://id.example.com",
    "SECRET_KEYS": "0123456789abcdef0123456789abcdef",
    "ENCRYPTION_KEYS": "a:" + base64.b64encode(b"k" * 32).decode(),
    "DATABASE_URL": "postgresql+psycopg://gatepost@db.example.com/gatepost",
    "REDIS_URL": "redis://redis.example.com:6379/0",
}


def load(tmp_path: Path, **given: str) -> config.Settings:
    return config.load({f"GATEPOST_{name}": value for name, value in {**GOOD, **given}.items()}, tmp_path)


def oidc(name: str, **more: str) -> dict[str, str]:
    values = {"ISSUER": "https://op.example.com", "CLIENT_ID": "gatepost", "CLIENT_SECRET": "secret", **more}
    return {f"OIDC__{name}__{key}": value for key, value in values.items()}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgresql+psycopg://db.example.com:post/gatepost"),
        ("DATABASE_URL", "postgresql+psycopg://db.example.com:70000/gatepost"),
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_OWNER_URL", "postgresql+psycopg://db.example.com:post/gatepost"),
        ("REDIS_URL", "redis://"),
        ("REDIS_URL", "redis://redis.example.com:post"),
        ("REDIS_URL", "redis://redis.example.com/first"),
        ("REDIS_URL", "redis://a.example.com:6379,b.example.com:6379/0"),
        ("REDIS_URL", "unix://"),
        ("REDIS_URL", "redis://redis.example.com?socket_timeout=soon"),
        ("REDIS_URL", "redis://redis.example.com?colour=blue"),
        ("REDIS_URL", "redis://redis.example.com?decode_responses=true"),
        ("REDIS_URL", "redis://redis.example.com?ssl_cert_reqs=none"),
        ("REDIS_URL", "rediss://redis.example.com?ssl_cert_reqs=maybe"),
        ("MAIL_URL", "smtp://mail.example.com:post"),
        ("PUBLIC_URL", "https://id.example.com:70000"),
    ],
)
def test_an_address_of_the_wrong_form_is_named(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(config.SettingError) as refused:
        load(tmp_path, **{name: value})
    assert str(refused.value).startswith(f"GATEPOST_{name}: ")


def test_organizations_are_named_by_their_short_names(tmp_path: Path) -> None:
    assert load(tmp_path).automatic_invitations == ()
    assert load(tmp_path, AUTOMATIC_INVITATIONS="northwind, fjord-labs").automatic_invitations == ("northwind", "fjord-labs")
    for text in ("Northwind", "northwind;fjord", "a"):
        with pytest.raises(config.SettingError, match=r"^GATEPOST_AUTOMATIC_INVITATIONS: must be slugs of organizations$"):
            load(tmp_path, AUTOMATIC_INVITATIONS=text)


@pytest.mark.parametrize(
    "text",
    [
        "redis+sentinel://a.example.com:26379,b.example.com:26379/gatepost",
        "redis+cluster://a.example.com:6379,b.example.com",
        "redis+cluster://user:word@a.example.com",
        "rediss+cluster://a.example.com",
        "rediss+sentinel://a.example.com/gatepost",
    ],
)
def test_sentinel_and_cluster_are_not_in_this_version(tmp_path: Path, text: str) -> None:
    with pytest.raises(config.SettingError, match=r"^GATEPOST_REDIS_URL: .*not in this version$"):
        load(tmp_path, REDIS_URL=text)


@pytest.mark.parametrize(
    "text",
    ["rediss://user:p%40ss@redis.example.com:6380/2?ssl_ca_certs=/etc/ca.pem", "redis://[::1]", "redis://h?db=3", "unix:///run/redis.sock"],
)
def test_a_redis_may_have_an_address_of_several_forms(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, REDIS_URL=text).redis_url == text


def test_keys_that_cannot_be_generated_are_named() -> None:
    with pytest.raises(config.SettingError, match=r"^GATEPOST_SECRET_KEYS: cannot be generated in /proc: No such file"):
        config.load({"GATEPOST_ENV": "development"}, "/proc")  # nobody can make a file there, not even root


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("id@example.com", "", "id@example.com"),
        ("<id@example.com>", "", "id@example.com"),
        ("Acme <no-reply+id@mail.example.com>", "Acme", "no-reply+id@mail.example.com"),
        ('"Acme, Inc." <id@example.com>', "Acme, Inc.", "id@example.com"),
        ("Zoë & Söhne  <id@localhost>", "Zoë & Söhne", "id@localhost"),
    ],
)
def test_the_sender_of_mail_is_an_address_with_or_without_a_name(tmp_path: Path, text: str, name: str, address: str) -> None:
    sender = load(tmp_path, MAIL_FROM=text).mail_from
    assert sender is not None
    assert (sender.name, sender.address) == (name, address)


@pytest.mark.parametrize(
    "text",
    [
        "Acme",
        "Acme id@example.com",
        "id@",
        "@example.com",
        "id@example.com, x@example.com",
        "id@@example.com",
        "id@-example.com",
        "id@example..com",
        "id@exämple.com",
        "Acme <id@example.com> x",
        "Acme <<id@example.com>>",
        "Acme <id@example.com",
        "Acme\r\nBcc: x@example.com <id@example.com>",
        "Acme\x1b <id@example.com>",
        'A"c"me <id@example.com>',
        "=?utf-8?q?Acme?= <id@example.com>",
    ],
)
def test_a_sender_of_the_wrong_form_is_named_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(config.SettingError) as refused:
        load(tmp_path, MAIL_FROM=text)
    assert str(refused.value) == "GATEPOST_MAIL_FROM: must be name@example.com or Name <name@example.com>"


@pytest.mark.parametrize("text", ["-1", "1.5", "many", "10000000", "1_000"])
def test_a_quota_is_a_whole_number(tmp_path: Path, text: str) -> None:
    with pytest.raises(config.SettingError, match="GATEPOST_MAX_AGENTS: must be a whole number up to 9999999; 0 is no limit"):
        load(tmp_path, MAX_AGENTS=text)


def test_a_refusal_shows_no_part_of_a_password(tmp_path: Path) -> None:
    with pytest.raises(config.SettingError) as refused:
        load(tmp_path, MAIL_URL="smtp://user:swordfish/x@mail.example.com:25")
    assert "swordfish" not in str(refused.value)


def test_a_password_of_the_database_may_hold_a_slash(tmp_path: Path) -> None:
    assert "sword/fish" in load(tmp_path, DATABASE_URL="postgresql+psycopg://gatepost:sword/fish@db.example.com/gatepost").database_url


@pytest.mark.parametrize("text", ["https://ID.example.com:443/", "https://id.example.com:443", "https://id.example.com/"])
def test_the_public_url_is_what_a_browser_sends_as_origin(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, PUBLIC_URL=text).public_url == "https://id.example.com"
    assert load(tmp_path, CORS_ORIGINS=text).cors_origins == ("https://id.example.com",)


@pytest.mark.parametrize("name", ["A", "9", "A_B", "A__B"])
def test_a_provider_may_have_any_name_of_letters_digits_and_underscores(tmp_path: Path, name: str) -> None:
    settings = load(tmp_path, **oidc(name))
    assert [provider.provider_id for provider in settings.providers] == [name.lower()]
    assert settings.warnings == ()


@pytest.mark.parametrize(
    ("issuer", "is_public"),
    [
        ("https://gitlab.com", True),
        ("https://gitlab.com/", True),
        ("https://accounts.google.com", True),
        ("https://www.linkedin.com/oauth", True),
        ("https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0", True),
        ("https://login.microsoftonline.com/6e93a626-8aca-4dc1-9191-ce291b4b75a1/v2.0", False),
        ("https://gitlab.com.example.com", False),
        ("https://sso.example.com/gitlab.com", False),
        ("https://sso.example.com", False),
    ],
)
def test_well_known_public_providers_are_recognized(tmp_path: Path, issuer: str, *, is_public: bool) -> None:
    (provider,) = load(tmp_path, **oidc("A", ISSUER=issuer)).providers
    assert provider.is_public is is_public


def test_github_and_google_are_public_and_github_enterprise_is_not(tmp_path: Path) -> None:
    both = {f"{group}__CLIENT_{part}": "gatepost" for group in ("GITHUB", "GOOGLE") for part in ("ID", "SECRET")}
    assert [provider.is_public for provider in load(tmp_path, **both).providers] == [True, True]
    assert not load(tmp_path, **both, GITHUB__URL="https://github.example.com").providers[0].is_public


@pytest.mark.parametrize("name", ["GITHUB", "GOOGLE", "LINK", "CONFIRM", "CHECK_MAIL", "A-B", "a"])
def test_a_provider_name_that_is_taken_or_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(config.SettingError, match="provider names are"):
        load(tmp_path, **oidc(name))


def test_the_scopes_of_a_provider_have_openid_in_them(tmp_path: Path) -> None:
    with pytest.raises(config.SettingError, match="GATEPOST_OIDC__A__SCOPES"):
        load(tmp_path, **oidc("A", SCOPES="profile email"))


@pytest.mark.parametrize(("group", "default"), [("OIDC__A", "require"), ("GITHUB", "ignore"), ("GOOGLE", "ignore")])
def test_proof_of_a_fresh_sign_in_is_required_of_openid_providers_and_can_be_set_for_each(tmp_path: Path, group: str, default: str) -> None:
    values = {f"{group}__CLIENT_ID": "gatepost", f"{group}__CLIENT_SECRET": "swordfish"}
    values |= {"OIDC__A__ISSUER": "https://sso.example.com"} if group == "OIDC__A" else {}
    (provider,) = load(tmp_path, **values).providers
    assert (provider.auth_time, provider.prefix) == (default, f"GATEPOST_{group}__")
    for wanted in ("require", "ignore"):
        (provider,) = load(tmp_path, **values, **{f"{group}__AUTH_TIME": wanted}).providers
        assert provider.auth_time == wanted
    for wrong in ("REQUIRE", "off", "true", "require ignore"):
        with pytest.raises(config.SettingError, match=f"GATEPOST_{group}__AUTH_TIME: must be require or ignore"):
            load(tmp_path, **values, **{f"{group}__AUTH_TIME": wrong})


# --- values that an environment file was misread into ---

COMMENT = "contains a comment (a # next to a space): put comments on their own lines"
QUOTES = "is wrapped in quotes: remove them"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{value}   # how it was made", COMMENT),  # what systemd reads after an unquoted value
        ("{value}# how it was made", COMMENT),  # after a quoted one
        ("# to be filled in", COMMENT),
        ("#to be filled in", COMMENT),
        ("{value}\t#", COMMENT),
        ("'{value}'", QUOTES),  # what programs that keep quotes read
        ('"{value}"', QUOTES),
        ("''", QUOTES),
    ],
)
@pytest.mark.parametrize("name", [*GOOD, "DATABASE_OWNER_URL", "TRUSTED_PROXIES", "MAIL_FROM", "GITHUB__CLIENT_SECRET", "OIDC__A__LABEL"])
def test_a_variable_with_a_comment_or_quotes_is_refused_by_name(tmp_path: Path, name: str, text: str, problem: str) -> None:
    given = {**oidc("A"), "GITHUB__CLIENT_ID": "gatepost", "GITHUB__CLIENT_SECRET": "swordfish"}
    given[name] = text.format(value=GOOD.get(name) or "value")
    with pytest.raises(config.SettingError) as refused:
        load(tmp_path, **given)
    assert f"GATEPOST_{name}: {problem}" in str(refused.value).splitlines()


@pytest.mark.parametrize("text", ["sword#fish", "swordfish#", "it's", "'sword' 'fish", "sword fish"])
def test_other_number_signs_and_quotes_are_allowed(tmp_path: Path, text: str) -> None:
    (provider,) = load(tmp_path, GITHUB__CLIENT_ID="gatepost", GITHUB__CLIENT_SECRET=text).providers
    assert provider.client_secret == text


def test_a_value_with_a_number_sign_can_be_set_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "gatepost.toml").write_text('mail_from = "Team #1 <id@example.com>"  # our name\n')
    assert str(load(tmp_path).mail_from) == "Team #1 <id@example.com>"


@pytest.mark.parametrize("name", ["SECRET_KEYS", "ENCRYPTION_KEYS"])
@pytest.mark.parametrize("where", ["environment", "file"])
@pytest.mark.parametrize("inside", [" ", "\n", "\t", "#"])
def test_a_key_must_not_contain_a_space_or_a_number_sign(tmp_path: Path, name: str, where: str, inside: str) -> None:
    key = f"{GOOD[name][:20]}{inside}{GOOD[name][20:]}"
    if where == "file":
        (tmp_path / "gatepost.toml").write_text(f"{name.lower()} = {json.dumps(key)}\n")
    given = {**GOOD, name: key} if where == "environment" else {other: value for other, value in GOOD.items() if other != name}
    with pytest.raises(config.SettingError, match=f"^GATEPOST_{name}: ") as refused:
        config.load({f"GATEPOST_{other}": value for other, value in given.items()}, tmp_path)
    assert key not in str(refused.value)


def test_spaces_around_keys_are_allowed(tmp_path: Path) -> None:
    keys = load(tmp_path, SECRET_KEYS=f" {'a' * 32} , {'b' * 32} ").secret_keys
    assert keys == (b"a" * 32, b"b" * 32)


def test_an_unknown_name_is_a_warning(tmp_path: Path) -> None:
    assert load(tmp_path, COLOUR="blue").warnings == ("GATEPOST_COLOUR is not a setting",)


# --- connectors -----------------------------------------------------------------------------------------------


def connector(name: str, **more: str) -> dict[str, str]:
    values = {
        "CLIENT_ID": "gatepost",
        "CLIENT_SECRET": "swordfish",
        "AUTHORIZE_URL": "https://vendor.example.com/authorize",
        "TOKEN_URL": "https://vendor.example.com/token",
        "SCOPES": "read write",
        **more,
    }
    return {f"CONNECTOR__{name}__{key}": value for key, value in values.items() if value}


@pytest.mark.parametrize("name", ["GITHUB", "GOOGLE", "SLACK"])
def test_a_well_known_vendor_needs_an_id_and_a_secret_only(tmp_path: Path, name: str) -> None:
    settings = load(tmp_path, **{f"CONNECTOR__{name}__CLIENT_ID": "gatepost", f"CONNECTOR__{name}__CLIENT_SECRET": "swordfish"})
    found = settings.find_connector(name.lower())
    assert found is not None
    assert all(address.startswith("https://") for address in (found.authorize_url, found.token_url, found.account_url))
    assert found.scopes
    assert settings.warnings == ()
    assert settings.sources[f"GATEPOST_CONNECTOR__{name}__CLIENT_ID"] == "environment"


def test_the_addresses_of_a_well_known_vendor_may_be_others(tmp_path: Path) -> None:
    own = "https://github.example.com/api/v3/user"
    found = load(tmp_path, **connector("GITHUB", ACCOUNT_URL=own)).find_connector("github")
    assert found is not None
    assert (found.account_url, found.token_url, found.client_auth) == (own, "https://vendor.example.com/token", "post")


def test_a_vendor_may_refresh_elsewhere_and_be_told_how_long_its_tokens_live(tmp_path: Path) -> None:
    found = load(tmp_path, **connector("ACME", REFRESH_URL="https://vendor.example.com/refresh", EXPIRES_IN="7200")).find_connector("acme")
    assert found is not None
    assert (found.refresh_url, found.expires_in) == ("https://vendor.example.com/refresh", 7200)


@pytest.mark.parametrize(
    ("key", "text"),
    [("EXPIRES_IN", "59"), ("EXPIRES_IN", "1h"), ("EXPIRES_IN", "31536001"), ("REFRESH_URL", "http://vendor.example.com/refresh")],
)
def test_a_wrong_refresh_setting_stops_the_start_by_name(tmp_path: Path, key: str, text: str) -> None:
    with pytest.raises(config.SettingError, match=f"^GATEPOST_CONNECTOR__ACME__{key}: "):
        load(tmp_path, **connector("ACME", **{key: text}))


def test_any_other_vendor_is_described_by_its_settings(tmp_path: Path) -> None:
    found = load(tmp_path, **connector("ACME_CRM", SCOPES=" read   write ", PKCE="none")).find_connector("acme_crm")
    assert found == config.ConnectorSettings(
        connector_id="acme_crm",
        label="Acme Crm",
        client_id="gatepost",
        client_secret="swordfish",
        authorize_url="https://vendor.example.com/authorize",
        token_url="https://vendor.example.com/token",
        scopes="read write",
        pkce="none",
    )
    assert "swordfish" not in repr(found)


def test_connectors_may_stand_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "gatepost.toml").write_text('[connector.slack]\nclient_id = "1.2"\nclient_secret = "swordfish"\n')
    assert [connector.connector_id for connector in load(tmp_path).connectors] == ["slack"]


@pytest.mark.parametrize("key", ["CLIENT_ID", "CLIENT_SECRET", "AUTHORIZE_URL", "TOKEN_URL", "SCOPES"])
def test_a_connector_that_lacks_a_setting_stops_the_start_with_its_full_name(tmp_path: Path, key: str) -> None:
    with pytest.raises(config.SettingError, match="is required") as refused:
        load(tmp_path, **connector("ACME", **{key: ""}))
    assert str(refused.value).startswith(f"GATEPOST_CONNECTOR__ACME__{key}: ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("AUTHORIZE_URL", "http://vendor.example.com/authorize"),
        ("AUTHORIZE_URL", "https://vendor.example.com/authorize#here"),
        ("AUTHORIZE_URL", "https://vendor.example.com/authorize?a=b c"),
        ("TOKEN_URL", "ftp://vendor.example.com"),
        ("TOKEN_URL", "https://user:swordfish@vendor.example.com/token"),
        ("REVOKE_URL", "vendor.example.com"),
        ("ACCOUNT_URL", "http://[::2]/me"),
        ("PKCE", "plain"),
        ("CLIENT_AUTH", "none"),
        ("SCOPES", 'read "write"'),
    ],
)
def test_a_wrong_setting_of_a_connector_is_named(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(config.SettingError) as refused:
        load(tmp_path, **connector("ACME", **{key: value}))
    assert str(refused.value).startswith(f"GATEPOST_CONNECTOR__ACME__{key}: ")
    assert "swordfish" not in str(refused.value)


@pytest.mark.parametrize(
    "address", ["https://vendor.example.com/token/", "https://vendor.example.com/?tenant=a", "http://127.0.0.1:9/token"]
)
def test_an_address_of_a_connector_is_kept_as_it_stands(tmp_path: Path, address: str) -> None:
    assert load(tmp_path, **connector("ACME", TOKEN_URL=address)).connectors[0].token_url == address


@pytest.mark.parametrize("name", ["A-B", "a", "A.B", "N" * 65])
def test_a_connector_has_a_name_that_fits_into_an_address(tmp_path: Path, name: str) -> None:
    with pytest.raises(config.SettingError, match="connector names are"):
        load(tmp_path, **connector(name))


def test_an_unknown_setting_of_a_connector_is_a_warning(tmp_path: Path) -> None:
    assert load(tmp_path, **connector("ACME", COLOUR="blue")).warnings == ("GATEPOST_CONNECTOR__ACME__COLOUR is not a setting",)


def test_an_option_that_postgresql_does_not_know_stops_the_start(settings):
    with pytest.raises(config.SettingError, match=r"^GATEPOST_DATABASE_URL: has an option that PostgreSQL does not know$"):
        settings(database_url="postgresql://a@127.0.0.1/x?foo=1")
    assert settings(database_url="postgresql://a@127.0.0.1/x?sslmode=require&options=-c%20x&host=a&host=b").database_url
