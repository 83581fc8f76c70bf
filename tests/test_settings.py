"""Settings that are wrong are named, and those that can be read in two ways are read in one."""

import base64
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
        ("MAIL_URL", "smtp://mail.example.com:post"),
        ("PUBLIC_URL", "https://id.example.com:70000"),
    ],
)
def test_an_address_of_the_wrong_form_is_named(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(config.SettingError) as refused:
        load(tmp_path, **{name: value})
    assert refused.value.name == f"GATEPOST_{name}"


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


@pytest.mark.parametrize("name", ["GITHUB", "GOOGLE", "LINK", "CONFIRM", "CHECK_MAIL", "A-B", "a"])
def test_a_provider_name_that_is_taken_or_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(config.SettingError, match="provider names are"):
        load(tmp_path, **oidc(name))


def test_the_scopes_of_a_provider_have_openid_in_them(tmp_path: Path) -> None:
    with pytest.raises(config.SettingError, match="GATEPOST_OIDC__A__SCOPES"):
        load(tmp_path, **oidc("A", SCOPES="profile email"))


def test_an_unknown_name_is_a_warning(tmp_path: Path) -> None:
    assert load(tmp_path, COLOUR="blue").warnings == ("GATEPOST_COLOUR is not a setting",)
