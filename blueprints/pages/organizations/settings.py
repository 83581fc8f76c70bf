"""`/orgs/<slug>/settings`, `/leave`, `/delete`: an organization's name and short name, leaving it, ending it."""

from dataclasses import dataclass

from flask import Blueprint, flash, g, redirect
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from werkzeug.wrappers import Response

from blueprints import fresh_sign_in
from blueprints.fresh_sign_in import Act
from blueprints.html import frame, quotas, words
from blueprints.html.forms import DeleteForm
from blueprints.pages.organizations.orgs import OrganizationForm
from config import Settings, current
from services.access import organization_access
from services.access.quotas import QuotaReached
from services.organizations import members, organizations
from services.organizations.invitations import LIFE_SECONDS
from services.organizations.members import Person
from services.users.api_keys import MAX_SECONDS
from services.validation.slugs import SlugTaken

blueprint = Blueprint("organization_settings", __name__)


@blueprint.get("/orgs/<slug>/settings")
def show(slug: str) -> str:
    row = organizations.get_visible(g.actor, slug)
    return _page(slug, OrganizationForm(data={"name": row.name, "slug": row.slug}))


@blueprint.post("/orgs/<slug>/settings")
@fresh_sign_in.needed(
    Act.SLUG, when=fresh_sign_in.changes_the_slug, why=_l("You signed in %(when)s. Sign in again to change the short name.")
)
def save(slug: str) -> Response | tuple[str, int]:
    organization_access.get(g.actor, slug, "organization:update")
    form = OrganizationForm()
    if not form.validate():
        return _page(slug, form), 422
    try:
        row = organizations.update(g.actor, slug, {"name": form.name.data, "slug": form.slug.data})
    except SlugTaken:
        form.slug.errors = [form.taken()]
        return _page(slug, form), 422
    except QuotaReached as error:
        form.slug.errors = [quotas.reached(error)]
        return _page(slug, form), error.status
    flash(_("Saved."), "ok")
    return redirect(f"/orgs/{row.slug}/settings", 303)


def _page(slug: str, form: OrganizationForm) -> str:
    organization = organization_access.get(g.actor, slug)
    form.slug.description = _(
        "Links and CLI profiles that use %(name)s stop working when you change it. No one else can take it. You can change it five times"
        " in 30 days, and you’ll be asked to confirm it’s you.",
        name=organization.slug,
    )
    is_personal = organizations.is_personal(organization.id)
    return frame.render_organization(
        "organizations/settings.html", slug, "settings", form=form, is_personal=is_personal, limits=limits_of(current())
    )


@dataclass(frozen=True)
class Limits:
    """How long things last here, in words: what whoever runs this Gatepost decided."""

    sessions: str
    access_tokens: str
    apps: str
    apps_at_most: str
    invitations: str
    keys: str


def limits_of(settings: Settings) -> Limits:
    return Limits(
        words.duration(settings.session_seconds),
        words.duration(settings.access_token_seconds),
        words.duration(settings.refresh_token_seconds),
        words.duration(settings.refresh_family_seconds),
        words.duration(LIFE_SECONDS),
        words.duration(MAX_SECONDS),
    )


@blueprint.get("/orgs/<slug>/leave")
@fresh_sign_in.needed(Act.MANAGERS, when=fresh_sign_in.concerns_a_manager)
def confirm_leave(slug: str) -> str:
    return frame.render_organization("organizations/leave.html", slug, "settings", person=_self(slug))


@blueprint.post("/orgs/<slug>/leave")
@fresh_sign_in.needed(
    Act.MANAGERS, when=fresh_sign_in.concerns_a_manager, why=_l("You signed in %(when)s. Sign in again to leave the organization.")
)
def leave(slug: str) -> Response:
    organization = organization_access.get(g.actor, slug)
    members.remove(g.actor, slug, str(g.actor.user.id))
    flash(_("You left %(organization)s.", organization=frame.label_of(organization)), "ok")
    return redirect("/orgs", 303)


def _self(slug: str) -> Person:
    return members.get_person(g.actor, slug, str(g.actor.user.id))


@blueprint.get("/orgs/<slug>/delete")
@fresh_sign_in.needed(Act.DELETION)
def confirm_delete(slug: str) -> str:
    return _delete_page(slug, DeleteForm.asking_for(slug))


@blueprint.post("/orgs/<slug>/delete")
@fresh_sign_in.needed(Act.DELETION, why=_l("You signed in %(when)s. Sign in again to delete the organization."))
def delete(slug: str) -> Response | tuple[str, int]:
    organization = organization_access.get(g.actor, slug, "organization:delete")
    form = DeleteForm.asking_for(slug)
    if not form.validate():
        return _delete_page(slug, form), 422
    organizations.delete(g.actor, slug)
    label = frame.label_of(organization)
    flash(_("%(organization)s will be deleted in 7 days. You can take that back until then.", organization=label), "ok")
    return redirect("/orgs", 303)


def _delete_page(slug: str, form: DeleteForm) -> str:
    contents = organizations.count_contents(g.actor, slug)
    is_personal = organizations.is_personal(organization_access.get(g.actor, slug).id)
    return frame.render_organization("organizations/delete.html", slug, "settings", form=form, contents=contents, is_personal=is_personal)
