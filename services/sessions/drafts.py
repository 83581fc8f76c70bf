"""What somebody typed into a form that was not saved, until they have signed in and the form comes back. Never a secret."""

import json
import secrets
from dataclasses import asdict, dataclass

from extensions import redis
from infra import metrics, upstream_states
from infra.records import from_values
from infra.upstream_states import Bound

MAX_BYTES = 32 * 1024
_SECONDS = 3600
_BOUND = Bound("drafts", of_group=20, in_all=2000)  # groups are browsers
metrics.expect("states_pushed_out", kind=[_BOUND.kind])
_KIND = "draft"


@dataclass(frozen=True)
class Draft:
    """path: of the form. token: the form's own, which tells for whom it was rendered. fields: names and values, in their order.
    lacks_secret: whether something of it is not kept."""

    path: str
    token: str
    fields: list[tuple[str, str]]
    lacks_secret: bool = False


def keep(raw_browser: str, draft: Draft) -> str:
    """Its name, by which this browser alone finds it. What is too long is not kept."""
    name, note = secrets.token_urlsafe(16), json.dumps(asdict(draft)).encode()
    if len(note) <= MAX_BYTES:
        upstream_states.leave_note(redis.client, _KIND, raw_browser + name, note, seconds=_SECONDS, bound=_BOUND, group=raw_browser)
    return name


def find(raw_browser: str, name: str) -> Draft | None:
    note = upstream_states.read_note(redis.client, _KIND, raw_browser + name)
    return from_values(Draft, json.loads(note)) if note else None
