"""Who may import whom, where commits and queries stand, where Flask appears."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HOUSES = ("blueprints", "commands", "jobs", "oauth", "services", "models", "providers", "connectors", "infra")
SINGLES = ("app", "wsgi", "config", "errors", "extensions")

# Room -> what of ours it may import besides itself, the lowest last. A house named as a target stands for all of its rooms.
# A module of `services` or `blueprints` belongs to the longest name here that its own begins with.
_BELOW = "models infra extensions errors config"
ALLOWED = {
    room: set(targets.split())
    for room, targets in {
        "wsgi": "app commands config",
        "app": "blueprints commands extensions infra config",
        # The doors of browsers, programs and the protocol, and what stands around each of their requests.
        "blueprints": "blueprints",
        "blueprints.pages.gate": "blueprints.guards blueprints.fresh_sign_in blueprints.html blueprints.rate_limits"
        " blueprints.session_cookie blueprints.browser blueprints.request_log services errors config",
        "blueprints.pages.account": "blueprints.fresh_sign_in blueprints.html blueprints.rate_limits blueprints.session_cookie"
        " blueprints.browser services errors config",
        "blueprints.pages.admin": "blueprints.pages.organizations blueprints.fresh_sign_in blueprints.html blueprints.session_cookie"
        " services errors config",
        "blueprints.pages.organizations": "blueprints.fresh_sign_in blueprints.exports blueprints.html blueprints.background"
        " blueprints.rate_limits blueprints.session_cookie blueprints.browser blueprints.request_log services errors config",
        "blueprints.api": "blueprints.exports blueprints.guards blueprints.fresh_sign_in blueprints.session_cookie services errors config",
        "blueprints.oauth": "blueprints.guards blueprints.error_handlers blueprints.html blueprints.csrf blueprints.rate_limits"
        " blueprints.session_cookie oauth services errors config",
        "blueprints.well_known": "oauth services errors config",
        "blueprints.health": "services errors config",
        "blueprints.fresh_sign_in": "blueprints.session_cookie services errors config",
        "blueprints.guards": "blueprints.fresh_sign_in blueprints.html blueprints.csrf blueprints.own_address blueprints.rate_limits"
        " blueprints.session_cookie blueprints.request_log services errors config",
        "blueprints.error_handlers": "blueprints.html blueprints.request_log errors config",
        "blueprints.html": "blueprints.assets blueprints.csrf blueprints.session_cookie blueprints.cookies blueprints.browser"
        " blueprints.request_log services errors config",
        "blueprints.rate_limits": "blueprints.browser services errors config",
        "blueprints.session_cookie": "blueprints.cookies services config",
        "blueprints.headers": "blueprints.browser config",
        "blueprints.csrf": "blueprints.browser blueprints.own_address blueprints.session_cookie errors config",
        "blueprints.own_address": "config",
        "blueprints.browser": "blueprints.cookies config",
        "blueprints.background": "services",
        "blueprints.request_log": "services config",
        "blueprints.exports": "errors",
        "blueprints.cookies": "config",
        "blueprints.cors": "config",
        "blueprints.assets": "",
        "commands": "services errors config",
        "jobs": "services errors config",
        "oauth": "services errors config",
        # The rules: each room sees those below it.
        "services": "",
        "services.instance": "services.sign_in services.vault services.users services.tokens services.audit services.access"
        f" services.encryption services.database providers {_BELOW}",
        "services.accounts": "services.vault services.authorization services.sessions services.organizations services.users"
        " services.tokens services.activity services.audit services.access services.pagination services.database connectors"
        f" {_BELOW}",
        "services.sign_in": "services.sessions services.organizations services.users services.activity services.audit services.access"
        " services.mail"
        f" services.encryption services.database providers {_BELOW}",
        "services.authorization": "services.sessions services.tokens services.activity services.audit services.access"
        f" services.database {_BELOW}",
        "services.vault": "services.sessions services.users services.audit services.access services.pagination services.encryption"
        f" services.database connectors {_BELOW}",
        "services.sessions": "services.organizations services.tokens services.activity services.audit services.access"
        f" services.database {_BELOW}",
        "services.organizations": "services.users services.tokens services.audit services.access services.mail services.pagination"
        f" services.validation services.database providers {_BELOW}",
        "services.users": "services.tokens services.activity services.audit services.access services.pagination services.validation"
        f" services.encryption services.database providers {_BELOW}",
        "services.tokens": "services.activity services.audit services.access services.pagination services.encryption"
        f" services.database {_BELOW}",
        "services.activity": f"services.access services.mail services.pagination services.validation services.database {_BELOW}",
        "services.audit": f"services.access services.pagination services.validation services.database {_BELOW}",
        "services.access": f"services.database {_BELOW}",
        "services.mail": "infra config",
        "services.pagination": "infra extensions errors",
        "services.validation": "errors",
        "services.encryption": "infra config",
        "services.database": "infra extensions errors",
        "models": "extensions infra",
        "providers": "infra errors config",
        "connectors": "infra errors config",
        "extensions": "infra config",  # infra knows nothing of extensions: it takes a client or an engine as a parameter
        "infra": "errors config",
        "errors": "",
        "config": "",
    }.items()
}
# "models import extensions.db only", but for the types of time and id that their columns default to
MODELS_MAY_USE = ("infra.clock", "infra.ids")
MAKES_COMMIT_POSSIBLE = ("infra/hot_statements.py",)  # the means; only services call it
KNOWS_FLASK = ("app.py", "extensions.py", "config.py", "oauth/server.py", "oauth/requests.py")


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name.partition("/")[0] in HOUSES or name.removesuffix(".py") in SINGLES:
            yield name, ast.parse(path.read_text(), name)


MODULES = dict(_modules())


def _imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every module that is imported, wherever in the file. `from a import b` gives a.b: it may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def _house(name: str) -> str:
    return name.partition("/")[0].removesuffix(".py")


def _room(dotted: str) -> str:
    """The room of a module, or of a name in one; its house where no room is listed; empty for what is not ours."""
    parts = dotted.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in names if name in ALLOWED), "")


def _dotted(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def test_imports_point_down() -> None:
    wrong = []
    for name, tree in MODULES.items():
        room = _room(_dotted(name))
        for imported, line in _imports(tree):
            target = _room(imported)
            is_up = target not in ("", room) and not {target, target.partition(".")[0]} & ALLOWED[room]
            if is_up or (room == "models" and target == "infra" and not imported.startswith(MODELS_MAY_USE)):
                wrong.append(f"{name}:{line} imports {imported}")
    assert wrong == []


def test_every_room_is_in_the_table() -> None:
    """Also that none of its lines is left over: each names a folder or a module that is there."""
    rooms = {_dotted(name) for name in MODULES if name.endswith("/__init__.py") and name.startswith(("services/", "blueprints/"))}
    doors = {_dotted(name) for name in MODULES if name.startswith("blueprints/") and name.count("/") == 1}
    assert (rooms | doors) - {"blueprints.pages"} == {room for room in ALLOWED if room.startswith(("services", "blueprints"))}


def test_no_two_rooms_import_each_other() -> None:
    """However many rooms the way back leads through."""
    below = {room: {target for target in targets if target != room} for room, targets in ALLOWED.items()}
    changed = True
    while changed:
        changed = False
        for room, targets in below.items():
            further = set().union(*(below[target] for target in targets)) - targets
            if further:
                below[room], changed = targets | further, True
    assert [room for room, targets in below.items() if room in targets] == []


def test_services_form_no_cycle() -> None:
    edges = {
        name.removesuffix(".py").replace("/", "."): {
            imported
            for dotted, _ in _imports(tree)
            for imported in (dotted, dotted.rpartition(".")[0])
            if imported.startswith("services.") and f"{imported.replace('.', '/')}.py" in MODULES
        }
        for name, tree in MODULES.items()
        if name.startswith("services/")
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for target in edges[module]:
                visit(target, (*path, module))
            done.add(module)

    for module in edges:
        visit(module, ())


def _calls(tree: ast.AST, attribute: str) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Attribute) and node.func.attr == attribute)
            or (isinstance(node.func, ast.Name) and node.func.id == attribute)
        )
    ]


def test_only_services_commit() -> None:
    wrong = [
        f"{name}:{line}"
        for name, tree in MODULES.items()
        if _house(name) != "services" and name not in MAKES_COMMIT_POSSIBLE
        for line in _calls(tree, "commit")
    ]
    assert wrong == []


def test_only_services_and_models_query() -> None:
    queries = ("sqlalchemy.select", "sqlalchemy.update", "sqlalchemy.delete")
    wrong = [
        f"{name}:{line}"
        for name, tree in MODULES.items()
        if _house(name) not in ("services", "models")
        for imported, line in _imports(tree)
        if imported in queries
    ]
    assert wrong == []


def test_flask_stays_at_the_doors() -> None:
    wrong = [
        f"{name}:{line}"
        for name, tree in MODULES.items()
        if _house(name) not in ("blueprints", "commands") and name not in KNOWS_FLASK
        for imported, line in _imports(tree)
        if imported.partition(".")[0] == "flask"
    ]
    assert wrong == []


def test_only_config_reads_the_settings() -> None:
    wrong = [
        f"{name}:{node.lineno} {node.value}"
        for name, tree in MODULES.items()
        if name != "config.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_environment_read(tree, node)
    ]
    assert wrong == []


def _is_environment_read(tree: ast.AST, constant: ast.Constant) -> bool:
    """`os.environ["GATEPOST_..."]`, `os.environ.get(...)`, `os.getenv(...)`."""
    if not str(constant.value).startswith("GATEPOST_"):
        return False
    for node in ast.walk(tree):
        inside = node.args if isinstance(node, ast.Call) else [node.slice] if isinstance(node, ast.Subscript) else []
        if constant in inside:
            return "environ" in ast.unparse(node) or "getenv" in ast.unparse(node)
    return False


def test_every_signature_is_typed() -> None:
    wrong = []
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = [
                    *node.args.posonlyargs,
                    *node.args.args,
                    *node.args.kwonlyargs,
                    *filter(None, (node.args.vararg, node.args.kwarg)),
                ]
                bare = [argument.arg for argument in arguments if argument.annotation is None and argument.arg not in ("self", "cls")]
                if bare or node.returns is None:
                    wrong.append(f"{name}:{node.lineno} {node.name}({', '.join(bare)}){'' if node.returns else ' has no result type'}")
    assert wrong == []


def test_every_module_says_what_it_is_for() -> None:
    assert [name for name, tree in MODULES.items() if tree.body and not ast.get_docstring(tree)] == []


def test_no_room_for_odds_and_ends() -> None:
    wrong = [name for name in MODULES if Path(name).stem in ("utils", "util", "helpers", "helper", "common", "misc", "core", "lib")]
    assert wrong == []


def test_the_server_imports_nothing_of_the_sdk_nor_of_the_tests() -> None:
    outside = {"gatepost", "sdk", "tests", "bench"} - set(sys.stdlib_module_names)
    wrong = [
        f"{name}:{line}" for name, tree in MODULES.items() for imported, line in _imports(tree) if imported.partition(".")[0] in outside
    ]
    assert wrong == []
