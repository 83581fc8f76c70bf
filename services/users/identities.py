"""Ways to sign in. The key is (provider, issuer, subject); an identity is never linked by address."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from config import current
from errors import Conflict, NotFound, SignInRefused
from extensions import db
from infra.clock import now
from infra.ids import uuid7
from models import Identity, User
from providers import ProviderAccount
from services.access.actors import Actor
from services.activity import account_events, addresses
from services.audit import audit
from services.database.transactions import begin_write
from services.encryption.keyring import cipher
from services.users import users

SECONDS_UNTIL_IT_CONFIRMS = 86_400


@dataclass(frozen=True)
class IdentityInfo:
    """One way to sign in, as its person sees it. can_confirm: whether a sign-in with it confirms who they are. is_last: without it they
    could not sign in."""

    id: uuid.UUID
    provider_id: str
    label: str
    login: str
    email: str | None
    email_verified: bool
    supplies_email: bool
    created_at: datetime
    last_sign_in_at: datetime | None
    can_confirm: bool = True
    is_last: bool = False


def label_of(provider_id: str) -> str:
    """What people call a provider, also one that the settings do not know any more."""
    settings = current().find_provider(provider_id)
    return settings.label if settings else {"github": "GitHub", "google": "Google"}.get(provider_id, provider_id)


def list_for(user_id: uuid.UUID) -> list[IdentityInfo]:
    rows = db.session.scalars(select(Identity).where(Identity.user_id == user_id).order_by(Identity.id)).all()
    return [
        IdentityInfo(
            id=row.id,
            provider_id=row.provider,
            label=label_of(row.provider),
            login=row.login,
            email=row.email,
            email_verified=row.email_verified,
            supplies_email=row.supplies_email,
            created_at=row.created_at,
            last_sign_in_at=row.last_sign_in_at,
            can_confirm=can_confirm(row),
            is_last=is_last(row, rows),
        )
        for row in rows
    ]


def find(account: ProviderAccount) -> Identity | None:
    return db.session.scalar(
        select(Identity).where(
            Identity.provider == account.provider_id, Identity.issuer == account.issuer, Identity.subject == account.subject
        )
    )


def is_usable(identity: Identity) -> bool:
    """Whether anybody can sign in with it: its provider is in the settings, with its issuer."""
    settings = current().find_provider(identity.provider)
    return settings is not None and settings.identity_issuer == identity.issuer


def list_usable(user_id: uuid.UUID) -> list[str]:
    """The providers with which a person can sign in."""
    rows = db.session.scalars(select(Identity).where(Identity.user_id == user_id).order_by(Identity.id))
    return list(dict.fromkeys(row.provider for row in rows if is_usable(row)))


def is_last(identity: Identity, of_person: Sequence[Identity]) -> bool:
    """Whether no way in of the person would be left without it."""
    others = [row for row in of_person if row.id != identity.id]
    return not others or (is_usable(identity) and not any(map(is_usable, others)))


def can_confirm(identity: Identity | None) -> bool:
    """Whether a sign-in with it confirms who its person is; one that is gone confirms nothing. One that was added to others does so after
    a day, so that a thief who links an account in a stolen session is not taken for the person before they can notice."""
    return identity is not None and (identity.confirms_from is None or identity.confirms_from <= now())


def add(actor: Actor, user: User, account: ProviderAccount, *, supplies_email: bool) -> Identity:
    """Give a person another way to sign in. Inside another unit of work: never commits."""
    identity = Identity(
        id=uuid7(),
        user_id=user.id,
        provider=account.provider_id,
        issuer=account.issuer,
        subject=account.subject,
        supplies_email=supplies_email,
    )
    _follow(identity, account)
    db.session.add(identity)
    db.session.flush()
    audit.record(
        actor,
        "identity.linked",
        target_type="identity",
        target_id=identity.id,
        details={"provider": account.provider_id, "user": str(user.id)},
    )
    return identity


def follow(actor: Actor, identity: Identity, account: ProviderAccount) -> None:
    """Take over what the provider says now: address, verified flag, login name, tokens. Never commits."""
    before = (identity.email, identity.email_verified)
    is_same = before == (account.email, bool(account.email) and account.email_verified)
    is_same = is_same and not (identity.supplies_email and identity.user.email != account.email)
    known = {} if is_same else addresses.verified_of(identity.user)
    primary = identity.user.email
    _follow(identity, account)
    if identity.supplies_email:
        users.follow_address(actor, identity.user, email=account.email, email_verified=account.email_verified)
    if not is_same:
        addresses.note_changes(identity.user, known)
        if not _report_address(actor, identity.user, primary) and identity.email_verified and _are_different(before[0], identity.email):
            account_events.record(
                actor, identity.user_id, "address_changed", before=before[0], after=identity.email, provider=label_of(identity.provider)
            )


def _report_address(actor: Actor, user: User, before: str | None) -> bool:
    """Report that the person's own address is another one now; whether it is."""
    is_another = bool(user.email_verified and _are_different(before, user.email))
    if is_another:
        addresses.note_own(user, before)
        account_events.record(actor, user.id, "address_changed", before=before, after=user.email)
    return is_another


