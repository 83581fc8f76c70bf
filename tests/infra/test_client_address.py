"""Which address a request counts for, behind proxies that write it in different ways."""

import pytest

from infra import client_address as client_addresses
from infra.client_address import client_address

PEER = "10.0.0.1"


def _from(forwarded: str | None, *, proxies: int = 1, peer: str = PEER) -> str:
    environ = {"REMOTE_ADDR": peer}
    if forwarded is not None:
        environ["HTTP_X_FORWARDED_FOR"] = forwarded
    return client_address(environ, proxies)


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1\t", "192.0.2.1"),
        ("192.0.2.1:5000", "192.0.2.1"),
        ('"192.0.2.1:5000"', "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:0DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ('"[2001:db8::1]:443"', "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:443", "fe80::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:443", "192.0.2.1"),
        ("::FFFF:C000:201", "192.0.2.1"),
        ("64:ff9b::192.0.2.1", "192.0.2.1"),
        ("[64:FF9B::c000:201]:443", "192.0.2.1"),
        ("64:ff9b::1:192.0.2.1", "64:ff9b::1:c000:201"),
        ("64:ff9b:1::192.0.2.1", "64:ff9b:1::c000:201"),
    ],
)
def test_ports_brackets_zones_and_mapped_addresses_are_read(entry: str, address: str) -> None:
    assert _from(entry) == address


@pytest.mark.parametrize(
    "entry",
    [
        "",
        " ",
        "unknown",
        "_hidden",
        "unix:",
        "client.example",
        "for=192.0.2.1",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.01",
        "192.0.2.1:",
        "192.0.2.1:http",
        "192.0.2.1:123456",
        "192.0.2.1:5000:1",
        "192.0.2.1%eth0",
        "192.0.2.1 192.0.2.2",
        "192.0.2.1/32",
        "3221225985",
        "١٩٢.0.2.1",
        "192.0.2.1:٨٠",
        "[2001:db8::1",
        "2001:db8::1]",
        "[]:443",
        "[2001:db8::1]443",
        "[2001:db8::1]:https",
        "[[2001:db8::1]]",
        "fe80::1%",
        "2001:db8::1::",
        "192.0.2.1\0",
        "fe80::1%" + "x" * 200,
        "x" * 60_000,
    ],
)
def test_an_entry_that_is_no_address_counts_for_the_peer(entry: str) -> None:
    assert _from(entry) == PEER
    assert _from(f"198.51.100.1, {entry}") == PEER, "what stands before it was written by anybody"


def test_only_the_entries_of_the_declared_proxies_are_believed() -> None:
    forwarded = "192.0.2.9, 192.0.2.1:80 , [2001:db8::2]:443"
    assert [_from(forwarded, proxies=proxies) for proxies in range(6)] == [PEER, "2001:db8::2", "192.0.2.1", "192.0.2.9", PEER, PEER]
    assert _from(None) == PEER
    assert _from(forwarded, proxies=1, peer="") == "2001:db8::2", "a proxy at a Unix socket"


def test_the_peer_is_written_the_same_way() -> None:
    assert _from(None, proxies=0, peer="::ffff:192.0.2.1") == "192.0.2.1"
    assert _from("unknown", peer="::ffff:10.0.0.1") == PEER
    assert _from(None, proxies=0, peer="fe80::1%eth0") == "fe80::1"
    assert _from(None, proxies=0, peer="") == ""
    assert client_address({}, 1) == ""


def test_long_entries_are_not_remembered() -> None:
    before = client_addresses._read.cache_info().currsize
    for number in range(20):
        assert _from(f"{number}" + "x" * 60_000) == PEER
    assert client_addresses._read.cache_info().currsize <= before + 1, "only the peer"


def test_one_entry_of_a_long_list_is_looked_at() -> None:
    assert _from("," * 60_000 + "192.0.2.1:80") == "192.0.2.1"
