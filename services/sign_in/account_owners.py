"""Whose an account at a provider is: a known person, or a new one who may sign up. Never found by address alone."""

import uuid
from dataclasses import replace

from sqlalchemy.exc import IntegrityError

from config import current
from errors import RefusalReason, SignInRefused, Unavailable
from extensions import db
from models import Identity, User
from providers import ProviderAccount
from services.access.actors import Actor
from services.database.transactions import begin_write
from services.organizations import organizations, received_invitations
from services.users import identities, users

_ATTEMPTS = 4


class AccountExists(SignInRefused):
    """The verified address is another user's: they may link the account after signing in as they always did.

    If they can do that only with the provider that has just refused them, or with none that is configured, it would be a circle: the
    provider moved, or its ids changed, and only an operator can help.
    """

    def __init__(self, owner_id: uuid.UUID, account: ProviderAccount, *, has_identities: bool, provider_ids: list[str]) -> None:
        ways = [provider_id for provider_id in provider_ids if provider_id != account.provider_id]
        reason: RefusalReason = "unreachable" if has_identities and not ways else ""
        super().__init__("account_exists", email=account.email or "", provider_ids=ways, reason=reason)
        self.owner_id = owner_id
        self.account = account


class _MadeMeanwhile(Exception):
    """Another sign-in of the same account made its user between our two looks."""


def resolve(actor: Actor, account: ProviderAccount, *, keeps_proof: bool) -> uuid.UUID:
    """The user behind an account, made when they may be. Two first sign-ins at once: the second one sees the first.

    keeps_proof: an address that was confirmed by mail before stays verified.   Commits: yes, also what the provider says
    now of somebody who is refused.   Raises: SignInRefused (AccountExists); Unavailable.
    """
    for _ in range(_ATTEMPTS):
        try:
            return _resolve_once(actor, account, keeps_proof=keeps_proof)
        except (IntegrityError, _MadeMeanwhile):
            db.session.rollback()
    raise Unavailable(detail="sign-ins of one person kept meeting")


def _resolve_once(actor: Actor, account: ProviderAccount, *, keeps_proof: bool) -> uuid.UUID:
    begin_write()
    identity = identities.find(account)
    if identity is None:
        user = _new_user(actor, account)
    else:
        if keeps_proof and _is_proved_already(identity, account):
            account = replace(account, email_verified=True)
        user = identity.user
        identities.follow(actor, identity, account)
        if refusal := _refusal(user, account):
            db.session.commit()
            raise refusal
        identities.touch(identity)
    organizations.add_personal(actor, user, login=account.login)
    db.session.commit()
    return user.id


def _refusal(user: User, account: ProviderAccount) -> SignInRefused | None:
    """Why a known person does not come in."""
    if user.disabled_at is not None:
        return SignInRefused("account_disabled", email=account.email or "")
    return _refused_address(account)


def _refused_address(account: ProviderAccount) -> SignInRefused | None:
    if not account.email:
        return SignInRefused("email_is_missing")
    return None if account.email_verified else SignInRefused("email_not_verified", email=account.email)


def _is_proved_already(identity: Identity, account: ProviderAccount) -> bool:
    """Whether this very address was confirmed by mail before."""
    same = bool(identity.email and account.email) and users.email_key(identity.email or "") == users.email_key(account.email or "")
    return same and identity.email_verified


def _new_user(actor: Actor, account: ProviderAccount) -> User:
    """A user for an account seen for the first time; never one who has the same address."""
    if refusal := _refused_address(account):
        db.session.rollback()
        raise refusal
    email = account.email or ""
    owner = users.find_verified(email)
    if owner is not None:
        if identities.find(account) is not None:
            raise _MadeMeanwhile()
        has_identities, usable = bool(identities.list_for(owner.id)), identities.list_usable(owner.id)
        refused = AccountExists(owner.id, account, has_identities=has_identities, provider_ids=usable)
        db.session.rollback()
        raise refused
    if not may_sign_up(email, account.hosted_domain):
        db.session.rollback()
        reason: RefusalReason = "personal_account" if may_sign_up(email) else ""
        raise SignInRefused("signup_not_allowed", email=email, reason=reason)
    user = users.add(actor, email=email, email_verified=True, name=account.name or account.login)
    identity = identities.add(actor, user, account, supplies_email=True)
    identities.touch(identity)
    return user


def may_sign_up(email: str, hosted_domain: str | None = None) -> bool:
    """Whether the allowlist lets this address create an account; an empty list lets everybody, an invitation anybody.

    hosted_domain: where the provider tells, a listed domain must also run the account. The list may name several of one company.
    """
    allowed, key = current().signup_allowlist, users.email_key(email)
    domains = ["@" + key.rpartition("@")[2], *([] if hosted_domain is None else ["@" + hosted_domain])]
    return not allowed or key in allowed or all(domain in allowed for domain in domains) or received_invitations.is_open_for(email)
