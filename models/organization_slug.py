"""Every slug that an organization has, or ever had. It outlives the organization, so that nobody else gets its address."""

import uuid

from sqlalchemy.orm import Mapped, mapped_column

from extensions import db


class OrganizationSlug(db.Model):
    """No foreign key: what is deleted here could be taken by a stranger, whom old links and settings would then lead to."""

    __tablename__ = "organization_slugs"

    slug: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[uuid.UUID]
