"""What the next page tells a browser about its sign-in. Anyone can cause such a note, so the number of each kind is limited."""

from extensions import redis
from infra import metrics, upstream_states
from infra.rate_limits import site_of
from infra.upstream_states import Bound
from services.access.actors import Actor

OF_A_NETWORK = 2000
IN_ALL = 20_000
metrics.expect("states_pushed_out", kind=("journey", "last-journey", "pending-link", "refusal"))


def leave(actor: Actor, kind: str, raw_browser: str, note: bytes) -> None:
    """A later one of this kind replaces it."""
    bound = Bound(kind, of_group=OF_A_NETWORK, in_all=IN_ALL)
    upstream_states.leave_note(redis.client, kind, raw_browser, note, bound=bound, group=site_of(actor.ip))


def read(kind: str, raw_browser: str, *, take_away: bool = False) -> bytes | None:
    return upstream_states.read_note(redis.client, kind, raw_browser, take_away=take_away)
