"""How pages say things: moments, devices, initials, untrusted names. `register` has the filters and globals of templates."""

import hashlib
import re
import shlex
import unicodedata
from collections.abc import Hashable, Iterable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

from babel import Locale
from babel.support import NullTranslations
from flask import Flask
from flask_babel import get_locale, lazy_gettext
from markupsafe import Markup, escape

from blueprints.html import icons
from blueprints.html.catalogues import catalogue, ngettext
from blueprints.html.catalogues import gettext as _
from services.instance import moments
from services.users import identities

HEADING_LENGTH = 60
LABEL_LENGTH = 2 * HEADING_LENGTH  # a name and a slug
_KEPT = "\t\n\r\u200c\u200d"  # the last two join letters and emoji
_SPACES = "\t\n\r"
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_JOINERS = dict.fromkeys(map(ord, "\u200c\u200d"))
_ENGLISH = Locale("en")
ROLES = {"owner": lazy_gettext("Owner"), "admin": lazy_gettext("Admin"), "member": lazy_gettext("Member")}


def register(app: Flask) -> None:
    """Give the templates their words and icons."""
    app.jinja_env.filters.update(
        untrusted=untrusted,
        plain=plain_name,
        clean=clean,
        names=names,
        organizations=organizations,
        mono=mono,
        role=role,
        day=day,
        moment=moment,
        on_moment=on_moment,
        clock_time=clock_time,
        initials=initials,
        app_initials=app_initials,
        colour=colour,
        device=device,
        device_icon=device_icon,
        provider_label=provider_label,
        duration=duration,
        sign_in_link_command=sign_in_link_command,
    )
    app.jinja_env.globals.update(
        icon_of=icons.icon,
        icon_href=icons.icon_href,
        icon_sheet=icons.icon_sheet,
        icons_from_file=icons.icons_from_file,
        icons_from_page=icons.icons_from_page,
    )


# --- names that anybody can choose ----------------------------------------------------------------------------


def plain(text: str | None, length: int = HEADING_LENGTH) -> str:
    """One line without control and format characters (bidirectional overrides too), at most `length` long."""
    kept = text or ""
    if not kept.isprintable():  # only then is there anything to drop
        kept = "".join(c if c not in _SPACES else " " for c in kept if c in _KEPT or unicodedata.category(c) not in _DROPPED)
    kept = " ".join(kept.split())
    return kept if len(kept) <= length else kept[: length - 1].rstrip() + "…"


def untrusted(text: str | None, *, quoted: bool = False, length: int = HEADING_LENGTH, empty: str | None = None) -> Markup:
    """A name in `<bdi>`, cleaned and cut; in quotes when it is self-asserted. empty: what stands for none."""
    inner = Markup(f"<bdi>{escape(plain(text, length) or (_('No name') if empty is None else empty))}</bdi>")  # noqa: S704 escaped
    return filled(_("“%(name)s”"), name=inner) if quoted else inner


def plain_name(text: str | None, *, quoted: bool = False, empty: str | None = None) -> str:
    """The same where no markup may stand: titles, options."""
    name = plain(text) or (_("No name") if empty is None else empty)
    return _("“%(name)s”", name=name) if quoted else name


def clean(text: str | None) -> str:
    """A sentence of ours with somebody's name in it."""
    return plain(text, 300)


def names(items: Iterable[str]) -> Markup:
    """Names that people chose, in a sentence."""
    return joined([untrusted(item) for item in items])


class Named(Protocol):
    """An organization, reduced to its slug and name."""

    @property
    def slug(self) -> str: ...
    @property
    def name(self) -> str: ...


def shared_names(organizations: Iterable[Named]) -> set[str]:
    """The slugs of organizations whose names look the same as another one's."""
    slugs_of: dict[str, set[str]] = {}
    for organization in organizations:
        name = unicodedata.normalize("NFKC", plain(organization.name)).translate(_JOINERS).casefold()
        slugs_of.setdefault(name, set()).add(organization.slug)
    return {slug for slugs in slugs_of.values() if len(slugs) > 1 for slug in slugs}


def labels_of(organizations: Iterable[Named], among: Iterable[Named] = ()) -> dict[str, str]:
    """slug -> label: the name, followed by the slug if another organization, listed or `among` those that the reader knows,
    has the same name."""
    listed = list(organizations)
    shared = shared_names([*listed, *among])
    names_of = {organization.slug: plain(organization.name) or organization.slug for organization in listed}
    return {slug: f"{name} ({slug})" if slug in shared else name for slug, name in names_of.items()}


def label_of(organization: Named, among: Iterable[Named]) -> str:
    """The label of a single one."""
    return labels_of([organization], among)[organization.slug]


def organizations(listed: Iterable[Named], among: Iterable[Named] = ()) -> Markup:
    """The labels of organizations, joined for a sentence."""
    return joined([untrusted(label, length=LABEL_LENGTH) for label in labels_of(listed, among).values()])


# --- sentences ------------------------------------------------------------------------------------------------


def filled(sentence: str, **values: object) -> Markup:
    """A sentence of the catalogue, which may hold markup, with its values escaped. In templates `_()` does it by itself."""
    return Markup(sentence) % values  # noqa: S704 from the catalogue


def mono(text: object) -> Markup:
    """What a machine would match exactly: a host, a code."""
    return Markup('<code translate="no" dir="ltr">{}</code>').format(text)


def sign_in_link_command(email: str) -> Markup:
    """What an operator types for a one-time link. People choose their addresses, so it is quoted for the shell."""
    return mono(f"flask users sign-in-link {shlex.quote(plain(email, 254))}")


