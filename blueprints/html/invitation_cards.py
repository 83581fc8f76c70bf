"""The card with a person's open invitations, and the banner after they joined an organization."""

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
    """`namesakes`: slugs of organizations that have the name of another one, the person's or on the card. `more`: how many are not in
    `rows`."""

    rows: tuple[ReceivedInvitation, ...] = ()
    namesakes: frozenset[str] = frozenset()
    more: int = 0


def read(*, rows: int | None = None) -> Card:
    """The card of the signed-in person. Asks the database only if there may be invitations. rows: the limit, None for all."""
    signed_in = session_cookie.current_signed_in()
    if signed_in is None or not signed_in.has_invitations:
        return Card()
    return card_of(received_invitations.list_for(signed_in.user.id), signed_in.organizations, rows=rows)


def card_of(found: Sequence[ReceivedInvitation], own: Sequence[OrganizationInfo], *, rows: int | None = None) -> Card:
    inviting = [OrganizationInfo(one.organization_id, one.slug, one.organization, one.role) for one in found]
    namesakes = frozenset(words.shared_names([*inviting, *own]))
    shown = tuple(found[:rows])
    return Card(shown, namesakes, len(found) - len(shown))


def joined(organization: str, role: str) -> str:
    """The text of the banner."""
    named = {"organization": words.plain(organization, words.LABEL_LENGTH)}
    if role == "owner":
        return _("You joined %(organization)s as an owner.", **named)
    if role == "admin":
        return _("You joined %(organization)s as an admin.", **named)
    return _("You joined %(organization)s as a member.", **named)