def _are_different(before: str | None, after: str | None) -> bool:
    return users.email_key(before or "") != users.email_key(after or "")


def _follow(identity: Identity, account: ProviderAccount) -> None:
    tokens, seal = account.tokens, cipher().encrypt
    identity.login, identity.email = account.login, account.email
    identity.email_verified = bool(account.email) and account.email_verified
    if tokens.access_token:
        identity.access_token_ciphertext = seal(tokens.access_token.encode(), context=context_of(identity.id, "access_token"))
        identity.token_scope = tokens.scope
        identity.token_expires_at = datetime.fromtimestamp(tokens.expires_at, UTC) if tokens.expires_at else None
    if tokens.refresh_token:
        identity.refresh_token_ciphertext = seal(tokens.refresh_token.encode(), context=context_of(identity.id, "refresh_token"))


def context_of(identity_id: uuid.UUID, token: str) -> str:
    """What a stored token of a provider is bound to: its row, and which of both it is."""
    return f"identities:{identity_id}:{token}"


def link(actor: Actor, user_id: uuid.UUID, account: ProviderAccount) -> None:
    """Link an account at a provider to a signed-in person. Twice is no error. Commits: yes.

    Raises: SignInRefused identity_in_use when it is somebody else's here.
    """
    begin_write()
    identity = find(account)
    if identity is not None and identity.user_id != user_id:
        db.session.rollback()
        raise SignInRefused("identity_in_use", detail=f"identity {identity.id}")
    if identity is not None:
        follow(actor, identity, account)
    else:
        user = _get_user(user_id)
        has_other = db.session.scalar(select(Identity.id).where(Identity.user_id == user_id).limit(1)) is not None
        known = addresses.verified_of(user)
        try:
            identity = add(actor, user, account, supplies_email=_nobody_supplies(user) and _is_address_of(user, account))
        except IntegrityError as error:  # somebody was linked to it, or created by it, in this very moment
            db.session.rollback()
            raise SignInRefused("identity_in_use") from error
        identity.confirms_from = now() + timedelta(seconds=SECONDS_UNTIL_IT_CONFIRMS) if has_other else None
        addresses.note_changes(user, known)
        _report(actor, "identity_linked", identity)
    db.session.commit()


def _report(actor: Actor, kind: Literal["identity_linked", "identity_unlinked"], identity: Identity) -> None:
    provider, login = label_of(identity.provider), identity.login or identity.email or ""
    account_events.record(actor, identity.user_id, kind, provider=provider, login=login, identity=str(identity.id))


def unlink(actor: Actor, user_id: uuid.UUID, identity_id: uuid.UUID) -> None:
    """Remove a way to sign in; the last one stays. Commits: yes.   Raises NotFound; Conflict last_identity."""
    begin_write()
    user = _get_user(user_id)
    identity = _get(user_id, identity_id)
    if is_last(identity, db.session.scalars(select(Identity).where(Identity.user_id == user_id)).all()):
        db.session.rollback()
        raise Conflict("It is your only way to sign in.", code="last_identity")
    _unlink(actor, user, identity)
    db.session.commit()


