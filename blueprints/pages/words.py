"""How pages say things: moments, devices, initials, untrusted names. Registered as filters and globals of templates.

Filters: `untrusted`, `plain`, `clean`, `names`, `moment`, `on_moment`, `day`, `duration`, `initials`, `app_initials`, `colour`,
`device`, `device_icon`, `provider_label`.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from flask import Flask
from markupsafe import Markup, escape

from blueprints.pages import icons
from services import identities, moments

HEADING_LENGTH = 60
_KEPT = "\t\n\r\u200c\u200d"  # the last two join letters and emoji
_SPACES = "\t\n\r"
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60))
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def register(app: Flask) -> None:
    """Give the templates their words and icons."""
    app.jinja_env.filters.update(
        untrusted=untrusted,
        plain=plain_name,
        clean=clean,
        names=names,
        day=day,
        moment=moment,
        on_moment=on_moment,
        initials=initials,
        app_initials=app_initials,
        colour=colour,
        device=device,
        device_icon=device_icon,
        provider_label=provider_label,
        duration=duration,
    )
    app.jinja_env.globals.update(
        icon_href=icons.icon_href,
        icon_sheet=icons.icon_sheet,
        icons_from_file=icons.icons_from_file,
        icons_from_page=icons.icons_from_page,
    )


# --- names that anybody can choose ----------------------------------------------------------------------------


def plain(text: str | None, length: int = HEADING_LENGTH) -> str:
    """One line without control and format characters (bidirectional overrides too), at most `length` long."""
    kept = "".join(c if c not in _SPACES else " " for c in text or "" if c in _KEPT or unicodedata.category(c) not in _DROPPED)
    kept = " ".join(kept.split())
    return kept if len(kept) <= length else kept[: length - 1].rstrip() + "…"


def untrusted(text: str | None, *, quoted: bool = False, length: int = HEADING_LENGTH, empty: str = "No name") -> Markup:
    """A name in `<bdi>`, cleaned and cut; in quotes when it is self-asserted."""
    inner = Markup("<bdi>{}</bdi>").format(plain(text, length) or empty)
    return Markup("“{}”").format(inner) if quoted else inner


def plain_name(text: str | None, *, quoted: bool = False, empty: str = "No name") -> str:
    """The same where no markup may stand: titles, options."""
    name = plain(text) or empty
    return f"“{name}”" if quoted else name


def clean(text: str | None) -> str:
    """A sentence of ours with somebody's name in it."""
    return plain(text, 300)


def names(items: Iterable[str]) -> Markup:
    """Names that people chose, in a sentence."""
    return joined([untrusted(item) for item in items])


# --- moments --------------------------------------------------------------------------------------------------


def zone_of(name: str | None) -> tzinfo:
    """A time zone by its name; UTC when it has none or this machine does not know it."""
    try:
        return ZoneInfo(name) if name else UTC
    except (KeyError, ValueError, OSError):
        return UTC


def _aware(value: datetime | int) -> datetime:
    """`value` may be milliseconds since 1970."""
    return datetime.fromtimestamp(value / 1000, UTC) if isinstance(value, int) else value


