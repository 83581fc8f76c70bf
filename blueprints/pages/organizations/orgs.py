"""`/orgs`: the organizations of a person, making one, taking a deletion back; and the way into one."""

from flask import Blueprint, flash, g, redirect
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from werkzeug.wrappers import Response
from wtforms import StringField, ValidationError

from blueprints.html import frame, invitation_cards, quotas
from blueprints.html.forms import NamedForm, is_first, nothing_changed
from services.access import organization_access
from services.access.quotas import QuotaReached
from services.organizations import organizations
from services.validation import slugs
from services.validation.slugs import SlugTaken

blueprint = Blueprint("orgs", __name__)


class OrganizationForm(NamedForm):
    """Name and short name, for a new organization and for one that is changed."""

    slug = StringField(_l("Short name"), description=_l("Used in links and commands, for example northwind."))

    def validate_slug(self, field: StringField) -> None:
        field.data = (field.data or "").strip()
        if not field.data:
            raise ValidationError(_("Enter a short name"))
        if field.data in slugs.RESERVED:
            raise ValidationError(self.taken())
        if not slugs.is_good(field.data):
            form = _(
                "Use lower case letters, numbers and hyphens, %(min)s to %(max)s characters", min=slugs.MIN_LENGTH, max=slugs.MAX_LENGTH
            )
            raise ValidationError(form)

    def taken(self) -> str:
        return _("%(name)s is taken. Try another", name=self.slug.data)


@blueprint.get("/orgs")
def index() -> str:
    card = invitation_cards.read()
    rows = organizations.list_own(g.actor)
    live, deleted = [row for row in rows if row.deleted_at is None], [row for row in rows if row.deleted_at is not None]
    return frame.render("organizations/list.html", "orgs", organizations=live, deleted=deleted, card=card)


@blueprint.get("/orgs/new")
def new() -> str:
    return _new_page(OrganizationForm())


@blueprint.post("/orgs/new")
def create() -> Response | tuple[str, int]:
    form = OrganizationForm()
    if not form.validate():
        return _new_page(form), 422
    if not is_first():
        return nothing_changed("/orgs")
    try:
        made = organizations.create(g.actor, name=form.name.data or "", slug=form.slug.data or "")
    except SlugTaken:
        form.slug.errors = [form.taken()]
        return _new_page(form), 422
    except QuotaReached as error:
        form.name.errors = [quotas.reached(error)]
        return _new_page(form), error.status
    flash(_("%(organization)s was created. Next: add a credential, or create an agent.", organization=frame.label_of(made)), "ok")
    return redirect(f"/orgs/{made.slug}", 303)


def _new_page(form: OrganizationForm) -> str:
    return frame.render("organizations/new.html", "orgs", form=form)


@blueprint.post("/orgs/<slug>/restore")
def restore(slug: str) -> Response:
    row = organizations.restore(g.actor, slug)
    flash(_("%(organization)s is back.", organization=frame.label_of(row)), "ok")
    return redirect("/orgs", 303)


@blueprint.get("/orgs/<slug>")
def show(slug: str) -> Response:
    return redirect(f"/orgs/{slug}/{frame.first_section(organization_access.get(g.actor, slug))}", 303)
