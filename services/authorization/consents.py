"""What a person has allowed: recorded when they choose Allow, shown under Connected apps, removed there."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from extensions import db
from infra.clock import now
from models import Consent
from services.access.actors import Actor, OrganizationInfo
from services.access.scopes import join, split
from services.audit import audit
from services.authorization.authorize_requests import AuthorizeRequest
from services.database.transactions import begin_write


def record(actor: Actor, request: AuthorizeRequest, *, user_id: UUID, organization: OrganizationInfo | None) -> None:
    """Remember that the person allowed this request; scopes add up. Commits: yes. Allow may be pressed twice at once."""
    try:
        _record(actor, request, user_id=user_id, organization=organization)
        db.session.commit()
    except IntegrityError:  # the other one made the row
        db.session.rollback()
        _record(actor, request, user_id=user_id, organization=organization)
        db.session.commit()


def _record(actor: Actor, request: AuthorizeRequest, *, user_id: UUID, organization: OrganizationInfo | None) -> None:
    """Never commits."""
    begin_write()
    organization_id = organization.id if organization else None
    row = db.session.scalar(
        select(Consent)
        .where(
            Consent.user_id == user_id,
            Consent.client_pk == request.client.pk,
            Consent.organization_id == organization_id,
            Consent.resource == (request.resource or ""),
        )
        .with_for_update()
    )
    if row is None:
        row = Consent(
            user_id=user_id,
            client_pk=request.client.pk,
            organization_id=organization_id,
            resource=request.resource or "",
            scope=request.scope,
        )
        db.session.add(row)
    else:
        row.scope = join(dict.fromkeys([*split(row.scope), *request.scopes]))
        row.updated_at = now()
    audit.record(
        actor,
        "consent.granted",
        target_type="oauth_client",
        target_id=request.client.client_id,
        organization_id=organization_id,
        details={"scope": request.scope, "resource": request.resource},
    )
