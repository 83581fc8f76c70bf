"""Raw secrets and their hashes: one way to make one, one way to look it up."""

import hashlib
import secrets


def new_secret(prefix: str = "") -> str:
    """`prefix` and 256 random bits, URL-safe."""
    return prefix + secrets.token_urlsafe(32)


def hash_secret(raw: str) -> bytes:
    """SHA-256 of a secret as presented. Secrets here are 256 random bits, so no slow hash is wanted."""
    return hashlib.sha256(raw.encode("utf-8", "surrogatepass")).digest()


def hex_hash(raw: str) -> str:
    return hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()
