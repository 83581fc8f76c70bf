"""Every setting stands in docs/settings.md, with its default, and nothing stands there that is no setting."""

import dataclasses
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

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


# --- files of settings --------------------------------------------------------------------------------------------

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SETTING = re.compile(r"^(export )?GATEPOST_\w+=", re.M)
FILES = [
    pytest.param(block, id=f"{path.relative_to(ROOT)}-{number}")
    for path in PAGES
    for number, block in enumerate(re.findall(r"^ *```\w*\n(.*?)^ *```", path.read_text(), re.M | re.S))
    if all(SETTING.match(line) or line.startswith("#") for line in block.splitlines() if line) and SETTING.search(block)
]


def test_the_docs_show_files_of_settings() -> None:
    assert any(str(param.id).startswith("README.md") for param in FILES)


@pytest.mark.parametrize("block", FILES)
def test_a_file_of_settings_reads_the_same_for_a_shell_and_for_systemd_and_docker(tmp_path: Path, block: str) -> None:
    file = tmp_path / "gatepost.env"
    file.write_text(block)
    found = _by_a_shell(file)
    assert sorted(found) == sorted(re.findall(r"^(\w+)=", block, re.M))
    assert dict(_by_systemd(block)) == found
    assert dict(_by_compose(block)) == found
    assert [name for name, value in found.items() if config.env_value_problem(value)] == []


def test_no_setting_in_the_docs_has_a_comment_behind_it() -> None:
    lines = [(path.name, line) for path in PAGES for line in path.read_text().splitlines() if SETTING.match(line.lstrip())]
    assert [found for found in lines if re.search(r"\s#", found[1])] == []


@pytest.mark.parametrize(
    ("line", "of_systemd", "of_compose"),
    [
        ("GATEPOST_A='value'  # a comment's end", "value# a comment's end", "value"),
        ("GATEPOST_A=value  # a comment", "value  # a comment", "value"),
        ("GATEPOST_A=#value ", "#value", "#value"),
        ('GATEPOST_A="two words" ', "two words", "two words"),
        ("# GATEPOST_A='value'", None, None),
    ],
)
def test_what_the_others_make_of_a_line(line: str, of_systemd: str | None, of_compose: str | None) -> None:
    """By what they document; a comment behind a value is where they differ from a shell."""
    assert dict(_by_systemd(line)).get("GATEPOST_A") == of_systemd
    assert dict(_by_compose(line)).get("GATEPOST_A") == of_compose


def _by_a_shell(file: Path) -> dict[str, str]:
    command = ["env", "-i", "/bin/sh", "-euc", 'set -a; . "$0"; exec /usr/bin/env -0', str(file)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return {name: value for name, _, value in (line.partition("=") for line in lines) if name.startswith("GATEPOST_")}


def _by_systemd(text: str) -> Iterator[tuple[str, str]]:
    """`EnvironmentFile=` of systemd.exec(5): only a line that begins with # or ; is a comment. What follows a quoted part goes on with
    the value, without the blanks before it; blanks at its end are dropped."""
    for line in text.splitlines():
        name, has_value, rest = line.strip().partition("=")
        if not has_value or name.startswith(("#", ";")):
            continue
        value = ""
        while quoted := re.match(r"""\s*(?:'([^']*)'|"([^"]*)")""", rest):
            value += quoted[1] or quoted[2] or ""
            rest = rest[quoted.end() :]
        yield name, value + rest.strip()


def _by_compose(text: str) -> Iterator[tuple[str, str]]:
    """`env_file:` of Docker Compose: quotes are taken off, and a # behind a blank begins a comment."""
    for line in text.splitlines():
        name, has_value, rest = line.strip().partition("=")
        if has_value and not name.startswith("#"):
            quoted = re.match(r"""'([^']*)'|"([^"]*)\"""", rest)
            yield name, (quoted[1] or quoted[2] or "") if quoted else re.sub(r"\s+#.*", "", rest)
