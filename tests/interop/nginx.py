"""nginx in a folder of its own, in front of a server of a test."""

import os
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
    """`location`: more lines of `location / { ... }`, which passes everything on to `upstream_port`."""

    def __init__(self, program: str, *, upstream_port: int, location: str) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="gatepost-nginx-"))
        self.log_path = self.folder / "error.log"
        self.log_path.touch()
        configuration = self.folder / "nginx.conf"
        configuration.write_text(self._text(upstream_port, location))
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

    def _text(self, upstream_port: int, location: str) -> str:
        user = "user root;" if os.geteuid() == 0 else ""  # else its workers could not write into our folder
        temporary = "\n".join(f"    {name}_temp_path {self.folder}/{name};" for name in _TEMPORARY)
        return f"""
daemon off;
{user}
pid {self.folder}/pid;
worker_processes 1;
events {{ worker_connections 2048; }}
http {{
    access_log off;
{temporary}
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
}}
"""
