"""Addresses that a provider does not vouch for, confirmed by mail (EMAIL_TRUST = mail).

Only the browser that began is ever signed in. Elsewhere the link shows eight characters to type there: else a stranger's
sign-in would gain the reader's address.
"""

import hashlib
import hmac
import json
import uuid
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import Literal

from sqlalchemy import ColumnElement, func, select, update

from config import current
from errors import KeysUnreadable, LinkFacts, LinkRefused, SignInRefused, Unavailable
from extensions import db, redis
from infra import recurrences
from infra.cipher import CannotDecrypt
from infra.clock import now, now_ms
from infra.ids import uuid7
from infra.records import from_values
from infra.secret_text import hash_secret, new_secret
from models import EmailConfirmation
from providers import ProviderAccount
from services.access.actors import Actor
from services.audit import audit
from services.database.transactions import begin_write, wait_for_turn
from services.encryption.keyring import cipher
from services.mail import delivery, letters
from services.sessions.user_sessions import SignInTime
from services.sign_in import pending_links
from services.sign_in.journeys import Journey
from services.users import identities, users

CONFIRMATION_SECONDS = 86_400
MAX_TRIES = 5
_LETTERS_AN_HOUR = 5  # to one address
_LETTERS_A_DAY = 20  # because of one account at a provider: its person may say there that any address is theirs
_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
_CODE_LENGTH = 8


class ConfirmationEnded(LinkRefused):
    """Altered, used, expired, or tried too often."""

    code, message = "confirmation_ended", "This link is no longer valid. Sign in again to get a new one."


@dataclass(frozen=True)
class ConfirmationInfo:
    """What the pages show. `code` only where the link was opened in another browser."""

    place: Literal["here", "elsewhere"]
    provider_label: str
    login: str
    email: str
    code: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Confirmed:
    """A sign-in that may go on: the account, its address now proved, when it signed in, and where it was going."""

    account: ProviderAccount
    time: SignInTime
    handoff: str | None
    next_path: str | None


def begin(actor: Actor, account: ProviderAccount, time: SignInTime, *, raw_browser: str, journey: Journey) -> None:
    """Mail a confirmation link to the account's address, in the language of whoever has it here, else of the page where it
    began. Commits: yes, before the letter is handed over.

    Raises: SignInRefused rate_limited after five letters an hour to one address, or twenty a day because of one account; Unavailable
    when too many letters are waiting.
    """
    email = account.email or ""
    if _count_today(account) > _LETTERS_A_DAY:
        raise SignInRefused("rate_limited", detail="letters because of one account", email=email)
    begin_write()
    wait_for_turn(f"confirmation {users.email_key(email)}")
    if _letters_lately(email) >= _LETTERS_AN_HOUR:
        db.session.rollback()
        raise SignInRefused("rate_limited", detail="too many emails to one address", email=email)
    raw, confirmation_id = new_secret(), uuid7()
    db.session.add(
        EmailConfirmation(
            id=confirmation_id,
            token_hash=hash_secret(raw),
            browser_hash=hash_secret(raw_browser),
            provider=account.provider_id,
            login=account.login or account.name or account.subject,
            email=email,
            claims_ciphertext=cipher().encrypt(_claims(account, time), context=context_of(confirmation_id)),
            handoff=journey.handoff,
            next_path=journey.next_path,
            code_hash=hash_secret(_code(raw)),
            expires_at=now() + timedelta(seconds=CONFIRMATION_SECONDS),
        )
    )
    audit.record(actor, "email_confirmation.requested", target_type="email_confirmation", target_id=confirmation_id)
    owner = users.find_verified(email)
    language = (owner.language if owner else None) or journey.language
    db.session.commit()
    _send(account, raw, language)


def get_info(raw: str, *, raw_browser: str | None) -> ConfirmationInfo:
    """What a link is about; looking uses nothing, mail scanners look too. Raises ConfirmationEnded."""
    row = db.session.scalar(select(EmailConfirmation).where(EmailConfirmation.token_hash == hash_secret(raw), *_is_live()))
    if row is None:
        raise _ended(EmailConfirmation.token_hash == hash_secret(raw))
    is_here = raw_browser is not None and hmac.compare_digest(row.browser_hash, hash_secret(raw_browser))
    code = None if is_here else f"{_code(raw)[:4]}-{_code(raw)[4:]}"
    return ConfirmationInfo("here" if is_here else "elsewhere", identities.label_of(row.provider), row.login, row.email, code)


def find_waiting(raw_browser: str) -> ConfirmationInfo | None:
    """The newest address that this browser waits for."""
    row = _newest(raw_browser)
    return ConfirmationInfo("here", identities.label_of(row.provider), row.login, row.email) if row else None


def use(actor: Actor, raw: str, *, raw_browser: str) -> Confirmed:
    """Confirm by the mailed link, once, in the browser that began. Commits: yes.   Raises ConfirmationEnded."""
    return _use(actor, EmailConfirmation.token_hash == hash_secret(raw), EmailConfirmation.browser_hash == hash_secret(raw_browser))


def use_code(actor: Actor, typed: str, *, raw_browser: str) -> Confirmed | None:
    """Confirm by the code shown elsewhere; None for a wrong one. Every try counts, five at most. Commits: yes.

    Raises: ConfirmationEnded.
    """
    begin_write()
    row = _newest(raw_browser)
    if row is None or not _count_try(row.id):
        db.session.rollback()
        raise _ended(EmailConfirmation.browser_hash == hash_secret(raw_browser))
    code_hash = hash_secret("".join(typed.upper().split()).replace("-", "")[:64])
    if not hmac.compare_digest(row.code_hash or b"", code_hash):
        audit.record(
            actor,
            "email_confirmation.tried",
            target_type="email_confirmation",
            target_id=row.id,
            outcome="refused",
            details={"email": users.email_key(row.email), "provider": row.provider},
        )
        db.session.commit()
        return None
    return _use(actor, EmailConfirmation.id == row.id)


def _ended(*which: ColumnElement[bool]) -> ConfirmationEnded:
    """About the newest of `which`, whatever became of it."""
    row = db.session.scalar(select(EmailConfirmation).where(*which).order_by(EmailConfirmation.id.desc()).limit(1))
    if row is None:
        return ConfirmationEnded()
    why = "used" if row.used_at else "expired" if row.expires_at <= now() else "wrong_codes" if row.tries >= MAX_TRIES else "other_browser"
    return ConfirmationEnded(LinkFacts(email=row.email, why=why, provider_id=row.provider))


def _use(actor: Actor, *which: ColumnElement[bool]) -> Confirmed:
    begin_write()
    row = db.session.scalar(update(EmailConfirmation).where(*which, *_is_live()).values(used_at=now()).returning(EmailConfirmation))
    if row is None:
        db.session.rollback()
        raise _ended(which[0])
    try:
        kept = json.loads(cipher().decrypt(row.claims_ciphertext, context=context_of(row.id)))
    except CannotDecrypt as error:
        db.session.rollback()  # it is not used up
        raise KeysUnreadable(detail=str(error)) from error
    account = replace(ProviderAccount.from_values(kept), email_verified=True)
    confirmed = Confirmed(account, from_values(SignInTime, kept["time"]), row.handoff, row.next_path)
    audit.record(actor, "email_confirmation.used", target_type="email_confirmation", target_id=row.id)
    db.session.commit()
    return confirmed


def context_of(confirmation_id: uuid.UUID) -> str:
    """What the stored claims are bound to: their row."""
    return f"email_confirmations:{confirmation_id}:claims"


def _count_try(confirmation_id: uuid.UUID) -> bool:
    """One conditional UPDATE, so that many tries at once are counted one by one."""
    result = db.session.execute(
        update(EmailConfirmation)
        .where(EmailConfirmation.id == confirmation_id, EmailConfirmation.tries < MAX_TRIES, *_is_live())
        .values(tries=EmailConfirmation.tries + 1)
        .execution_options(synchronize_session=False)
    )
    return result.rowcount == 1


def _newest(raw_browser: str) -> EmailConfirmation | None:
    return db.session.scalar(
        select(EmailConfirmation)
        .where(EmailConfirmation.browser_hash == hash_secret(raw_browser), *_is_live())
        .order_by(EmailConfirmation.id.desc())
        .limit(1)
    )


def _is_live() -> tuple[ColumnElement[bool], ...]:
    return EmailConfirmation.used_at.is_(None), EmailConfirmation.expires_at > now()


def _count_today(account: ProviderAccount) -> int:
    """How often this account has wanted a letter today, this time included. In Redis, since the letter's row does not tell whose it is."""
    today = now_ms() // (86_400 * 1000)
    return recurrences.count(redis.client, f"confirmations:{pending_links.name_of(account)}:{today}").times


def _letters_lately(email: str) -> int:
    """Letters to one address in the last hour, so that nobody's mailbox is filled from here."""
    an_hour_ago = now() - timedelta(hours=1) + timedelta(seconds=CONFIRMATION_SECONDS)
    rows = db.session.scalars(
        select(EmailConfirmation.email).where(
            EmailConfirmation.expires_at > an_hour_ago, func.length(EmailConfirmation.email) == len(email)
        )
    )
    return sum(users.email_key(row) == users.email_key(email) for row in rows)


def _claims(account: ProviderAccount, time: SignInTime) -> bytes:
    """What is kept for the sign-in to go on with, the provider's tokens too."""
    return json.dumps({**account.to_values(), "time": asdict(time)}).encode()


def _code(raw: str) -> str:
    """The code of a link. Made from the token, so that looking at the page stores nothing."""
    number = int.from_bytes(hashlib.sha256(b"gatepost/confirmation-code\0" + raw.encode("utf-8", "surrogatepass")).digest())
    drawn = []
    for _ in range(_CODE_LENGTH):
        number, rest = divmod(number, len(_ALPHABET))
        drawn.append(_ALPHABET[rest])
    return "".join(drawn)


def _send(account: ProviderAccount, raw: str, language: str | None) -> None:
    settings = current()
    letter = letters.confirmation(
        letters.Place(settings.host, language),
        to=account.email or "",
        provider=identities.label_of(account.provider_id),
        login=account.login,
        url=f"{settings.public_url}/login/confirm/{raw}",
    )
    if not delivery.deliver([letter]):
        raise Unavailable("The confirmation email could not be sent. Try again.", detail="too many emails are waiting")
