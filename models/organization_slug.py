"""Every slug that an organization has, or ever had. It outlives the organization, so that nobody else gets its address."""

import uuid

from sqlalchemy.orm import Mapped, mapped_column

from extensions import db


class OrganizationSlug(db.Model):
    """No foreign key: a stranger could take a slug that is deleted here, and old links and settings would then lead to them."""

    __tablename__ = "organization_slugs"

    slug: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[uuid.UUID]
