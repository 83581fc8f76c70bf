"""Every setting of Gatepost: its name, default, unit and one sentence. The only reader of the environment.

`load()` resolves them once, from the environment (`GATEPOST_...`, `__` nests) and then from
`instance/gatepost.toml` (the same names in lower case), into one frozen `Settings`. The words are those of
docs/settings.md. Nothing else in the code base reads `os.environ`.
"""

import base64
import binascii
import os
import re
import secrets
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

PREFIX = "GATEPOST_"
RELEASE = "0.1.0"
ROOT = Path(__file__).parent
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
RESERVED_PROVIDER_NAMES = frozenset({"github", "google", "link", "confirm", "check_mail"})
RATE_LIMIT_DEFAULTS: dict[str, int] = {
    "token": 60,
    "revoke": 60,
    "introspect": 60,
    "api": 60,
    "authorize": 120,
    "authorize_address": 600,
    "register": 20,
    "device": 10,
    "link": 10,
}
EmailTrust = Literal["claim", "trusted", "mail"]
AuthTime = Literal["require", "ignore"]
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
MAIL_ADDRESS = re.compile(rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~-]+)*@{_LABEL}(?:\.{_LABEL})*")


def read_version(root: Path) -> str:
    """Return the release and, after a `+`, the first 12 digits of the commit: that of the file COMMIT, else of the checkout."""
    commit = _text_of(root / "COMMIT") or _head_of(root / ".git")
    return f"{RELEASE}+{commit[:12]}" if re.fullmatch(r"[0-9a-f]{40,64}", commit) else RELEASE


def _head_of(git: Path) -> str:
    """The commit that is checked out, read from git's files: git itself is not needed where the server runs."""
    if git.is_file():  # a worktree
        git = git.parent / _text_of(git).removeprefix("gitdir: ")
    head = _text_of(git / "HEAD")
    if not head.startswith("ref: "):
        return head
    name = head.removeprefix("ref: ")
    shared = git / (_text_of(git / "commondir") or ".")
    packed = re.search(rf"^([0-9a-f]+) {re.escape(name)}$", _text_of(shared / "packed-refs"), re.MULTILINE)
    return _text_of(shared / name) or (packed[1] if packed else "")


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


VERSION = read_version(ROOT)  # once: a checkout that is updated meanwhile is not what runs


class SettingError(Exception):
    """Settings that stop the start: a line for each, `GATEPOST_...: what is wrong with it`."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")


class SettingErrors(SettingError):
    def __init__(self, several: Iterable[SettingError]) -> None:
        Exception.__init__(self, "\n".join(map(str, several)))


class _Faults(list[SettingError]):
    """What is wrong so far: all of it is told at once."""

    @contextmanager
    def noted(self) -> Iterator[None]:
        try:
            yield
        except SettingError as error:
            self.append(error)


# --- parsers: text -> value, ValueError with the reason when it is of the wrong form -------------------------


def _seconds(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,10}", text):
            raise ValueError("must be a whole number of seconds")
        if not low <= int(text) <= high:
            raise ValueError(f"must be between {low} and {high} seconds")
        return int(text)

    return parse


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError("must be " + " or ".join(words))
        return text

    return parse


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[\s,]+", text) if word)


def _slugs(text: str) -> tuple[str, ...]:
    words = _words(text)
    if any(not re.fullmatch(r"[a-z0-9-]{3,40}", word) for word in words):
        raise ValueError("must be slugs of organizations")
    return words


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,2}", text):
        raise ValueError("must be a whole number of proxies")
    return int(text)


def _quota(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,7}", text):
        raise ValueError("must be a whole number up to 9999999; 0 is no limit")
    return int(text)


def is_loopback_http(url: str) -> bool:
    """Whether `url` is plain http on a host that never leaves the machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS


def _check_port(text: str) -> None:
    """Python's own words for a wrong port repeat it, and that may be a part of a password."""
    try:
        _ = urlsplit(text).port
    except ValueError:
        raise ValueError("must have a whole number up to 65535 as its port") from None


