"""Debian's oidc-agent: its agent in a folder of its own, an account made by `oidc-gen`, tokens from `oidc-token`."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.stores import die_with_us, free_port

SECONDS = 30


class OidcAgent:
    """`redirect_uri`: where its own web server listens while somebody signs in."""

    def __init__(self, issuer: str, *, authority: Path) -> None:
        self.issuer, self.authority, self.port = issuer, authority, free_port()
        self.redirect_uri = f"http://localhost:{self.port}"
        self.folder = Path(tempfile.mkdtemp(prefix="gatepost-oidc-agent-", dir="/tmp"))  # its socket's path must be short
        (self.folder / ".oidc-agent").mkdir(mode=0o700)
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "OIDC_ENCRYPTION_PW": "x" * 20,
        }
        self._environment |= dict(re.findall(r"^(OIDC_SOCK|OIDCD_PID)=([^;]+);", self._run("oidc-agent"), re.MULTILINE))

    def stop(self) -> None:
        self._run("oidc-agent", "--kill")
        shutil.rmtree(self.folder, ignore_errors=True)

    def sign_in(self, account: str, *, client_id: str, client_secret: str, scope: str, browse: Callable[[str], object]) -> str:
        """Make an account by the code flow; what the program said. browse: opens an address in a person's browser."""
        words = ["--manual", f"--client-id={client_id}", f"--client-secret={client_secret}", f"--iss={self.issuer}", f"--port={self.port}"]
        words += [f"--scope={scope}", "--flow=code", "--no-url-call", "--no-scheme", f"--cert-path={self.authority}", "--pw-env"]
        words += ["--prompt=none", "--confirm-default", account]
        program = subprocess.Popen(
            ["oidc-gen", *words],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=die_with_us(),
        )
        assert program.stdout is not None
        said = []
        try:
            for line in program.stdout:
                said.append(line)
                if found := re.search(rf"{re.escape(self.issuer)}/oauth/authorize\?\S+", line):
                    browse(found[0])
            code = program.wait(SECONDS)
        finally:
            program.kill()
            program.wait()
            program.stdout.close()
        assert code == 0, "".join(said)
        return "".join(said)

    def get_token(self, account: str, *words: str) -> str:
        """An access token that lives for an hour yet: a new one, since ours live shorter."""
        return self._run("oidc-token", "--time=3600", *words, account).strip()

    def _run(self, *words: str) -> str:
        done = subprocess.run(words, env=self._environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0, f"{words[0]} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout
