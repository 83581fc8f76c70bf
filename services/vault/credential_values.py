"""One value of a credential: what it may be, and how it is sealed. docs/encryption.md.

The associated data names owner, name and version: a sealed value that is moved to another row, scope or version does not
open.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from errors import Invalid
from infra.cipher import CannotDecrypt, Cipher, Envelope
from services.encryption.keyring import cipher
from services.vault.credential_scope import Owner

MAX_BYTES = 64 * 1024
MAX_FIELDS = 32
LAST_FOUR_FROM = 16
_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}", re.ASCII)
_FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)

Raw = str | dict[str, str]


@dataclass(frozen=True)
class Value:
    """One text, or several named ones."""

    raw: Raw = field(repr=False)

    @property
    def field_names(self) -> list[str] | None:
        return None if isinstance(self.raw, str) else list(self.raw)

    @property
    def last_four(self) -> str | None:
        """For people to tell values apart; only where what stays unknown is long enough."""
        return self.raw[-4:] if isinstance(self.raw, str) and len(self.raw) >= LAST_FOUR_FROM else None


def is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def check_name(name: str, *, where: str = "name") -> str:
    """where: what of the request it is.   Raises Invalid, without repeating it: people paste a value where its name belongs."""
    if not is_name(name):
        words = "must be capital letters, digits and underscores: [A-Z][A-Z0-9_]{0,63}"
        raise Invalid("That is not the name of a credential.", fields={where: words})
    return name


def check_value(value: str | None, fields: Mapping[str, object] | None) -> Value:
    """Exactly one of both, of good form.   Raises Invalid, which repeats nothing of it."""
    if (value is None) == (fields is None):
        raise Invalid("Send either value or fields.", fields={"value": "is required, unless there are fields"})
    if value is not None:
        _check_text("value", value, MAX_BYTES)
        return Value(value)
    given = dict(fields or {})
    if not 1 <= len(given) <= MAX_FIELDS:
        raise _wrong("fields", f"must be 1 to {MAX_FIELDS} named texts")
    room = MAX_BYTES
    for name, text in given.items():
        if not _FIELD_NAME.fullmatch(name):
            raise _wrong("fields", "must be named [A-Za-z][A-Za-z0-9_]{0,63}")
        if not isinstance(text, str):
            raise _wrong("fields", "must be texts, not numbers, lists or objects")
        room -= len(name) + _check_text("fields", text, room - len(name))
    return Value({name: str(text) for name, text in given.items()})


def _check_text(where: str, text: str, room: int) -> int:
    """How many bytes it has."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise _wrong(where, "must be Unicode text, without lone surrogates") from None
    if size == 0 or "\0" in text:
        raise _wrong(where, "must not be empty or hold a NUL")
    if size > room:
        raise _wrong(where, f"must be at most {MAX_BYTES} bytes")
    return size


def _wrong(where: str, why: str) -> Invalid:
    return Invalid("The value is not one that can be kept.", fields={where: why})


# --- sealing ----------------------------------------------------------------------------------------------------------


def seal(value: Value, *, owner: Owner, name: str, number: int) -> Envelope:
    """number: the version's. The newest encryption key wraps."""
    return cipher().seal(json.dumps(value.raw, ensure_ascii=False).encode(), context=context_of(owner, name, number))


def unseal(envelope: Envelope, *, owner: Owner, name: str, number: int, ring: Cipher | None = None) -> Value:
    """ring: the keyring, for who opens many.

    Raises CannotDecrypt: the encryption key is not in the settings, or the row was altered or is another's.
    """
    plain = (ring or cipher()).open(envelope, context=context_of(owner, name, number))
    return Value(json.loads(plain.decode()))


def context_of(owner: Owner, name: str, number: int) -> str:
    """The associated data. No part can hold a slash, so none can run into the next."""
    return f"credential/{owner.scope}:{owner.id}/{name}/{number}"


__all__ = ["CannotDecrypt", "Envelope", "Owner", "Raw", "Value", "check_name", "check_value", "context_of", "is_name", "seal", "unseal"]
