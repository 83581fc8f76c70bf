"""axe-core from npm, fetched once into tests/.peers (never committed)."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

VERSION = "4.14.1"
FOLDER = Path(__file__).resolve().parent.parent / ".peers" / f"axe-core-{VERSION}"
SCRIPT = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
# axe runs in the page, where our policy allows no script tag.
_RUN = """async () => {
  const found = await axe.run(document, {runOnly: %s, resultTypes: ["violations"]});
  return found.violations.map(v => v.id + ": " + v.nodes.map(n => n.html.slice(0, 200)).join(" | "));
}"""
# The rules of WCAG 2.0 to 2.2, A and AA, and best practices; and of them those that look at colours.
RUN = _RUN % ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RUN_COLOURS = _RUN % ["color-contrast", "link-in-text-block"]


def find(node: str) -> str | None:
    """The source of axe.min.js; None when npm cannot fetch it. node: the path of a Node with its npm beside it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:  # several processes may want it at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not SCRIPT.exists():
            _install(node)
    return SCRIPT.read_text() if SCRIPT.exists() else None


def _install(node: str) -> None:
    npm = [node, str(Path(node).parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    command = npm if Path(npm[1]).exists() else [shutil.which("npm") or "npm"]
    arguments = ["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock", f"axe-core@{VERSION}"]
    environment = {**os.environ, "PATH": f"{Path(node).parent}:{os.environ.get('PATH', '')}"}
    words = [*command, *arguments, "--prefix", str(FOLDER)]
    try:
        subprocess.run(words, cwd=FOLDER, env=environment, capture_output=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return
