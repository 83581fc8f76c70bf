"""nginx in a folder of its own, in front of a server of a test."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests.raw_http import connect
from tests.stores import die_with_us, free_port

START_SECONDS = 20
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Nginx:
    """`location`: more lines of `location / { ... }`, which passes everything on to `upstream_port`. `page`: a configuration as a page
    of the docs has it, used instead; its addresses, files and certificate are replaced."""

    def __init__(self, program: str, *, upstream_port: int, location: str = "", page: str = "") -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="gatepost-nginx-"))
        self.log_path = self.folder / "error.log"
        self.log_path.touch()
        configuration = self.folder / "nginx.conf"
        site = self._site_of(page, upstream_port) if page else self._site(upstream_port, location)
        configuration.write_text(self._text(site))
        self.process = subprocess.Popen(
            [program, "-p", str(self.folder), "-c", str(configuration), "-e", str(self.log_path)],
            stdin=subprocess.DEVNULL,
            preexec_fn=die_with_us(),
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._accepts():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log_path.read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _accepts(self) -> bool:
        try:
            connect(self.port).close()
            return True
        except ConnectionRefusedError:
            return False

    def _site(self, upstream_port: int, location: str) -> str:
        return f"""
    access_log off;
    upstream gatepost {{ server 127.0.0.1:{upstream_port}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{self.port};
        location / {{
            proxy_pass http://gatepost;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            {location}
        }}
    }}
"""

    def _site_of(self, page: str, upstream_port: int) -> str:
        page = re.sub(r"^ *ssl_certificate.*\n", "", page, flags=re.MULTILINE)
        for before, after in {
            "listen 443 ssl;": f"listen 127.0.0.1:{self.port};",
            "127.0.0.1:8000": f"127.0.0.1:{upstream_port}",
            "/var/log/nginx/": f"{self.folder}/",
        }.items():
            assert before in page, f"the page has no {before}"
            page = page.replace(before, after)
        return page

    def _text(self, site: str) -> str:
        user = "user root;" if os.geteuid() == 0 else ""  # else its workers could not write into our folder
        temporary = "\n".join(f"    {name}_temp_path {self.folder}/{name};" for name in _TEMPORARY)
        return f"""
daemon off;
{user}
pid {self.folder}/pid;
worker_processes 1;
events {{ worker_connections 2048; }}
http {{
{temporary}
{site}
}}
"""
