"""Lists every statement on the token tables, and checks that each one takes its rules from services/tokens/live.py.

Enter a new statement as one of three kinds: it judges tokens (with the rules it must contain), it lists or ends live rows, or
it works whatever their state (with the reason). The source is searched for `Table.column`; attributes of loaded rows,
`session.get` and aliases with other names are not found.
"""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, literal_column

from infra.hot_statements import HotStatement
from services.tokens import live

ROOT = Path(__file__).resolve().parent.parent.parent
TABLES = {"AccessToken", "ApiKey", "AuthorizationCode", "RefreshFamily", "RefreshToken", "RevokedJwt"}
STATE = {"expires_at", "revoked_at", "used_at"}
DATABASES = ("postgresql+psycopg://", "sqlite://")
STATEMENTS = {"delete", "insert", "select", "select_grant", "update"}

# Statements that decide whether a presented token is valid: the constant, and the rules it must contain, in this order.
_OF_THIS_CLIENT = ("of_another_client", "client_is_stale")
_CLIENT = ("client_is_shut_out", "client_may_not_act")
_ACCESS_TOKEN = (*_CLIENT, "is_revoked", "family_is_revoked", "is_expired", "person_behind_has_left")
_REFRESH_TOKEN = (
    "client_is_shut_out",
    "client_may_not_refresh",
    "resource_is_gone",
    "family_is_revoked",
    "family_is_expired",
    "person_has_left",
    "is_used",
    "is_expired",
)
_ASKS = ("asks_for_more", "asks_for_another_resource", "gets_nothing")
_CODE = ("is_used", "is_expired", "resource_is_gone", "person_has_left")
JUDGES: dict[str, tuple[str, ...]] = {
    "tokens.access_tokens._FIND_ACCESS": _ACCESS_TOKEN,
    "tokens.access_tokens._FIND_JWT": (*_CLIENT, "resource_is_gone", "is_revoked", "family_is_revoked", "person_behind_has_left"),
    "tokens.access_tokens._INTROSPECT_ACCESS": ("is_unknown", *_ACCESS_TOKEN),
    "tokens.access_tokens._INTROSPECT_REFRESH": ("is_unknown", *_REFRESH_TOKEN),
    "tokens.authorization_codes._EXCHANGE": (*_OF_THIS_CLIENT, "_is_another_request", *_CODE, "asks_for_another_resource"),
    "tokens.authorization_codes._FIND": (*_OF_THIS_CLIENT, "_is_another_request", *_CODE, "asks_for_another_resource"),
    "tokens.refresh_tokens._FIND": (*_OF_THIS_CLIENT, *_REFRESH_TOKEN, *_ASKS),
    "tokens.refresh_tokens._FIND_SPENT": (*_OF_THIS_CLIENT, *(rule for rule in _REFRESH_TOKEN if rule != "is_used"), *_ASKS),
    "tokens.refresh_tokens._ROTATE": (*_OF_THIS_CLIENT, *_REFRESH_TOKEN, *_ASKS),
    "users.api_keys._FIND": (
        "client_behind_is_shut_out",
        "client_may_not_act",
        "is_revoked",
        "is_expired",
        "person_has_left",
        "agent_is_paused",
    ),
}
SPENDS = ("tokens.authorization_codes._EXCHANGE", "tokens.refresh_tokens._ROTATE")
# The rows they judge, and the parts that PostgreSQL's statements are built from.
PARTS_OF_JUDGES = {
    "tokens.authorization_codes._FACTS",
    "tokens.authorization_codes._exchange_statement",
    "tokens.grants.select_grant",
    "tokens.refresh_families.insert_access_from",
    "tokens.refresh_families.insert_refresh_from",
    "tokens.refresh_tokens._FACTS",
    "tokens.refresh_tokens._rotate_statement",
}
# Lists and counts of live rows, and statements that end or replace them.
OF_LIVE_ROWS = {
    "accounts.account_deletion._consequences",
    "instance.gauges._expiring_keys",
    "instance.instance_overview._counts",
    "organizations.organizations.count_contents",
    "tokens.grant_lists._LIVE_GRANTS",
    "tokens.grant_lists._WORKING_ACCESS_TOKEN",
    "tokens.grant_lists._WORKING_REFRESH_TOKEN",
    "authorization.connected_apps._WITHOUT_GRANTS",
    "authorization.connected_apps._read",
    "tokens.access_tokens._ISSUE",
    "tokens.app_keys.count_of",
    "tokens.app_keys.revoke_where",
    "tokens.oauth_clients._with_use",
    "tokens.refresh_families.revoke_of_person",
    "tokens.refresh_families.revoke_where",
    "tokens.refresh_tokens._END_SUCCESSOR",
    "tokens.replays._hold",
    "users.agents._works",
    "users.agents.delete",
    "users.api_keys._counted_of",
    "users.api_keys._hold_grant",
    "users.api_keys._kept",
    "users.api_keys.count_working",
    "users.api_keys.list_kept",
    "users.api_keys.list_of_agent",
}
WHATEVER_THEIR_STATE = {
    "accounts.session_lists._own": "the actor's own grant, whose token has already been judged",
    "accounts.session_lists._owner_of": "the owner, even if it has ended: ending it twice is not an error",
    "accounts.session_lists._was_revoked": "whether it has ended",
    "authorization.connected_apps._columns": "columns, for _read",
    "authorization.connected_apps.remove": "by app_keys.revoke_where; what it deletes are consents",
    "audit.audit_names._keys": "the name of a key in an old event",
    "users.agents._read_owned": "when an agent was used last, with whatever key",
    "audit.audit_questions._ids_of": "an id that an operator typed, of a key in an old event",
    "instance.instance_overview.activity": "how many rotations there were",
    "instance.sweeping._count": "what to delete, by expiry alone",
    "instance.sweeping._family_goes_on": "the same",
    "instance.sweeping._has_live_access_token": "the same",
    "instance.sweeping._has_refresh_token": "the same",
    "instance.sweeping._told": "the expiry of what was deleted",
    "organizations.members.last_active": "when somebody last used them, also what has ended",
    "tokens.access_tokens._revoke_row": "a token may be revoked after it has ended",
    "tokens.authorization_codes._INSERT": "a new row",
    "tokens.authorization_codes._SPEND": "SQLite, after _FIND has judged",
    "tokens.grant_deletion.begin": "of a client or a person that is deleted, also what has ended",
    "tokens.refresh_families.INSERT_ACCESS": "a new row",
    "tokens.refresh_families.INSERT_FAMILY": "a new row",
    "tokens.refresh_families.INSERT_REFRESH": "a new row",
    "tokens.oauth_clients.delete": "by app_keys.revoke_where; what it selects is the client",
    "tokens.refresh_families.revoke": "the organization of a family that was just ended",
    "tokens.seed_clients._respell": "what a grant is for, also if it has ended",
    "tokens.refresh_tokens._END_ACCESS": "the access token of a successor that is replaced",
    "tokens.refresh_tokens._END_JWT": "the same",
    "tokens.refresh_tokens._SPEND": "SQLite, after _FIND has judged; a late repeat, after _FIND_SPENT has",
    "tokens.refresh_tokens._USED": "the same",
    "tokens.replays._count_lately": "how often tokens were repeated, also of a family that has ended",
    "tokens.replays.report": "a token that was spent and judged",
    "users.agents._has_key_for": "built from _works",
    "users.agents._rows_of": "built from _works; also when a key was last used, even if it has ended",
    "users.api_keys._TOUCH": "a key that _FIND has judged",
    "instance.leaked_secrets._jwt": "a token that leaked, also if it has ended; live.py says whether",
    "instance.leaked_secrets._keys": "which key it is; api_key_administration says whether it works",
    "instance.leaked_secrets._with_grant": "tokens that leaked, also if they have ended; live.py says which",
    "users.api_key_administration._statement": "for operators, who see keys that have ended, too; live.py says which",
    "users.api_key_administration.unscoped_revoke": "by app_keys.revoke_where; revoking a key twice is not an error",
    "users.api_keys.mint": "a new row",
    "users.api_keys.revoke": "revoking a key twice is not an error",
    "users.api_keys.revoke_of_agent": "the same",
}
# State is compared in live.py only; but sweeping compares expiries with a time of its own, not with the current time.
MAY_COMPARE_STATE = ("services/tokens/live.py", "services/instance/sweeping.py")
COMPARES_STATE = {
    "tokens.access_tokens._REFRESH": "which of two expiries comes first",
    "instance.gauges._expiring_keys": "when a key that works will expire, not whether it has",
    "instance.instance_overview.activity": "when a token was used, not whether",
    "tokens.replays._count_lately": "the same",
}


