"""Exports: complete before the first byte leaves, so that a fault is an error response and a slow reader holds nothing."""

import csv
import io
import json
import os
import resource
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete, event, text
from sqlalchemy.exc import OperationalError
from werkzeug.test import EnvironBuilder

from blueprints import exports
from extensions import db
from infra.clock import now
from infra.ids import uuid7
from models import AuditEvent
from services.audit import audit_events
from tests import factories, owner
from tests.infra.test_bulkhead import wait_until
from tests.live_server import LiveServer

pytestmark = pytest.mark.both_databases
ADDRESSES = ("/api/v1/orgs/acme/audit-events?format=jsonl", "/orgs/acme/audit.csv", "/admin/audit.jsonl")


class Acme:
    """An organization whose owner is an administrator of the instance, too."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.owner = factories.make_user(personal=False, is_admin=True)
        self.organization = factories.make_organization(owner=self.owner, slug="acme")

    def write(self, count: int, text: str = "") -> None:
        """Events with a text in their details."""
        common = {"organization_id": self.organization.id, "actor_type": "user", "actor_id": "somebody", "action": "thing.done"}
        with owner.session(self.app) as owners:
            owners.add_all(AuditEvent(id=uuid7(), at=now(), details={"text": text}, **common) for _ in range(count))


@pytest.fixture
def acme(app: Flask) -> Acme:
    return Acme(app)


@pytest.fixture
def reader(client: FlaskClient, acme: Acme, sign_in: Callable[..., str]) -> FlaskClient:
    sign_in(client, acme.owner)
    return client


@contextmanager
def fault_at_page(app: Flask, number: int, error: Exception) -> Iterator[None]:
    """The database fails at that page of an export."""
    seen: list[str] = []

    def fail(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FROM audit_events" in statement and statement.lstrip().startswith("SELECT"):
            seen.append(statement)
            if len(seen) == number:
                raise error

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", fail)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", fail)
    assert len(seen) == number


@pytest.mark.parametrize("address", ADDRESSES)
def test_its_length_is_known_and_head_says_the_same(acme: Acme, reader: FlaskClient, address: str) -> None:
    acme.write(3, "naïve – 名")
    answer, head = reader.get(address), reader.head(address)
    assert answer.status_code == head.status_code == 200
    assert int(answer.headers["Content-Length"]) == len(answer.data) > 0
    assert head.data == b""
    assert dict(head.headers) == dict(answer.headers)
    ending = "csv" if "csv" in address else "jsonl"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="audit.{ending}"'
    if ending == "csv":
        found = [json.loads(row["details"])["text"] for row in csv.DictReader(io.StringIO(answer.text)) if row["action"] == "thing.done"]
    else:
        lines = map(json.loads, answer.text.splitlines())
        found = [line["details"]["text"] for line in lines if line["action"] == "thing.done"]
    assert found == ["naïve – 名"] * 3


def test_an_export_of_nothing_is_empty(reader: FlaskClient) -> None:
    answer = reader.get(f"{ADDRESSES[0]}&action=organization.purged")
    assert (answer.status_code, answer.data, answer.headers["Content-Length"]) == (200, b"", "0")


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    ("error", "status"), [(OperationalError("SELECT", {}, Exception("gone")), 503), (ZeroDivisionError(), 500)], ids=["store", "bug"]
)
def test_a_fault_in_the_middle_is_an_error_response(
    app: Flask, acme: Acme, reader: FlaskClient, monkeypatch: pytest.MonkeyPatch, address: str, error: Exception, status: int
) -> None:
    monkeypatch.setattr(audit_events, "_PAGE", 2)
    acme.write(5)
    with fault_at_page(app, 2, error):
        answer = reader.get(address)
    assert answer.status_code == status
    assert "Content-Disposition" not in answer.headers
    assert "thing.done" not in answer.text
    assert exports._used == 0
    assert reader.get(address).status_code == 200


def test_the_server_is_handed_the_file_itself(app: Flask, acme: Acme, reader: FlaskClient) -> None:
    """PEP 3333: nothing wraps what `wsgi.file_wrapper` made, so a server can send the file without Python."""
    made: list[Any] = []

    class Wrapper:
        def __init__(self, file: Any, _size: int) -> None:
            self.file = file
            made.append(self)

        def __iter__(self) -> Iterator[bytes]:
            return iter(lambda: self.file.read(8192), b"")

    acme.write(3)
    (cookie,) = reader._cookies.values()
    environ = EnvironBuilder(ADDRESSES[0], headers={"Cookie": f"{cookie.key}={cookie.value}"}).get_environ()
    answered = app({**environ, "wsgi.file_wrapper": Wrapper}, lambda *_: lambda _bytes: None)
    assert answered is made[0]
    with made[0].file as file:
        assert os.fstat(file.fileno()).st_nlink == 0, "the file has a name"
        assert os.fstat(file.fileno()).st_size == len(file.read()) > 0


# --- the disk ----------------------------------------------------------------------------------------------------------------


def test_no_folder_to_write_to_is_503(reader: FlaskClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    answer = reader.get(ADDRESSES[0])
    assert (answer.status_code, answer.json["error"]) == (503, "temporarily_unavailable")
    assert answer.headers["Retry-After"]
    assert str(tmp_path) not in answer.text
    assert exports._used == 0


def test_a_disk_that_takes_no_more_is_503(acme: Acme, reader: FlaskClient) -> None:
    acme.write(8, "x" * 1_000_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000_000, before[1]))  # for a write, the same as a full disk
    try:
        answer = reader.get(ADDRESSES[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (answer.status_code, answer.json["error"]) == (503, "temporarily_unavailable")
    assert exports._used == 0
    assert len(reader.get(ADDRESSES[0]).data) > 8_000_000


def test_all_exports_of_a_worker_share_a_bound(acme: Acme, reader: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "MOST_BYTES", 5 * 2**20)
    acme.write(3, "x" * 2**20)
    first = reader.get(ADDRESSES[0])
    assert first.status_code == 200
    assert exports._used >= 3 * 2**20
    answer = reader.get(ADDRESSES[0])
    assert (answer.status_code, answer.json["error"]) == (503, "temporarily_unavailable")
    first.close()
    assert exports._used == 0
    again = reader.get(ADDRESSES[0])
    assert again.status_code == 200
    again.close()
    reader.head(ADDRESSES[0]).close()
    assert exports._used == 0


# --- a real server -----------------------------------------------------------------------------------------------------------


def stuck_reader(server: LiveServer, key: str, address: str) -> socket.socket:
    """It asks, reads the head, and no more."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n".encode())
    return connection


def test_a_reader_that_reads_nothing_holds_no_database_connection_and_gets_everything_later(
    app: Flask, acme: Acme, live_server: Callable[..., LiveServer]
) -> None:
    count = 24
    acme.write(count, "x" * 1_000_000)  # more than the sockets buffer
    key = factories.make_api_key(acme.organization, acme.owner, scopes=["audit:read"]).raw_key
    server = live_server(workers=1)
    address = f"{ADDRESSES[0]}&action=thing.done"
    with stuck_reader(server, key, address) as connection:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(1024)
        with owner.session(app) as owners:
            if owners.get_bind().dialect.name == "postgresql":
                busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'"
                wait_until(lambda: owners.execute(text(busy)).scalar_one() == 1)  # the one that asks
            owners.execute(delete(AuditEvent).where(AuditEvent.action == "thing.done"))
        body = bytearray(head.partition(b"\r\n\r\n")[2])
        while part := connection.recv(65_536):
            body += part
    assert f"content-length: {len(body)}".encode() in head.lower()
    assert len(body.splitlines()) == count