def _url(text: str) -> str:
    """An address without credentials, query or fragment, and without a trailing slash."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("must be an http or https address")
    if "?" in text or "#" in text or "\\" in text or not text.isascii() or re.search(r"\s", text):
        raise ValueError("must have no query, fragment or space")
    _check_port(text)
    return text.rstrip("/")


def _public_url(text: str) -> str:
    url = _url(text)
    if urlsplit(url).path:
        raise ValueError("must have no path")
    parts = urlsplit(url)
    usual_port = ":443" if parts.scheme == "https" else ":80"  # browsers leave it out of `Origin`
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(usual_port).removesuffix(':')}"


def _upstream_url(text: str) -> str:
    url = _url(text)
    if url.startswith("http:") and not is_loopback_http(url):
        raise ValueError("must be https, or http on a loopback host")
    return url


def _issuer(text: str) -> str:
    """An issuer is compared byte for byte, so a trailing slash is part of it."""
    _upstream_url(text)
    return text


def _endpoint(text: str) -> str:
    """An address that is called as it stands; it may have a query (RFC 6749 section 3.1)."""
    _upstream_url(text.partition("?")[0])
    if not re.fullmatch(r"[!-~]+", text) or "#" in text or "\\" in text:
        raise ValueError("must have no fragment or space")
    return text


def _scopes(text: str) -> str:
    scopes = " ".join(text.split())
    if not re.fullmatch(r"[ !#-\[\]-~]{1,1000}", scopes):
        raise ValueError("must be scopes with a space between them")
    return scopes


def _origins(text: str) -> tuple[str, ...]:
    return tuple(_public_url(word) for word in _words(text))


def env_value_problem(text: str) -> str:
    """Describe what the program that read an environment file left in this value: a comment or quotes. Empty if there is neither.

    Programs disagree about both, so a server started by systemd and a command started from a shell could see different values.
    """
    if re.search(r"(^|\s)#|#\s", text):
        return "contains a comment (a # next to a space): put comments on their own lines"
    if re.fullmatch(r"""(['"]).*\1""", text, re.DOTALL):
        return "is wrapped in quotes: remove them"
    return ""


def _secret_keys(text: str) -> tuple[bytes, ...]:
    words = [word.strip() for word in text.split(",")]
    if any(re.search(r"[\s#]", word) for word in words):
        raise ValueError("a key must not contain a space or #")
    keys = tuple(word.encode() for word in words)
    if any(len(key) < 32 for key in keys):
        raise ValueError("each key must have 32 bytes or more")
    return keys


@dataclass(frozen=True)
class EncryptionKey:
    """One AES-256 key; `key_id` is stored beside everything that it encrypted."""

    key_id: str
    key: bytes = field(repr=False)


def _encryption_keys(text: str) -> tuple[EncryptionKey, ...]:
    keys = []
    for word in text.split(","):
        key_id, _, encoded = word.strip().partition(":")
        try:
            key = base64.b64decode(encoded, altchars=b"-_" if set("-_") & set(encoded) else None, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", key_id) or len(key) != 32:
            raise ValueError("must be comma-separated id:base64-of-32-bytes")
        keys.append(EncryptionKey(key_id, key))
    if len({key.key_id for key in keys}) != len(keys):
        raise ValueError("has the same key id twice")
    return tuple(keys)


def _database_url(text: str) -> str:
    if not re.match(r"postgresql(\+psycopg)?://|sqlite:///.", text):
        raise ValueError("must be postgresql+psycopg://... or sqlite:///...")
    from sqlalchemy.engine import make_url  # its own reading counts: a password may hold a slash

    try:
        port = make_url(text).port
    except ValueError:
        port = -1
    if port is not None and not 0 < port < 65536:
        raise ValueError("must have a whole number up to 65535 as its port")
    if text.startswith("postgresql"):
        _check_postgresql_options(make_url(text).query)
    return re.sub(r"^postgresql://", "postgresql+psycopg://", text)


def _check_postgresql_options(options: Mapping[str, Any]) -> None:
    """libpq's own reading counts: an unknown option would be a fault of every request. It is not told: it may be a part of a password."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import make_conninfo

    for name in options:
        try:
            make_conninfo(**{name: ""})
        except ProgrammingError:
            raise ValueError("has an option that PostgreSQL does not know") from None


_REDIS_OPTION = re.compile(r"db|username|password|client_name|max_connections|socket_(timeout|connect_timeout|keepalive)|ssl_[a-z_]+")


def _redis_url(text: str) -> str:
    if text == "embedded":
        return text
    if re.match(r"rediss?\+(sentinel|cluster)://", text):
        raise ValueError("Sentinel and Cluster are not in this version")
    if not re.match(r"(rediss?|unix)://", text):
        raise ValueError("must be embedded, redis://... or rediss://...")
    _check_port(text)
    parts = urlsplit(text)
    if not (parts.path if parts.scheme == "unix" else parts.hostname and re.fullmatch(r"/?|/[0-9]{1,5}", parts.path)):
        raise ValueError("must be redis://host:port/number")
    unknown = [name for name in parse_qs(parts.query, keep_blank_values=True) if not _REDIS_OPTION.fullmatch(name)]
    if unknown or not _makes_a_connection(text):
        raise ValueError("has an option that is unknown or invalid; there are db, username, password, timeouts, and ssl_... with rediss://")
    return text


def _makes_a_connection(redis_url: str) -> bool:
    """Whether redis-py can read the address; its own reading counts. Nothing is opened."""
    from redis import RedisError
    from redis.connection import ConnectionPool

    try:
        ConnectionPool.from_url(redis_url).make_connection()
    except (RedisError, TypeError, ValueError):
        return False
    return True


def _mail_url(text: str) -> str:
    parts = urlsplit(text)
    if text != "log" and (parts.scheme not in ("smtp", "smtps") or not parts.hostname):
        raise ValueError("must be smtp://[user:password@]host:port or smtps://...")
    _check_port(text)
    return text


@dataclass(frozen=True)
class MailSender:
    """Who letters are from: a name for people, perhaps empty, and an address."""

    name: str
    address: str

    def __str__(self) -> str:
        return f"{self.name} <{self.address}>" if self.name else self.address


def _mail_from(text: str) -> MailSender:
    match = re.fullmatch(r"(?:(?P<name>[^<>]*)<)?(?P<address>[^<>]*)(?(name)>)", text)
    name, address = ((match["name"] or "").strip(), match["address"].strip()) if match else ("", "")
    name = name[1:-1] if re.fullmatch(r'"[^"]*"', name) else name
    # No encoded word (RFC 2047): mail programs would show something else.
    if "=?" in text or '"' in name or not name.isprintable() or not MAIL_ADDRESS.fullmatch(address):
        raise ValueError("must be name@example.com or Name <name@example.com>")
    return MailSender(name, address)


def _bind(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ValueError("must be host:port")
    return host.strip("[]"), int(port)


def _allowlist(text: str) -> tuple[str, ...]:
    words = tuple(word.lower() for word in _words(text))
    if any("@" not in word or word.endswith("@") for word in words):
        raise ValueError("must be addresses and @domains")
    return words


def _rate_limits(text: str) -> dict[str, int] | None:
    """`on`, `off` (None), or overrides such as `token=120,authorize=300`; each a number per minute."""
    if text == "off":
        return None
    limits = dict(RATE_LIMIT_DEFAULTS)
    if text == "on":
        return limits
    for word in _words(text):
        name, _, number = word.partition("=")
        if name not in limits or not re.fullmatch(r"[1-9][0-9]{0,6}", number):
            raise ValueError("must be on, off or a list such as token=120; names are " + ", ".join(limits))
        limits[name] = int(number)
    return limits


def _absent(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError("not in this version")
        return text

    return parse


def _text(text: str) -> str:
    return text


def _is_on(text: str) -> bool:
    return _one_of("on", "off")(text) == "on"


def _openid_scopes(text: str) -> str:
    if "openid" not in text.split():
        raise ValueError("must have openid among them")
    return text


# --- the settings ---------------------------------------------------------------------------------------------


def _setting(about: str, parse: Callable[[str], Any], default: str | None = None, *, dev: str | None = None, secret: bool = False) -> Any:
    """One setting. `default` and `dev` are texts, parsed like any other; a setting with only `dev` is required
    in production; one with neither is off (None) when it is not given."""
    return field(repr=not secret, metadata={"about": about, "parse": parse, "default": default, "dev": dev, "secret": secret})


# GitHub and well-known OpenID Connect issuers. Microsoft's personal accounts are one tenant.
_PUBLIC_PROVIDERS = re.compile(
    r"https://(accounts\.google\.com|github\.com|gitlab\.com|codeberg\.org|appleid\.apple\.com|www\.facebook\.com|www\.linkedin\.com"
    r"|discord\.com|slack\.com|id\.twitch\.tv|api\.login\.yahoo\.com|access\.line\.me|kauth\.kakao\.com|www\.paypal\.com|orcid\.org"
    r"|huggingface\.co|login\.salesforce\.com"
    r"|login\.microsoftonline\.com/(9188040d-6c67-4c5b-b112-36a304b66dad|common|consumers|organizations))(/|$)"
)


@dataclass(frozen=True)
class ProviderSettings:
    """One upstream identity provider. `provider_id` is its name in URLs; `kind` picks the module."""

    provider_id: str
    kind: Literal["github", "google", "oidc"]
    label: str
    client_id: str
    client_secret: str = field(repr=False)
    issuer: str = ""
    url: str = ""
    api_url: str = ""
    scopes: str = "openid profile email"
    email_trust: EmailTrust = "claim"
    auth_time: AuthTime = "require"

    @property
    def identity_issuer(self) -> str:
        """The issuer of identities that sign in with it."""
        return self.issuer or self.url

    @property
    def prefix(self) -> str:
        """What the names of its settings begin with."""
        return f"{PREFIX}{'OIDC__' if self.kind == 'oidc' else ''}{self.provider_id.upper()}__"

    @property
    def is_public(self) -> bool:
        """Whether this is a well-known provider where anyone can get an account, judging by its address."""
        return bool(_PUBLIC_PROVIDERS.match(self.url or self.issuer))


@dataclass(frozen=True)
class ConnectorSettings:
    """One vendor that people connect. `connector_id` is its name in URLs; an empty address is one that the vendor lacks.

    refresh_url: where refresh tokens go, if not to `token_url`. expires_in: the seconds that an access token lives that tells none.
    """

    connector_id: str
    label: str
    client_id: str
    client_secret: str = field(repr=False)
    authorize_url: str
    token_url: str
    scopes: str
    revoke_url: str = ""
    account_url: str = ""
    pkce: Literal["S256", "none"] = "S256"
    client_auth: Literal["basic", "post"] = "basic"
    refresh_url: str = ""
    expires_in: int | None = None


KNOWN_CONNECTORS: dict[str, dict[str, str]] = {
    "github": {
        "label": "GitHub",
        "authorize_url": "https://github.com/login/oauth/authorize",
        "token_url": "https://github.com/login/oauth/access_token",
        "account_url": "https://api.github.com/user",
        "scopes": "read:user",
        "client_auth": "post",
    },
    "google": {
        "label": "Google",
        "authorize_url": "https://accounts.google.com/o/oauth2/v2/auth",
        "token_url": "https://oauth2.googleapis.com/token",
        "revoke_url": "https://oauth2.googleapis.com/revoke",
        "account_url": "https://openidconnect.googleapis.com/v1/userinfo",
        "scopes": "openid email profile",
        "client_auth": "post",
    },
    "slack": {
        "label": "Slack",
        "authorize_url": "https://slack.com/oauth/v2/authorize",
        "token_url": "https://slack.com/api/oauth.v2.access",
        "revoke_url": "https://slack.com/api/auth.revoke",
        "account_url": "https://slack.com/api/auth.test",
        "scopes": "team:read",
        "pkce": "none",  # an app that turns it on becomes a public client, for ever
    },
}


@dataclass(frozen=True)
class Settings:
    """Everything the server was told, in typed form. Durations are seconds."""

    env: str = _setting("development allows the defaults made for a laptop", _one_of("production", "development"), "production")
    public_url: str = _setting("the issuer and the base of every absolute URL", _public_url, dev="http://127.0.0.1:8000")
    secret_keys: tuple[bytes, ...] = _setting("sign cookies and handoffs; newest first", _secret_keys, dev="generate", secret=True)
    encryption_keys: tuple[EncryptionKey, ...] = _setting(
        "encrypt stored secrets; id:base64, newest first", _encryption_keys, dev="generate", secret=True
    )
    database_url: str = _setting("PostgreSQL or SQLite", _database_url, dev="instance", secret=True)
    database_owner_url: str | None = _setting("migrations, sweeping, operator commands", _database_url, secret=True)
    redis_url: str = _setting("sessions, states, replays; Redis 7.0 or Valkey 7.2 and newer", _redis_url, dev="embedded", secret=True)
    personal_organizations: bool = _setting("whether everybody gets an organization of their own at first sign-in", _is_on, "on")
    trusted_proxies: int = _setting("how many proxies in front may set X-Forwarded-For", _count, "0")
    signup_allowlist: tuple[str, ...] = _setting("addresses and @domains that may create an account", _allowlist, "")
    automatic_invitations: tuple[str, ...] = _setting("organizations whose invitations are accepted by signing in", _slugs, "")
    mail_url: str = _setting("smtp:// or smtps:// server for outgoing mail; log writes it to the log", _mail_url, "log", secret=True)
    mail_from: MailSender | None = _setting("sender of outgoing mail: an address, or Name <address>", _mail_from)
    registration: str = _setting("dynamic client registration", _absent("off"), "off")
    client_id_metadata: str = _setting("client ID metadata documents", _absent("off"), "off")
    registration_scopes: str = _setting(
        "what self-registered clients may ask for",
        _absent("openid profile email offline_access"),
        "openid profile email offline_access",
    )
    registration_resources: str = _setting("resources self-registered clients may ask for", _absent(""), "")
    rate_limits: dict[str, int] | None = _setting("on, off, or overrides such as token=120", _rate_limits, "on")
    max_credentials: int = _setting("credentials of an organization or person; 0 is no limit", _quota, "1000")
    max_agents: int = _setting("agents of an organization; 0 is no limit", _quota, "500")
    max_keys: int = _setting("API keys of a person and their agents; 0 is no limit", _quota, "500")
    max_projects: int = _setting("projects of an organization; 0 is no limit", _quota, "1000")
    max_organizations: int = _setting("organizations that a person owns; 0 is no limit", _quota, "50")
    max_emails_per_day: int = _setting("emails that a person causes to others in 24 hours; 0 is no limit", _quota, "200")
    cors_origins: tuple[str, ...] = _setting("origins that may call /api/v1 from a browser", _origins, "")
    metrics_bind: tuple[str, int] | None = _setting("host:port for /metrics", _bind)
    health_bind: tuple[str, int] | None = _setting("host:port for /healthz and /readyz", _bind)
    keepalive_seconds: int = _setting("how long an idle connection or an incomplete request head is kept", _seconds(1, 3_600), "75")
    session_seconds: int = _setting("lifetime of a session, sliding", _seconds(60, 31_536_000), "604800")
    session_max_seconds: int = _setting("absolute lifetime of a session; 0 means no limit", _seconds(0, 315_360_000), "2592000")
    session_cache_seconds: int = _setting("signed snapshot in the cookie that spares the store on reads", _seconds(0, 300), "0")
    handoff_seconds: int = _setting("lifetime of a login handoff", _seconds(30, 86_400), "600")
    code_seconds: int = _setting("lifetime of an authorization code", _seconds(1, 600), "60")
    access_token_seconds: int = _setting("lifetime of an access token", _seconds(1, 86_400), "1800")
    refresh_token_seconds: int = _setting("idle lifetime of a refresh token", _seconds(1, 31_536_000), "2592000")
    refresh_family_seconds: int = _setting("absolute lifetime of a chain of refresh tokens", _seconds(1, 315_360_000), "7776000")
    refresh_grace_seconds: int = _setting("a repeat of a just-rotated refresh token gets the same tokens", _seconds(0, 60), "30")
    providers: tuple[ProviderSettings, ...] = ()
    connectors: tuple[ConnectorSettings, ...] = ()
    instance_path: str = "instance"
    sources: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def is_https(self) -> bool:
        return self.public_url.startswith("https:")

    @property
    def host(self) -> str:
        """Host and port of the public URL, as people see it."""
        return urlsplit(self.public_url).netloc

    @property
    def api_resource(self) -> str:
        return self.public_url + "/api/v1"

    def find_provider(self, provider_id: str | None) -> ProviderSettings | None:
        return next((provider for provider in self.providers if provider.provider_id == provider_id), None)

    def find_connector(self, connector_id: str | None) -> ConnectorSettings | None:
        return next((connector for connector in self.connectors if connector.connector_id == connector_id), None)

    @property
    def owner_url(self) -> str:
        return self.database_owner_url or self.database_url

    @property
    def sends_mail(self) -> bool:
        return self.mail_url != "log"


def current() -> Settings:
    """The settings of the running application. The only place below the doors that asks Flask for anything."""
    from flask import current_app

    return current_app.extensions["gatepost.settings"]


def named_value(name: str) -> str | None:
    """A value that a seed file names by its environment variable (`secret_env`)."""
    return os.environ.get(name)


def plain_settings() -> list[Any]:
    """The dataclass fields that are single settings (all but the providers, the connectors and the bookkeeping)."""
    return [f for f in fields(Settings) if "about" in f.metadata]


def load(environ: Mapping[str, str] | None = None, instance_path: str | Path = "instance") -> Settings:
    """Resolve every setting, or raise SettingError naming those that are wrong."""
    environ = os.environ if environ is None else environ
    instance = Path(instance_path).absolute()
    given: dict[str, tuple[str, str]] = {}
    for name, text in _from_toml(instance / "gatepost.toml").items():
        given[name] = (text, "instance/gatepost.toml")
    for name, text in environ.items():
        if name.startswith(PREFIX):
            given[name.removeprefix(PREFIX)] = (text.strip(), "environment")

    is_development = given.get("ENV", ("production", ""))[0] == "development"
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    faults = _Faults()
    for item in plain_settings():
        name, meta = item.name.upper(), item.metadata
        text, source = given.pop(name, (None, "default"))
        if text is None or (text == "" and meta["default"] != ""):
            text, source = meta["default"], "default"
            if text is None and meta["dev"] is not None:
                if not is_development:
                    faults.append(SettingError(PREFIX + name, "is required in production"))
                    continue
                text, source = _development_default(item.name, meta["dev"], instance), "default (development)"
        sources[PREFIX + name] = source
        with faults.noted():
            values[item.name] = None if text is None else _parse(name, meta["parse"], text, source)

    providers = _providers(given, sources, faults)
    connectors = _connectors(given, sources, faults)
    if faults:
        raise SettingErrors(faults)
    warnings = tuple(f"{PREFIX}{name} is not a setting" for name in sorted(given))
    settings = Settings(
        **values, providers=providers, connectors=connectors, instance_path=str(instance), sources=sources, warnings=warnings
    )
    _judge(settings)
    return settings


def _parse(name: str, parse: Callable[[str], Any], text: str, source: str) -> Any:
    try:
        if source == "environment" and (problem := env_value_problem(text)):
            raise ValueError(problem)
        return parse(text)
    except ValueError as error:
        raise SettingError(PREFIX + name, str(error)) from None


def _judge(settings: Settings) -> None:
    """What no single value can know by itself."""
    if not settings.is_https and not (settings.env == "development" and is_loopback_http(settings.public_url)):
        raise SettingError("GATEPOST_PUBLIC_URL", "must be https; development also allows http on 127.0.0.1, [::1] and localhost")
    if settings.env == "production" and settings.redis_url == "embedded":
        raise SettingError("GATEPOST_REDIS_URL", "embedded is for development only")
    for provider in settings.providers:
        if provider.email_trust == "mail" and settings.env == "production" and not settings.sends_mail:
            raise SettingError(f"{provider.prefix}EMAIL_TRUST", "mail needs GATEPOST_MAIL_URL")


def _from_toml(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            tree = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError, OSError) as error:  # no TOML, or no text
        raise SettingError("instance/gatepost.toml", str(error)) from None
    flat: dict[str, str] = {}

    def walk(prefix: str, node: dict[str, Any]) -> None:
        for key, value in node.items():
            name = prefix + key.upper()
            if isinstance(value, dict):
                walk(name + "__", value)
            elif isinstance(value, bool):
                flat[name] = "on" if value else "off"
            else:
                flat[name] = ",".join(map(str, value)) if isinstance(value, list) else str(value)

    walk("", tree)
    return flat


def _development_default(name: str, text: str, instance: Path) -> str:
    if name == "database_url":
        return f"sqlite:///{instance / 'gatepost.sqlite'}"
    if text != "generate":
        return text
    fresh = secrets.token_urlsafe(48) if name == "secret_keys" else "dev:" + base64.b64encode(secrets.token_bytes(32)).decode()
    try:
        return _generated(instance / name, fresh)
    except OSError as error:
        raise SettingError(PREFIX + name.upper(), f"cannot be generated in {instance}: {error.strerror or error}") from None


def _generated(path: Path, fresh: str) -> str:
    """The content of `path`, written once: of several processes that start at once, one wins."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(fresh)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text().strip()


def _providers(given: dict[str, tuple[str, str]], sources: dict[str, str], faults: _Faults) -> tuple[ProviderSettings, ...]:
    """Take the provider settings out of `given`, in the fixed order GitHub, Google, then OIDC as named. Each leaves its source in
    `sources`."""
    groups: dict[str, tuple[str, str, dict[str, Callable[[str], str]]]] = {
        "GITHUB": ("github", "GitHub", {"URL": _upstream_url, "API_URL": _upstream_url}),
        "GOOGLE": ("google", "Google", {"ISSUER": _issuer}),
    }
    for name in sorted(given):
        if match := re.fullmatch(r"OIDC__(.+)__(?:ISSUER|CLIENT_ID|CLIENT_SECRET|LABEL|SCOPES|EMAIL_TRUST|AUTH_TIME)", name):
            word = match[1]
            if not re.fullmatch(r"[A-Z0-9_]+", word) or word.lower() in RESERVED_PROVIDER_NAMES:
                reserved = ", ".join(sorted(RESERVED_PROVIDER_NAMES)).upper()
                faults.append(SettingError(PREFIX + name, f"provider names are [A-Z0-9_]+ and none of {reserved}"))
                continue
            groups[f"OIDC__{word}"] = ("oidc", word.replace("_", " ").title(), {"ISSUER": _issuer, "SCOPES": _openid_scopes})
    found = []
    for group, (kind, label, extra) in groups.items():
        parsers = {
            "CLIENT_ID": _text,
            "CLIENT_SECRET": _text,
            "LABEL": _text,
            "EMAIL_TRUST": _one_of("claim", "trusted", "mail"),
            "AUTH_TIME": _one_of("require", "ignore"),
            **extra,
        }
        if kind != "oidc":
            del parsers["LABEL"]
        with faults.noted():
            if values := _take_group(given, group, parsers, sources):
                found.append(_provider(group, kind, label, values))
    return tuple(found)


def _take_group(
    given: dict[str, tuple[str, str]], group: str, parsers: Mapping[str, Callable[[str], Any]], sources: dict[str, str]
) -> dict[str, Any]:
    """Take the settings below `group` out of `given`; each leaves its source in `sources`."""
    values = {}
    for key, parse in parsers.items():
        text, source = given.pop(f"{group}__{key}", ("", ""))
        if text:
            values[key.lower()] = _parse(f"{group}__{key}", parse, text, source)
            sources[f"{PREFIX}{group}__{key}"] = source
    return values


def _require(group: str, values: Mapping[str, str], needed: list[str], whose: str) -> None:
    missing = [key for key in needed if key not in values]
    if missing:
        raise SettingErrors(
            SettingError(f"{PREFIX}{group}__{key.upper()}", f"is required with the {whose}'s other settings") for key in missing
        )


def _provider(group: str, kind: Any, label: str, values: dict[str, str]) -> ProviderSettings:
    _require(group, values, ["client_id", "client_secret", *(["issuer"] if kind == "oidc" else [])], "provider")
    if kind == "github":
        values = {"url": "https://github.com", "api_url": "https://api.github.com", "scopes": "read:user user:email", **values}
    elif kind == "google":
        values = {"issuer": "https://accounts.google.com", **values}
    if kind != "oidc":
        values = {"auth_time": "ignore", **values}
    return ProviderSettings(provider_id=group.removeprefix("OIDC__").lower(), kind=kind, **{"label": label, **values})


_CONNECTOR_PARSERS: dict[str, Callable[[str], Any]] = {
    "CLIENT_ID": _text,
    "CLIENT_SECRET": _text,
    "AUTHORIZE_URL": _endpoint,
    "TOKEN_URL": _endpoint,
    "SCOPES": _scopes,
    "REFRESH_URL": _endpoint,
    "REVOKE_URL": _endpoint,
    "ACCOUNT_URL": _endpoint,
    "EXPIRES_IN": _seconds(60, 31_536_000),
    "PKCE": _one_of("S256", "none"),
    "CLIENT_AUTH": _one_of("basic", "post"),
    "LABEL": _text,
}


def _connectors(given: dict[str, tuple[str, str]], sources: dict[str, str], faults: _Faults) -> tuple[ConnectorSettings, ...]:
    """The same for connectors, in the order of their names."""
    words: dict[str, None] = {}
    for name in sorted(given):
        if match := re.fullmatch(rf"CONNECTOR__(.+)__(?:{'|'.join(_CONNECTOR_PARSERS)})", name):
            if not re.fullmatch(r"[A-Z0-9_]{1,64}", match[1]):
                faults.append(SettingError(PREFIX + name, "connector names are [A-Z0-9_]+"))
                continue
            words[match[1]] = None
    found = []
    for word in words:
        group = f"CONNECTOR__{word}"
        with faults.noted():
            if values := _take_group(given, group, _CONNECTOR_PARSERS, sources):
                found.append(_connector(group, word, values))
    return tuple(found)


def _connector(group: str, word: str, values: dict[str, Any]) -> ConnectorSettings:
    values = {"label": word.replace("_", " ").title(), **KNOWN_CONNECTORS.get(word.lower(), {}), **values}
    _require(group, values, ["client_id", "client_secret", "authorize_url", "token_url", "scopes"], "connector")
    return ConnectorSettings(connector_id=word.lower(), **values)