def role(name: str) -> str:
    """What a role is called."""
    return str(ROLES[name])


def joined(items: Sequence[str]) -> Markup:
    """A list in a sentence: "A", "A and B", "A, B and C". Escapes."""
    if len(items) < 2:
        return escape(items[0] if items else "")
    return filled(_("%(items)s and %(last)s"), items=Markup(", ").join(items[:-1]), last=items[-1])


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
    age = now - then
    if age < timedelta(minutes=1):
        return _("just now"), False
    if age < timedelta(hours=1):
        return ngettext("%(num)d minute ago", "%(num)d minutes ago", int(age.total_seconds() // 60)), False
    if age < timedelta(hours=24):
        return ngettext("%(num)d hour ago", "%(num)d hours ago", int(age.total_seconds() // 3600)), False
    local, today = then.astimezone(zone), now.astimezone(zone)
    clock_time = f"{local:%H:%M}"
    if local.date() == today.date() - timedelta(days=1):
        return _("yesterday at %(time)s", time=clock_time), False
    if local.year == today.year:
        return _("%(day)s at %(time)s", day=_date(local), time=clock_time), True
    return _date(local, with_year=True), True


def _date(local: datetime, *, with_year: bool = False) -> str:
    """ "3 Mar", "3 Mar 2025"."""
    return _date_in_words(catalogue(), local.day, local.month, local.year if with_year else None)


@lru_cache(maxsize=1024)
def _date_in_words(_language: NullTranslations, day: int, month: int, year: int | None) -> str:
    """_language: that of the request, whose date is remembered."""
    name = (get_locale() or _ENGLISH).months["format"]["abbreviated"][month]
    if year is None:
        return _("%(day)d %(month)s", day=day, month=name)
    return _("%(day)d %(month)s %(year)d", day=day, month=name, year=year)


def _time_element(then: datetime, text: str) -> Markup:
    stamp = then.astimezone(UTC).isoformat()[:19]
    return Markup(f'<time datetime="{stamp}Z">{escape(text)}</time>')  # noqa: S704 escaped


def moment(value: datetime | int, zone: tzinfo = UTC) -> Markup:
    """ "6 minutes ago", "yesterday at 21:15", "2 Oct at 11:20", "2 Oct 2025", as `<time>`."""
    then = _aware(value)
    return _time_element(then, _in_words(then, moments.now(), zone)[0])


def on_moment(value: datetime | int, zone: tzinfo = UTC) -> Markup:
    """The same inside a sentence: "Active on 2 Oct at 11:20"."""
    then = _aware(value)
    text, is_date = _in_words(then, moments.now(), zone)
    return _time_element(then, _("on %(date)s", date=text) if is_date else text)


def clock_time(value: datetime, zone: tzinfo = UTC) -> Markup:
    """When something will be: "14:20", "2 Oct at 14:20" on another day than today, as `<time>`."""
    local, today = value.astimezone(zone), moments.now().astimezone(zone)
    text = f"{local:%H:%M}"
    return _time_element(value, text if local.date() == today.date() else _("%(day)s at %(time)s", day=_date(local), time=text))


def day(value: datetime, zone: tzinfo = UTC) -> str:
    """ "3 Mar", with the year when it is not this one."""
    local, today = value.astimezone(zone), moments.now().astimezone(zone)
    return _date(local, with_year=local.year != today.year)


def duration(seconds: int) -> str:
    """A time limit in words, rounded up: "30 minutes", "1 hour"."""
    if seconds >= 86_400 and seconds % 86_400 == 0:
        return ngettext("%(num)d day", "%(num)d days", seconds // 86_400)
    if seconds >= 3600 and seconds % 3600 == 0:
        return ngettext("%(num)d hour", "%(num)d hours", seconds // 3600)
    if seconds >= 60:
        return ngettext("%(num)d minute", "%(num)d minutes", -(-seconds // 60))
    return ngettext("%(num)d second", "%(num)d seconds", seconds)


# --- people, apps, devices ------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def initials(name: str | None) -> str:
    """Two letters at most: the first of the first and of the last word."""
    words = [word for word in re.split(r"[\s@._-]+", plain(name, 200)) if word and word[0].isalnum()]
    if not words:
        return "?"
    if len(words) == 1:
        return words[0][0].upper()
    return (words[0][0] + words[-1][0]).upper()


@lru_cache(maxsize=4096)
def app_initials(name: str | None) -> str:
    """Of an app: the first letters of its first two words, or the first two of its only one."""
    words = [word for word in re.split(r"[\s._-]+", plain(name, 200)) if word and word[0].isalnum()]
    if not words:
        return "?"
    if len(words) > 1:
        return (words[0][0] + words[1][0]).upper()
    return words[0][:1].upper() + words[0][1:2].lower()


@lru_cache(maxsize=4096)
def colour(identifier: Hashable) -> str:
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
        return f"{match[1]} {match[2]}" if match else _("An unknown device")
    browser = next((name for token, name in _BROWSERS if token in text), "")
    system = next((name for token, name in _SYSTEMS if token in text), "")
    if browser and system:
        return _("%(browser)s on %(system)s", browser=browser, system=system)
    return browser or (_("A browser on %(system)s", system=system) if system else _("An unknown browser"))


def device_icon(user_agent: str | None) -> str:
    """The icon for it: phone or screen."""
    text = user_agent or ""
    return "phone" if "iPhone" in text or ("Android" in text and "Mobile" in text) else "screen"


def provider_label(provider: str) -> str:
    """How people know the way that a session was signed in, after "with": a provider by its id, or a one-time link."""
    return _("a one-time link") if provider == "link" else plain(identities.label_of(provider))
