"""`/orgs/<slug>/members`: who is in an organization, as what; changing a role, taking somebody out."""

import uuid

from flask import Blueprint, flash, g, redirect, request
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from markupsafe import Markup
from werkzeug.wrappers import Response
from wtforms import RadioField, SelectChoice

from blueprints import fresh_sign_in
from blueprints.fresh_sign_in import Act
from blueprints.html import frame, leafing, words
from blueprints.html.forms import Form, nothing_changed
from errors import NotFound
from services.access import organization_access, roles
from services.organizations import invitations, members
from services.organizations.members import Person

blueprint = Blueprint("members", __name__)

_TEXT_LENGTH = 100


class RoleForm(Form):
    """The choices are those that the reader may give, each with what it would mean for the person."""

    role = RadioField(_l("Role"))

    def offer(self, before: str, given_by: str) -> None:
        offered = [role for role in roles.ROLES if roles.may_manage(given_by, role)]
        self.role.choices = [SelectChoice(role, words.role(role), render_kw={"hint": _meaning(before, role)}) for role in offered]
        self.role.invalid_choice_message = _("Choose a role")


def _meaning(before: str, role: str) -> str:
    """A sentence for the role, and what somebody with the role `before` gains or loses by it."""
    sentence = {
        "owner": _("Manages everything, including other owners, and can delete the organization."),
        "admin": _("Manages people, agents, credentials and settings, and reads the audit log."),
        "member": _("Uses the organization’s credentials and makes agents of their own."),
    }[role]
    step = {
        ("member", "admin"): _(
            "They’ll be able to manage everyone’s agents, the organization’s credentials, people and settings, and to read the audit log."
        ),
        ("member", "owner"): _("They’ll be able to do everything an admin can, make owners and delete the organization."),
        ("admin", "owner"): _("They’ll be able to make owners and delete the organization."),
        ("owner", "admin"): _("They’ll no longer be able to make owners or delete the organization."),
        ("owner", "member"): _(
            "They’ll no longer be able to manage people, agents, credentials and settings, read the audit log or delete the organization."
        ),
        ("admin", "member"): _("They’ll no longer be able to manage people, agents, credentials and settings, or read the audit log."),
    }.get((before, role), _("Current role."))
    return f"{sentence} {step}"


def name_of(person: Person) -> str:
    return words.plain(person.name) or words.plain(person.email) or _("No name")


@blueprint.get("/orgs/<slug>/members")
def index(slug: str) -> str:
    text = request.args.get("q", "").strip()[:_TEXT_LENGTH]
    role = request.args.get("role", "")
    role = role if role in roles.ROLES else ""
    page = members.search(g.actor, slug, text=text, role=role, number=leafing.number())
    return frame.render_organization(
        "members/list.html",
        slug,
        "members",
        page=page,
        pager=leafing.pager(page, q=text, role=role),
        text=text,
        wanted_role=role,
        member_count=members.count_of(g.actor, slug) if text or role else page.total,
        invitation_count=_invitation_count(slug),
    )


def _invitation_count(slug: str) -> int | None:
    """None for who may not know."""
    role = frame.organization_here(slug).role
    return invitations.count_of(g.actor, slug) if roles.may(role, "invitations:manage") else None


@blueprint.get("/orgs/<slug>/members/<uuid:user_id>")
def show(slug: str, user_id: uuid.UUID) -> str:
    person = members.get_person(g.actor, slug, str(user_id))
    manages = _manages(slug)
    return frame.render_organization(
        "members/member.html",
        slug,
        "members",
        person=person,
        how=_how_joined(slug, person),
        tells_activity=manages,
        last_active=members.last_active(g.actor, slug, person) if manages else None,
    )


def _how_joined(slug: str, person: Person) -> str | Markup:
    """Empty when nobody knows."""
    joined = members.how_joined(g.actor, slug, person)
    if joined is None:
        return ""
    if joined.way == "invited" and joined.by:
        return words.filled(_("Invited by %(name)s"), name=words.untrusted(joined.by))
    return {"invited": _("Invited"), "imported": _("Imported by an operator"), "founder": _("Created the organization")}[joined.way]


def _manages(slug: str) -> bool:
    return roles.may(frame.organization_here(slug).role, "members:manage")


@blueprint.get("/orgs/<slug>/members/<uuid:user_id>/role")
@fresh_sign_in.needed(Act.MANAGERS)
def choose_role(slug: str, user_id: uuid.UUID) -> str:
    person = members.get_manageable(g.actor, slug, str(user_id))
    return _role_page(slug, person, RoleForm(data={"role": person.role}))


@blueprint.post("/orgs/<slug>/members/<uuid:user_id>/role")
@fresh_sign_in.needed(Act.MANAGERS, when=fresh_sign_in.changes_a_manager, why=_l("You signed in %(when)s. Sign in again to change a role."))
def change_role(slug: str, user_id: uuid.UUID) -> Response | tuple[str, int]:
    organization_access.get(g.actor, slug)
    try:
        person = members.get_manageable(g.actor, slug, str(user_id))
    except NotFound:
        return nothing_changed(f"/orgs/{slug}/members")
    form = RoleForm()
    form.offer(person.role, organization_access.get(g.actor, slug).role)
    if not form.validate():
        return _role_page(slug, person, form), 422
    role = form.role.data
    if role == person.role:
        return nothing_changed(f"/orgs/{slug}/members")
    members.change_role(g.actor, slug, str(user_id), role)
    name = name_of(person)
    results = {
        "owner": _("%(name)s is now an owner.", name=name),
        "admin": _("%(name)s is now an admin.", name=name),
        "member": _("%(name)s is now a member.", name=name),
    }
    flash(results[role], "ok")
    return redirect(f"/orgs/{slug}/members", 303)


def _role_page(slug: str, person: Person, form: RoleForm) -> str:
    form.offer(person.role, organization_access.get(g.actor, slug).role)
    return frame.render_organization("members/role.html", slug, "members", person=person, form=form)


@blueprint.get("/orgs/<slug>/members/<uuid:user_id>/remove")
@fresh_sign_in.needed(Act.MANAGERS, when=fresh_sign_in.concerns_a_manager)
def confirm_remove(slug: str, user_id: uuid.UUID) -> Response | str:
    if user_id == g.actor.user.id:
        return redirect(f"/orgs/{slug}/leave", 303)
    return frame.render_organization("members/remove.html", slug, "members", person=members.get_manageable(g.actor, slug, str(user_id)))


@blueprint.post("/orgs/<slug>/members/<uuid:user_id>/remove")
@fresh_sign_in.needed(
    Act.MANAGERS, when=fresh_sign_in.concerns_a_manager, why=_l("You signed in %(when)s. Sign in again to remove an owner or admin.")
)
def remove(slug: str, user_id: uuid.UUID) -> Response:
    if user_id == g.actor.user.id:
        return redirect(f"/orgs/{slug}/leave", 303)
    organization = organization_access.get(g.actor, slug)
    try:
        person = members.get_manageable(g.actor, slug, str(user_id))
        members.remove(g.actor, slug, str(user_id))
    except NotFound:
        return nothing_changed(f"/orgs/{slug}/members")
    flash(_("%(name)s was removed from %(organization)s.", name=name_of(person), organization=frame.label_of(organization)), "ok")
    return redirect(f"/orgs/{slug}/members", 303)
