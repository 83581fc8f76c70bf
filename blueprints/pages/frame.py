"""What stands around every account page: top bar, side navigation, the zone of its times."""

from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from flask import g, render_template

from blueprints.pages import words
from services import connected_apps, user_sessions, users


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
class Frame:
    """Values of layouts/app.html. `theme` is light, dark or empty (as the device)."""

    profile: users.Profile
    groups: tuple[Group, ...]
    zone: tzinfo

    @property
    def name(self) -> str:
        return words.plain(self.profile.name) or words.plain(self.profile.email) or "No name"

    @property
    def short_name(self) -> str:
        return words.plain(self.name.split()[0], 20)

    @property
    def email(self) -> str:
        return words.plain(self.profile.email, 254)

    @property
    def initials(self) -> str:
        return words.initials(self.profile.name or self.profile.email)

    @property
    def colour(self) -> str:
        return words.colour(self.profile.id)

    @property
    def theme(self) -> str:
        return self.profile.theme if self.profile.theme in ("light", "dark") else ""

    @property
    def zone_name(self) -> str:
        return str(self.zone)

    @property
    def here(self) -> Link:
        return next(link for group in self.groups for link in group.links if link.is_here)


def render(template: str, section: str, **values: Any) -> str:
    """An account page. section: the key of the navigation link that is here."""
    profile = users.get_profile(g.actor.user.id)
    return render_template(template, frame=_frame(profile, section), profile=profile, **values)


def _frame(profile: users.Profile, section: str) -> Frame:
    sessions = len(user_sessions.list_for(profile.id)) + len(user_sessions.list_grants_for(profile.id))
    apps = len(connected_apps.list_for(profile.id))

    def link(key: str, text: str, href: str, icon: str, count: int | None = None) -> Link:
        return Link(key, text, href, icon, count, is_here=key == section)

    you = Group("You", (link("profile", "Profile", "/account", "user"), link("linked", "Linked accounts", "/account/linked", "link")))
    access = Group(
        "Access",
        (
            link("sessions", "Sessions", "/account/sessions", "screen", sessions),
            link("apps", "Connected apps", "/account/apps", "app", apps),
        ),
    )
    return Frame(profile, (you, access), words.zone_of(profile.time_zone))
