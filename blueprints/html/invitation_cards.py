"""The card with a person's open invitations, and the banner after they joined an organization."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from flask_babel import gettext as _

from blueprints import session_cookie
from blueprints.html import words
from services.access.actors import OrganizationInfo
from services.organizations import received_invitations
from services.organizations.received_invitations import ReceivedInvitation

ROWS = 5


@dataclass(frozen=True)
class Card:
    """`named_twice`: slugs of organizations that share their name with another one, the person's or on the card. `more`: how many are
    not in `rows`."""

    rows: tuple[ReceivedInvitation, ...] = ()
    named_twice: frozenset[str] = frozenset()
    more: int = 0


def read(*, rows: int | None = None) -> Card:
    """The card of the signed-in person. Asks the database only if there may be invitations. rows: the limit, None for all."""
    signed_in = session_cookie.current_signed_in()
    if signed_in is None or not signed_in.has_invitations:
        return Card()
    return card_of(received_invitations.list_for(signed_in.user.id), signed_in.organizations, rows=rows)


def card_of(found: Sequence[ReceivedInvitation], own: Sequence[OrganizationInfo], *, rows: int | None = None) -> Card:
    names = {one.organization_id: one.organization for one in found} | {one.id: one.name for one in own}
    times = Counter(_shown(name) for name in names.values())
    named_twice = frozenset(one.slug for one in found if times[_shown(one.organization)] > 1)
    shown = tuple(found[:rows])
    return Card(shown, named_twice, len(found) - len(shown))


def _shown(name: str) -> str:
    return words.plain(name).casefold()


def joined(organization: str, role: str) -> str:
    """The text of the banner."""
    named = {"organization": words.plain(organization)}
    if role == "owner":
        return _("You joined %(organization)s as an owner.", **named)
    if role == "admin":
        return _("You joined %(organization)s as an admin.", **named)
    return _("You joined %(organization)s as a member.", **named)
