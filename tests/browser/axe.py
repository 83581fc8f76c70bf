"""axe-core from npm, fetched once into tests/.peers (never committed)."""

import os
import shutil
import subprocess
from pathlib import Path

VERSION = "4.14.1"
FOLDER = Path(__file__).resolve().parent.parent / ".peers" / f"axe-core-{VERSION}"
SCRIPT = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
# The rules of WCAG 2.0 to 2.2, A and AA, and best practices; axe runs in the page, where our policy allows no script tag.
RUN = """async () => {
  const found = await axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]});
  return found.violations.map(v => v.id + ": " + v.nodes.map(n => n.html.slice(0, 200)).join(" | "));
}"""


def find(node: str) -> str | None:
    """The source of axe.min.js; None when npm cannot fetch it. node: the path of a Node with its npm beside it."""
    if not SCRIPT.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        npm = [node, str(Path(node).parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
        command = npm if Path(npm[1]).exists() else [shutil.which("npm") or "npm"]
        arguments = ["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock", f"axe-core@{VERSION}"]
        environment = {**os.environ, "PATH": f"{Path(node).parent}:{os.environ.get('PATH', '')}"}
        try:
            subprocess.run(
                [*command, *arguments, "--prefix", str(FOLDER)], cwd=FOLDER, env=environment, capture_output=True, timeout=300, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
    return SCRIPT.read_text() if SCRIPT.exists() else None
