"""The parts of the benchmark that need no stores: a wrong load generator measures nothing."""

import os
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import load, processes, profiling
from bench.operations import CHALLENGE, bare_view, code_of
from bench.plain_app import app
from bench.servers import HOST, Server


@pytest.fixture(scope="module", params=["gunicorn", "granian"])
def bare(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("bench")
    values = {**os.environ, "GATEPOST_ENV": "development", "GATEPOST_REDIS_URL": "redis://127.0.0.1:1/0"}
    server = Server(request.param, "bench.plain_app:app", values, folder / "log", os.sched_getaffinity(0))
    server.start("/json")
    yield server
    server.stop()


def test_a_window_counts_what_was_answered_in_it(bare: Server) -> None:
    moments: list[str] = []
    window = load.run(bare.port, [bare_view(HOST)] * 4, seconds=0.4, warmup_seconds=0.1, at=moments.append)
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
    load.run(bare.port, [bare_view(HOST)] * 4, seconds=0.5, warmup_seconds=0)
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