def _definitions() -> Iterator[tuple[str, str, ast.stmt]]:
    """Yield (file, dotted name below services, definition) for every top-level definition of a service module."""
    for path in sorted((ROOT / "services").rglob("*.py")):
        file = path.relative_to(ROOT).as_posix()
        room = file.removeprefix("services/").removesuffix(".py").replace("/", ".")
        for node in ast.parse(path.read_text(), file).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield file, f"{room}.{node.name}", node
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                yield file, f"{room}.{ast.unparse(target)}", node


def _names(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _calls(node: ast.AST) -> set[str]:
    return {part.func.id for part in ast.walk(node) if isinstance(part, ast.Call) and isinstance(part.func, ast.Name)}


def _asks(node: ast.AST) -> set[str]:
    """The names it uses from live.py."""
    attributes = (part for part in ast.walk(node) if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name))
    return {part.attr for part in attributes if part.value.id == "live"}


def test_every_statement_on_a_token_table_is_in_the_list() -> None:
    found = {name for _, name, node in _definitions() if _names(node) & TABLES and _calls(node) & STATEMENTS}
    built = {"tokens.authorization_codes._EXCHANGE", "tokens.authorization_codes._FIND"}
    built |= {f"tokens.refresh_tokens.{name}" for name in ("_ROTATE", "_FIND", "_FIND_SPENT")}  # built from parts, so they name no table
    asked = {"users.agents._works", "users.api_keys.list_of_agent"}  # conditions that another statement uses
    assert found == (set(JUDGES) | PARTS_OF_JUDGES | OF_LIVE_ROWS | set(WHATEVER_THEIR_STATE)) - built - asked


