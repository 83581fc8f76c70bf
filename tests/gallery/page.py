"""What the gallery is made of: one page in one state, and the values that several of them use."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from blueprints.html import frame, words
from blueprints.html.frame import Frame, Switch
from services.access.actors import OrganizationInfo, UserInfo

ID = UUID("01939000-0000-7000-8000-000000000001")
OTHER_ID = UUID("01939000-0000-7000-8000-000000000002")
FIREFOX = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:145.0) Gecko/20100101 Firefox/145.0"
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Version/18.1 Mobile/15E148 Safari/604.1"


@dataclass(frozen=True)
class Page:
    """One page in one state. `is_app`: with navigation."""

    name: str
    template: str
    values: dict[str, Any] = field(default_factory=dict)
    is_app: bool = False


# --- pages with navigation --------------------------------------------------------------------------------------------


def profile(name: str | None, *, is_admin: bool = False) -> UserInfo:
    email, name = (name, name) if name is not None else ("maya@northwind.dev", "Maya Kovač")
    return UserInfo(ID, email, True, name, is_admin)


def organization(name: str | None, role: str = "owner") -> OrganizationInfo:
    return OrganizationInfo(OTHER_ID, "northwind", name if name is not None else "Northwind", role)


def _switches(name: str | None, base: str) -> tuple[Switch, ...]:
    own = words.plain(organization(name).name) or "northwind"
    return (
        Switch(own, "northwind", False, "c1", f"/orgs/northwind/{base}", is_here=bool(base)),
        Switch("Fjord Labs", "fjord", True, "c3", "/orgs/fjord/credentials", is_here=False),
    )


def account_page(page_name: str, template: str, section: str, name: str | None, **values: Any) -> Page:
    """A page of the account area."""
    person, groups = profile(name), frame.account_groups(section, sessions=5, apps=3)
    around = Frame(person, "account", "Your account", groups, words.zone_of("Europe/Oslo"), _switches(name, ""))
    return Page(page_name, template, {"frame": around, **values}, is_app=True)


def organization_page(page_name: str, template: str, section: str, name: str | None, *, role: str = "owner", **values: Any) -> Page:
    """A page of an organization's area, as somebody of that role sees it."""
    person, found = profile(name), organization(name, role)
    groups, title = frame.organization_groups(found, section), words.plain(found.name) or found.slug
    around = Frame(person, "organization", title, groups, words.zone_of("Europe/Oslo"), _switches(name, section), organization=found)
    return Page(page_name, template, {"frame": around, **values}, is_app=True)


def admin_page(page_name: str, template: str, section: str, name: str | None, **values: Any) -> Page:
    """A page of the instance's area."""
    person = profile(name, is_admin=True)
    around = Frame(person, "admin", "Admin", frame.admin_groups(section), words.zone_of("Europe/Oslo"), _switches(name, ""))
    return Page(page_name, template, {"frame": around, **values}, is_app=True)
