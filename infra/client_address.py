"""Where a request comes from: its peer, or the address that the proxies in front report. One place for limits, sessions, the audit
trail and the order in which requests wait.

Of the headers only `X-Forwarded-For` is read. An entry may have a port, brackets or a zone; one that is not an address is ignored.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_DRESSED = re.compile(r"\[([^\[\]]*)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 section 2.1: all of IPv4, in what would be one subscriber's network
_ENTRY_LENGTH = 80  # more than the longest address with brackets, zone and port; longer entries are not cached


class ClientAddress:
    """WSGI middleware: `REMOTE_ADDR` becomes the client's address."""

    def __init__(self, app: Callable[..., Iterable[bytes]], trusted_proxies: int) -> None:
        self._app, self._trusted_proxies = app, trusted_proxies

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["REMOTE_ADDR"] = client_address(environ, self._trusted_proxies)
        return self._app(environ, start_response)


def client_address(environ: dict[str, Any], trusted_proxies: int) -> str:
    """The address in one spelling. The peer's if there are fewer entries than trusted proxies, or the entry is not an address."""
    peer = environ.get("REMOTE_ADDR") or ""
    if trusted_proxies and (forwarded := environ.get("HTTP_X_FORWARDED_FOR")):
        entries = forwarded.rsplit(",", trusted_proxies)
        if len(entries) >= trusted_proxies and (told := _spelled(entries[-trusted_proxies])):
            return told
    return _spelled(peer) or peer


def parse(text: str) -> Address | None:
    """An address without port or brackets. Its zone is dropped, and an IPv4 address inside an IPv6 one is that IPv4 address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or ipaddress.IPv6Address(address.packed)


def _spelled(entry: str) -> str:
    """Empty when it is not an address."""
    entry = entry.strip()
    return _read(entry) if len(entry) <= _ENTRY_LENGTH else ""


@lru_cache(maxsize=4096)
def _read(entry: str) -> str:
    if len(entry) > 1 and entry[0] == entry[-1] == '"':
        entry = entry[1:-1]
    dressed = _DRESSED.fullmatch(entry)
    address = parse((dressed[1] or dressed[2] or "") if dressed else entry)
    return str(address) if address else ""
