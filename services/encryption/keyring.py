"""The encryption keys of this process."""

from functools import lru_cache

from config import EncryptionKey, current
from infra.cipher import Cipher


def cipher() -> Cipher:
    return _cipher(current().encryption_keys)


@lru_cache(maxsize=8)
def _cipher(keys: tuple[EncryptionKey, ...]) -> Cipher:
    return Cipher(keys)
