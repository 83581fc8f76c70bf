"""The first administrator: while there is none, every start of ./run prints a link that makes one.

`admin@localhost` exists from the first such start, as an ordinary person whom nobody can sign in as. They become
administrator when the link is used (`sign_in_links.use`), so "no administrator exists" means exactly that.
"""

from datetime import timedelta

from sqlalchemy import delete, exists, select

from config import current
from extensions import db
from infra.clock import now
from infra.secret_text import hash_secret, new_secret
from models import SignInLink, User
from services.access.actors import Actor
from services.audit import audit
from services.database.transactions import begin_write, wait_for_turn
from services.users import users

ADDRESS = "admin@localhost"
NAME = "Administrator"
_UNTIL_THE_NEXT_START = timedelta(days=3650)


def bootstrap_link() -> str | None:
    """A new link for the first administrator, as a URL; None when there is one, or when `admin@localhost` is disabled.

    Links of earlier starts end here. Commits: yes.
    """
    begin_write()
    wait_for_turn("bootstrap")
    db.session.execute(delete(SignInLink).where(SignInLink.is_bootstrap))
    user = users.find_verified(ADDRESS)
    if db.session.scalar(select(exists().where(User.is_admin))) or (user is not None and user.disabled_at is not None):
        db.session.commit()
        return None
    actor = Actor.operator()
    user = user or users.add(actor, email=ADDRESS, email_verified=True, name=NAME, by_operator=True)
    raw = new_secret()
    link = SignInLink(user_id=user.id, token_hash=hash_secret(raw), is_bootstrap=True, expires_at=now() + _UNTIL_THE_NEXT_START)
    db.session.add(link)
    audit.record(actor, "sign_in_link.created", target_type="user", target_id=user.id, details={"bootstrap": True})
    db.session.commit()
    return f"{current().public_url}/login/link/{raw}"
