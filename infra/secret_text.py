"""Raw secrets and their hashes: one way to make one, one way to look it up."""

import base64
import hashlib
import hmac
import secrets


def new_secret(prefix: str = "") -> str:
    """`prefix` and 256 random bits, URL-safe."""
    return prefix + secrets.token_urlsafe(32)


def derive_secret(prefix: str, *, key: bytes, salt: bytes, raw: str, purpose: str) -> str:
    """Return `prefix` and 256 bits that look random, URL-safe, but can be computed again from `key`, `salt` and the secret `raw`.

    All three are needed. salt: of a fixed length for each purpose, so that different inputs never form the same message.
    """
    message = b"\0".join((b"gatepost", purpose.encode(), prefix.encode(), salt + raw.encode("utf-8", "surrogatepass")))
    return prefix + base64.urlsafe_b64encode(hmac.digest(key, message, "sha256")).rstrip(b"=").decode()


def hash_secret(raw: str) -> bytes:
    """SHA-256 of a secret as presented. Secrets here are 256 random bits, so no slow hash is wanted."""
    return hashlib.sha256(raw.encode("utf-8", "surrogatepass")).digest()


def hex_hash(raw: str) -> str:
    return hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()
