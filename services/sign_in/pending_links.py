"""An account at a provider whose address has a user already: linked once its owner has signed in as they always did.

It waits for one browser, which was refused with it, and for as long as a sign-in may take.
"""

import json
import uuid

from providers import ProviderAccount
from services.access.actors import Actor
from services.sign_in import browser_notes
from services.sign_in.account_owners import AccountExists
from services.users import identities

_NOTE = "pending-link"


def keep(actor: Actor, refusal: AccountExists, raw_browser: str) -> None:
    """Let the account wait for its owner in this browser; a later one replaces it."""
    note = {"user_id": str(refusal.owner_id), "account": refusal.account.to_values()}
    browser_notes.leave(actor, _NOTE, raw_browser, json.dumps(note).encode())


def find(user_id: uuid.UUID, raw_browser: str) -> ProviderAccount | None:
    """The account that this browser was refused with, when it now has its owner's session."""
    return _read(user_id, browser_notes.read(_NOTE, raw_browser))


def use(actor: Actor, user_id: uuid.UUID, raw_browser: str) -> None:
    """Link the account that waits, once; there may be none any more. Commits: yes.   Raises: SignInRefused."""
    if find(user_id, raw_browser) is None:
        return
    account = _read(user_id, browser_notes.read(_NOTE, raw_browser, take_away=True))
    if account is not None:
        identities.link(actor, user_id, account)


def _read(user_id: uuid.UUID, note: bytes | None) -> ProviderAccount | None:
    values = json.loads(note) if note else None
    if not values or values["user_id"] != str(user_id):
        return None
    return ProviderAccount.from_values(values["account"])
