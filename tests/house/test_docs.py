"""The docs name what there is: settings, error codes, commands, scopes, routes, files; and nothing of one machine."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click import Command, Group
from flask import Flask

import config
from blueprints import fresh_sign_in, guards
from blueprints.html import sign_in_errors
from infra import bounded_forms
from infra.web_worker import exchange as web_worker
from services.access.actors import Actor
from services.access.scopes import KNOWN_SCOPES
from services.authorization import handoffs
from services.instance import sweeping
from services.organizations import organization_import
from services.sign_in import sign_in
from services.tokens import seed_clients
from services.users import api_keys
from services.vault import connecting, connection_tokens
from tests.live_server import ROOT

DOCS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")] + sorted((ROOT / "docs").rglob("*.md"))
TEXT = "\n".join(path.read_text() for path in DOCS)
ERRORS = (ROOT / "docs" / "errors.md").read_text()
CODE_FOLDERS = ("blueprints", "commands", "infra", "oauth", "providers", "services")

# raised by Authlib, made from a name, or chosen by a branch: not to be found as one literal
OTHER_CODES = {
    "unsupported_grant_type",
    "unsupported_response_type",
    "request_not_supported",
    "request_uri_not_supported",
    "registration_not_supported",
    "login_required",
    "consent_required",
    "interaction_required",
}
# where the first argument is the code
REFUSALS = {"AuthorizeRefused", "OAuthRefused", "RedirectRefused", "SignInRefused", "refuse"}
CODE = re.compile(r"[a-z]+(_[a-z]+)+|forbidden|conflict|unauthenticated")


def _names(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _codes_in(tree: ast.AST) -> Iterator[str]:
    """Every literal that is an error's code: an argument of a refusal, `code=`, or a class's own `code`."""
    for node in ast.walk(tree):
        values: list[ast.expr] = []
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            values += node.args[:1] if name in REFUSALS else []
            values += [keyword.value for keyword in node.keywords if keyword.arg == "code"]
        elif isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
            values += [value for name, value in zip(target.elts, node.value.elts, strict=True) if getattr(name, "id", "") == "code"]
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "code":
            values.append(node.value)
        for value in values:
            if isinstance(value, ast.Constant) and isinstance(value.value, str) and CODE.fullmatch(value.value):
                yield value.value


def _codes() -> set[str]:
    files = [ROOT / "errors.py", *(path for folder in CODE_FOLDERS for path in (ROOT / folder).rglob("*.py"))]
    found = {code for path in files for code in _codes_in(ast.parse(path.read_text()))}
    from_http = ast.parse((ROOT / "blueprints" / "error_handlers.py").read_text())
    table = next(
        node for node in ast.walk(from_http) if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_HTTP_CODES"
    )
    return (
        found
        | OTHER_CODES
        | {code for code, _ in web_worker.REFUSALS.values()}
        | set(sign_in_errors.TABLE)
        | set(ast.literal_eval(table.value).values())
    )


def test_every_error_code_is_in_the_index_and_the_index_has_no_other() -> None:
    documented = {code for line in ERRORS.splitlines() if line.startswith("| `") for code in re.findall(r"`([a-z_]+)`", line.split("|")[1])}
    assert _codes() - documented == set()
    assert documented - _codes() == set()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("errors.md", f"more than {guards.MAX_ADDRESS_PARAMETERS} parameters"),
        ("errors.md", f"over {guards.MAX_ADDRESS_BYTES:,} bytes (414)"),
        ("errors.md", f"over {handoffs.MAX_QUERY_BYTES:,} (400"),
        ("errors.md", f"over {bounded_forms.MAX_FIELDS:,} fields or {bounded_forms.MAX_ESCAPES:,} escaped bytes"),
        ("errors.md", f"within {web_worker.BODY_SECONDS:g} seconds (408)"),
        ("errors.md", f"more than {connecting.STATES.of_group} others"),
        ("api.md", f"Seconds, {api_keys.MIN_SECONDS} to {api_keys.MAX_SECONDS}"),
        ("api.md", f"within the last {fresh_sign_in.SECONDS} seconds"),
        ("api.md", f"less than {connection_tokens.SPARE.seconds} seconds left"),
        ("commands.md", f"({sweeping.BATCH_SIZE:,} rows by default)"),
        ("threat-model.md", f"starting {sign_in.STATES.of_group:,} sign-ins"),
        ("adr/0010-refresh-lock.md", f"(else {connection_tokens.PAUSE_SECONDS} seconds)"),
        ("adr/0010-refresh-lock.md", f"up to {connection_tokens.WAIT_SECONDS} seconds"),
    ],
)
def test_a_number_in_the_docs_is_the_one_that_is_enforced(name: str, words: str) -> None:
    assert words in " ".join((ROOT / "docs" / name).read_text().split())


def test_every_setting_is_named() -> None:
    assert [item.name for item in config.plain_settings() if f"GATEPOST_{item.name.upper()}" not in TEXT] == []


def test_every_scope_is_named() -> None:
    api = (ROOT / "docs" / "api.md").read_text()
    assert {scope for scope in KNOWN_SCOPES if f"`{scope}`" not in api} == set()


def _commands(group: Group, prefix: str = "flask") -> Iterator[str]:
    for name, command in group.commands.items():
        yield from _commands(command, f"{prefix} {name}") if isinstance(command, Group) else [f"{prefix} {name}"]


def test_every_command_of_ours_is_named(app: Flask) -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    assert isinstance(app.cli, Command)
    ours = {name for name in _commands(app.cli) if not name.startswith("flask db ")} | {"flask db upgrade"}
    assert {name for name in ours if f"`{name}" not in page} == set()


def test_every_route_is_named(app: Flask) -> None:
    api = (ROOT / "docs" / "api.md").read_text()
    missing = []
    for rule in app.url_map.iter_rules():
        route = re.sub(r"<(?:\w+:)?(\w+)>", r"<\1>", rule.rule).replace("<provider_id>", "<provider>").removeprefix("/api/v1")
        if not re.search(rf"[ `]{re.escape(route)}[`?, ]", api):
            missing.append(route)
    assert missing == []


@pytest.mark.parametrize("path", DOCS, ids=_names)
def test_every_relative_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", _without_code(path.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in _anchors(target)):
            broken.append(link)
    assert broken == []


def _without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _without_code(path.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", ["request-flow.md", "rfc-map.md", "threat-model.md"])
def test_every_file_that_is_named_exists(name: str) -> None:
    named = set(
        re.findall(
            r"`((?:tests|services|oauth|blueprints|infra|providers|models|commands)/[\w/.]+\.py)`", (ROOT / "docs" / name).read_text()
        )
    )
    assert named
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def test_every_line_about_failing_stores_names_its_tests() -> None:
    section = (ROOT / "docs" / "threat-model.md").read_text().partition("## When a store fails\n")[2].partition("\n## ")[0]
    lines = section.split("\n- ")[1:]
    assert len(lines) > 5
    assert [line for line in lines if not re.search(r"`tests/[\w/]+\.py`\.\s*$", line)] == []


@pytest.mark.parametrize("path", DOCS, ids=_names)
def test_no_merge_is_left_unresolved(path: Path) -> None:
    assert not re.search(r"^(<{7}|={7}|>{7})( |$)", path.read_text(), re.M)


def _blocks(kind: str) -> list[tuple[str, str]]:
    pattern = re.compile(rf"^ *```{kind}\n(.*?)^ *```", re.M | re.S)
    return [(_names(path), block) for path in DOCS for block in pattern.findall(path.read_text())]


def test_shell_blocks_are_of_no_single_machine() -> None:
    """No home folder, no temporary path, no user, no prompt, no host but loopback and example names."""
    suspicious = re.compile(r"/(home|root|tmp|work|Users|opt)/|^\s*[$#] |\bsudo\b|\w+@\w+:|index-url|localhost:\d{5}", re.M)
    hosts = {"127.0.0.1", "localhost", "api.example.com", "id.example.com"}
    blocks = _blocks("sh")
    assert len(blocks) > 10
    for name, block in blocks:
        assert not suspicious.search(re.sub(r"://\w+:\.\.\.@", "://", block)), (name, block)
        assert set(re.findall(r"https?://([\w.-]+)", block)) <= hosts, (name, block)


def test_python_blocks_can_be_read() -> None:
    blocks = _blocks("python")
    assert blocks
    for name, block in blocks:
        compile(block, name, "exec")


def test_the_import_files_in_the_docs_are_good(app: Flask) -> None:
    blocks = [(name, block) for name, block in _blocks("toml") if "[[organization]]" in block]
    assert blocks
    for name, block in blocks:
        with app.app_context():
            assert organization_import.apply(Actor.operator(), block, update=True), name


def test_the_seed_files_in_the_docs_are_good(app: Flask) -> None:
    blocks = [(name, block) for name, block in _blocks("toml") if "[[" in block and "[[organization]]" not in block]
    assert blocks
    for name, block in blocks:
        with app.app_context():
            assert seed_clients.apply(Actor.operator(), block, update=True, secret_of=lambda _: "a-secret-of-the-tests" * 3), name
