"""`/admin/clients`: the OAuth clients of the instance; adding one, changing its secret with overlap, deleting it."""

import secrets
import uuid
from collections.abc import Sequence
from typing import Any

from flask import Blueprint, flash, g, redirect
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from werkzeug.wrappers import Response
from wtforms import BooleanField, RadioField, SelectChoice, SelectField, SelectMultipleField, TextAreaField, ValidationError

from blueprints import fresh_sign_in, session_cookie
from blueprints.fresh_sign_in import Act
from blueprints.html import frame, key_forms, leafing, words
from blueprints.html.forms import NamedForm, is_first, nothing_changed
from errors import NotFound
from services.access.scopes import API_SCOPES, INTROSPECT
from services.sessions import shown_once
from services.tokens import oauth_clients, resources, seed_clients, signing_keys
from services.tokens.oauth_clients import ClientRow

blueprint = Blueprint("admin_clients", __name__)

MAX_REDIRECT_URIS = 50
_SIGN_IN, _OFFLINE = "openid profile email", "offline_access"
_KINDS: dict[str, dict[str, Any]] = {
    "web": {"type": "confidential", "grant_types": ["authorization_code", "refresh_token"]},
    "native": {"type": "public", "grant_types": ["authorization_code", "refresh_token"]},
    "machine": {"type": "confidential", "grant_types": ["client_credentials"]},
}


class ClientForm(NamedForm):
    kind = RadioField(
        _l("Kind"),
        default="web",
        choices=[
            SelectChoice("web", _l("Web"), render_kw={"hint": _l("It has a server that keeps a secret.")}),
            SelectChoice("native", _l("Native"), render_kw={"hint": _l("It runs on people’s devices and has no secret.")}),
            SelectChoice("machine", _l("Service"), render_kw={"hint": _l("It acts on its own behalf: nobody signs in with it.")}),
        ],
    )
    redirect_uris = TextAreaField(_l("Redirect addresses"), description=_l("One per line. A service has none."))
    scopes = SelectMultipleField(_l("Permissions"), default=[_SIGN_IN, _OFFLINE])
    resource = SelectField(
        _l("Default API"),
        default="",
        description=_l("Used when the app doesn’t name an API. If none is set, access tokens are for Gatepost."),
    )
    id_token_alg = RadioField(
        _l("ID tokens"),
        default=signing_keys.ALGORITHM,
        choices=[
            SelectChoice("ES256", _l("Signed with ES256"), render_kw={"hint": _l("Choose this unless the app can’t read it.")}),
            SelectChoice("RS256", _l("Signed with RS256"), render_kw={"hint": _l("For apps that accept nothing else.")}),
        ],
    )
    checked = BooleanField(_l("Trusted"), description=_l("Skips the consent page. Use this only for your own apps."))

    @classmethod
    def made(cls, apis: Sequence[str] = ()) -> "ClientForm":
        """apis: the identifiers of the registered ones."""
        form = cls()
        form.resource.choices = _api_choices(apis)
        form.kind.invalid_choice_message = _("Choose a kind")
        form.scopes.choices = _scope_choices()
        return form

    @property
    def is_machine(self) -> bool:
        return bool(self.kind.data == "machine")

    @property
    def is_public(self) -> bool:
        return bool(self.kind.data == "native")

    @property
    def lines(self) -> list[str]:
        return list(dict.fromkeys(line.strip() for line in (self.redirect_uris.data or "").splitlines() if line.strip()))

    def validate_redirect_uris(self, field: TextAreaField) -> None:
        if self.is_machine:
            if self.lines:
                raise ValidationError(_("Leave this empty: a service has no redirect address"))
            return
        if not self.lines:
            raise ValidationError(_("Enter at least one address"))
        if len(self.lines) > MAX_REDIRECT_URIS:
            raise ValidationError(_("Enter %(count)s addresses or fewer", count=MAX_REDIRECT_URIS))
        wrong = [
            _("Line %(number)s: use https, or http with 127.0.0.1", number=number)
            for number, line in enumerate(field.data.splitlines(), start=1)
            if line.strip() and not seed_clients.is_redirect_uri(line.strip())
        ]
        if wrong:
            field.errors = wrong[:-1]
            raise ValidationError(wrong[-1])

    def validate_scopes(self, field: SelectMultipleField) -> None:
        if not field.data:
            raise ValidationError(_("Choose at least one permission"))
        if len(" ".join(field.data)) > seed_clients.MAX_SCOPES_LENGTH:
            raise ValidationError(_("Choose fewer permissions: access tokens have no room for so many"))
        if INTROSPECT in field.data and self.is_public:
            raise ValidationError(_("Only an app with a secret may check access tokens"))

    @property
    def values(self) -> dict[str, Any]:
        """As an entry of a seed file has them."""
        scopes = dict.fromkeys(scope for chosen in self.scopes.data for scope in chosen.split())
        return {
            "name": self.name.data,
            "redirect_uris": self.lines,
            "scopes": list(scopes),
            "trusted": self.checked.data,
            "resource": self.resource.data or None,
            "id_token_alg": self.id_token_alg.data,
        }


