"""`./run` and gunicorn as an operator meets them: real processes in a checkout with an `instance/` of its own."""

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue

import pytest
import requests

from infra.embedded_redis import EmbeddedRedis
from tests.live_server import clean_environment, linked_checkout
from tests.stores import _become, die_with_us, free_port

LINK = re.compile(r"^sign in: (http://127\.0\.0\.1:\d+/login/link/([A-Za-z0-9_-]{43}))$")
PRODUCTION = {
    "GATEPOST_ENV": "production",
    "GATEPOST_PUBLIC_URL": "https://id.example.com",
    "GATEPOST_SECRET_KEYS": "0123456789abcdef0123456789abcdef",
    "GATEPOST_ENCRYPTION_KEYS": "a:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    "GATEPOST_DATABASE_URL": "sqlite:///nowhere.sqlite",
    "GATEPOST_REDIS_URL": "redis://127.0.0.1:1",
}


class Start:
    """A started program: its standard output line by line, its standard error in a file."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        self.errors = folder / "stderr.log"
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=clean_environment(env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
                preexec_fn=die_with_us(),
            )
        self._lines: Queue[str] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))

    def line(self, seconds: float = 40) -> str:
        """The next line of standard output; an empty text when none comes."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                return self._lines.get(timeout=0.1)
            except Empty:
                if self.process.poll() is not None and self._lines.empty():
                    break
        return ""

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Its exit code, and how many seconds it took."""
        began = time.monotonic()
        os.killpg(self.process.pid, number) if number == signal.SIGINT else self.process.send_signal(number)
        return self.process.wait(20), time.monotonic() - began


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return linked_checkout(tmp_path / "checkout")


@pytest.fixture
def starts(checkout: Path) -> Iterator[list[Start]]:
    made: list[Start] = []
    yield made
    for start in made:
        if start.process.poll() is None:
            os.killpg(start.process.pid, signal.SIGKILL)
            start.process.wait()


@pytest.fixture
def url() -> str:
    return f"http://127.0.0.1:{free_port()}"


def run(starts: list[Start], checkout: Path, url: str, **env: str) -> Start:
    starts.append(Start(["./run"], checkout, {"GATEPOST_PUBLIC_URL": url, **env}))
    return starts[-1]


def gunicorn(checkout: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gunicorn", *arguments, "wsgi:app"]
    return subprocess.run(command, cwd=checkout, env=clean_environment(env), capture_output=True, text=True, timeout=60, check=False)


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            requests.get(f"{url}/healthz", timeout=20)
            return
        except requests.ConnectionError:
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.1)


def use(link: str) -> requests.Session:
    """Open a link and press its button, as a browser does."""
    browser = requests.Session()
    page = browser.get(link, timeout=60)
    assert page.status_code == 200, page.text
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)
    assert token is not None
    done = browser.post(link, data={"csrf_token": token[1]}, timeout=60)
    assert done.status_code == 200, done.text
    return browser


def test_a_fresh_checkout_serves_and_its_link_makes_the_first_administrator(starts: list[Start], checkout: Path, url: str) -> None:
    first = run(starts, checkout, url, GATEPOST_COLOUR="blue")
    found = LINK.match(first.line())
    assert found, first.errors.read_text()
    assert "GATEPOST_COLOUR is not a setting" in first.errors.read_text()
    assert (checkout / "instance" / "gatepost.toml").read_text().endswith('env = "development"\n')
    assert requests.get(f"{url}/readyz", timeout=60).status_code == 200

    listed = subprocess.run(
        [checkout / ".venv/bin/flask", "users", "list"], cwd=checkout, env=clean_environment({}), capture_output=True, text=True
    )
    assert "admin@localhost" in listed.stdout, listed.stderr
    assert not re.search(r"\badmin\b(?!@)", listed.stdout), "nobody is administrator before the link is used"

    browser = use(found[1])
    assert browser.get(f"{url}/api/v1/session", timeout=60).json()["user"] | {"id": ""} == {
        "id": "",
        "email": "admin@localhost",
        "email_verified": True,
        "name": "Administrator",
        "admin": True,
    }
    assert requests.get(found[1], timeout=60).status_code == 410, "the link works once"

    code, seconds = first.end()
    assert code == 0
    assert seconds < 10
    assert not EmbeddedRedis(checkout / "instance").is_running()

    second = run(starts, checkout, url)
    wait_for(url)
    assert second.line(1) == "", "there is an administrator now"
    assert browser.get(f"{url}/api/v1/session", timeout=60).status_code == 200, "sessions survive a restart"
    code, seconds = second.end(signal.SIGINT)
    assert seconds < 10
    assert not EmbeddedRedis(checkout / "instance").is_running()


def test_an_unused_link_ends_with_the_next_start(starts: list[Start], checkout: Path, url: str) -> None:
    owner_url = f"sqlite:///{checkout}/instance/gatepost.sqlite"
    first = run(starts, checkout, url, GATEPOST_DATABASE_OWNER_URL=owner_url)  # gunicorn starts over without it: the link is still printed
    old = LINK.match(first.line())
    first.end()
    second = run(starts, checkout, url)
    new = LINK.match(second.line())
    assert old
    assert new
    assert old[2] != new[2]
    assert requests.get(old[1], timeout=60).status_code == 410
    assert requests.get(new[1], timeout=60).status_code == 200
    second.end()


def test_nothing_is_left_when_the_server_is_killed(starts: list[Start], checkout: Path, url: str) -> None:
    start = run(starts, checkout, url)
    assert start.line()
    wait_for(url)
    server = EmbeddedRedis(checkout / "instance")
    assert server.is_running()
    start.process.kill()
    deadline = time.monotonic() + 10
    while server.is_running() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not server.is_running()


def test_a_second_start_says_where_gatepost_runs(starts: list[Start], checkout: Path, url: str) -> None:
    first = run(starts, checkout, url)
    link = LINK.match(first.line())
    assert link
    problem = f"Gatepost is already running in this folder, at {url}; to stop it: kill {first.process.pid}"
    second = run(starts, checkout, url)
    assert second.process.wait(30) == 1
    assert f"\nerror: {problem}\n" in second.errors.read_text()
    served = gunicorn(checkout, "-b", "127.0.0.1:0", GATEPOST_ENV="development", GATEPOST_PUBLIC_URL=url)
    assert served.returncode != 0
    assert problem in served.stderr
    assert "Traceback" not in served.stderr
    assert requests.get(link[1], timeout=60).status_code == 200, "the first one's link still works"
    first.end()


@pytest.mark.parametrize("words", [("-b", "{}"), ("--bind={}",)])
def test_the_link_leads_to_the_port_that_b_names(starts: list[Start], checkout: Path, words: tuple[str, ...]) -> None:
    bind = f"127.0.0.1:{free_port()}"
    starts.append(Start(["./run", *(word.format(bind) for word in words)], checkout, {}))
    link = LINK.match(starts[0].line())
    assert link, starts[0].errors.read_text()
    assert link[1].startswith(f"http://{bind}/")
    assert requests.get(link[1], timeout=60).status_code == 200


def test_a_port_in_use_is_named_with_a_way_out(checkout: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        served = gunicorn(checkout, GATEPOST_ENV="development", GATEPOST_PUBLIC_URL=f"http://127.0.0.1:{port}")
    assert served.returncode == 1
    problem = f"cannot listen at 127.0.0.1:{port}: another program listens there. Another port: ./run -b 127.0.0.1:{port + 1}"
    assert served.stderr.splitlines()[-1] == problem
    assert not EmbeddedRedis(checkout / "instance").is_running()


def test_a_folder_that_cannot_be_written_is_named(checkout: Path) -> None:
    """And not a missing module, as Python's own words let one think."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # where any account may look
    python = folder / "python"
    python.write_text("#!/bin/sh\ncase $1 in -V) echo Python 3.13.0 ;; -c) ;; *) echo ensurepip is not available; exit 1 ;; esac\n")
    python.chmod(0o755)
    try:
        shutil.copy(checkout / "run", folder)
        shutil.copy(checkout / "requirements.txt", folder)
        folder.chmod(0o555)
        account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        started = subprocess.run(
            [folder / "run"],
            env=clean_environment({"PYTHON": str(python)}),
            capture_output=True,
            text=True,
            preexec_fn=_become(account, signal.SIGTERM),
        )
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)
    assert started.returncode == 1
    assert started.stderr == f"building .venv with Python 3.13.0\n{folder}/.venv cannot be written: Permission denied\n"


