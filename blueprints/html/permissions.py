"""Scopes in plain words: one row per meaning, whatever the scope names are.

Pure: no store. Sorted as people read them: identity, read, change, stay signed in.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from flask_babel import gettext, ngettext
from flask_babel import lazy_gettext as _
from flask_babel.speaklater import LazyString

CHANGES = _("Can make changes")
SECRETS = _("Can read secrets")


@dataclass(frozen=True)
class Permission:
    """`badge` is empty for what only reads; `icon` is a name of static/icons.svg without its `i-`. is_new: it was not asked
    for when the person allowed this client before."""

    title: str
    detail: str
    badge: str
    icon: str
    is_new: bool = False


_Words = tuple[LazyString, LazyString | str, LazyString | str, str]

# scope -> title, detail, badge, icon; %(org)s is the organization's name. The order is the order on the page.
_READING: dict[str, _Words] = {
    "orgs": (_("See your organizations"), _("Their names and your role in each"), "", "users"),
    "projects:read": (_("See %(org)s’s projects"), _("Names, no secrets"), "", "app"),
    "audit:read": (_("Read the audit log"), _("Who did what in %(org)s"), "", "log"),
    "introspect": (_("Check access tokens"), _("Whether a token works and whose it is"), "", "shield"),
}
_CHANGING: dict[str, _Words] = {
    "credentials:read": (_("Read credential values"), _("Everything you may resolve in %(org)s"), SECRETS, "key"),
    "credentials:write": (_("Set credential values"), _("It can replace a value, not read one"), CHANGES, "lock"),
    "connections:use": (_("Use your connections"), _("As you, through %(org)s"), CHANGES, "plug"),
    "projects:write": (_("Create and change projects"), _("In %(org)s"), CHANGES, "app"),
    "orgs:write": (_("Manage members and roles"), _("Add, change and remove people"), CHANGES, "users"),
    "keys:write": (_("Create and revoke keys"), _("Your access tokens and your agents’ keys"), CHANGES, "key"),
    "sessions:write": (_("Sign you out"), _("It can revoke your sessions"), CHANGES, "screen"),
}
_IDENTITY = frozenset({"openid", "profile", "email"})


def in_words(scopes: Iterable[str], *, organization: str | None = None, refresh_days: int, allowed: Iterable[str] = ()) -> list[Permission]:
    """What a client with these scopes may do. organization: its name, None while it is not chosen yet. allowed: what it was
    allowed before; of nothing nothing is new."""
    asked, before = list(dict.fromkeys(scopes)), set(allowed)
    org = organization or gettext("the organization")
    identity = _IDENTITY.intersection(asked)
    rows: list[tuple[Iterable[str], Permission]] = []
    if identity or not asked:  # whatever is allowed, a token tells that much
        rows.append((identity, Permission(gettext("See who you are"), _who_you_are(asked, org), "", "user")))
    for table in (_READING, _CHANGING):
        rows += [([scope], _filled(table[scope], org)) for scope in table if scope in asked]
    for scope in asked:
        if scope not in _IDENTITY and scope not in _READING and scope not in _CHANGING and scope != "offline_access":
            title, detail = gettext("Use “%(scope)s”", scope=scope), gettext("Gatepost doesn’t know what this does")
            rows.append(([scope], Permission(title, detail, str(CHANGES), "info")))
    if "offline_access" in asked:
        rows.append((["offline_access"], Permission(gettext("Keep working while you’re away"), _while_away(refresh_days), "", "clock")))
    return [replace(row, is_new=bool(before) and not before.issuperset(needed)) for needed, row in rows]


def what_not(scopes: Iterable[str]) -> list[str]:
    """The facts that people worry about, where they are true."""
    asked = set(scopes)
    facts = {
        gettext("Can’t read credential values"): "credentials:read" not in asked,
        gettext("Can’t change settings"): not asked.intersection({"orgs:write", "keys:write", "credentials:write"}),
    }
    return [text for text, is_true in facts.items() if is_true]


def _filled(row: _Words, org: str) -> Permission:
    title, detail, badge, icon = row
    return Permission(str(title) % {"org": org}, str(detail) % {"org": org}, str(badge), icon)


def _who_you_are(asked: list[str], org: str) -> str:
    if "profile" in asked and "email" in asked:
        return gettext("Your name, email address and role in %(org)s", org=org)
    if "profile" in asked:
        return gettext("Your name and role in %(org)s", org=org)
    if "email" in asked:
        return gettext("Your email address and role in %(org)s", org=org)
    return gettext("An ID for your account and your role in %(org)s", org=org)


def _while_away(days: int) -> str:
    return ngettext("Until %(num)d day after you last use it", "Until %(num)d days after you last use it", days)