class _Columns:
    """Stands in for the judged rows: has any column that a rule asks for."""

    def __getattr__(self, name: str) -> object:
        return literal_column(f"facts.{name}")


@pytest.mark.parametrize("name", JUDGES)
@pytest.mark.parametrize("url", DATABASES)
def test_what_judges_a_token_holds_every_rule_of_its_kind_in_order(name: str, url: str) -> None:
    module, _, constant = name.rpartition(".")
    room = importlib.import_module(f"services.{module}")
    rules = [getattr(live, rule, None) or getattr(room, rule) for rule in JUDGES[name]]
    engine = create_engine(url)
    judgment = _sql(HotStatement(live.ended(_Columns(), *rules)), engine)
    found = _sql(getattr(room, constant), engine).count(judgment)
    assert found == (2 if name in SPENDS else 1), "a statement that spends a row judges it twice: to spend it, and to report why not"


@pytest.mark.parametrize("url", DATABASES)
def test_every_hot_statement_has_a_name_for_each_of_its_columns(url: str) -> None:
    """Otherwise only the first request would reveal it."""
    engine, compiled = create_engine(url), 0
    for path in sorted((ROOT / "services").rglob("*.py")):
        module = importlib.import_module(path.relative_to(ROOT).as_posix().removesuffix(".py").replace("/", "."))
        for statement in vars(module).values():
            if isinstance(statement, HotStatement):
                assert _sql(statement, engine)
                compiled += 1
    assert compiled > 30


def _sql(statement: HotStatement, engine: Engine) -> str:
    """The statement's text on that database, with `?` for every value."""
    return re.sub(r"\$[0-9]+(::[A-Z ]+)?", "?", statement._for(engine).sql)


def test_lists_and_ends_ask_what_is_live() -> None:
    asking = {name for _, name, node in _definitions() if _asks(node) & {"client_version", "grant_is_live", "none_of", "key_works"}}
    assert OF_LIVE_ROWS - asking == set()


def test_nothing_else_compares_the_state_of_a_token() -> None:
    found = {
        name
        for file, name, node in _definitions()
        if file not in MAY_COMPARE_STATE and any(_is_comparison_of_state(part) for part in ast.walk(node))
    }
    assert found == set(COMPARES_STATE)


def _is_comparison_of_state(node: ast.AST) -> bool:
    if isinstance(node, ast.Compare):
        return any(_is_state(side) for side in (node.left, *node.comparators))
    is_method = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr != "label"
    return is_method and _is_state(node.func.value)


def _is_state(node: ast.AST) -> bool:
    """Matches `RefreshToken.used_at`, and the same attribute of a row whose variable is named like a table."""
    return isinstance(node, ast.Attribute) and node.attr in STATE and isinstance(node.value, ast.Name) and node.value.id in TABLES


def test_rows_are_read_by_name() -> None:
    """No `row[3]` and no `Kind(*row)`: adding a column in the middle must not shift the others."""
    wrong = [
        f"{file}:{part.lineno} {ast.unparse(part)}"
        for file, _, node in _definitions()
        for part in ast.walk(node)
        if (isinstance(part, ast.Subscript) and _is_row(part.value) and _is_position(part.slice))
        or (isinstance(part, ast.Starred) and _is_row(part.value))
    ]
    assert wrong == []


def _is_row(node: ast.AST) -> bool:
    """Matches `row` and `rows[0]`."""
    return (isinstance(node, ast.Name) and node.id == "row") or (isinstance(node, ast.Subscript) and ast.unparse(node.value) == "rows")


def _is_position(node: ast.AST) -> bool:
    return isinstance(node, ast.Slice) or (isinstance(node, ast.Constant) and isinstance(node.value, int))
