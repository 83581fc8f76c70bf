"""Debian's Apache with mod_auth_openidc, unprivileged and in a folder of its own: a relying party and a resource server."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import requests

from tests import machine
from tests.stores import _become, free_port

START_SECONDS = 20


class Apache:
    """`url`: everything below `/rp` wants a sign-in, below `/api` a token. The answer's headers say who came."""

    def __init__(self, configuration: str, *, authority: Path) -> None:
        """In the configuration `@URL@` becomes the address, `@AUTHORITY@` a copy of the certificate to trust."""
        self.folder = Path(tempfile.mkdtemp(prefix="gatepost-apache-", dir="/tmp"))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.authority = Path(shutil.copy(authority, self.folder / "authority.pem"))
        self.configuration = configuration.replace("@URL@", self.url).replace("@AUTHORITY@", str(self.authority))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Apache":
        pages = self.folder / "pages"
        for name in ("rp", "api", "api/members"):
            (pages / name).mkdir(parents=True)
            (pages / name / "index.html").write_text(f"this is {name}\n")
        (pages / "index.html").write_text("this is for everybody\n")
        (self.folder / "apache.conf").write_text(self._text())
        account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        if account:
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, account.pw_uid, account.pw_gid)
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [str(machine.APACHE), "-d", str(self.folder), "-f", str(self.folder / "apache.conf"), "-DFOREGROUND"],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_become(account, signal.SIGTERM),
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"Apache did not start:\n{self.log}")
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def log(self) -> str:
        return "\n".join(
            path.read_text(errors="replace")[-6000:] for path in (self.folder / "output", self.folder / "error.log") if path.exists()
        )

    def _answers(self) -> bool:
        try:
            return requests.get(self.url, timeout=2).status_code < 500
        except requests.ConnectionError:
            return False

    def _text(self) -> str:
        names = "mpm_event authn_core authz_core authz_user headers dir auth_openidc".split()
        return "\n".join(
            [
                f'ServerRoot "{self.folder}"',
                "ServerName 127.0.0.1",
                "KeepAlive Off",
                f"Listen 127.0.0.1:{self.port}",
                f'PidFile "{self.folder}/pid"',
                f'DefaultRuntimeDir "{self.folder}"',
                f'ErrorLog "{self.folder}/error.log"',
                "LogLevel warn auth_openidc:info",
                *(f"LoadModule {name}_module {machine.APACHE_MODULES}/mod_{name}.so" for name in names),
                "StartServers 1\nThreadsPerChild 8\nMaxRequestWorkers 16\nServerLimit 2",
                f'DocumentRoot "{self.folder}/pages"',
                f'<Directory "{self.folder}/pages">\nRequire all granted\nDirectoryIndex index.html\n</Directory>',
                'Header always set X-User "expr=%{REMOTE_USER}"',
                self.configuration,
            ]
        )
