"""An account at a provider that waits to be linked to one person: they came back with it, or were refused with it because the address
is theirs and have signed in since as they always did. A page names it, and its form links it.

It waits in one browser, for that person, and for as long as a sign-in may take.
"""

import json
import uuid

from infra.secret_text import hex_hash
from providers import ProviderAccount
from services.access.actors import Actor
from services.sign_in import browser_notes
from services.users import identities

_NOTE = "pending-link"


def keep(actor: Actor, owner_id: uuid.UUID, account: ProviderAccount, raw_browser: str) -> None:
    """Let the account wait for its owner in this browser; a later one replaces it."""
    note = {"user_id": str(owner_id), "account": account.to_values()}
    browser_notes.leave(actor, _NOTE, raw_browser, json.dumps(note).encode())


def find(user_id: uuid.UUID, raw_browser: str) -> ProviderAccount | None:
    """The account that waits in this browser, when the browser has its owner's session."""
    return _read(user_id, browser_notes.read(_NOTE, raw_browser))


def name_of(account: ProviderAccount) -> str:
    """What tells one account that waits from another one, for the form that names it."""
    return hex_hash("\0".join((account.provider_id, account.issuer, account.subject)))


def use(actor: Actor, user_id: uuid.UUID, raw_browser: str, *, name: str) -> ProviderAccount | None:
    """Link the account that waits, once; None when it does not wait any more, or another one does. Commits: yes.

    name: `name_of` the account that the person was shown.   Raises: SignInRefused.
    """
    waiting = find(user_id, raw_browser)
    if waiting is None or name_of(waiting) != name:
        return None
    account = _read(user_id, browser_notes.read(_NOTE, raw_browser, take_away=True))
    if account is not None and name_of(account) == name:
        identities.link(actor, user_id, account)
    return account


def _read(user_id: uuid.UUID, note: bytes | None) -> ProviderAccount | None:
    values = json.loads(note) if note else None
    if not values or values["user_id"] != str(user_id):
        return None
    return ProviderAccount.from_values(values["account"])
