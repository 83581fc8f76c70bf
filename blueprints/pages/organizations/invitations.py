"""`/orgs/<slug>/invitations`: who was invited and what they answered; inviting many at once, sending again, a new link, revoking."""

import uuid
from collections.abc import Sequence

from flask import Blueprint, flash, g, redirect
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_babel import ngettext
from werkzeug.wrappers import Response
from wtforms import SelectChoice, SelectField, TextAreaField, ValidationError

from blueprints import fresh_sign_in, session_cookie
from blueprints.fresh_sign_in import Act
from blueprints.html import frame, leafing, quotas, words
from blueprints.html.forms import Form, is_first, nothing_changed
from config import current
from errors import NotFound, RateLimited
from services.access import organization_access
from services.access.quotas import QuotaReached
from services.organizations import invitations, members
from services.organizations.invitations import Invited, Sent
from services.sessions import shown_once

blueprint = Blueprint("invitations_sent", __name__)

AT_ONCE = 50


class InviteForm(Form):
    """Owners are made from members, with a fresh sign-in, so there is no such choice here."""

    emails = TextAreaField(_l("Email addresses"), description=_l("One per line, up to %(count)s", count=AT_ONCE))
    role = SelectField(
        _l("Role"),
        description=_l("You can make someone an owner once they’ve joined. You’ll be asked to confirm it’s you before inviting an admin."),
        choices=[SelectChoice(role, words.ROLES[role]) for role in ("member", "admin")],
    )

    def lines(self) -> list[tuple[int, str]]:
        """The lines with something in them, and their numbers."""
        lines = enumerate((self.emails.data or "").splitlines(), start=1)
        return [(number, line.strip()) for number, line in lines if line.strip()]

    def validate_emails(self, field: TextAreaField) -> None:
        lines = self.lines()
        if not lines:
            raise ValidationError(_("Enter at least one email address"))
        if len(lines) > AT_ONCE:
            raise ValidationError(_("Enter %(count)s addresses or fewer", count=AT_ONCE))
        wrong = [number for number, line in lines if not invitations.is_address(line)]
        field.errors = [_("Line %(number)s: enter an email address like name@example.com", number=number) for number in wrong]


@blueprint.get("/orgs/<slug>/invitations")
def index(slug: str) -> str:
    page = invitations.search(g.actor, slug, number=leafing.number())
    counts = {"member_count": members.count_of(g.actor, slug), "invitation_count": invitations.count_of(g.actor, slug)}
    return frame.render_organization("invitations/list.html", slug, "members", page=page, pager=leafing.pager(page), **counts)


@blueprint.get("/orgs/<slug>/invitations/new")
def new(slug: str) -> str:
    organization_access.get(g.actor, slug, "invitations:manage")
    return _new_page(slug, InviteForm(data={"role": "member"}))


@blueprint.post("/orgs/<slug>/invitations/new")
@fresh_sign_in.needed(
    Act.MANAGERS,
    when=fresh_sign_in.asks_for_a_manager,
    why=_l("You signed in %(when)s. Sign in again to invite an admin."),
)
def create(slug: str) -> Response | tuple[str, int]:
    organization_access.get(g.actor, slug, "invitations:manage")
    form = InviteForm()
    if not form.validate():
        return _new_page(slug, form), 422
    if not is_first():
        return nothing_changed(_list_href(slug))
    try:
        invited = invitations.invite_all(g.actor, slug, emails=[line for _number, line in form.lines()], role=form.role.data)
    except RateLimited:
        form.emails.errors = [_("One of these was invited several times in the last hour. Wait, then try again. Nothing was sent")]
        return _new_page(slug, form), 429
    except QuotaReached as error:
        form.emails.errors = [quotas.reached(error)]
        return _new_page(slug, form), error.status
    flash(_result(invited), _kind(invited.sent))
    return redirect(_list_href(slug), 303)


def _new_page(slug: str, form: InviteForm) -> str:
    return frame.render_organization("invitations/new.html", slug, "members", form=form, sends_mail=current().sends_mail)


def _result(invited: Invited) -> str:
    sentences = [_sent_to(invited.sent[0])] if len(invited.sent) == 1 else []
    if len(invited.sent) > 1:
        sentences.append(_sent_to_many(invited.sent))
    if invited.members:
        sentences.append(ngettext("%(num)s was already a member.", "%(num)s were already members.", invited.members))
    return " ".join(sentences)


