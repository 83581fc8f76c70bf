"""A secret between the form that made it and the page that shows it: one session, one view, five minutes."""

from extensions import redis
from infra import upstream_states

_SECONDS = 300


def keep(raw_session: str, name: str, secret: str) -> None:
    """name: whose secret it is, for example `api_key:<id>`. Kept sealed under the session's own secret."""
    upstream_states.leave_note(redis.client, f"once:{name}", raw_session, secret.encode(), seconds=_SECONDS)


def take(raw_session: str, name: str) -> str | None:
    """The secret, which is forgotten now; None when it was seen already, or is not this session's."""
    found = upstream_states.read_note(redis.client, f"once:{name}", raw_session, take_away=True)
    return found.decode() if found is not None else None