def test_commands_start_the_embedded_redis_for_their_own_life(checkout: Path) -> None:
    environment = clean_environment({"GATEPOST_ENV": "development"})
    flask = [sys.executable, "-m", "flask"]
    assert subprocess.run([*flask, "db", "upgrade"], cwd=checkout, env=environment, capture_output=True, check=False).returncode == 0
    several = [
        subprocess.Popen(
            [*flask, "sessions", "list", "--json"], cwd=checkout, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=60) for process in several]
    assert [process.returncode for process in several] == [0, 0, 0], outputs
    assert not EmbeddedRedis(checkout / "instance").is_running()


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("GATEPOST_CODE_SECONDS", "soon", "must be a whole number of seconds"),
        ("GATEPOST_REFRESH_GRACE_SECONDS", "61", "must be between 0 and 60 seconds"),
        ("GATEPOST_PUBLIC_URL", "http://id.example.com", "must be https"),
        ("GATEPOST_REGISTRATION", "open", "not in this version"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_its_name(checkout: Path, name: str, value: str, problem: str) -> None:
    given = {"GATEPOST_ENV": "development", name: value}
    served = gunicorn(checkout, **given)
    assert served.returncode == 1
    assert served.stderr.startswith(f"{name}: {problem}")
    assert served.stderr.count("\n") == 1
    started = subprocess.run(["./run"], cwd=checkout, env=clean_environment(given), capture_output=True, text=True, timeout=60, check=False)
    assert started.returncode == 1
    assert f"{name}: {problem}" in started.stderr
    assert "Traceback" not in started.stderr


@pytest.mark.parametrize("exists_before", [False, True])
def test_other_users_of_the_machine_can_read_nothing_in_instance(starts, checkout: Path, url: str, exists_before: bool) -> None:
    if exists_before:
        (checkout / "instance").mkdir(mode=0o755)
    started = run(starts, checkout, url)
    assert LINK.match(started.line()), started.errors.read_text()
    started.end()  # else files come and go
    instance = checkout / "instance"
    files = [path for path in [instance, *instance.rglob("*")] if not path.is_symlink()]
    assert len(files) > 5
    assert [str(path) for path in files if path.stat().st_mode & 0o077] == []


def test_a_wrong_setting_in_the_file_ends_the_start_too(checkout: Path) -> None:
    (checkout / "instance").mkdir()
    (checkout / "instance" / "gatepost.toml").write_text('env = "development"\nsession_seconds = 1\n')
    served = gunicorn(checkout)
    assert (served.returncode, served.stderr) == (1, "GATEPOST_SESSION_SECONDS: must be between 60 and 31536000 seconds\n")


def test_production_refuses_to_start_without_what_it_requires(checkout: Path) -> None:
    for name in ("PUBLIC_URL", "SECRET_KEYS", "ENCRYPTION_KEYS", "DATABASE_URL", "REDIS_URL"):
        given = {key: value for key, value in PRODUCTION.items() if key != f"GATEPOST_{name}"}
        served = gunicorn(checkout, **given)
        assert (served.returncode, served.stderr) == (1, f"GATEPOST_{name}: is required in production\n")


def test_all_missing_settings_are_told_at_once(checkout: Path) -> None:
    """By the server, and by `flask doctor`; those of a half-configured provider and a wrong one too."""
    given = {"GATEPOST_GITHUB__CLIENT_ID": "a", "GATEPOST_OIDC__STAFF__LABEL": "Staff", "GATEPOST_CODE_SECONDS": "soon"}
    lines = [
        "GATEPOST_PUBLIC_URL: is required in production",
        "GATEPOST_SECRET_KEYS: is required in production",
        "GATEPOST_ENCRYPTION_KEYS: is required in production",
        "GATEPOST_DATABASE_URL: is required in production",
        "GATEPOST_REDIS_URL: is required in production",
        "GATEPOST_CODE_SECONDS: must be a whole number of seconds",
        "GATEPOST_GITHUB__CLIENT_SECRET: is required with the provider's other settings",
        "GATEPOST_OIDC__STAFF__CLIENT_ID: is required with the provider's other settings",
        "GATEPOST_OIDC__STAFF__CLIENT_SECRET: is required with the provider's other settings",
        "GATEPOST_OIDC__STAFF__ISSUER: is required with the provider's other settings",
    ]
    served = gunicorn(checkout, **given)
    assert served.returncode == 1
    assert sorted(served.stderr.splitlines()) == sorted(lines)
    doctor = [sys.executable, "-m", "flask", "doctor"]
    judged = subprocess.run(doctor, cwd=checkout, env=clean_environment(given), capture_output=True, text=True, timeout=60, check=False)
    assert judged.returncode == 1
    assert sorted(judged.stderr.removeprefix("Error: ").splitlines()) == sorted(lines)


def test_production_refuses_the_embedded_redis(checkout: Path) -> None:
    served = gunicorn(checkout, **{**PRODUCTION, "GATEPOST_REDIS_URL": "embedded"})
    assert (served.returncode, served.stderr) == (1, "GATEPOST_REDIS_URL: embedded is for development only\n")
    started = subprocess.run(
        ["./run"],
        cwd=checkout,
        env=clean_environment({**PRODUCTION, "GATEPOST_REDIS_URL": "embedded"}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert started.returncode == 1
    assert "GATEPOST_REDIS_URL: embedded is for development only" in started.stderr
    assert not (checkout / "instance" / "gatepost.toml").exists(), "what production says is not overruled by a file"


@pytest.mark.parametrize(
    ("public_url", "arguments", "bind"),
    [
        ("http://127.0.0.1:18200", (), "['127.0.0.1:18200']"),
        ("http://[::1]:18200", (), "['[::1]:18200']"),
        ("http://localhost", (), "['localhost:80']"),
        ("https://id.example.com", (), "['127.0.0.1:8000']"),
        ("https://id.example.com:8443", ("-b", "0.0.0.0:9000"), "['0.0.0.0:9000']"),
    ],
)
def test_gunicorn_binds_the_public_url_when_it_is_on_this_machine(
    checkout: Path, public_url: str, arguments: tuple[str, ...], bind: str
) -> None:
    shown = gunicorn(
        checkout, "--print-config", *arguments, **{**PRODUCTION, "GATEPOST_ENV": "development", "GATEPOST_PUBLIC_URL": public_url}
    )
    assert shown.returncode == 0, shown.stderr
    lines = dict(re.findall(r"^(\w+) += (.*)$", shown.stdout, re.M))
    assert lines["bind"] == bind
    assert (lines["workers"], lines["threads"], lines["worker_class"]) == ("2", "8", "infra.web_worker.worker.WebWorker")
    assert (lines["keepalive"], lines["limit_request_line"], lines["limit_request_field_size"], lines["control_socket_disable"]) == (
        "75",
        "0",
        "16384",
        "True",
    )


def test_the_number_of_workers_may_be_given_in_the_environment(checkout: Path) -> None:
    shown = gunicorn(checkout, "--print-config", **{**PRODUCTION, "WEB_CONCURRENCY": "5"})
    assert re.search(r"^workers += 5$", shown.stdout, re.M), shown.stderr


def test_an_access_log_shows_no_secret(starts: list[Start], checkout: Path, url: str) -> None:
    log = checkout / "access.log"
    style = "%(r)s %(U)s %(q)s %(f)s %({cookie}i)s %({authorization}i)s %({raw_uri}e)s %({query_string}e)s %({user-agent}i)s"
    command = ["./run", "--access-logfile", str(log), "--access-logformat", style]
    starts.append(Start(command, checkout, {"GATEPOST_PUBLIC_URL": url}))
    wait_for(url)
    secret = "ThisIsTheSecret0123456789"
    for path in (
        f"/login/link/{secret}?next=/account",
        f"/login/confirm/{secret}",
        f"/invitations/{secret}",
        f"/login?handoff={secret}&code={secret}",
    ):
        headers = {
            "Referer": f"{url}/login/link/{secret}?a={secret}",
            "Cookie": f"a={secret}",
            "Authorization": f"Bearer {secret}",
            "User-Agent": "me",
        }
        requests.get(url + path, headers=headers, timeout=60)
    starts[0].end()
    lines = log.read_text()
    assert lines.count(" me client=") == 4, lines
    assert secret not in lines
    assert secret not in starts[0].errors.read_text()
    assert "/login/link/" in lines


def test_what_is_installed_is_not_installed_again(checkout: Path) -> None:
    install = ["./run", "install"]
    subprocess.run(install, cwd=checkout, capture_output=True, check=True)
    began = time.monotonic()
    again = subprocess.run(install, cwd=checkout, capture_output=True, text=True, check=True)
    assert (again.stdout, again.stderr) == ("", "")
    assert time.monotonic() - began < 1


def test_a_production_machine_gets_no_package_of_the_tests(checkout: Path, tmp_path: Path) -> None:
    """pip is a program that writes down what it is asked for; everything else is `./run` itself."""
    folder = tmp_path / "production"
    (folder / ".venv/bin").mkdir(parents=True)
    for name in ("run", "requirements.txt", "requirements-test.txt"):
        shutil.copy(checkout / name, folder)
    python = folder / ".venv/bin/python"
    python.write_text('#!/bin/sh\ncase "$*" in *--require-hashes*) echo "$*" >>asked ;; esac\n')
    python.chmod(0o755)

    def installed(*words: str) -> list[str]:
        (folder / "asked").unlink(missing_ok=True)
        subprocess.run(["./run", "install", *words], cwd=folder, capture_output=True, check=True, timeout=60)
        return [line.rpartition(" ")[2] for line in (folder / "asked").read_text().splitlines()]

    assert installed("--production") == ["requirements.txt"]
    assert installed() == ["requirements-test.txt"]
    wrong = subprocess.run(["./run", "install", "--prod"], cwd=folder, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and "--production" in wrong.stderr


def test_help_lists_what_run_can_do(checkout: Path) -> None:
    shown = subprocess.run(["./run", "help"], cwd=checkout, capture_output=True, text=True, check=True).stdout
    assert all(f"./run {word}" in shown for word in ("install", "test", "lint", "bench", "shots", "help"))
    wrong = subprocess.run(["./run", "nonsense"], cwd=checkout, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2


def test_the_help_names_our_commands_only_and_the_development_server_does_not_serve(checkout: Path) -> None:
    def flask(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flask", *words]
        environment = clean_environment({"GATEPOST_ENV": "development"})
        return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=60, check=False)

    shown = flask("--help")
    assert shown.returncode == 0, shown.stderr
    named = {line.split()[0] for line in shown.stdout.partition("Commands:\n")[2].splitlines() if line.startswith("  ") and line[2] != " "}
    assert {"api-keys", "users", "db"} <= named
    assert named & {"limiter", "run", "shell", "routes"} == set()
    served = flask("run", "--port", str(free_port()))
    assert (served.returncode, served.stdout) == (1, "")
    assert served.stderr == "Error: gunicorn serves, not `flask run`: type ./run, or .venv/bin/gunicorn wsgi:app\n"
    cleared = flask("limiter", "clear")
    assert (cleared.returncode != 0, "Traceback" in cleared.stderr) == (True, False)
