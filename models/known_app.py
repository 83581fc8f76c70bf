"""Apps that a person has allowed, or that are allowed for everybody, from their first grant until access is removed."""

import uuid

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import CreatedAt


class KnownApp(db.Model):
    """Its first grant has been reported: grants and consents come and go, this stays."""

    __tablename__ = "known_apps"
    __table_args__ = (Index("ix_known_apps_client_pk", "client_pk"),)

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    client_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("oauth_clients.id", ondelete="CASCADE"), primary_key=True)
    created_at: Mapped[CreatedAt]
