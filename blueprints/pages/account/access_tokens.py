"""`/account/tokens`: access tokens of a person, for scripts."""

import uuid

from flask import Blueprint, flash, g, redirect
from flask_babel import gettext as _
from flask_babel import lazy_gettext
from flask_babel import lazy_gettext as _l
from werkzeug.wrappers import Response
from wtforms import SelectChoice, SelectField, StringField, ValidationError

from blueprints import fresh_sign_in, session_cookie
from blueprints.fresh_sign_in import Act
from blueprints.html import frame, key_forms, leafing, quotas, words
from blueprints.html.forms import is_first, nothing_changed
from services.access import organization_access
from services.access.actors import active_of
from services.access.quotas import QuotaReached
from services.access.scopes import API_SCOPES
from services.sessions import shown_once
from services.users import api_keys

blueprint = Blueprint("access_tokens", __name__)
for _name, _filter in (("key_begins", key_forms.begins), ("expiry_badge", key_forms.expiry_badge), ("scopes_in_words", key_forms.in_words)):
    blueprint.add_app_template_filter(_filter, _name)  # for templates/account/_keys.html


class TokenForm(key_forms.KeyForm):
    begins_with = ("name", "organization")
    organization = SelectField(lazy_gettext("Organization"), description=lazy_gettext("It works in this one only."), validate_choice=False)

    def validate_name(self, field: StringField) -> None:
        if not field.data:
            raise ValidationError(_("Enter a name so you can recognize this token later"))
        super().validate_name(field)

    def validate_organization(self, field: SelectField) -> None:
        if not field.data or field.data not in {choice.value for choice in field.choices}:
            raise ValidationError(_("Choose an organization"))


@blueprint.get("/account/tokens")
def show() -> str:
    page = api_keys.list_tokens(g.actor, number=leafing.number())
    names = words.labels_of(organization_access.opened_by(g.actor))
    return frame.render("account/tokens.html", "tokens", keys=page.rows, names=names, pager=leafing.pager(page))


@blueprint.get("/account/tokens/new")
@fresh_sign_in.needed(Act.KEYS)
def new() -> Response | str:
    if not organization_access.opened_by(g.actor):
        return _none_yet()
    return frame.render("account/tokens_new.html", "tokens", form=_form())


@blueprint.post("/account/tokens/new")
@fresh_sign_in.needed(Act.KEYS, why=_l("You signed in %(when)s. Sign in again to create an access token."))
def create() -> Response | tuple[str, int]:
    if not organization_access.opened_by(g.actor):
        return _none_yet()
    form = _form()
    is_good = form.validate()
    if is_good and not is_first():
        return nothing_changed("/account/tokens")
    if is_good and api_keys.has_token(g.actor, name=form.name.data):
        form.name.errors = [_("You already have a token called %(name)s", name=words.plain(form.name.data))]
        is_good = False
    if not is_good:
        return frame.render("account/tokens_new.html", "tokens", form=form), 422
    try:
        made, raw = api_keys.mint(
            g.actor,
            owner=api_keys.SELF,
            organization=form.organization.data,
            name=form.name.data,
            scopes=form.scopes.data,
            expires_in=form.expires_in,
        )
    except QuotaReached as error:
        form.name.errors = [quotas.reached(error)]
        return frame.render("account/tokens_new.html", "tokens", form=form), error.status
    shown_once.keep(session_cookie.current_raw() or "", f"api_key:{made.id}", raw)
    return redirect(f"/account/tokens/{made.id}/created", 303)


def _form() -> TokenForm:
    form = TokenForm()
    form.scopes.choices = [key_forms.choice_of(scope) for scope in API_SCOPES]
    mine = organization_access.opened_by(g.actor)
    form.organization.choices = [SelectChoice(slug, label) for slug, label in words.labels_of(mine).items()]
    signed_in = session_cookie.current_signed_in()
    active = active_of(mine, signed_in.record.organization_slug if signed_in else None)
    if active is None:
        form.organization.choices.insert(0, SelectChoice("", _("Choose an organization")))
    if not form.is_submitted():
        form.organization.data = active.slug if active else ""
    return form


def _none_yet() -> Response:
    flash(_("An access token works in one organization. Create an organization first, or ask an owner to invite you."), "info")
    return redirect("/orgs", 303)


@blueprint.get("/account/tokens/<uuid:key_id>/created")
def created(key_id: uuid.UUID) -> str:
    key = api_keys.get_token(g.actor, str(key_id))
    secret = shown_once.take(session_cookie.current_raw() or "", f"api_key:{key.id}")
    return frame.render("account/tokens_created.html", "tokens", key=key, secret=secret)


@blueprint.get("/account/tokens/<uuid:key_id>/revoke")
def confirm_revoke(key_id: uuid.UUID) -> str:
    return frame.render("account/tokens_revoke.html", "tokens", key=api_keys.get_token(g.actor, str(key_id)))


@blueprint.post("/account/tokens/<uuid:key_id>/revoke")
def revoke(key_id: uuid.UUID) -> Response:
    if not api_keys.revoke(g.actor, str(key_id)):
        return nothing_changed("/account/tokens")
    flash(_("Token revoked."), "ok")
    return redirect("/account/tokens", 303)
