"""The conformance suite of the Model Context Protocol, in the mode that tests authorization servers."""

import json
import os
import re
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests import factories
from tests.interop.gatepost import Gatepost, Person
from tests.raw_http import connect
from tests.stores import die_with_us, free_port

RESOURCE = "https://mcp.example.com/mcp"
SECONDS = 100
_AUTHORIZE = re.compile(r"https?://\S+/oauth/authorize\?\S+")
# Not in this version of Gatepost, and no part of the authorization code flow.
KNOWN_WARNINGS = {"authorization-server-metadata-cimd"}


@pytest.fixture(scope="module", autouse=True)
def _resource(gatepost: Gatepost) -> None:
    factories.make_resource(identifier=RESOURCE, name="MCP", scope="projects:read")


def conform(node: str, modules: Path, person: Person, folder: Path, *arguments: str) -> tuple[int, str]:
    """Run it; the person opens the address that it prints. The exit code, and what it printed."""
    command = [node, str(modules / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"), "authorization"]
    lines: list[str] = []
    process = subprocess.Popen(
        [*command, "--url", person.gatepost.url, "--output-dir", str(folder), *arguments],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=die_with_us(),
    )
    too_long = threading.Timer(SECONDS, process.kill)
    too_long.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if found := _AUTHORIZE.search(line):
                _wait_for_its_listener(int(arguments[arguments.index("--port") + 1]))
                person.open(found[0])
        return process.wait(), "".join(lines)
    finally:
        too_long.cancel()
        process.kill()
        process.wait()
        process.stdout.close()


def _wait_for_its_listener(port: int) -> None:
    """It prints the address before it listens for the answer."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            connect(port).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "it does not listen"
            time.sleep(0.05)


def checks_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Every check by scenario."""
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(folder.rglob("checks.json"))}


@pytest.mark.parametrize("resource", [RESOURCE, None], ids=["with a resource", "without"])
def test_both_scenarios_pass(
    gatepost: Gatepost, person: Person, node: str, node_modules: Path, tmp_path: Path, resource: str | None
) -> None:
    """As a public client: where a server offers `none` the suite leaves a secret out even if it was given one."""
    client = gatepost.register(redirect_uris=["http://127.0.0.1/callback"], scope="openid offline_access projects:read")
    arguments = ["--client-id", client.client_id, "--port", str(free_port()), *(["--resource", resource] if resource else [])]
    code, printed = conform(node, node_modules, person, tmp_path, *arguments)
    checks = [check for each in checks_of(tmp_path).values() for check in each]
    assert code == 0, printed
    assert {check["id"] for check in checks if check["status"] == "SUCCESS"} == {
        "authorization-server-metadata",
        "authorization-code-grant",
    }, printed
    assert {check["id"] for check in checks if check["status"] != "SUCCESS"} <= KNOWN_WARNINGS, printed
