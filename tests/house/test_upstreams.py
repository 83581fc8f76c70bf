"""Every connection to another server is opened on the transport of infra/http.py, or by the mailer, inside the bulkhead or
on one of the mail's own threads."""

import ast
import re
from collections.abc import Iterator

from tests.house.test_imports import MODULES

# What can open a connection, and the modules that may import it. The stores (PostgreSQL, Redis) are no upstreams; nor are our own
# workers, which the processes of infra/side_listeners.py ask.
OPENERS = {
    "requests": {"infra/http.py", "providers/base.py"},
    "urllib3": {"infra/http.py"},
    "http.client": {"infra/http.py", "infra/workers.py"},
    "authlib.integrations.requests_client": {"providers/base.py", "providers/oidc.py"},
    "authlib.integrations.httpx_client": set(),
    "smtplib": {"infra/mailer.py"},
    "socket": {
        "infra/mailer.py",
        "infra/embedded_redis.py",
        "infra/side_listeners.py",
        "infra/health_process.py",
        "infra/metrics_process.py",
        "infra/workers.py",
        "infra/web_worker/worker.py",  # the listeners that gunicorn opened
    },
    "urllib.request": set(),
    "httpx": set(),
    "aiohttp": set(),
    "websockets": set(),
    "ftplib": set(),
    "imaplib": set(),
    "poplib": set(),
    "asyncio": set(),
    "xmlrpc.client": set(),
}
# Where something that connects is made or used, beside the imports: the expression, as it is written
MAKERS = {
    r"requests\.(Session|session|get|post|put|patch|delete|head|options|request)\(": {"infra/http.py": 1},
    r"OAuth2Session\(": {"providers/base.py": 1},
    r"HTTPAdapter\(|\b(Http|Https)Pool\(|PoolManager\(|urlopen\(": {},
    r"smtplib\.SMTP(_SSL)?\(|\b_Smtp\(|\b_SmtpOverTls\(": {"infra/mailer.py": 2},
    r"create_connection\(|open_connection\(": {"infra/workers.py": 1, "infra/embedded_redis.py": 1},
    r"bulkhead\.call\(": {"providers/base.py": 1, "connectors/base.py": 1},
    r"bulkhead\.aside\(": {"infra/kept_documents.py": 1},
    r"bulkhead\.deadline\(": {"infra/mailer.py": 1},
    r"mailer\.send_all\(": {"infra/mail_queue.py": 1},
    r"mail_queue\.put\(": {"services/mail/delivery.py": 1},
}


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func) + "("


def test_only_the_transport_and_the_mailer_import_what_connects() -> None:
    for opener, allowed in OPENERS.items():
        found = {name for name, tree in MODULES.items() if any(f"{imported}.".startswith(f"{opener}.") for imported in _imported(tree))}
        assert found == allowed, opener


def test_sessions_and_calls_are_made_where_they_are_bounded() -> None:
    for pattern, expected in MAKERS.items():
        found = {name: sum(bool(re.search(pattern, call)) for call in _calls(tree)) for name, tree in MODULES.items()}
        assert {name: count for name, count in found.items() if count} == expected, pattern


def test_the_oauth_session_is_on_our_transport() -> None:
    """Authlib's would follow redirects, read ~/.netrc and wait per read."""
    functions = {node.name: ast.unparse(node) for node in ast.walk(MODULES["providers/base.py"]) if isinstance(node, ast.FunctionDef)}
    assert "http.guard(session)" in functions["oauth_session"]