def unscoped_unlink(actor: Actor, user: User, provider_id: str) -> int:
    """Remove a person's ways to sign in with a provider, the last one too; how many. For operators, inside another unit of work: never
    commits."""
    rows = db.session.scalars(select(Identity).where(Identity.user_id == user.id, Identity.provider == provider_id)).all()
    for identity in rows:
        _unlink(actor, user, identity)
    return len(rows)


def unscoped_unlink_one(actor: Actor, identity: Identity) -> None:
    """The same for one identity. For operators, inside another unit of work: never commits."""
    _unlink(actor, identity.user, identity)


def _unlink(actor: Actor, user: User, identity: Identity) -> None:
    known = addresses.verified_of(user)
    remove(actor, identity)
    if identity.supplies_email:
        pass_on_address(user)
    addresses.note_changes(user, known)
    addresses.note_own(user, identity.email, was_own=False)
    _report(actor, "identity_unlinked", identity)


def choose_email(actor: Actor, user_id: uuid.UUID, identity_id: uuid.UUID) -> None:
    """Let this identity supply the person's address from now on. Commits: yes.   Raises NotFound; Conflict."""
    begin_write()
    user = _get_user(user_id)
    chosen = _get(user_id, identity_id)
    owner = users.find_verified(chosen.email) if chosen.email else None
    if not chosen.email or not chosen.email_verified or (owner is not None and owner.id != user_id):
        db.session.rollback()
        raise Conflict("That address cannot be used: it is not verified, or it is another account's.", code="address_not_usable")
    for identity in db.session.scalars(select(Identity).where(Identity.user_id == user_id, Identity.supplies_email)):
        identity.supplies_email = False
    db.session.flush()
    chosen.supplies_email = True
    known, before = addresses.verified_of(user), user.email
    users.follow_address(actor, user, email=chosen.email, email_verified=True)
    addresses.note_changes(user, known)
    _report_address(actor, user, before)
    db.session.commit()


def remove(actor: Actor, identity: Identity) -> None:
    """Take a way to sign in away without asking whether it is the last. Inside another unit of work: never commits."""
    db.session.delete(identity)
    db.session.flush()
    audit.record(actor, "identity.unlinked", target_type="identity", target_id=identity.id, details={"provider": identity.provider})


def drop_addresses(user: User, keys: Collection[str]) -> None:
    """These addresses are no longer the account's, until their providers confirm them again. Inside another unit of work: never
    commits."""
    for identity in db.session.scalars(select(Identity).where(Identity.user_id == user.id, Identity.email_verified)):
        if users.email_key(identity.email or "") in keys:
            identity.email_verified = identity.supplies_email = False
    db.session.flush()


def pass_on_address(user: User) -> None:
    """If no identity supplies the address now, let one with the same address take over; without one it stays as it is. Inside another
    unit of work: never commits."""
    if not _nobody_supplies(user):
        return
    for identity in db.session.scalars(select(Identity).where(Identity.user_id == user.id).order_by(Identity.id)):
        if identity.email and users.email_key(identity.email) == user.email_key:
            identity.supplies_email = True
            return


def _nobody_supplies(user: User) -> bool:
    return db.session.scalar(select(Identity.id).where(Identity.user_id == user.id, Identity.supplies_email)) is None


def _is_address_of(user: User, account: ProviderAccount) -> bool:
    return bool(account.email) and account.email_verified and users.email_key(account.email or "") == user.email_key


def _get(user_id: uuid.UUID, identity_id: uuid.UUID) -> Identity:
    identity = db.session.scalar(select(Identity).where(Identity.user_id == user_id, Identity.id == identity_id))
    if identity is None:
        db.session.rollback()
        raise NotFound()
    return identity


def _get_user(user_id: uuid.UUID) -> User:
    """The person, locked: what two requests decide about one person's identities happens one after the other."""
    user = db.session.scalar(select(User).where(User.id == user_id).with_for_update())
    if user is None:
        raise NotFound()
    users.refuse_while_secured(user.secured_at)
    return user


def touch(identity: Identity) -> None:
    """Remember the sign-in. Never commits."""
    identity.last_sign_in_at = now()
