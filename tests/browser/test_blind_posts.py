"""What a page of another site can make a real browser send to the endpoints of programs."""

from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from flask import Flask
from playwright.sync_api import Browser

from tests import factories
from tests.live_server import LiveServer

_FETCH = """async ([url, mode]) => {
    const body = new URLSearchParams({grant_type: "refresh_token", client_id: "notes", refresh_token: "gpr_x"});
    const answer = await fetch(url, {method: "POST", mode, body});
    return mode === "cors" ? [answer.status, (await answer.json()).error] : answer.type;
}"""
_BEACON = "url => navigator.sendBeacon(url, new URLSearchParams({grant_type: 'refresh_token', client_id: 'notes', refresh_token: 'gpr_x'}))"
_SUBMIT = """url => {
    document.body.innerHTML = `<form method="post" action="${url}"><input name="client_id" value="notes"></form>`;
    document.forms[0].submit();
}"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def other_site(tmp_path: Path) -> Iterator[str]:
    """A page at `localhost`, which is another site than 127.0.0.1."""
    (tmp_path / "index.html").write_text("<!doctype html><title>Kittens</title><body>")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path)))
    Thread(target=server.serve_forever).start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_what_it_cannot_read_counts_for_nobody(
    app: Flask, live_server: Callable[..., LiveServer], chrome: Browser, other_site: str
) -> None:
    factories.make_client(client_id="notes")
    store = app.extensions["gatepost.redis"]
    token = live_server(workers=1, env={"GATEPOST_RATE_LIMITS": "on"}).url + "/oauth/token"
    context = chrome.new_context()
    try:
        tab = context.new_page()
        tab.goto(other_site)
        for _ in range(60):
            assert tab.evaluate(_FETCH, [token, "no-cors"]) == "opaque"
        assert tab.evaluate(_BEACON, token)
        with tab.expect_navigation() as submitted:
            tab.evaluate(_SUBMIT, token)
        assert (submitted.value.status, submitted.value.json()["error"]) == (403, "bad_origin")
        assert store.keys("LIMITS*") == []
        tab.goto(other_site)
        assert tab.evaluate(_FETCH, [token, "cors"]) == [400, "invalid_grant"], "an app that reads the answer is told why"
        assert len(store.keys("LIMITS*")) == 1
    finally:
        context.close()
