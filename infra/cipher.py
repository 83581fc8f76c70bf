"""AES-256-GCM: a keyring for what is stored, envelopes, and one-off keys derived from a presented secret.

Ciphertext of the keyring: `key_id` 0x00 nonce(12) sealed. The purpose and the owner are associated data, so a value
moved to another row does not open. An envelope is a value under a random key of its own, and that key wrapped by one of the
keyring, both nonce(12) sealed and both with the same associated data: a new key of the keyring changes the wrapping only.
"""

import hashlib
import logging
import os
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from config import EncryptionKey
from infra import metrics
from infra.clock import now

log = logging.getLogger("gatepost.encryption")
_TELL_AGAIN = timedelta(minutes=1)
_told: dict[str, datetime] = {}


class CannotDecrypt(Exception):
    """The key is not in the ring, or the value was altered or belongs elsewhere."""


@dataclass(frozen=True)
class Envelope:
    """`sealed` opens with the key in `wrapped_key`, which opens with the keyring's key `key_id`."""

    key_id: str
    wrapped_key: bytes
    sealed: bytes


class Cipher:
    """A ring of AES-256 keys: the newest encrypts, every one opens."""

    def __init__(self, keys: tuple[EncryptionKey, ...]) -> None:
        self.newest_id = keys[0].key_id
        self._keys = {key.key_id: AESGCM(key.key) for key in keys}

    @property
    def key_ids(self) -> list[str]:
        """Newest first."""
        return list(self._keys)

    def knows(self, key_id: str) -> bool:
        return key_id in self._keys

    def encrypt(self, plain: bytes, *, context: str) -> bytes:
        return self.newest_id.encode() + b"\0" + _seal(self._keys[self.newest_id], plain, context)

    def decrypt(self, sealed: bytes, *, context: str) -> bytes:
        _, _, rest = bytes(sealed).partition(b"\0")
        return self._open_with(key_id_of(sealed), rest, context)

    def seal(self, plain: bytes, *, context: str) -> Envelope:
        """An envelope under a new random key."""
        data_key = AESGCM.generate_key(256)
        return Envelope(self.newest_id, self._wrap(data_key, context), _seal(AESGCM(data_key), plain, context))

    def open(self, envelope: Envelope, *, context: str) -> bytes:
        return _open(AESGCM(self._unwrap(envelope.key_id, envelope.wrapped_key, context)), envelope.sealed, context)

    def rewrap(self, key_id: str, wrapped_key: bytes, *, context: str) -> bytes:
        """An envelope's key, wrapped by the newest of the ring; the sealed value stays as it is."""
        return self._wrap(self._unwrap(key_id, wrapped_key, context), context)

    def _wrap(self, data_key: bytes, context: str) -> bytes:
        return _seal(self._keys[self.newest_id], data_key, context)

    def _unwrap(self, key_id: str, wrapped_key: bytes, context: str) -> bytes:
        return self._open_with(key_id, wrapped_key, context)

    def _open_with(self, key_id: str, sealed: bytes, context: str) -> bytes:
        if key_id not in self._keys:
            raise _unreadable(key_id, "GATEPOST_ENCRYPTION_KEYS of this process has no key")
        try:
            return _open(self._keys[key_id], sealed, context)
        except CannotDecrypt as error:
            raise _unreadable(key_id, "it was altered or moved, or GATEPOST_ENCRYPTION_KEYS of this process has another key") from error


def _unreadable(key_id: str, problem: str) -> CannotDecrypt:
    """Count it, and tell it once a minute for as long as it lasts."""
    key_id = key_id[:64]
    metrics.count("unreadable_values", encryption_key=key_id)
    if key_id not in _told or not timedelta() <= now() - _told[key_id] < _TELL_AGAIN:
        _told[key_id] = now()
        log.error("a stored value does not open: %s %r", problem, key_id, extra={"encryption_key": key_id})
    return CannotDecrypt(f"{problem} {key_id!r}")


def key_id_of(sealed: bytes) -> str:
    """Which key of a ring a value of `Cipher.encrypt` was encrypted with; its first bytes are enough."""
    return bytes(sealed[:65]).partition(b"\0")[0].decode("ascii", "replace")


def _seal(key: AESGCM, plain: bytes, context: str) -> bytes:
    nonce = os.urandom(12)
    return nonce + key.encrypt(nonce, plain, context.encode())


def _open(key: AESGCM, sealed: bytes, context: str) -> bytes:
    try:
        return key.decrypt(sealed[:12], sealed[12:], context.encode())
    except (InvalidTag, ValueError):
        raise CannotDecrypt("altered, or from another row") from None


def seal_with(secret: str, plain: bytes, *, purpose: str) -> bytes:
    """Encrypt under a key that only the holder of `secret` can derive; for values kept in Redis for a moment."""
    nonce = os.urandom(12)
    return nonce + AESGCM(_derive(secret, purpose)).encrypt(nonce, plain, None)


def open_with(secret: str, sealed: bytes, *, purpose: str) -> bytes:
    try:
        return AESGCM(_derive(secret, purpose)).decrypt(sealed[:12], sealed[12:], None)
    except (InvalidTag, ValueError):
        raise CannotDecrypt("altered, or sealed with another secret") from None


def _derive(secret: str, purpose: str) -> bytes:
    """Secrets here are 256 random bits: one SHA-256 apart from every other use of them is all that is wanted."""
    return hashlib.sha256(b"gatepost/" + purpose.encode() + b"\0" + secret.encode("utf-8", "surrogatepass")).digest()
