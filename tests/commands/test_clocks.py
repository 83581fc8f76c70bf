"""The doctor compares clocks: its own with those of both stores, and those of the processes that serve with Redis'."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from extensions import redis as bound_redis
from infra import clock
from services.instance import running_processes


def _clocks(app: Flask) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    result = app.test_cli_runner().invoke(args=["doctor", "--json"])
    found: dict[str, list[tuple[str, str]]] = {"database": [], "redis": []}
    for finding in json.loads(result.stdout):
        if finding["subject"] == "clock":
            found[finding["area"]].append((finding["level"], finding["text"]))
    return result.exit_code, found


@pytest.mark.parametrize(
    ("seconds", "level", "words"),
    [
        (0, "ok", "agrees with"),
        (20, "warning", r"is (19|20) s ahead of"),
        (-20, "warning", r"is (19|20) s behind"),
        (3600, "fault", r"is (3599|3600) s ahead of"),
        (-3600, "fault", r"is (3599|3600) s behind"),
    ],
)
def test_its_own_clock_is_compared_with_both_stores(app: Flask, seconds: int, level: str, words: str) -> None:
    clock.move(seconds)
    code, found = _clocks(app)
    assert code == (1 if level == "fault" else 0)
    for area, whose in (("database", "PostgreSQL's"), ("redis", "Redis'")):
        assert [each for each, _ in found[area]] == [level], found
        assert re.search(rf"of this machine {words} {whose}", found[area][0][1]), found
        assert level == "ok" or "synchronize" in found[area][0][1]


@pytest.mark.both_databases
def test_a_right_clock_is_no_fault(app: Flask) -> None:
    assert _clocks(app)[0] == 0


def test_the_clock_of_another_machine_is_named(app: Flask, settings: Callable[..., Any]) -> None:
    process = running_processes.this_process(settings())
    clock.move(600)
    running_processes._announce(process)
    clock.move(0)
    code, found = _clocks(app)
    assert code == 1
    assert [level for level, _ in found["redis"]] == ["ok", "fault"]
    assert re.search(rf"that of {re.escape(str(process))} is (599|600|601) s ahead of Redis'", found["redis"][1][1]), found
    bound_redis.client.flushall()
