"""What a kind of credential is, and how one is tried out at its vendor.

A value goes to the configured API of its kind and nowhere else: never to a host that an address names. Nothing is asked
before somebody wants to know, and a vendor's own words are not repeated.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from connectors.base import Answer, ask, unusable
from infra.foreign_text import clean_text

Status = Literal["ok", "missing", "rejected", "rate_limited", "wrong_address"]
Values = str | Mapping[str, str] | None

_TOKEN = re.compile(r"[!-~]{1,16384}")
_FIELDS = ("token", "api_key", "key", "value")


@dataclass(frozen=True)
class Check:
    """How a credential stands. `account` is whose it is, when the vendor tells; `detail` is ours, for people; `code` is the
    vendor's short word for a refusal, or its status."""

    status: Status
    account: str | None = None
    detail: str = ""
    retry_after_seconds: int | None = None
    code: str = ""


class Kind(Protocol):
    """`names` are those of a credential that is taken for one of this kind."""

    kind_id: str
    label: str
    names: tuple[str, ...]

    def flaw(self, values: Values) -> Check | None:
        """What a check says of values of a form that no credential of this kind has; they need not be sent anywhere."""
        ...

    def check(self, values: Values, *, address: str | None = None) -> Check:
        """Ask the vendor, now. `address`: what the credential is to open, where the kind knows such a thing (a repository).

        Raises VendorUnavailable when the vendor is away: nothing was decided.
        """
        ...


def token_of(values: Values) -> str:
    """The secret itself: the value, the field that is called so, or the only field. Empty when there is none."""
    if isinstance(values, Mapping):
        named = [values[name] for name in _FIELDS if values.get(name)]
        return next(iter(named or (values.values() if len(values) == 1 else ())), "")
    return values or ""


def flaw_of(token: str) -> Check | None:
    """The flaws that a key of any kind may have."""
    if not token.strip():
        return Check("missing", detail="There is no value.")
    if not _TOKEN.fullmatch(token):
        return Check("rejected", detail="The value has spaces, line breaks or letters that no key has.", code="malformed")
    return None


class ApiKey:
    """A key that one GET tries out. `headers` makes what carries it; `account` names the members that tell whose it is."""

    def __init__(
        self,
        kind_id: str,
        label: str,
        *names: str,
        url: str,
        headers: Callable[[str], dict[str, str]],
        account: tuple[str, ...] = (),
        rejected: tuple[int, ...] = (401,),
    ) -> None:
        self.kind_id, self.label, self.names = kind_id, label, names
        self.url, self._headers, self._account, self._rejected = url, headers, account, rejected

    def flaw(self, values: Values) -> Check | None:
        return flaw_of(token_of(values))

    def check(self, values: Values, *, address: str | None = None) -> Check:
        return self.flaw(values) or self._judge(ask("GET", self.url, headers=self._headers(token_of(values))))

    def _judge(self, answer: Answer) -> Check:
        if answer.is_rate_limit:
            return rate_limited(self.label, answer)
        if answer.status in self._rejected:
            return Check("rejected", detail=f"{self.label} does not accept it.", code=f"status_{answer.status}")
        if answer.status == 403 and answer.json is not None:
            return Check("ok", detail=f"{self.label} knows it, but it may not do everything.")
        if answer.status != 200 or answer.json is None:
            raise unusable(answer)
        names = (clean_text(answer.members.get(member)) for member in self._account)
        return Check("ok", next(filter(None, names), None))


def rate_limited(label: str, answer: Answer, *, seconds: int | None = None) -> Check:
    return Check("rate_limited", detail=f"{label} has had too many requests.", retry_after_seconds=answer.retry_after_seconds or seconds)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Generic:
    """Anything else: there is nobody to ask."""

    kind_id, label, names = "generic", "Secret", ()

    def flaw(self, values: Values) -> Check | None:
        return None

    def check(self, values: Values, *, address: str | None = None) -> Check:
        found = any(values.values()) if isinstance(values, Mapping) else bool(values)
        return Check("ok", detail="Stored; nobody can be asked about it.") if found else Check("missing", detail="There is no value.")
