"""Every setting stands in docs/settings.md, with its default, and nothing stands there that is no setting."""

import dataclasses
import re

import config
from tests.live_server import ROOT

TEXT = (ROOT / "docs" / "settings.md").read_text()
ROWS = {
    name: line
    for line in TEXT.splitlines()
    if line.startswith("| `GATEPOST_")
    for name in re.findall(r"`(GATEPOST_[A-Z_<>]+)`", line.split("|")[1])
}
PROVIDERS = {"GITHUB": "URL API_URL", "GOOGLE": "ISSUER", "OIDC__<NAME>": "ISSUER LABEL SCOPES"}
CONNECTOR = "GATEPOST_CONNECTOR__<NAME>__"


def test_every_setting_is_in_the_docs_with_its_default() -> None:
    missing = []
    for item in config.plain_settings():
        name, default = f"GATEPOST_{item.name.upper()}", item.metadata["default"]
        row = ROWS.get(name, "")
        wanted = [default] if default else []
        if item.metadata["dev"] is not None:
            wanted += ["required", *([item.metadata["dev"]] if item.metadata["dev"] not in ("generate", "instance") else [])]
        if item.metadata["secret"]:
            wanted.append("Secret.")
        if not row or any(word not in row for word in wanted):
            missing.append(f"{name}: {wanted}")
    assert missing == []


def test_every_setting_of_a_provider_is_in_the_docs() -> None:
    common = "CLIENT_ID CLIENT_SECRET EMAIL_TRUST AUTH_TIME"
    names = {f"GATEPOST_{group}__{key}" for group, keys in PROVIDERS.items() for key in f"{common} {keys}".split()}
    assert names - set(ROWS) == set()


def test_every_setting_of_a_connector_is_in_the_docs_with_what_the_known_ones_have() -> None:
    keys = {field.name.upper() for field in dataclasses.fields(config.ConnectorSettings)} - {"CONNECTOR_ID"}
    assert {name for name in ROWS if name.startswith(CONNECTOR)} == {CONNECTOR + key for key in keys}
    for known in config.KNOWN_CONNECTORS.values():
        for key in ("scopes", "pkce", "client_auth"):
            assert f"`{known.get(key, '')}" in ROWS[CONNECTOR + key.upper()]


def test_the_docs_name_nothing_that_is_no_setting() -> None:
    known = {f"GATEPOST_{item.name.upper()}" for item in config.plain_settings()} | {name for name in ROWS if name.startswith(CONNECTOR)}
    assert {
        name for name in ROWS if name not in known and not name.startswith(tuple(f"GATEPOST_{group}__" for group in PROVIDERS))
    } == set()


def test_the_ranges_in_the_docs_are_those_that_are_enforced() -> None:
    for item in config.plain_settings():
        if not item.name.endswith("_seconds"):
            continue
        low, high = re.findall(r"\| (\d+) to (\d+) \|", ROWS[f"GATEPOST_{item.name.upper()}"])[0]
        parse = item.metadata["parse"]
        assert (parse(low), parse(high)) == (int(low), int(high))
        for outside in (int(low) - 1, int(high) + 1):
            assert _refuses(parse, str(outside)), f"{item.name} takes {outside}"


def test_every_rate_limit_is_in_the_docs() -> None:
    assert dict(re.findall(r"^\| `([a-z_]+)` \| (\d+) \|", TEXT, re.M)) == {
        name: str(limit) for name, limit in config.RATE_LIMIT_DEFAULTS.items()
    }


def _refuses(parse: object, text: str) -> bool:
    try:
        parse(text)  # type: ignore[operator]
    except ValueError:
        return True
    return False
