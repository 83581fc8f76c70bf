"""Outgoing HTTP: one deadline for everything that a request of ours needs, the system's certificates, bounded answers.

`within` runs the work on a thread of its own, because a name server or a server that sends one byte at a time can
outlast every time-out of a socket.
"""

import ssl
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from config import LOOPBACK_HOSTS

DEADLINE_SECONDS = 10.0
MAX_ANSWER_BYTES = 1_048_576
_CHUNK_BYTES = 65_536
_T = TypeVar("_T")


class UpstreamFailed(Exception):
    """The upstream cannot be reached, is too slow, or answers what cannot be used."""


class UpstreamRefused(Exception):
    """The upstream answered, and said no."""


def within(work: Callable[[], _T], seconds: float = DEADLINE_SECONDS) -> _T:
    """What `work` returns or raises; UpstreamFailed when that takes longer than `seconds`."""
    outcome: list[tuple[bool, Any]] = []

    def run() -> None:
        try:
            outcome.append((True, work()))
        except BaseException as error:
            outcome.append((False, error))

    thread = threading.Thread(target=run, name="upstream", daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise UpstreamFailed(f"no answer in {seconds:g} s")
    is_done, value = outcome[0]
    if not is_done:
        raise value
    return value


class DeadlineAdapter(HTTPAdapter):
    """One attempt for each request, all of them before one deadline, answers of bounded size, no redirect followed."""

    def __init__(self, seconds: float = DEADLINE_SECONDS) -> None:
        self._deadline = time.monotonic() + seconds
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=_tls())

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, **kwargs, ssl_context=_tls())

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing to add: requests would load its own certificates beside the system's."""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        url = request.url or ""
        kwargs |= {"stream": True, "verify": True, "timeout": self._remaining(), "proxies": {}}
        if not is_allowed_url(url):
            raise UpstreamFailed("an upstream address must be https, or http on a loopback host")
        if urlsplit(url).hostname not in LOOPBACK_HOSTS:
            kwargs["proxies"] = get_environ_proxies(url)
        try:
            response = super().send(request, **kwargs)
            self._read(response)
        except (requests.RequestException, OSError) as error:
            raise UpstreamFailed(type(error).__name__) from error
        return response

    def _remaining(self) -> float:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise UpstreamFailed("the deadline is over")
        return remaining

    def _read(self, response: requests.Response) -> None:
        body = b""
        for chunk in response.iter_content(_CHUNK_BYTES):
            body += chunk
            self._remaining()
            if len(body) > MAX_ANSWER_BYTES:
                response.close()
                raise UpstreamFailed("the answer is too large")
        response._content = body


def is_allowed_url(url: object, *, on_behalf_of: str | None = None) -> bool:
    """https anywhere, http only where it never leaves the machine; what an https address names (`on_behalf_of`) is https."""
    if on_behalf_of is not None and on_behalf_of.startswith("https:") and not str(url).startswith("https:"):
        return False
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS))
    except ValueError:
        return False


def guard(session: requests.Session) -> requests.Session:
    """Give a session (Authlib's too) our transport, and keep ~/.netrc and the environment out of it."""
    adapter = DeadlineAdapter()
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.trust_env = False
    session.get_redirect_target = lambda _response: None  # type: ignore[method-assign]
    return session


def get_json(session: requests.Session, url: str, *, bearer: str | None = None) -> Any:
    """The JSON of a 200 answer. Raises UpstreamFailed; UpstreamRefused for a 4xx."""
    headers = {"Accept": "application/json", "User-Agent": "gatepost"}
    if bearer:
        headers["Authorization"] = f"Bearer {bearer}"
    extra = {"withhold_token": True} if hasattr(session, "token_auth") else {}
    response = session.get(url, headers=headers, allow_redirects=False, **extra)
    if 400 <= response.status_code < 500 and response.status_code != 429:
        raise UpstreamRefused(f"{response.status_code} from {urlsplit(url).path}")
    if response.status_code != 200:
        raise UpstreamFailed(f"{response.status_code} from {urlsplit(url).path}")
    try:
        return response.json()
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed(f"no JSON from {urlsplit(url).path}") from error


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """The system's certificates, or those of SSL_CERT_FILE. Read once: it takes longer than a request."""
    return ssl.create_default_context()
