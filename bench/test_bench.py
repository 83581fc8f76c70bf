"""The parts of the benchmark that need no stores: a wrong load generator measures nothing."""

import json
import os
import socket
import subprocess
import sys
import uuid
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from bench import beside, checkouts, load, processes, profiling, report, rewrapping, seeded, servers
from bench.__main__ import NAMES, arguments
from bench.measuring import Asked, Sample, statement_kinds
from bench.operations import BARE, CHALLENGE, Client, Operation, code_of, operations
from bench.plain_app import app
from bench.relay import Relay
from bench.servers import COOKIE_NAME, HOST, Server
from bench.stores import Stores


@pytest.fixture(scope="module", params=["gunicorn", "granian"])
def bare(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("bench")
    values = {**os.environ, "GATEPOST_ENV": "development", "GATEPOST_REDIS_URL": "redis://127.0.0.1:1/0"}
    server = Server("bare", request.param, "bench.plain_app:app", "/json", values, folder / "log", os.sched_getaffinity(0))
    server.start()
    yield server
    server.stop()


def test_a_window_counts_what_was_answered_in_it(bare: Server) -> None:
    moments: list[str] = []
    window = load.run(bare.port, [BARE.make] * 4, seconds=0.4, warmup_seconds=0.1, at=moments.append)
    assert moments == ["begin", "end"]
    assert window.operations > 20
    assert not window.faults
    assert window.latencies == sorted(window.latencies)
    assert 0.4 <= window.seconds < 2
    assert 0 < window.percentile_ms(0.5) <= window.percentile_ms(0.99)


def test_a_number_of_operations_is_exact_and_every_one_under_way_ends(bare: Server) -> None:
    chains, taken = deque(range(3)), []

    def caller() -> load.Caller:
        request = load.http("GET", "/json", [("Host", HOST)])
        while True:
            chain = chains.popleft()
            taken.append(chain)
            yield request
            yield request
            chains.append(chain)
            yield load.DONE

    assert load.run(bare.port, [caller] * 3, operations=10).operations == 10
    assert len(taken) == 10
    assert sorted(chains) == [0, 1, 2]
    load.run(bare.port, [caller] * 3, seconds=0.2, warmup_seconds=0)
    assert sorted(chains) == [0, 1, 2]


def test_wrong_answers_are_faults_and_many_of_them_end_the_run(bare: Server) -> None:
    def caller() -> load.Caller:
        raise load.WrongAnswer("nowhere", (yield load.http("GET", "/nowhere", [("Host", HOST)])))

    with pytest.raises(load.TooManyFaults, match="404"):
        load.run(bare.port, [caller], seconds=5)


def test_the_cpu_time_of_a_server_is_that_of_its_workers_too(bare: Server) -> None:
    before = bare.cpu_seconds()
    load.run(bare.port, [BARE.make] * 4, seconds=0.5, warmup_seconds=0)
    assert 0.05 < bare.cpu_seconds() - before < 2
    assert 10 < bare.worker_megabytes() < 120


@pytest.mark.parametrize("cut", [0, 10, 40, 60])
def test_an_answer_is_parsed_only_when_it_is_whole(cut: int) -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    assert load.parse(whole[:cut]) is None
    answer, stays_open = load.parse(whole) or pytest.fail("not parsed")
    assert (answer.status, answer.body, stays_open) == (200, b"hello", False)


def test_the_code_is_found_in_a_redirect_and_nowhere_else() -> None:
    head = b"HTTP/1.1 303 See Other\r\nlocation: http://127.0.0.1:1/callback?state=a&code=xyz&iss=b\r\n"
    assert code_of(load.Answer(303, head, b"")) == "xyz"
    with pytest.raises(load.WrongAnswer):
        code_of(load.Answer(303, b"HTTP/1.1 303 See Other\r\nLocation: /login?handoff=code\r\n", b""))
    assert len(CHALLENGE) == 43


@pytest.fixture(scope="module")
def held() -> tuple[seeded.Holder, dict[str, Operation]]:
    """Somebody with credentials, and the operations over them."""
    holder = seeded.Holder(seeded.Person(uuid.uuid4(), "ada@example.com", "Ada", "ada"), uuid.uuid4(), uuid.uuid4(), "gpa_a", "gpp_p")
    client = seeded.Client(uuid.uuid4(), "a-client", "a secret")
    team = seeded.Team(uuid.uuid4(), "a-team", holder.person, "a session")
    data = seeded.Seeds(client, client, client, team, holders=[holder], writing_sessions=["ada's session"])
    return holder, {operation.name: operation for operation in operations(Client(HOST, COOKIE_NAME, data), "a.b.c")}


@pytest.mark.parametrize(("name", "count"), [("resolve", 1), ("resolve-20", 20)])
def test_resolving_is_right_with_exactly_the_values_of_that_organization(
    held: tuple[seeded.Holder, dict[str, Operation]], name: str, count: int
) -> None:
    holder, operation = held[0], held[1][name]
    environ = profiling.environ_of(next(operation.make()) or b"")
    assert environ["PATH_INFO"] == "/api/v1/orgs/ada/credentials/resolve"
    assert environ["CONTENT_TYPE"] == "application/json"
    assert environ["HTTP_AUTHORIZATION"] == "Bearer gpa_a"
    names = json.load(environ["wsgi.input"])["names"]
    assert len(names) == count
    items = [{"name": each, "scope": "org", "value": holder.value_of(each)} for each in names]
    assert _judged(operation, {"items": items}) is load.DONE
    for wrong in (items[1:], [*items[1:], {**items[0], "value": "another's"}]):
        with pytest.raises(load.WrongAnswer):
            _judged(operation, {"items": wrong})


def test_keys_and_connections_are_right_with_their_own_answers_only(held: tuple[seeded.Holder, dict[str, Operation]]) -> None:
    holder, every = held
    assert _judged(every["connection"], {"access_token": holder.vendor_token}) is load.DONE
    assert _judged(every["key"], {"credential": {"type": "api_key"}, "user": {"email": "ada@example.com"}}) is load.DONE
    with pytest.raises(load.WrongAnswer):
        _judged(every["connection"], {"access_token": "at_of_somebody"})
    with pytest.raises(load.WrongAnswer):
        _judged(every["key"], {"credential": {"type": "jwt"}, "user": {"email": "ada@example.com"}})


def test_a_page_is_asked_for_as_a_browser_does_and_right_with_all_its_rows_only(held: tuple[seeded.Holder, dict[str, Operation]]) -> None:
    operation = held[1]["page-members"]
    environ = profiling.environ_of(next(operation.make()) or b"")
    assert environ["PATH_INFO"] == "/orgs/a-team/members"
    assert environ["HTTP_COOKIE"].startswith(f"{COOKIE_NAME}=a session; __Host-gatepost_browser=")
    assert environ["HTTP_ACCEPT"].startswith("text/html")
    row, last = b'<tr role="row">', b"user490@example.com"
    assert _answered(operation, last + row * 51) is load.DONE
    for wrong in (last + row * 50, row * 51):
        with pytest.raises(load.WrongAnswer):
            _answered(operation, wrong)
    assert "HTTP_COOKIE" not in profiling.environ_of(next(held[1]["page-sign-in"].make()) or b"")


def test_a_value_is_written_by_page_as_a_browser_does_and_the_next_page_must_say_so(
    held: tuple[seeded.Holder, dict[str, Operation]],
) -> None:
    operation = held[1]["page-write"]
    assert operation.before
    assert operation.before.times == 1
    page = b'<input type="hidden" name="csrf_token" value="nonce.mac">'
    look, write = operation.before.make(), operation.make()
    assert profiling.environ_of(next(look) or b"")["PATH_INFO"] == "/orgs/ada/credentials"
    assert look.send(load.Answer(200, b"", page)) is load.DONE

    environ = profiling.environ_of(next(write) or b"")
    assert (environ["REQUEST_METHOD"], environ["PATH_INFO"]) == ("POST", "/orgs/ada/credentials/SERVICE_00_TOKEN/value")
    assert environ["QUERY_STRING"] == "scope=org"
    assert environ["HTTP_COOKIE"].startswith(f"{COOKIE_NAME}=ada's session; __Host-gatepost_browser=")
    assert (environ["HTTP_ORIGIN"], environ["HTTP_SEC_FETCH_SITE"]) == (servers.PUBLIC_URL, "same-origin")
    fields = parse_qs(environ["wsgi.input"].read().decode())
    assert fields["csrf_token"] == ["nonce.mac"]
    assert fields["value"] == [held[0].value_of("SERVICE_00_TOKEN")]
    assert write.send(load.Answer(303, b"HTTP/1.1 303 See Other\r\nLocation: /orgs/ada/credentials\r\n", b"")) is load.DONE
    assert parse_qs(profiling.environ_of(next(write) or b"")["wsgi.input"].read().decode())["form_id"] != fields["form_id"]
    for wrong in (load.Answer(422, b"", page), load.Answer(303, b"HTTP/1.1 303 See Other\r\nLocation: /login\r\n", b"")):
        refused = operation.make()
        next(refused)
        with pytest.raises(load.WrongAnswer):
            refused.send(wrong)

    next(look)
    with pytest.raises(load.WrongAnswer):
        look.send(load.Answer(200, b"", page + b"Nothing changed."))
    look = operation.before.make()
    next(look)
    assert look.send(load.Answer(200, b"", page + b"SERVICE_00_TOKEN replaced.")) is load.DONE


def test_every_operation_has_a_name_to_choose_it_by(held: tuple[seeded.Holder, dict[str, Operation]]) -> None:
    assert list(held[1]) == NAMES


def _judged(operation: Operation, body: object) -> bytes | None:
    """The same, of JSON."""
    return _answered(operation, json.dumps(body).encode())


def _answered(operation: Operation, body: bytes) -> bytes | None:
    """What the caller yields to this answer."""
    caller = operation.make()
    next(caller)
    return caller.send(load.Answer(200, b"", body))


def test_a_relay_carries_everything_and_counts_a_pipeline_as_one_trip() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        relay = Relay(listener.getsockname()[1])
        relay.start()
        with socket.create_connection(("127.0.0.1", relay.port), timeout=5) as client:
            server, _ = listener.accept()
            with server:
                for trip in (1, 2):
                    for part in (b"BEGIN;", b"COMMIT;"):
                        client.sendall(part)
                        assert server.recv(100) == part
                    server.sendall(b"done")
                    assert client.recv(100) == b"done"
                    assert relay.trips == trip
        relay.stop()


def test_statements_are_counted_however_they_are_sent() -> None:
    log = (
        b"~1 LOG:  statement: BEGIN\n"
        b"~1 LOG:  execute hot1: SELECT set_config('gatepost.user', $1, true)\n"
        b"~1 DETAIL:  Parameters: $1 = 'SELECT'\n"
        b"~1 LOG:  execute hot2: select users.id\n\tFROM users\n"
        b"~1 LOG:  execute <unnamed>: WITH found AS (SELECT 1) SELECT 1\n"
    )
    assert statement_kinds(log) == ["BEGIN", "set_config", "SELECT", "WITH"]
    assert Asked({"set_config": 1, "SELECT": 1}, 1, {"get": 1}, 1).sql() == "2 (set_config, SELECT) in 1 trip"
    assert Asked({"SELECT": 1}, 1, {"get": 1}, 1).redis() == "1 (get)"


def test_a_rewrap_is_told_by_its_progress() -> None:
    moments = [rewrapping.Moment(rows, rows / 1000, 90 + rows / 5_000) for rows in range(500, 10_001, 500)]
    told = rewrapping.told(moments, 10_000)
    assert "10,000 values: 1,000 rows per second" in told
    assert told.endswith("90.1 MB after 500, 90.2 MB after 1,000, 91.0 MB after 5,000, 92.0 MB after 10,000.")


def test_a_request_reaches_the_application_the_same_without_a_server() -> None:
    answer = profiling.call(app, load.http("GET", "/json?x=1", [("Host", HOST)]))
    assert answer.status == 200
    assert b"world" in answer.body
    assert b"\r\nContent-Type: application/json" in answer.head
    environ = profiling.environ_of(load.http("POST", "/a?b=c", [("Authorization", "Basic eA==")], "d=e"))
    assert environ["QUERY_STRING"] == "b=c"
    assert environ["CONTENT_LENGTH"] == "3"
    assert environ["HTTP_AUTHORIZATION"] == "Basic eA=="
    assert environ["wsgi.input"].read() == b"d=e"


def test_a_process_ends_when_told_to_and_says_why_it_did_not_start(tmp_path: Path) -> None:
    process = processes.spawn(
        [sys.executable, "-c", "print('no'); raise SystemExit(3)"], cpus=os.sched_getaffinity(0), log=tmp_path / "log"
    )
    process.wait(10)
    with pytest.raises(processes.Failed, match="no"):
        processes.wait_for_http("http://127.0.0.1:1/", process, tmp_path / "log", seconds=1)
    sleeper = processes.spawn([sys.executable, "-c", "input()"], cpus=os.sched_getaffinity(0), log=tmp_path / "log")
    processes.stop(sleeper)
    assert sleeper.poll() is not None


def _sample(column: str, operation: str, server_us: float, bare_us: float) -> Sample:
    return Sample(column, operation, 100, server_us, 0, 0, 1, 2, 0.1, 0, 0, bare_us)


def test_every_ratio_is_taken_to_gunicorns_bare_view_and_has_the_same_budget(held: tuple[seeded.Holder, dict[str, Operation]]) -> None:
    samples = [
        sample
        for column in ("gunicorn", "granian", "gunicorn, rate limits on")
        for us in (800, 1000, 1400)
        for sample in (_sample(column, "bare", 400, 0), _sample(column, "whoami", us, 400), _sample(column, "page-write", us, 400))
    ]
    told = report.tables(report.Results(3, 4, {}, [held[1]["whoami"], held[1]["page-write"]], samples))
    assert told.count("| bare Flask view under gunicorn |  | 1 | 400 |") == 3
    assert told.count("| API call (`whoami`), opaque token | 2.1 | **2.50** (2.00-3.50) | 1000 |") == 2
    assert told.count("| API call (`whoami`), opaque token |  | **2.50** (2.00-3.50) | 1000 |") == 1
    assert "| a credential's value, written by page | none | **2.50**" in told


def test_the_yardstick_runs_under_gthread_whatever_gatepost_says(tmp_path: Path) -> None:
    stores = Stores(tmp_path, {0})
    bare = servers.yardstick(stores, tmp_path, {0})._command()
    assert bare[bare.index("--worker-class") + 1] == "gthread"
    assert bare[bare.index("--config") + 1] == os.devnull
    assert not {"--worker-class", "--config"} & set(servers.gatepost("gunicorn", stores, tmp_path, {0})._command())


class _Side:
    """Costs what it is told, in turn."""

    def __init__(self, root: str, costs: list[float], asked: list[str]) -> None:
        self.checkout = checkouts.Checkout(Path(root), "python")
        self.costs, self.asked = iter(costs), asked

    def begin(self) -> None:
        self.asked.append("begin " + self.checkout.root.name)

    def warm_up(self, operation: str) -> None:
        if operation == "absent":
            raise load.TooManyFaults("404")

    def cost_us(self, operation: str) -> float:
        self.asked.append(self.checkout.root.name)
        return next(self.costs)

    def stop(self) -> None:
        pass


def test_two_checkouts_take_turns_and_are_compared_by_the_median_of_each_round() -> None:
    asked: list[str] = []
    sides = [_Side("/ours", [110, 100, 120, 90, 300, 90], asked), _Side("/theirs", [100] * 6, asked)]
    compared = beside.compare(sides, ["whoami"], 2, lambda _: None, turns=3, bare_us=lambda: 50)
    assert asked[:8] == ["begin ours", "begin theirs", "ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert asked[8:12] == ["begin ours", "begin theirs", "theirs", "ours"]
    assert compared.ratios("whoami") == [1.1, 0.9]
    told = report.beside(compared, "look again.")
    assert "| whoami | **1.000** (0.900-1.100) `*` | 0.900 | 105 | 100 | 2.10 | 2.00 |" in told
    assert told.endswith("`*` the rounds differ by more than 10%: look again.")


def test_rounds_that_agree_get_no_mark_and_an_operation_that_fails_says_where() -> None:
    asked: list[str] = []
    sides = [_Side("/ours", [104, 104], asked), _Side("/theirs", [100, 100], asked)]
    compared = beside.compare(sides, ["absent", "whoami"], 2, lambda _: None, turns=1)
    told = report.beside(compared, "look again.")
    assert "| whoami | **1.040** (1.040-1.040) | 1.040 | 104 | 100 |  |  |" in told
    assert "look again." not in told
    assert compared.failed == ["FAILED absent of /ours: 404"] * 2


def _checkout(root: Path, migrations: dict[str, str], requirements: str = "flask==1\n") -> Path:
    versions = root / "migrations" / "versions"
    versions.mkdir(parents=True)
    (root / "wsgi.py").touch()
    (root / "requirements.txt").write_text(requirements)
    for name, text in migrations.items():
        (versions / f"{name}.py").write_text(text)
    return root


def test_the_other_checkout_runs_with_its_own_interpreter_or_with_ours_when_it_needs_the_same(tmp_path: Path) -> None:
    first = {"0001_first": "revision = '0001'\n"}
    ours = _checkout(tmp_path / "ours", first)
    same, other = _checkout(tmp_path / "same", first), _checkout(tmp_path / "other", first, "flask==2\n")
    found = checkouts.beside(same, ours)
    assert (found.root, found.python) == (same, sys.executable)
    assert (found.database, found.redis_number) != (checkouts.HERE.database, checkouts.HERE.redis_number)
    with pytest.raises(processes.Failed, match="install` there"):
        checkouts.beside(other, ours)
    (other / ".venv" / "bin").mkdir(parents=True)
    (other / ".venv" / "bin" / "python").touch()
    assert checkouts.beside(other, ours).python == str(other / ".venv" / "bin" / "python")
    with pytest.raises(processes.Failed, match="is no checkout"):
        checkouts.beside(tmp_path, ours)


def test_what_runs_in_the_other_checkouts_process_imports_nothing_of_gatepost(tmp_path: Path) -> None:
    (tmp_path / "bench").symlink_to(checkouts.ROOT / "bench")
    command = [sys.executable, "-P", "-c", "import bench.inner"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_two_checkouts_begin_with_the_newest_migration_that_both_have(tmp_path: Path) -> None:
    first, second = "revision = '0001'\n", "revision = '0002'\ndown_revision = '0001'\n"
    ours = _checkout(tmp_path / "ours", {"0001_first": first, "0002_second": second, "0003_third": "revision = '0003'\n"})
    older = _checkout(tmp_path / "older", {"0001_first": first, "0002_second": second})
    changed = _checkout(
        tmp_path / "changed", {"0001_first": first, "0002_second": second + "# and more\n", "0003_other": "revision = 'x'\n"}
    )
    foreign = _checkout(tmp_path / "foreign", {"0001_another": "revision = 'a'\n"})
    assert checkouts.last_common_revision(ours, ours) == "0003"
    assert checkouts.last_common_revision(ours, older) == checkouts.last_common_revision(older, ours) == "0002"
    assert checkouts.last_common_revision(ours, changed) == "0001"
    with pytest.raises(processes.Failed, match="no migration in common"):
        checkouts.last_common_revision(ours, foreign)


def test_what_does_not_go_with_another_checkout_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = ["--beside", str(checkouts.ROOT)]
    assert arguments([*there, "--inside", "--only", "refresh,code"]).beside.root == checkouts.ROOT
    assert arguments([]).beside is None
    for wrong in (["--write"], ["--count"], ["--server", "granian"], ["--limits", "on"], ["--profile", "refresh"]):
        with pytest.raises(SystemExit):
            arguments([*there, *wrong])
    with pytest.raises(SystemExit):
        arguments(["--beside", str(tmp_path)])
    assert "is no checkout of Gatepost" in capsys.readouterr().err


def test_what_the_long_tests_wrote_stays_in_the_results() -> None:
    text = (checkouts.ROOT / "bench" / "RESULTS.md").read_text()
    kept = report.from_tests(text)
    assert kept.startswith("## Lists\n")
    assert "\n## Storms\n" in kept
    assert kept in text
    assert "How it was measured" not in kept
    assert report.from_tests("# Results\n") == ""
