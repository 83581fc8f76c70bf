"""A server that is still starting keeps its port: no other test of any process is given it."""

import socket
import subprocess
import sys

import pytest

from tests import stores


@pytest.fixture
def three_ports(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    reservations: list[socket.socket] = []
    monkeypatch.setattr(stores, "_reservations", reservations)
    ports = [stores.free_port() for _ in range(3)]
    for reservation in reservations:
        reservation.close()
    reservations.clear()
    monkeypatch.setattr(stores, "_PORTS", ports)
    return ports


def test_a_port_is_given_once(three_ports: list[int]) -> None:
    given = [stores.free_port() for _ in three_ports]
    assert sorted(given) == sorted(three_ports)
    with pytest.raises(stores.StoreError):
        stores.free_port()


def test_another_process_is_given_others(three_ports: list[int]) -> None:
    mine = stores.free_port()
    asking = f"from tests import stores; stores._PORTS = [{mine}]; print(stores.free_port())"
    told = subprocess.run([sys.executable, "-c", asking], capture_output=True, text=True)
    assert told.returncode == 1 and "no port is free" in told.stderr
