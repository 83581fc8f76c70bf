"""One-time sign-in links: for development, for recovery, and for the first administrator."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, exists, or_, select, update
from sqlalchemy.orm import aliased

from errors import Invalid, LinkFacts, LinkRefused, NotFound, SignInRefused
from extensions import db
from infra.clock import now
from infra.ids import parse_uuid
from infra.secret_text import hash_secret, new_secret
from models import SignInLink, User
from providers.base import clean_email
from services.access.actors import Actor
from services.activity import account_events
from services.audit import audit
from services.database.transactions import begin_write, wait_for_turn
from services.organizations import organizations
from services.sessions import user_sessions
from services.users import users

LINK_SECONDS = 600


class LinkEnded(LinkRefused):
    """Altered, used or expired: which of them is only the operator's business."""

    code = "sign_in_link_ended"
    message = "This sign-in link has ended. It works once, and for a short time. Ask for a new one."


@dataclass(frozen=True)
class LinkInfo:
    """What the page that confirms a link shows."""

    user_id: uuid.UUID
    email: str | None
    name: str


def create(actor: Actor, email_or_id: str, *, create: bool = False, seconds: int = LINK_SECONDS) -> str:
    """A link's raw token, shown once, for the person who has proved this address, or has this id. Commits: yes.

    create: make the person when there is none; the operator answers for the address.
    Raises: Invalid; NotFound without `create`; Conflict when the address is claimed and nobody has proved it.
    """
    address = clean_email(email_or_id)
    if address is None and parse_uuid(email_or_id) is None:
        raise Invalid("That is not an address.", fields={"email": "That is not an address."})
    begin_write()
    if create:
        wait_for_turn("sign-in-link")  # the same command on another replica creates the same user
    is_known = True
    try:
        user = users.get_proved(address or email_or_id)
    except NotFound:
        if address is None or not create:
            db.session.rollback()
            raise
        is_known = False
        user = users.add(actor, email=address, email_verified=True, name=address.partition("@")[0], by_operator=True)
    raw = new_secret()
    db.session.add(SignInLink(user_id=user.id, token_hash=hash_secret(raw), expires_at=now() + timedelta(seconds=seconds)))
    audit.record(actor, "sign_in_link.created", target_type="user", target_id=user.id)
    if is_known:
        account_events.record(actor, user.id, "sign_in_link_created")
    db.session.commit()
    return raw


def get_info(raw: str) -> LinkInfo:
    """Who a link signs in; looking does not use it. Raises LinkEnded."""
    row = db.session.execute(
        select(User.id, User.email, User.name).join(SignInLink, SignInLink.user_id == User.id).where(*_works(raw, now()))
    ).first()
    if row is None:
        raise _ended(raw)
    return LinkInfo(row.id, row.email, row.name)


def use(
    actor: Actor, raw: str, *, handoff: str | None = None, raw_session: str | None = None, raw_browser: str | None = None
) -> tuple[uuid.UUID, str]:
    """Sign in with a link, once; who it is, and the raw value of the new session. Commits: yes, before the session begins.

    The link that a fresh server prints makes its person administrator, and ends when there is one.

    Raises: LinkEnded; SignInRefused account_disabled, and then the link is not spent.
    """
    begin_write()
    moment = now()
    if db.session.scalar(select(SignInLink.is_bootstrap).where(SignInLink.token_hash == hash_secret(raw))):
        wait_for_turn("administrators")
    used = db.session.execute(
        update(SignInLink).where(*_works(raw, moment)).values(used_at=moment).returning(SignInLink.user_id, SignInLink.is_bootstrap)
    ).first()
    if used is None:
        db.session.rollback()
        raise _ended(raw)
    user_id, is_bootstrap = used
    user = db.session.get_one(User, user_id)
    if user.disabled_at is not None:
        db.session.rollback()
        raise SignInRefused("account_disabled", user_id=user_id)
    organizations.add_personal(actor, user)
    if is_bootstrap and not user.is_admin:
        user.is_admin, user.updated_at = True, moment
        audit.record(actor, "user.made_admin", target_type="user", target_id=user_id)
    audit.record(actor, "sign_in_link.used", target_type="user", target_id=user_id)
    db.session.commit()
    began_ms = int(moment.timestamp() * 1000)
    raw_new = user_sessions.start(
        actor,
        user_id=user_id,
        provider=user_sessions.BY_LINK,
        handoff=handoff,
        replaces=raw_session,
        raw_browser=raw_browser,
        began_ms=began_ms,
    )
    return user_id, raw_new


def _ended(raw: str) -> LinkEnded:
    found = select(SignInLink.user_id, SignInLink.used_at, SignInLink.expires_at).where(SignInLink.token_hash == hash_secret(raw))
    row = db.session.execute(found).first()
    if row is None:
        return LinkEnded()
    why = "used" if row.used_at else "expired" if row.expires_at <= now() else "administrator_exists"
    return LinkEnded(LinkFacts(user_id=row.user_id, why=why))


def _works(raw: str, moment: datetime) -> tuple[ColumnElement[bool], ...]:
    """Known, not used, not expired; the first administrator's link only while there is none."""
    others = aliased(User)
    is_wanted = or_(~SignInLink.is_bootstrap, ~exists().where(others.is_admin))
    return SignInLink.token_hash == hash_secret(raw), SignInLink.used_at.is_(None), SignInLink.expires_at > moment, is_wanted
