"""What an administrator of the instance may look at: everybody, and what they did; no organization's secrets."""

from errors import NotFound
from services.access.actors import Actor
from services.database import row_security


def enter(actor: Actor) -> None:
    """Open who is in which organization and every audit event. First in what the instance's pages read.

    Raises: NotFound for anybody but an administrator in their own session.
    """
    if actor.user is None or not actor.user.is_admin or actor.credential_type != "session":
        raise NotFound()
    row_security.enter(user_id=actor.user.id, instance=True)
