"""Debian's Firefox for Playwright, over WebDriver BiDi.

Playwright sends one command that this release of Firefox does not know, so it starts this program instead: it starts Firefox, relays
what both say, and answers that command itself. Playwright reads from standard error where to connect.
"""

import asyncio
import contextlib
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Playwright
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

_UNKNOWN = frozenset({"emulation.setMediaFeaturesOverride"})
_LISTENS = re.compile(r"WebDriver BiDi listening on (ws://\S+)")
_PROGRAM = "GATEPOST_TESTS_FIREFOX"


class Firefox:
    """As much of Playwright's Browser as the journeys use. A browser that ended is started anew."""

    def __init__(self, playwright: Playwright, program: str, *, preferences: dict[str, Any]) -> None:
        self._playwright, self._program, self._preferences = playwright, program, preferences
        self._folder = tempfile.TemporaryDirectory(prefix="gatepost-firefox-")
        self._relay = Path(self._folder.name, "relay")
        self._relay.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).resolve()}" "$@"\n')
        self._relay.chmod(0o700)
        self._browser = self._launch()

    def new_context(self, *, java_script_enabled: bool = True, reduced_motion: str = "", **options: Any) -> BrowserContext:
        """Reduced motion is what Firefox was started with. Without script: every script file of ours is empty."""
        if not self._browser.is_connected():
            self._browser = self._launch()
        context = self._browser.new_context(**options)
        if not java_script_enabled:
            context.route("**/static/*.js", lambda route: route.fulfill(status=200, content_type="text/javascript", body=""))
        return context

    def close(self) -> None:
        self._browser.close()
        with contextlib.suppress(OSError):  # Firefox may still be writing there
            self._folder.cleanup()

    def _launch(self) -> Browser:
        return self._playwright.firefox.launch(
            channel="moz-firefox",
            executable_path=self._relay,
            firefox_user_prefs={"ui.prefersReducedMotion": 1, **self._preferences},
            env={**os.environ, "HOME": self._folder.name, _PROGRAM: self._program, "MOZ_CRASHREPORTER_DISABLE": "1"},
        )


async def _relay(client: ServerConnection, target: str) -> None:
    limits: dict[str, Any] = {"max_size": None, "compression": None, "ping_interval": None}
    assert client.request is not None
    async with connect(target + client.request.path, **limits) as firefox:

        async def ask() -> None:
            async for text in client:
                command = json.loads(text)
                if command.get("method") in _UNKNOWN:
                    await client.send(json.dumps({"type": "success", "id": command["id"], "result": {}}))
                else:
                    await firefox.send(text)

        async def answer() -> None:
            async for text in firefox:
                await client.send(text)

        both = [asyncio.create_task(ask()), asyncio.create_task(answer())]
        _, left = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()


async def _run(arguments: list[str]) -> int:
    firefox = await asyncio.create_subprocess_exec(os.environ[_PROGRAM], *arguments, stderr=asyncio.subprocess.PIPE)
    assert firefox.stderr is not None
    async for raw in firefox.stderr:
        line = raw.decode(errors="replace")
        if found := _LISTENS.search(line):
            target = found[1]
            door = await serve(
                lambda client, target=target: _relay(client, target), "127.0.0.1", 0, max_size=None, compression=None, ping_interval=None
            )
            line = line.replace(target, f"ws://127.0.0.1:{next(iter(door.sockets)).getsockname()[1]}")
        sys.stderr.write(line)
        sys.stderr.flush()
    return await firefox.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(_run(sys.argv[1:])))
