"""What stands around every page with navigation: top bar, organization switcher, side navigation, the zone of its times.

Three areas: the person's account, one organization, the instance. A link is shown to those who may open it.
"""

import uuid
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Any, Literal

from flask import flash, g, render_template, session
from markupsafe import Markup

from blueprints import browser, session_cookie
from blueprints.html import drafts, invitation_cards, words
from blueprints.html.catalogues import gettext as _
from blueprints.request_log import request_id
from errors import Unauthenticated
from services.access import organization_access, roles
from services.access.actors import OrganizationInfo, UserInfo
from services.authorization import connected_apps
from services.organizations import organizations
from services.organizations.organizations import OrganizationRow
from services.sessions import user_sessions
from services.sessions.user_sessions import JOINED, SignedIn
from services.tokens import grant_lists

SWITCHES = 8
_FOR_ALL = frozenset({"members", "agents", "credentials", "connections", "settings"})  # what every member of an organization opens


@dataclass(frozen=True)
class Link:
    """One line of the side navigation; `count` only where it helps to decide to go there."""

    key: str
    text: str
    href: str
    icon: str
    count: int | None = None
    is_here: bool = False


@dataclass(frozen=True)
class Group:
    title: str
    links: tuple[Link, ...]


@dataclass(frozen=True)
class Switch:
    """An organization in the switcher; `href` is the same section there, if the person may open it. `has_namesake`: another of
    the person's organizations has the same name."""

    name: str
    slug: str
    has_namesake: bool
    colour: str
    href: str
    is_here: bool

    @property
    def initials(self) -> str:
        return words.app_initials(self.name)


@dataclass(frozen=True)
class Frame:
    """Values of layouts/app.html. `title` ends the page's title and names the navigation; `organization` is the one that the
    page is in; `mine` are the person's; `deleted` those of the person that are to go, on pages of the account.
    `note` is about a form that comes back."""

    person: UserInfo
    area: Literal["account", "organization", "admin"]
    title: str
    groups: tuple[Group, ...]
    zone: tzinfo
    switches: tuple[Switch, ...] = ()
    has_more: bool = False
    organization: OrganizationInfo | None = None
    mine: tuple[OrganizationInfo, ...] = ()
    deleted: tuple[OrganizationRow, ...] = ()
    chosen_theme: str | None = None
    note: str = ""

    @property
    def name(self) -> str:
        return words.plain(self.person.name) or words.plain(self.person.email) or _("No name")

    @property
    def short_name(self) -> str:
        return words.plain(self.name.split()[0], 20)

    @property
    def email(self) -> str:
        return words.plain(self.person.email, 254)

    @property
    def initials(self) -> str:
        return words.initials(self.person.name or self.person.email)

    @property
    def colour(self) -> str:
        return words.colour(self.person.id)

    @property
    def theme(self) -> str:
        """light, dark or empty (as the device)."""
        return self.chosen_theme if self.chosen_theme in ("light", "dark") else ""

    @property
    def zone_name(self) -> str:
        return str(self.zone)

    @property
    def here(self) -> Link | None:
        """None on pages that stand in no navigation: the list of organizations."""
        return next((link for group in self.groups for link in group.links if link.is_here), None)

    @property
    def called(self) -> Markup:
        """The organization, in a sentence; followed by its slug if another one of the person's has the same name."""
        return words.untrusted(self.title, length=words.LABEL_LENGTH)

    @property
    def base(self) -> str:
        """The organization's address."""
        return f"/orgs/{self.organization.slug}" if self.organization else ""

    def may(self, permission: str) -> bool:
        """What the person's role in the organization allows."""
        return self.organization is not None and roles.may(self.organization.role, permission)

    def may_manage(self, role: str) -> bool:
        """Whether the person invites, changes and takes out people of this role."""
        return self.organization is not None and roles.may_manage(self.organization.role, role)


def render(template: str, section: str, *, counts: tuple[int, int] | None = None, **values: Any) -> str:
    """An account page. section: the key of the navigation link that is here. counts: sessions and apps, where the page has
    read them anyway."""
    sessions, apps = counts or _count_sessions_and_apps(g.actor.user.id)
    groups = account_groups(section, sessions=sessions, apps=apps)
    return _render(template, values, "account", _("Your account"), groups, deleted=() if section == "orgs" else _deleted())


def _deleted() -> tuple[OrganizationRow, ...]:
    """The list of organizations says it itself."""
    return tuple(organizations.list_deleted(g.actor)) if _signed_in().has_deleted else ()


def render_organization(template: str, slug: str, section: str, **values: Any) -> str:
    """A page of an organization, which becomes the one used last, unless another site led here.   Raises: NotFound, Forbidden."""
    organization = organization_here(slug)
    if browser.is_own_act():
        actor = g.actor if organization.may_be_picked else replace(g.actor, request_id=request_id())  # a GET that changes something
        session_cookie.remember_organization(actor, organization)
    groups = organization_groups(organization, section)
    return _render(template, values, "organization", label_of(organization), groups, section, organization=organization)


def render_admin(template: str, section: str, **values: Any) -> str:
    """A page of the instance, for its administrators."""
    return _render(template, values, "admin", _("Admin"), admin_groups(section))


