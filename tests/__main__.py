"""`./run test`: the whole suite in two parts. First what needs only Python, in parallel; then real clients and browsers.

`--long` alone: the tests that have a full size, at that size, and what they print. With other arguments: pytest with those.
"""

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from tests import machine

ROOT = Path(__file__).resolve().parent.parent
SLOW = [path for path in ("tests/interop", "tests/browser") if any((ROOT / path).glob("test_*.py"))]


def _environment() -> dict[str, str]:
    """Python may keep what it compiles, asserts included: every worker reads all tests."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class Counts:
    """Sums over the parts."""

    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0
        self.is_ok = True

    def run(self, title: str, *arguments: str) -> None:
        """One call of pytest."""
        print(f"\n=== {title}\n", flush=True)
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder, "report.xml")
            code = subprocess.call([sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *arguments], cwd=ROOT, env=_environment())
            self.is_ok = self.is_ok and code == 0
            minutes, seconds = divmod(round(time.monotonic() - began), 60)
            print(f"=== took {minutes} min {seconds} s", flush=True)
            if report.exists():
                self._add(ElementTree.parse(report).getroot())

    def _add(self, root: ElementTree.Element) -> None:
        for suite in root.iter("testsuite"):
            failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            skipped = int(suite.get("skipped", 0))
            self.failed += failed
            self.skipped += skipped
            self.passed += int(suite.get("tests", 0)) - failed - skipped


def main() -> int:
    if sys.argv[1:] == ["--long"]:
        return subprocess.call([sys.executable, "-m", "pytest", "--long", "-m", "long", "-rP", "--show-capture=stdout"], cwd=ROOT)
    if len(sys.argv) > 1:
        return subprocess.call([sys.executable, "-m", "pytest", *sys.argv[1:]], cwd=ROOT)
    counts, loud = Counts(), []
    workers = max(2, min(os.cpu_count() or 2, 8)) + 2  # more than can work: tests that start servers mostly wait
    counts.run(
        f"part 1 of 2: without browsers and foreign clients, {workers} at a time",
        "-n",
        str(workers),
        "--dist=worksteal",
        *(f"--ignore={path}" for path in SLOW),
    )
    if "tests/browser" in SLOW and not (machine.find_chromium() or machine.install_chromium()):
        loud.append("Chromium (Debian: apt-get install chromium)")
    if "tests/browser" in SLOW and not (machine.find_firefox() or machine.install_firefox()):
        loud.append(f"Firefox (Debian: apt-get install {machine.FIREFOX_PACKAGE})")
    if "tests/browser" in SLOW and not (machine.find_webkit() or machine.install_webkit()):
        loud.append(f"WebKit (Debian: apt-get install {' '.join(machine.WEBKIT_PACKAGES)})")
    if "tests/interop" in SLOW and not (machine.find_apache() or machine.install_apache()):
        loud.append(f"mod_auth_openidc (Debian: apt-get install {machine.APACHE_PACKAGE})")
    if "tests/interop" in SLOW and not (machine.find_nginx() or machine.install_nginx()):
        loud.append("nginx (Debian: apt-get install nginx-light)")
    if "tests/interop" in SLOW and not (machine.find_oidc_agent() or machine.install_oidc_agent()):
        loud.append(f"oidc-agent (Debian: apt-get install {machine.OIDC_AGENT_PACKAGE})")
    if SLOW and machine.find_node() is None:
        loud.append("Node 24 (./run install)")
    if SLOW:
        counts.run("part 2 of 2: foreign clients and browsers, 2 at a time", "-n", "2", "--dist=worksteal", *SLOW)
    if loud:
        print(f"\n!!! THIS MACHINE LACKS {' AND '.join(loud).upper()}: what needs it was {'FAILED' if machine.is_strict() else 'SKIPPED'}")
    print(f"\n{counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped", flush=True)
    return 0 if counts.is_ok and counts.passed and not counts.failed else 1


if __name__ == "__main__":
    sys.exit(main())
