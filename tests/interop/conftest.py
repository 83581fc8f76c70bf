"""One Gatepost per module, and the programs from npm."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import _missing
from tests.interop import peers
from tests.interop.gatepost import Gatepost, Person, running


@pytest.fixture(scope="module")
def gatepost(postgres_url: str, valkey_url: str) -> Iterator[Gatepost]:
    with running(postgres_url, valkey_url) as gatepost:
        yield gatepost


@pytest.fixture
def person(gatepost: Gatepost) -> Person:
    return gatepost.person(name="Ada Lovelace")


@pytest.fixture(scope="session")
def node_modules(node: str) -> Path:
    return peers.fetch(node) or _missing("npm's openid-client, oauth4webapi and conformance (no npm registry)")


@pytest.fixture
def drive(node: str, node_modules: Path, person: Person) -> Callable[..., Any]:
    """`drive("openid_client.mjs", "refresh", {...})`: the program runs, the person's browser goes where it says."""

    def run(script: str, scenario: str, given: dict[str, Any]) -> Any:
        return peers.drive(node, script, scenario, given, modules=node_modules, browse=person.open)

    return run
