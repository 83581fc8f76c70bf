"""The card with a person's open invitations, and the banner after they joined an organization."""

from collections.abc import Sequence
from dataclasses import dataclass

from flask_babel import gettext as _

from blueprints import session_cookie
from blueprints.html import words
from services.access.actors import OrganizationInfo, UserInfo
from services.organizations import received_invitations
from services.organizations.received_invitations import ReceivedInvitation, Waiting
from services.validation.emails import email_key

ROWS = 5


@dataclass(frozen=True)
class Card:
    """`namesakes`: slugs of organizations that have the name of another one, the person's or on the card. `others`: the addresses that
    are not the person's own. `more`: how many are not in `rows`; `has_older`: besides those that are counted."""

    rows: tuple[ReceivedInvitation, ...] = ()
    namesakes: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()
    more: int = 0
    has_older: bool = False


def read(*, rows: int | None = None) -> Card:
    """The card of the signed-in person. Asks the database only if there may be invitations. rows: the limit, None for all."""
    signed_in = session_cookie.current_signed_in()
    if signed_in is None or not signed_in.has_invitations:
        return Card()
    return card_of(received_invitations.list_for(signed_in.user.id), signed_in.user, signed_in.organizations, rows=rows)


def card_of(waiting: Waiting, person: UserInfo, own: Sequence[OrganizationInfo], *, rows: int | None = None) -> Card:
    inviting = [OrganizationInfo(one.organization_id, one.slug, one.organization, one.role) for one in waiting.rows]
    namesakes = frozenset(words.shared_names([*inviting, *own]))
    others = frozenset(one.email for one in waiting.rows if not is_own(one.email, person))
    shown = tuple(waiting.rows[:rows])
    return Card(shown, namesakes, others, len(waiting.rows) - len(shown), waiting.has_more)


def is_own(email: str, person: UserInfo) -> bool:
    """Whether it is the person's own address, not that of an account that they have linked."""
    return email_key(email) == email_key(person.email or "")


def joined(organization: str, role: str) -> str:
    """The text of the banner."""
    named = {"organization": words.plain(organization, words.LABEL_LENGTH)}
    if role == "owner":
        return _("You joined %(organization)s as an owner.", **named)
    if role == "admin":
        return _("You joined %(organization)s as an admin.", **named)
    return _("You joined %(organization)s as a member.", **named)
