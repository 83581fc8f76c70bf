"""Security emails: when an event of an account is mailed, to whom, and the link in each email.

The decision is made in the transaction of the change, one after the other for each account, so that it holds for any number of
workers. What was decided leaves with the commit, through the mail queue; a change that is rolled back mails nothing.
"""

import logging
import uuid
from datetime import timedelta

from sqlalchemy import event as events
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, SessionTransaction

from config import current
from extensions import db
from infra.clock import now
from infra.mailer import Letter
from infra.secret_text import hash_secret, new_secret
from models import AccountEvent, SecureLink, User
from services.access.actors import Actor
from services.activity import addresses
from services.database.transactions import wait_for_turn
from services.mail import delivery, letters
from services.validation.emails import email_key

log = logging.getLogger("gatepost.activity")

LINK_SECONDS = 7 * 86_400
WINDOW = timedelta(minutes=10)
A_DAY = timedelta(days=1)
MAX_A_DAY = 10
_ALWAYS = frozenset(
    {"address_changed", "identity_linked", "identity_unlinked", "account_secured"}
)  # they cannot flood: each takes a sign-in or a link
_NEVER = frozenset({"refresh_token_replayed"})  # listed only: it may be one device on two networks, at every expiry
_WAITING = "gatepost.security_letters"


def prepare(actor: Actor, event: AccountEvent) -> None:
    """Mail an event when its unit of work commits: the first of its kind in ten minutes, ten of a kind a day. Never commits."""
    if event.kind in _NEVER or not current().sends_mail:
        return
    user = db.session.get_one(User, event.user_id)
    if user.disabled_at is not None or (event.kind not in _ALWAYS and _was_mailed_lately(event)):
        return
    place = _place(actor, user)
    if event.kind == "account_secured":  # with such a link: this letter needs none, and goes to no address that was removed
        for address in addresses.verified_of(user).values():
            _put(letters.secured(place, to=address, activity_url=f"{current().public_url}/account/activity"))
        return
    for address in addresses.list_recipients(user):
        raw = new_secret()
        db.session.add(
            SecureLink(
                user_id=user.id,
                token_hash=hash_secret(raw),
                event_id=event.id,
                kind=event.kind,
                email_key=email_key(address),
                created_at=event.at,
                expires_at=event.at + timedelta(seconds=LINK_SECONDS),
            )
        )
        _put(
            letters.security(
                place,
                to=address,
                kind=event.kind,
                names=_names(event),
                provider=str(event.details.get("provider") or ""),
                at=event.at,
                ip=event.ip,
                url=_url(raw),
            )
        )
    db.session.flush()


def end_links_to(user_id: uuid.UUID, keys: list[str]) -> None:
    """The links that were mailed to these addresses open nothing any more. Inside another unit of work: never commits."""
    which = (SecureLink.user_id == user_id, SecureLink.email_key.in_(keys), SecureLink.used_at.is_(None))
    db.session.execute(update(SecureLink).where(*which).values(used_at=now()).execution_options(synchronize_session=False))


def _was_mailed_lately(event: AccountEvent) -> bool:
    """Whether there were too many emails of this kind. Whoever else records an event of this account waits until this unit of work ends."""
    wait_for_turn(f"security letters {event.user_id}")
    newest, number = db.session.execute(
        select(func.max(SecureLink.created_at), func.count(SecureLink.event_id.distinct())).where(
            SecureLink.user_id == event.user_id, SecureLink.kind == event.kind, SecureLink.created_at > event.at - A_DAY
        )
    ).one()
    return (newest is not None and newest > event.at - WINDOW) or number >= MAX_A_DAY


def _names(event: AccountEvent) -> dict[str, str]:
    """The names in the sentence of a letter that people chose."""
    return {name: str(event.details.get(name) or "") for name in ("name", "login")}


def _place(actor: Actor, user: User) -> letters.Place:
    """In the language that the person chose, else in that of the page on which they are acting."""
    own = actor.language if actor.user is not None and actor.user.id == user.id else None
    return letters.Place(current().host, user.language or own)


def _url(raw: str) -> str:
    return f"{current().public_url}/secure/{raw}"


# --- leaving with the commit ------------------------------------------------------------------------------------------


def _put(letter: Letter) -> None:
    db.session().info.setdefault(_WAITING, []).append(letter)


@events.listens_for(Session, "after_commit")
def _deliver(session: Session) -> None:
    """Mail that cannot be sent breaks nothing: the change stands, and so does its line on the activity page."""
    if session.in_nested_transaction():
        return
    waiting = session.info.pop(_WAITING, None)
    if waiting:
        try:
            delivery.deliver(waiting)
        except Exception:
            log.exception("security emails were not sent")


@events.listens_for(Session, "after_soft_rollback")
def _drop(session: Session, ended: SessionTransaction) -> None:
    if not ended.nested:
        session.info.pop(_WAITING, None)
