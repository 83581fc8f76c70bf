"""Programs from npm, installed once into tests/.peers and never committed; and how a test drives one.

A driver script prints what it wants from outside: `open <address>` for the browser, `result <JSON>` at its end. What it
asserts itself it asserts by ending with an error.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.stores import die_with_us

HERE = Path(__file__).resolve().parent
_PACKAGES = HERE / "package.json"
_FOLDER = HERE.parent / ".peers" / f"interop-{hashlib.sha256(_PACKAGES.read_bytes()).hexdigest()[:12]}"


class PeerFailed(AssertionError):
    """The text is what the program said last."""


def fetch(node: str) -> Path | None:
    """The node_modules of package.json; None when npm cannot be asked. node: a Node with its npm beside it."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    modules, mark = _FOLDER / "node_modules", _FOLDER / "complete"
    with (_FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.exists():
            shutil.rmtree(modules, ignore_errors=True)
            shutil.copy(_PACKAGES, _FOLDER)
            npm = Path(node).parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
            words = ["install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--prefix", str(_FOLDER)]
            environment = {**os.environ, "PATH": f"{Path(node).parent}:{os.environ.get('PATH', '')}"}
            try:
                subprocess.run([node, str(npm), *words], cwd=_FOLDER, env=environment, capture_output=True, check=True, timeout=300)
            except (OSError, subprocess.SubprocessError):
                return None
            mark.touch()
    return modules


def drive(
    node: str, script: str, scenario: str, given: Mapping[str, Any], *, modules: Path, browse: Callable[[str], Any], seconds: float = 60
) -> Any:
    """Run a scenario of a driver script; its result. browse: opens an address in a person's browser."""
    environment = {**os.environ, "GIVEN": json.dumps(given), "MODULES": str(modules)}
    result = None
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [node, str(HERE / script), scenario],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            preexec_fn=die_with_us(),
        )
        too_long = threading.Timer(seconds, process.kill)
        too_long.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                word, _, rest = line.rstrip("\n").partition(" ")
                if word == "open":
                    browse(rest)
                elif word == "result":
                    result = json.loads(rest)
            code = process.wait()
        finally:
            too_long.cancel()
            process.kill()
            process.wait()
            process.stdout.close()
        if code != 0:
            errors.seek(0)
            raise PeerFailed(f"{script} {scenario} ended with {code}:\n{errors.read()[-4000:]}")
    return result
