"""A program that speaks to a server over the network, and many requests at once."""

import http.client
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from tests.oauth.flow import VERIFIER

Answer = TypeVar("Answer")


class Unreachable(Exception):
    """No answer, or a 503: the request may be sent again."""


class Remote:
    """Every request has a connection of its own. address: one of this machine's, from which it comes."""

    def __init__(
        self, url: str, client_id: str, redirect_uri: str | None, *, timeout_seconds: float = 20, address: str = "127.0.0.1"
    ) -> None:
        self.netloc, self.client_id, self.redirect_uri = urlsplit(url).netloc, client_id, redirect_uri
        self._timeout_seconds, self._source = timeout_seconds, (address, 0)

    def post(self, path: str, **values: str | None) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection(self.netloc, timeout=self._timeout_seconds, source_address=self._source)
        try:
            body = urlencode({"client_id": self.client_id, **values})
            connection.request("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded"})
            response = connection.getresponse()
            status, text = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(repr(error)) from error
        finally:
            connection.close()
        if status == 503:
            raise Unreachable(text)
        return status, json.loads(text)

    def refresh(self, token: str, **values: str) -> tuple[int, dict[str, Any]]:
        return self.post("/oauth/token", grant_type="refresh_token", refresh_token=token, **values)

    def exchange(self, code: str) -> tuple[int, dict[str, Any]]:
        return self.post("/oauth/token", grant_type="authorization_code", code=code, redirect_uri=self.redirect_uri, code_verifier=VERIFIER)

    def is_live(self, access_token: str) -> bool:
        connection = http.client.HTTPConnection(self.netloc, timeout=self._timeout_seconds)
        connection.request("GET", "/api/v1/whoami", headers={"Authorization": f"Bearer {access_token}"})
        status = connection.getresponse().status
        connection.close()
        assert status in (200, 401)
        return status == 200


def at_once(count: int, work: Callable[[int], Answer]) -> list[Answer]:
    """`work(number)` in that many threads, released together."""
    gate = threading.Barrier(count)

    def run(number: int) -> Answer:
        gate.wait(20)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))
