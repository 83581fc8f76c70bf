"""AES-256-GCM: a keyring for what is stored, and one-off keys derived from a presented secret.

Ciphertext of the keyring: `key_id` 0x00 nonce(12) sealed. The purpose and the owner are associated data, so a value
moved to another row does not open.
"""

import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from config import EncryptionKey


class CannotDecrypt(Exception):
    """The key is not in the ring, or the value was altered or belongs elsewhere."""


class Cipher:
    """A ring of AES-256 keys: the newest encrypts, every one opens."""

    def __init__(self, keys: tuple[EncryptionKey, ...]) -> None:
        self._newest = keys[0].key_id
        self._keys = {key.key_id: AESGCM(key.key) for key in keys}

    def encrypt(self, plain: bytes, *, context: str) -> bytes:
        nonce = os.urandom(12)
        return self._newest.encode() + b"\0" + nonce + self._keys[self._newest].encrypt(nonce, plain, context.encode())

    def decrypt(self, sealed: bytes, *, context: str) -> bytes:
        key_id, _, rest = bytes(sealed).partition(b"\0")
        key = self._keys.get(key_id.decode("ascii", "replace"))
        if key is None:
            raise CannotDecrypt(f"no encryption key {key_id[:64]!r}")
        try:
            return key.decrypt(rest[:12], rest[12:], context.encode())
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
