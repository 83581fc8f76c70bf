"""Why somebody goes to sign in, and where they go afterwards: a handoff or a path of this site, carried by every address."""

from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode

Purpose = Literal["sign-in", "link", "reauth"]


@dataclass(frozen=True)
class Journey:
    """Why somebody goes to a provider and where they go afterwards. `user_id` is whose session asked (link, reauth); `language`
    is that of the page where it began."""

    purpose: Purpose = "sign-in"
    handoff: str | None = None
    next_path: str | None = None
    user_id: str | None = None
    language: str | None = None


def onward(journey: Journey) -> str:
    """Where the journey leads once the person is signed in."""
    if journey.handoff:
        return "/oauth/authorize?" + urlencode({"handoff": journey.handoff})
    return journey.next_path or "/account"


def address(path: str, journey: Journey, **more: str | None) -> str:
    """An address of this site that carries the journey on."""
    values: dict[str, Any] = {**more, "handoff": journey.handoff, "next": journey.next_path}
    query = urlencode({name: value for name, value in values.items() if value})
    return f"{path}?{query}" if query else path
