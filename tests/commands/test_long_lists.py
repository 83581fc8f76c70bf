"""Lists of everybody and everything: read in pages, printed as they come. Neither memory nor the statements for one page grow."""

import gc
import json
import sys
import time
import tracemalloc
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.cli import ScriptInfo
from sqlalchemy import insert

from extensions import db
from infra.clock import now, now_ms
from infra.ids import uuid7
from infra.secret_text import hash_secret, hex_hash
from infra.session_store import SessionRecord, SessionStore
from models import AccessToken, ApiKey, Membership, OAuthClient, Organization, RefreshFamily, User
from tests import factories, owner
from tests.statements import counted

PEOPLE, ALL_PEOPLE = 2_500, 100_000  # and as many sessions, grants and keys; a tenth as many organizations and clients
PAGE = 500
GROWTH = 1 << 20  # bytes: what waits for the garbage collector; a list of the rows would need more

pytestmark = [pytest.mark.both_databases, pytest.mark.long, pytest.mark.timeout(1200)]


@pytest.fixture
def number(is_long: bool, database: Any) -> int:
    return ALL_PEOPLE if is_long and database.kind == "postgresql" else PEOPLE


@pytest.fixture
def fill(app: Flask, redis: Any) -> Callable[[int], None]:
    """`fill(n)`: so many people more, with all that is theirs."""
    client = factories.make_client(client_id="a-first-client")
    store = SessionStore(redis, session_seconds=86_400)

    def add(count: int) -> None:
        moment, later = now(), now() + timedelta(days=1)
        for start in range(0, count, 5_000):
            ids = [uuid7() for _ in range(min(5_000, count - start))]
            tenth, text = ids[::10], {each: str(each) for each in ids}
            addresses = {each: f"p{text[each]}@example.com" for each in ids}
            people = [{"id": each, "email": address, "email_key": address, "name": "Ada"} for each, address in addresses.items()]
            organizations = [{"id": each, "slug": f"o-{text[each]}", "name": "Acme", "metadata_": {}} for each in tenth]
            grants = {each: uuid7() for each in ids}
            with owner.session(app) as owners:
                owners.execute(insert(User), [each | {"updated_at": moment} for each in people])
                owners.execute(insert(Organization), organizations)
                owners.execute(insert(Membership), [{"organization_id": each, "user_id": each, "role": "owner"} for each in tenth])
                clients = [{"client_id": f"c-{text[each]}", "name": "App", "type": "public", "updated_at": moment} for each in tenth]
                lists = {"grant_types": "authorization_code", "scope": "openid", "redirect_uris": [], "post_logout_redirect_uris": []}
                owners.execute(insert(OAuthClient), [each | lists for each in clients])
                families = {"scope": "openid", "sid": "elsewhere", "auth_time": moment, "last_used_at": moment, "expires_at": later}
                owners.execute(
                    insert(RefreshFamily), [{"id": grants[each], "client_pk": client.id, "user_id": each, **families} for each in ids]
                )
                tokens = {"client_pk": client.id, "scope": "openid", "expires_at": later}
                owners.execute(
                    insert(AccessToken), [{"family_id": grants[each], "token_hash": hash_secret(text[each]), **tokens} for each in ids]
                )
                keys = {"name": "ci", "scope": "openid", "last_four": "8f2k", "expires_at": later}
                owners.execute(
                    insert(ApiKey),
                    [{"organization_id": tenth[0], "user_id": each, "key_hash": hash_secret(text[each]), **keys} for each in ids],
                )
            for each in ids:
                times = {"auth_time_ms": now_ms(), "created_at_ms": now_ms(), "last_seen_ms": now_ms(), "expires_at_ms": now_ms() + 10**7}
                store.add(hex_hash(text[each]), SessionRecord(sid=text[each], user_id=each, provider="github", **times))

    return add


LISTS = {
    ("users", "list"): 1.0,
    ("users", "list", "--search", "EXAMPLE.com"): 1.0,
    ("users", "list", "--search", "nobody at all"): 0.0,
    ("sessions", "list"): 2.0,
    ("orgs", "list"): 0.1,
    ("orgs", "list", "--search", "acme"): 0.1,
    ("clients", "list"): 0.1,
    ("clients", "list", "--search", "c-0"): 0.1,
    ("api-keys", "list"): 1.0,
}


