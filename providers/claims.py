"""What an OpenID provider tells of a person: in the signed id_token and, for what is missing there, at userinfo."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from providers.base import clean_email, clean_text

_Claims = Mapping[str, Any]


@dataclass(frozen=True)
class Person:
    """`email_verified` is None when nothing was said. `is_named`: by more than a nickname or user name."""

    login: str
    name: str
    is_named: bool
    email: str | None
    email_verified: bool | None


def person_of(signed: _Claims, userinfo: _Claims | None = None) -> Person:
    """Userinfo replaces nothing that was signed, and its `email_verified` counts for its own address only."""
    more = userinfo or {}

    def text(claim: str, length: int = 200) -> str:
        return clean_text(signed.get(claim), length) or clean_text(more.get(claim), length)

    login = text("preferred_username", 60)
    full = text("name") or clean_text(f"{text('given_name')} {text('family_name')}")
    email, is_verified = clean_email(signed.get("email")), _flag(signed.get("email_verified"))
    userinfo_email, userinfo_flag = clean_email(more.get("email")), _flag(more.get("email_verified"))
    if email is None:  # what was signed vouches for no address, but may deny one
        email, is_verified = userinfo_email, False if is_verified is False else userinfo_flag
    elif is_verified is None and email == userinfo_email:
        is_verified = userinfo_flag
    return Person(login, full or text("nickname") or login, bool(full), email, is_verified)


def _flag(value: object) -> bool | None:
    """Some providers send it as text. What is neither true nor absent does not vouch."""
    return None if value is None else value is True or value == "true"
