"""Outgoing HTTP within a call of the bulkhead: its deadline, the system's certificates, limited responses, no redirects.

The timeout of a socket applies to each read, so a server that sends a byte now and then never triggers it. Here each read gets
the time that is left for the whole call, and the bytes of head and body are counted.
"""

import http.client
import io
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from json import loads
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from config import LOOPBACK_HOSTS
from infra import metrics
from infra.bounded_reader import BoundedReader
from infra.bulkhead import NoPlace as NoPlace  # callers say http.NoPlace, http.UpstreamFailed
from infra.bulkhead import UpstreamFailed as UpstreamFailed
from infra.bulkhead import UpstreamTimedOut, remaining_seconds

MAX_HEAD_BYTES = 65_536
MAX_ANSWER_BYTES = 1_048_576
_CHUNK_BYTES = 65_536


class UpstreamRefused(Exception):
    """The upstream answered, and said no."""


class _BoundedResponse(http.client.HTTPResponse):
    """http.client makes one for each response, including a proxy's to CONNECT, and reads from its `fp` only."""

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._reader = BoundedReader(self.fp.detach(), sock, limit=MAX_HEAD_BYTES)  # type: ignore[attr-defined]
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        super().begin()
        self._reader.limit = self._reader.count + MAX_ANSWER_BYTES


class _HttpConnection(HTTPConnection):
    response_class = _BoundedResponse  # type: ignore[assignment]


class _HttpsConnection(HTTPSConnection):
    response_class = _BoundedResponse  # type: ignore[assignment]


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection  # type: ignore[assignment]


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection  # type: ignore[assignment]


_POOLS = {"http": _HttpPool, "https": _HttpsPool}


class _Transport(HTTPAdapter):
    """One attempt for each request. Works within a call of the bulkhead only."""

    def __init__(self) -> None:
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=_tls())
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs, ssl_context=_tls())
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing to add: requests would load its own certificates beside the system's."""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        url = request.url or ""
        kwargs |= {"stream": True, "verify": True, "timeout": remaining_seconds(), "proxies": {}}
        if not is_allowed_url(url):
            raise UpstreamFailed("an upstream address must be https, or http on a loopback host")
        if urlsplit(url).hostname not in LOOPBACK_HOSTS:
            kwargs["proxies"] = get_environ_proxies(url)
        try:
            response = super().send(request, **kwargs)
            self._read(response)
        except requests.Timeout as error:
            raise UpstreamTimedOut from error
        except (requests.RequestException, OSError) as error:
            remaining_seconds()  # urllib3 has several names for a timeout
            metrics.count("upstream_failures", upstream=origin_of(url), outcome="connection")
            raise UpstreamFailed(type(error).__name__) from error
        if response.status_code >= 500:
            metrics.count("upstream_failures", upstream=origin_of(url), outcome="status")
        return response

    def _read(self, response: requests.Response) -> None:
        body = bytearray()
        for chunk in response.iter_content(_CHUNK_BYTES):
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:  # after decompression
                response.close()
                raise UpstreamFailed("the answer is too large")
        response._content = bytes(body)
        response.encoding = "utf-8-sig"  # JSON has no other (RFC 8259), and to decode 1 MB as `charset=punycode` takes 40 s


def is_allowed_url(url: object, *, on_behalf_of: str | None = None) -> bool:
    """https anywhere, http only where it never leaves the machine; what an https address names (`on_behalf_of`) is https."""
    if on_behalf_of is not None and on_behalf_of.startswith("https:") and not str(url).startswith("https:"):
        return False
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
        _ = url.encode(), (parts.hostname or "").encode("idna"), parts.port
        return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS))
    except ValueError:  # no host, port or text that could be sent
        return False


def new_session() -> requests.Session:
    """A session on our transport."""
    return guard(requests.Session())


def guard(session: requests.Session) -> requests.Session:
    """Give a session (Authlib's too) our transport, and keep ~/.netrc and the environment out of it."""
    adapter = _Transport()
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.trust_env = False
    session.get_redirect_target = lambda _response: None  # type: ignore[method-assign]
    return session


def origin_of(url: str) -> str:
    """The upstream that a URL belongs to: scheme, host and port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}".lower()


def request(
    method: str, url: str, *, headers: Mapping[str, str], form: Mapping[str, str] | None = None, json: Any = None
) -> requests.Response:
    """Send one request once and return its response, whatever the status.   Raises: UpstreamFailed."""
    try:
        return new_session().request(method, url, headers=dict(headers), data=form, json=json, allow_redirects=False)
    except (requests.RequestException, ValueError) as error:
        raise UpstreamFailed(type(error).__name__) from error


def is_rate_limit(status: int, headers: Mapping[str, str]) -> bool:
    """GitHub and others also say it with 403: the hour's share is used up, or (`Retry-After`) they want fewer at once."""
    is_used_up = "Retry-After" in headers or headers.get("X-RateLimit-Remaining", "").strip() == "0"
    return status == 429 or (status == 403 and is_used_up)


def get_json(session: requests.Session, url: str, *, bearer: str | None = None) -> Any:
    """The JSON of a 200 answer. Raises UpstreamFailed; UpstreamRefused for a 4xx that would be the same later."""
    return get_json_and_date(session, url, bearer=bearer)[0]


def get_json_and_date(session: requests.Session, url: str, *, bearer: str | None = None) -> tuple[Any, datetime | None]:
    """The same, and the time of the server's clock; None when it, or a cache on the way, tells none of now."""
    headers = {"Accept": "application/json", "User-Agent": "gatepost"}
    if bearer:
        headers["Authorization"] = f"Bearer {bearer}"
    extra = {"withhold_token": True} if hasattr(session, "token_auth") else {}
    response = session.get(url, headers=headers, allow_redirects=False, **extra)
    is_for_later = response.status_code in (408, 425) or is_rate_limit(response.status_code, response.headers)
    if 400 <= response.status_code < 500 and not is_for_later:
        raise UpstreamRefused(f"{response.status_code} from {urlsplit(url).path}")
    if response.status_code != 200:
        raise UpstreamFailed(f"{response.status_code} from {urlsplit(url).path}")
    try:
        return json_of(response), _date_of(response.headers)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed(f"no JSON from {urlsplit(url).path}") from error


def json_of(response: requests.Response) -> Any:
    """The JSON of an answer, whatever charset it names.   Raises: ValueError, RecursionError."""
    return loads(response.content)


def _date_of(headers: Mapping[str, str]) -> datetime | None:
    try:
        return None if "Age" in headers else parsedate_to_datetime(headers["Date"]).astimezone(UTC)
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """The system's certificates, or those of SSL_CERT_FILE. Read once: it takes longer than a request."""
    return ssl.create_default_context()