def _in_words(then: datetime, now: datetime, zone: tzinfo) -> tuple[str, bool]:
    """The words, and whether they are a date (so that a sentence says "on" before them)."""
    age, local, today = now - then, then.astimezone(zone), now.astimezone(zone)
    if age < timedelta(minutes=1):
        return "just now", False
    if age < timedelta(hours=1):
        return _ago(int(age.total_seconds() // 60), "minute"), False
    if age < timedelta(hours=24):
        return _ago(int(age.total_seconds() // 3600), "hour"), False
    clock_time = f"{local:%H:%M}"
    if local.date() == today.date() - timedelta(days=1):
        return f"yesterday at {clock_time}", False
    day = f"{local.day} {_MONTHS[local.month - 1]}"
    if local.year == today.year:
        return f"{day} at {clock_time}", True
    return f"{day} {local.year}", True


def _ago(count: int, unit: str) -> str:
    return f"{count} {unit} ago" if count == 1 else f"{count} {unit}s ago"


def _time_element(then: datetime, text: str) -> Markup:
    return Markup('<time datetime="{}">{}</time>').format(then.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), text)


def moment(value: datetime | int, zone: tzinfo = UTC) -> Markup:
    """ "6 minutes ago", "yesterday at 21:15", "2 Oct at 11:20", "2 Oct 2025", as `<time>`."""
    then = _aware(value)
    return _time_element(then, _in_words(then, moments.now(), zone)[0])


def on_moment(value: datetime | int, zone: tzinfo = UTC) -> Markup:
    """The same inside a sentence: "Active on 2 Oct at 11:20"."""
    then = _aware(value)
    text, is_date = _in_words(then, moments.now(), zone)
    return _time_element(then, f"on {text}" if is_date else text)


def day(value: datetime, zone: tzinfo = UTC) -> str:
    """ "3 Mar", with the year when it is not this one."""
    local, today = value.astimezone(zone), moments.now().astimezone(zone)
    text = f"{local.day} {_MONTHS[local.month - 1]}"
    return text if local.year == today.year else f"{text} {local.year}"


def duration(seconds: int) -> str:
    """A time limit in words, rounded up: "30 minutes", "1 hour"."""
    whole = next(((unit, seconds // size) for unit, size in _UNITS if seconds >= size and seconds % size == 0), None)
    unit, count = whole or (("minute", -(-seconds // 60)) if seconds > 60 else ("second", seconds))
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


# --- people, apps, devices ------------------------------------------------------------------------------------


def initials(name: str | None) -> str:
    """Two letters at most: the first of the first and of the last word."""
    words = [word for word in re.split(r"[\s@._-]+", plain(name, 200)) if word and word[0].isalnum()]
    if not words:
        return "?"
    if len(words) == 1:
        return words[0][0].upper()
    return (words[0][0] + words[-1][0]).upper()


def app_initials(name: str | None) -> str:
    """Of an app: the first letters of its first two words, or the first two of its only one."""
    words = [word for word in re.split(r"[\s._-]+", plain(name, 200)) if word and word[0].isalnum()]
    if not words:
        return "?"
    if len(words) > 1:
        return (words[0][0] + words[1][0]).upper()
    return words[0][:1].upper() + words[0][1:2].lower()


def colour(identifier: object) -> str:
    """One of the six avatar classes, the same for the same id for ever."""
    return f"c{hashlib.sha256(str(identifier).encode()).digest()[0] % 6 + 1}"


_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Mac OS X", "macOS"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
)
_BROWSERS = (
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_PROGRAM = re.compile(r"([A-Za-z][A-Za-z0-9._-]{0,39})/([0-9][0-9A-Za-z.+-]{0,19})")


def device(user_agent: str | None) -> str:
    """A user agent in words: "Firefox on macOS", "curl 8.5.0"; anybody can send any, so it is only a hint."""
    text = plain(user_agent, 300)
    if not text.startswith("Mozilla/"):
        match = _PROGRAM.match(text)
        return f"{match[1]} {match[2]}" if match else "An unknown device"
    browser = next((name for token, name in _BROWSERS if token in text), "")
    system = next((name for token, name in _SYSTEMS if token in text), "")
    if browser and system:
        return f"{browser} on {system}"
    return browser or (f"A browser on {system}" if system else "An unknown browser")


def device_icon(user_agent: str | None) -> str:
    """The icon for it: phone or screen."""
    text = user_agent or ""
    return "phone" if "iPhone" in text or ("Android" in text and "Mobile" in text) else "screen"


def provider_label(provider: str) -> str:
    """How people know the way that a session was signed in: a provider by its id, or a one-time link."""
    return "One-time link" if provider == "link" else plain(identities.label_of(provider))


def joined(items: Sequence[str]) -> Markup:
    """A list in a sentence: "A", "A and B", "A, B and C". Escapes."""
    if len(items) < 2:
        return escape(items[0] if items else "")
    return Markup("{} and {}").format(Markup(", ").join(items[:-1]), items[-1])
