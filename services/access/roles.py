"""What each role may do in an organization, as one table. Members read; the rest is said here."""

from typing import Literal

from errors import Invalid

Role = Literal["owner", "admin", "member"]
ROLES: tuple[Role, ...] = ("owner", "admin", "member")

PERMISSIONS: dict[str, frozenset[str]] = {
    # permission -> the roles that have it
    "organization:read": frozenset({"owner", "admin", "member"}),
    "organization:update": frozenset({"owner", "admin"}),
    "organization:delete": frozenset({"owner"}),
    "members:manage": frozenset({"owner", "admin"}),
    "owners:manage": frozenset({"owner"}),
    "invitations:manage": frozenset({"owner", "admin"}),
    "projects:create": frozenset({"owner", "admin", "member"}),
    "agents:create": frozenset({"owner", "admin", "member"}),
    "agents:manage": frozenset({"owner", "admin"}),
    "credentials:manage": frozenset({"owner", "admin"}),
    "audit:read": frozenset({"owner", "admin"}),
}


def may(role: str, permission: str) -> bool:
    """Whether a role has a permission; an unknown role has none."""
    return role in PERMISSIONS[permission]


def may_manage(role: str, *theirs: str) -> bool:
    """Whether who has `role` invites, changes and takes out people of these roles: owners are managed by owners."""
    return may(role, "owners:manage" if "owner" in theirs else "members:manage")


def checked(role: str) -> str:
    """Raises Invalid for what is no role."""
    if role not in ROLES:
        raise Invalid("There is no such role.", fields={"role": f"must be one of: {' '.join(ROLES)}"})
    return role
