"""Projects of organizations. Their slugs are global."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from errors import Invalid, NotFound
from extensions import db
from infra.rows import reader
from models import Organization, Project
from services.access import organization_access, quotas
from services.access.actors import Actor
from services.audit import audit
from services.database import row_security
from services.pagination import keyset
from services.validation import names, slugs

NAME_LENGTH = 200


@dataclass(frozen=True)
class ProjectRow:
    """`organization` is a slug."""

    id: uuid.UUID
    slug: str
    name: str
    organization: str
    created_at: datetime


_project = reader(ProjectRow)


def list_of(actor: Actor, *, organization: str | None = None, after: str | None = None, limit: int = 100) -> list[ProjectRow]:
    """The projects of one organization, else of all that the actor's credential opens, oldest first; one more than `limit`
    when there are more.   Raises: NotFound, Invalid."""
    if organization is not None:
        opened = [organization_access.enter(actor, organization)]
    else:
        opened = organization_access.opened_by(actor)
        row_security.enter(user_id=actor.own_rows_of, organization_ids=[found.id for found in opened])
    statement = (
        select(Project.id, Project.slug, Project.name, Organization.slug.label("organization"), Project.created_at)
        .join(Organization, Organization.id == Project.organization_id)
        .where(Project.organization_id.in_([found.id for found in opened]))
    )
    return [_project(row) for row in db.session.execute(keyset.page(statement, Project.id, after=after, limit=limit))]


def create(actor: Actor, *, name: str, slug: str, organization: str | None = None) -> ProjectRow:
    """Make a project. organization: its slug, where the actor has several. Commits: yes.

    Raises: NotFound, Forbidden, Invalid; Conflict slug_taken, also by a project of somebody else; QuotaReached.
    """
    name, slug = names.checked(name, max_length=NAME_LENGTH), slugs.checked(slug)
    found = organization_access.enter_to_write(actor, organization or _only_one(actor), "projects:create")
    project = Project(organization_id=found.id, slug=slug, name=name)
    db.session.add(project)
    try:
        db.session.flush()
    except IntegrityError:
        db.session.rollback()
        raise slugs.SlugTaken() from None
    quotas.check("projects", found.id, select(Project.id).where(Project.organization_id == found.id))
    about = {"target_type": "project", "target_id": project.id, "organization_id": found.id}
    audit.record(actor, "project.created", **about, details={"slug": slug}, target_name=name)
    row = ProjectRow(project.id, slug, name, found.slug, project.created_at)
    db.session.commit()
    return row


def _only_one(actor: Actor) -> str:
    """Raises: NotFound without any; Invalid when it must be named."""
    if found := organization_access.only_one_of(actor):
        return found.slug
    if not organization_access.opened_by(actor):
        raise NotFound()
    raise Invalid(
        "Name the organization of the project.", fields={"organization": "is required unless you created or accepted exactly one"}
    )