class ChangeForm(ClientForm):
    """Of a client that is there: its kind stays. `client` is it."""

    kind = None

    @classmethod
    def of(cls, client: Any, apis: Sequence[str] = ()) -> "ChangeForm":
        scopes, choices = client.scope.split(), _scope_choices()
        chosen = [choice.value for choice in choices if set(choice.value.split()) <= set(scopes)]
        others = [scope for scope in scopes if not any(scope in value.split() for value in chosen)]
        form = cls(
            data={
                "name": client.name,
                "redirect_uris": "\n".join(client.redirect_uris),
                "scopes": [*chosen, *others],
                "checked": client.trusted,
                "resource": client.resource or "",
                "id_token_alg": client.id_token_alg or signing_keys.ALGORITHM,
            }
        )
        form.resource.choices = _api_choices([*apis, *([client.resource] if client.resource else [])])
        form.scopes.choices = [*choices, *map(key_forms.choice_of, others)]
        form.client = client
        return form

    @property
    def is_machine(self) -> bool:
        return "authorization_code" not in self.client.grant_types.split()

    @property
    def is_public(self) -> bool:
        return bool(self.client.type == "public")


def _scope_choices() -> list[SelectChoice]:
    return [
        SelectChoice(_SIGN_IN, _("See who people are"), render_kw={"hint": _("Name, email address and role")}),
        SelectChoice(_OFFLINE, _("Keep working while people are away"), render_kw={"hint": _("Its access is refreshed automatically.")}),
        *(key_forms.choice_of(scope) for scope in (*API_SCOPES, INTROSPECT)),
    ]


def _api_choices(apis: Sequence[str]) -> list[tuple[str, str]]:
    return [("", _("None")), *((identifier, identifier) for identifier in dict.fromkeys(apis))]


@blueprint.get("/admin/clients")
def index() -> str:
    page = oauth_clients.list_numbered(g.actor, number=leafing.number())
    return frame.render_admin("admin/clients.html", "clients", page=page, pager=leafing.pager(page))


@blueprint.get("/admin/clients/new")
@fresh_sign_in.needed(Act.ADMINISTRATION)
def new() -> str:
    return frame.render_admin("admin/client_new.html", "clients", form=ClientForm.made(resources.identifiers()))


@blueprint.post("/admin/clients/new")
@fresh_sign_in.needed(Act.ADMINISTRATION, why=_l("You signed in %(when)s. Sign in again to change an OAuth client."))
def create() -> Response | tuple[str, int]:
    form = ClientForm.made(resources.identifiers())
    if not form.validate():
        return frame.render_admin("admin/client_new.html", "clients", form=form), 422
    if not is_first():
        return nothing_changed("/admin/clients")
    client_pk, raw = seed_clients.add(g.actor, {"client_id": secrets.token_hex(10), **form.values, **_KINDS[form.kind.data]})
    if raw is None:
        flash(_("%(name)s added.", name=words.plain(form.name.data)), "ok")
        return redirect(f"/admin/clients/{client_pk}", 303)
    return _show_once(client_pk, raw)


@blueprint.get("/admin/clients/<uuid:client_pk>")
def show(client_pk: uuid.UUID) -> str:
    return _page("admin/client.html", client_pk)


@blueprint.get("/admin/clients/<uuid:client_pk>/edit")
@fresh_sign_in.needed(Act.ADMINISTRATION)
def edit(client_pk: uuid.UUID) -> str:
    row = oauth_clients.get_row(g.actor, client_pk)
    return frame.render_admin("admin/client_edit.html", "clients", row=row, form=ChangeForm.of(row.client, resources.identifiers()))