def _run(app: Flask, path: Path, *words: str) -> None:
    """Like the fixture `cli`, whose result is in memory: what a command prints goes into a file."""
    with app.app_context():
        engines, own = db.engines, db.engine
    try:
        with path.open("w") as file, redirect_stdout(file):
            app.cli.main(args=list(words), standalone_mode=False, obj=ScriptInfo(create_app=lambda: app))
    finally:
        if engines[None] is not own:
            engines[None].dispose()
            engines[None] = own


def _peak(app: Flask, path: Path, *words: str) -> int:
    """The bytes that a command needs at most at the same time. The collector leaves garbage for as long as it is a small part of all that
    lives; what lived before does not count here, so it comes soon."""
    gc.collect()
    gc.freeze()
    tracemalloc.start()
    try:
        _run(app, path, *words)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.unfreeze()


def test_each_list_is_read_in_pages_and_printed_as_it_comes(app: Flask, fill: Callable[[int], None], number: int, tmp_path: Path) -> None:
    path, peaks = tmp_path / "list", {}
    fill(2 * PAGE)  # so that a page is in use while the next one is read
    for words in LISTS:
        _run(app, path, *words)  # what is kept from the first time on
        peaks[words] = _peak(app, path, *words, "--json")
    fill(number - 2 * PAGE)
    for words, share in LISTS.items():
        _run(app, path, *words)
        rows = len(path.read_text().splitlines())
        assert share * number <= rows <= share * number + 1, words
        began = time.monotonic()
        with counted() as statements:
            _run(app, path, *words, "--json")
        seconds = time.monotonic() - began
        assert len(json.loads(path.read_text())) == rows, words
        assert len(statements) <= rows / PAGE + 12, (words, len(statements))
        peak = _peak(app, path, *words, "--json")
        grown = GROWTH if share >= 1 else 2 * GROWTH  # the first time less than a page was there
        assert peak < peaks[words] + grown, (words, peaks[words], peak)
        sys.stderr.write(f"{' '.join(words)}: {rows} rows, {len(statements)} statements, {seconds:.1f} s, {peak / 1e6:.1f} MB\n")


def test_a_limit_reads_no_more_than_it_shows(app: Flask, fill: Callable[[int], None], tmp_path: Path) -> None:
    fill(PAGE)
    path = tmp_path / "list"
    for words in (words for words in LISTS if "nobody at all" not in words):
        with counted() as statements:
            _run(app, path, *words, "--limit", "7")
        assert len(path.read_text().splitlines()) == 7
        pages = [statement for statement in statements if "LIMIT" in statement]
        assert len(pages) <= 1, words
        _run(app, path, *words, "--limit", "3", "--json")
        assert len(json.loads(path.read_text())) == 3


def test_what_is_searched_for(cli: Any) -> None:
    ada = factories.make_user(email="ada@example.com", name="Ada Lovelace")
    bob = factories.make_user(email="bob%@example.com", name="Bob")
    factories.make_organization(owner=ada, slug="acme", name="Acme & Sons")
    factories.make_organization(owner=ada, slug="widgets", name="Widgets")
    factories.make_client(client_id="notes", name="Notes")
    factories.make_client(client_id="portal", name="Customers")

    def found(group: str, text: str) -> list[str]:
        result = cli.invoke(args=[group, "list", "--search", text])
        assert result.exit_code == 0
        return [line.split()[0] for line in result.stdout.splitlines()]

    assert found("users", "LOVE") == found("users", "ada@") == found("users", str(ada.id)) == [str(ada.id)]
    assert found("users", "%") == [str(bob.id)]
    assert found("users", "example.com") == [str(ada.id), str(bob.id)]
    assert found("users", "_") == []
    assert found("orgs", "sons") == found("orgs", "ACM") == ["acme"]
    assert found("clients", "CUSTOM") == found("clients", "port") == ["portal"]
    assert found("clients", "nobody") == []


def test_keys_have_a_limit_like_every_list(cli: Any) -> None:
    cli.invoke(args=["keys", "jwks"])
    everything = cli.invoke(args=["keys", "list"]).stdout.splitlines()
    assert len(everything) == 2
    assert cli.invoke(args=["keys", "list", "--limit", "1"]).stdout.splitlines() == everything[:1]
    for group in ("users", "orgs", "clients", "sessions", "keys", "api-keys"):
        for limit in ("0", "-1", "many"):
            assert cli.invoke(args=[group, "list", "--limit", limit]).exit_code == 2
