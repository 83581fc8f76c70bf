"""Which apps a person's account knows: the first grant of any other, trusted ones included, is reported."""

import uuid

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from extensions import db
from infra.clock import now
from models import KnownApp, OAuthClient
from services.access.actors import Actor
from services.activity import account_events
from services.database.transactions import begin_write, insert_into


def report(actor: Actor, user_id: uuid.UUID, client_pk: uuid.UUID) -> None:
    """Report an app that the account does not know yet, once, even if many grants begin concurrently. Commits: yes."""
    begin_write()
    insert = insert_into(KnownApp).values(user_id=user_id, client_pk=client_pk, created_at=now())
    try:
        is_new = db.session.scalar(insert.on_conflict_do_nothing().returning(KnownApp.client_pk)) is not None
    except IntegrityError:  # the client was deleted, or the person was, and the grant with them
        db.session.rollback()
        return
    if is_new:
        row = db.session.execute(select(OAuthClient.name, OAuthClient.origin).where(OAuthClient.id == client_pk)).one()
        account_events.record(
            actor, user_id, "app_allowed", name=row.name, app=str(client_pk), is_self_registered=row.origin == "registered"
        )
    db.session.commit()


def forget(user_id: uuid.UUID, client_pk: uuid.UUID | None = None) -> None:
    """Report the next grant of this app again; without one, of every app. Inside another unit of work: never commits."""
    which = [KnownApp.user_id == user_id, *([KnownApp.client_pk == client_pk] if client_pk else [])]
    db.session.execute(delete(KnownApp).where(*which).execution_options(synchronize_session=False))