def _render(
    template: str,
    values: dict[str, Any],
    area: Literal["account", "organization", "admin"],
    title: str,
    groups: tuple[Group, ...],
    section: str = "",
    **more: Any,
) -> str:
    signed_in = _signed_in()
    labels = words.labels_of(signed_in.organizations)
    for organization, role in session.pop(JOINED, ()):  # noted by the sign-in, by its slug
        flash(invitation_cards.joined(labels.get(organization, organization), role), "ok")
    switches, has_more = _switcher(more.get("organization"), section)
    frame = Frame(
        signed_in.user,
        area,
        title,
        groups,
        zone(),
        switches,
        has_more,
        mine=signed_in.organizations,
        chosen_theme=signed_in.theme,
        note=drafts.note(),
        **more,
    )
    return render_template(template, frame=frame, **values)


def _signed_in() -> SignedIn:
    """Whose page it is.   Raises: Unauthenticated, where no guard has asked."""
    signed_in = session_cookie.current_signed_in()
    if signed_in is None:
        raise Unauthenticated()
    return signed_in


def label_of(organization: words.Named) -> str:
    """What one of the person's organizations is called: by its name, with its slug if another one has the same."""
    return words.label_of(organization, _signed_in().organizations)


def zone() -> tzinfo:
    """The person's, in which times are shown and days are meant."""
    return words.zone_of(_signed_in().time_zone)


def organization_here(slug: str) -> OrganizationInfo:
    """The organization with the person's role, as the stores told at the beginning of this request: for what a page shows.
    Services ask again before they do anything.   Raises: NotFound."""
    found = next((one for one in _signed_in().organizations if one.slug == slug), None)
    return found or organization_access.get(g.actor, slug)


def first_section(organization: OrganizationInfo) -> str:
    """Where somebody arrives in an organization."""
    return "members" if roles.may(organization.role, "members:manage") else "credentials"


# --- navigation -------------------------------------------------------------------------------------------------------


def _count_sessions_and_apps(user_id: uuid.UUID) -> tuple[int, int]:
    grants = grant_lists.list_for(user_id)
    return len(user_sessions.list_for(user_id)) + len(grants), connected_apps.count_for(user_id, grants).apps


def account_groups(section: str, *, sessions: int | None = None, apps: int | None = None) -> tuple[Group, ...]:
    you = (("profile", _("Profile"), "/account", "user", None), ("linked", _("Linked accounts"), "/account/linked", "link", None))
    access = (
        ("sessions", _("Sessions"), "/account/sessions", "screen", sessions),
        ("tokens", _("Access tokens"), "/account/tokens", "key", None),
        ("apps", _("Connected apps"), "/account/apps", "app", apps),
    )
    security = (("activity", _("Activity"), "/account/activity", "log", None),)
    return (_group(_("You"), section, you), _group(_("Access"), section, access), _group(_("Security"), section, security))


def organization_groups(organization: OrganizationInfo, section: str) -> tuple[Group, ...]:
    base = f"/orgs/{organization.slug}"
    people = (("members", _("Members"), f"{base}/members", "users", None),)
    access = (
        ("agents", _("Agents and keys"), f"{base}/agents", "bot", None),
        ("credentials", _("Credentials"), f"{base}/credentials", "lock", None),
        ("connections", _("Connections"), f"{base}/connections", "plug", None),
    )
    log = (("audit", _("Audit log"), f"{base}/audit", "log", None),) if roles.may(organization.role, "audit:read") else ()
    rest = (*log, ("settings", _("General"), f"{base}/settings", "gear", None))
    return (_group(_("People"), section, people), _group(_("Access"), section, access), _group(_("Organization"), section, rest))


def admin_groups(section: str) -> tuple[Group, ...]:
    people = (("users", _("Users"), "/admin/users", "users", None),)
    access = (
        ("clients", _("OAuth clients"), "/admin/clients", "app", None),
        ("keys", _("Signing keys"), "/admin/keys", "key", None),
    )
    instance = (("overview", _("Overview"), "/admin", "gear", None), ("audit", _("Audit log"), "/admin/audit", "log", None))
    return (_group(_("People"), section, people), _group(_("Access"), section, access), _group(_("Instance"), section, instance))


def _group(title: str, section: str, rows: tuple[tuple[str, str, str, str, int | None], ...]) -> Group:
    return Group(title, tuple(Link(*row, is_here=row[0] == section) for row in rows))


def _switcher(here: OrganizationInfo | None, section: str) -> tuple[tuple[Switch, ...], bool]:
    """The organizations of the person by last use, the one that is here first; and whether there are more."""
    signed_in, recent = _signed_in(), session_cookie.recent_organizations()
    mine = list(signed_in.organizations)
    shared = words.shared_names(mine)
    mine.sort(key=lambda organization: recent.index(organization.slug) if organization.slug in recent else len(recent))
    mine.sort(key=lambda organization: here is None or organization.id != here.id)
    switches = tuple(_switch(found, here, section, has_namesake=found.slug in shared) for found in mine[:SWITCHES])
    return switches, len(mine) > SWITCHES or signed_in.has_deleted


def _switch(organization: OrganizationInfo, here: OrganizationInfo | None, section: str, *, has_namesake: bool) -> Switch:
    may_open = section in _FOR_ALL or (section == "audit" and roles.may(organization.role, "audit:read"))
    target = section if may_open else first_section(organization)
    name = words.plain(organization.name) or organization.slug
    is_here = here is not None and organization.id == here.id
    return Switch(name, organization.slug, has_namesake, words.colour(organization.id), f"/orgs/{organization.slug}/{target}", is_here)