def _kind(sent: Sequence[Sent]) -> str:
    if not sent:
        return "info"
    return "ok" if all(one.is_mailed for one in sent) else "warn"


def _sent_to_many(sent: Sequence[Sent]) -> str:
    if not current().sends_mail:
        return _("Invited %(count)s people. Mail isn’t set up here: ask them to sign in with those addresses.", count=len(sent))
    if all(one.is_mailed for one in sent):
        return ngettext("Sending %(num)s invitation.", "Sending %(num)s invitations.", len(sent))
    return _("Invited %(count)s people, but too many emails are waiting to be sent. Resend these invitations later.", count=len(sent))


def _sent_to(sent: Sent) -> str:
    email = words.plain(sent.row.email, 254)
    if not current().sends_mail:
        return _("Invited %(email)s. Mail isn’t set up here: ask them to sign in with that address.", email=email)
    if sent.is_mailed:
        return _("Sending the invitation to %(email)s.", email=email)
    return _("Invited %(email)s, but too many emails are waiting to be sent. Resend this invitation later.", email=email)


@blueprint.get("/orgs/<slug>/invitations/<uuid:invitation_id>/resend")
def show_resend(slug: str, invitation_id: uuid.UUID) -> Response:
    """Back to the button, after signing in again to press it."""
    organization_access.get(g.actor, slug)
    return redirect(_list_href(slug), 303)


@blueprint.post("/orgs/<slug>/invitations/<uuid:invitation_id>/resend")
@fresh_sign_in.needed(
    Act.MANAGERS, when=fresh_sign_in.invites_a_manager, why=_l("You signed in %(when)s. Sign in again to invite an admin.")
)
def resend(slug: str, invitation_id: uuid.UUID) -> Response:
    organization_access.get(g.actor, slug)
    try:
        sent = invitations.resend(g.actor, slug, str(invitation_id))
    except NotFound:
        return nothing_changed(_list_href(slug))
    except QuotaReached as error:
        flash(quotas.reached(error), "warn")
        return redirect(_list_href(slug), 303)
    flash(_sent_to(sent), _kind([sent]))
    return redirect(_list_href(slug), 303)


@blueprint.post("/orgs/<slug>/invitations/<uuid:invitation_id>/link")
@fresh_sign_in.needed(
    Act.MANAGERS, when=fresh_sign_in.invites_a_manager, why=_l("You signed in %(when)s. Sign in again to invite an admin.")
)
def create_link(slug: str, invitation_id: uuid.UUID) -> Response:
    organization_access.get(g.actor, slug)
    try:
        sent = invitations.new_link(g.actor, slug, str(invitation_id))
    except NotFound:
        return nothing_changed(_list_href(slug))
    shown_once.keep(session_cookie.current_raw() or "", f"invitation:{invitation_id}", sent.url)
    return redirect(f"{_list_href(slug)}/{invitation_id}/link", 303)


@blueprint.get("/orgs/<slug>/invitations/<uuid:invitation_id>/link")
def link(slug: str, invitation_id: uuid.UUID) -> str:
    invitation = invitations.get(g.actor, slug, str(invitation_id))
    url = shown_once.take(session_cookie.current_raw() or "", f"invitation:{invitation_id}")
    return frame.render_organization("invitations/link.html", slug, "members", invitation=invitation, url=url)


@blueprint.get("/orgs/<slug>/invitations/<uuid:invitation_id>/revoke")
def confirm_revoke(slug: str, invitation_id: uuid.UUID) -> str:
    invitation = invitations.get(g.actor, slug, str(invitation_id))
    return frame.render_organization("invitations/revoke.html", slug, "members", invitation=invitation)


@blueprint.post("/orgs/<slug>/invitations/<uuid:invitation_id>/revoke")
def revoke(slug: str, invitation_id: uuid.UUID) -> Response:
    organization_access.get(g.actor, slug)
    try:
        invitations.get(g.actor, slug, str(invitation_id))
        invitations.revoke(g.actor, slug, str(invitation_id))
    except NotFound:
        return nothing_changed(_list_href(slug))
    flash(_("Invitation revoked."), "ok")
    return redirect(_list_href(slug), 303)


def _list_href(slug: str) -> str:
    return f"/orgs/{slug}/invitations"