@blueprint.post("/admin/clients/<uuid:client_pk>/edit")
@fresh_sign_in.needed(Act.ADMINISTRATION, why=_l("You signed in %(when)s. Sign in again to change an OAuth client."))
def change(client_pk: uuid.UUID) -> Response | tuple[str, int]:
    row = oauth_clients.get_row(g.actor, client_pk)
    form, here = ChangeForm.of(row.client, resources.identifiers()), f"/admin/clients/{client_pk}"
    if not form.validate():
        return frame.render_admin("admin/client_edit.html", "clients", row=row, form=form), 422
    if not seed_clients.change(g.actor, client_pk, form.values):
        return nothing_changed(here)
    flash(_("Saved."), "ok")
    return redirect(here, 303)


@blueprint.get("/admin/clients/<uuid:client_pk>/secret")
@fresh_sign_in.needed(Act.ADMINISTRATION)
def confirm_secret(client_pk: uuid.UUID) -> str:
    if oauth_clients.get_row(g.actor, client_pk).client.type == "public":
        raise NotFound()
    return _page("admin/client_secret.html", client_pk)


@blueprint.post("/admin/clients/<uuid:client_pk>/secret")
@fresh_sign_in.needed(Act.ADMINISTRATION, why=_l("You signed in %(when)s. Sign in again to change an OAuth client."))
def add_secret(client_pk: uuid.UUID) -> Response:
    row = oauth_clients.get_row(g.actor, client_pk)
    if not is_first():
        return nothing_changed(f"/admin/clients/{client_pk}")
    return _show_once(client_pk, oauth_clients.add_second_secret(g.actor, row.client.client_id))


@blueprint.get("/admin/clients/<uuid:client_pk>/secret/created")
def created(client_pk: uuid.UUID) -> str:
    secret = shown_once.take(session_cookie.current_raw() or "", f"oauth_client:{client_pk}")
    return _page("admin/client_created.html", client_pk, secret=secret)


@blueprint.get("/admin/clients/<uuid:client_pk>/old-secret/revoke")
def show_old_secret(client_pk: uuid.UUID) -> Response:
    """Back to the button, after signing in again to press it."""
    return redirect(f"/admin/clients/{client_pk}", 303)


@blueprint.post("/admin/clients/<uuid:client_pk>/old-secret/revoke")
@fresh_sign_in.needed(Act.ADMINISTRATION, why=_l("You signed in %(when)s. Sign in again to change an OAuth client."))
def revoke_old_secret(client_pk: uuid.UUID) -> Response:
    row = oauth_clients.get_row(g.actor, client_pk)
    here = f"/admin/clients/{client_pk}"
    if not oauth_clients.revoke_old_secret(g.actor, row.client.client_id):
        return nothing_changed(here)
    flash(_("Old secret revoked."), "ok")
    return redirect(here, 303)


@blueprint.get("/admin/clients/<uuid:client_pk>/delete")
@fresh_sign_in.needed(Act.ADMINISTRATION)
def confirm_delete(client_pk: uuid.UUID) -> str:
    return _page("admin/client_delete.html", client_pk)


@blueprint.post("/admin/clients/<uuid:client_pk>/delete")
@fresh_sign_in.needed(Act.ADMINISTRATION, why=_l("You signed in %(when)s. Sign in again to change an OAuth client."))
def delete(client_pk: uuid.UUID) -> Response:
    row = oauth_clients.find_row(g.actor, client_pk)
    if row is None:
        return nothing_changed("/admin/clients")
    oauth_clients.delete(g.actor, row.client.client_id)
    flash(_("%(name)s deleted.", name=words.plain(row.client.name) or row.client.client_id), "ok")
    return redirect("/admin/clients", 303)


# --- what the pages show ----------------------------------------------------------------------------------------------


@blueprint.app_template_filter("client_kind")
def kind_of(row: ClientRow) -> str:
    """As it was added: what keeps a secret is no app on a device, whatever its addresses are while it is developed."""
    if not row.client.redirect_uris:
        return _("Service")
    is_native = row.client.type == "public" and oauth_clients.is_native(row.client.redirect_uris)
    return _("Native") if is_native else _("Web")


@blueprint.app_template_filter("client_hosts")
def hosts_of(row: ClientRow) -> list[str]:
    """Where it sends people: hosts, and schemes of apps on a device."""
    return oauth_clients.redirect_hosts(row.client.redirect_uris)


def _page(template: str, client_pk: uuid.UUID, **values: Any) -> str:
    row = oauth_clients.get_row(g.actor, client_pk)
    return frame.render_admin(template, "clients", row=row, has_two=oauth_clients.has_two_secrets(row.client), **values)


def _show_once(client_pk: uuid.UUID, raw: str) -> Response:
    shown_once.keep(session_cookie.current_raw() or "", f"oauth_client:{client_pk}", raw)
    return redirect(f"/admin/clients/{client_pk}/secret/created", 303)
