"""`/orgs/<slug>/credentials`: an organization's credentials beside the person's own, and which of both is used.

Values come in and never go out: not in a page, not in the form that was refused.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from flask import Blueprint, flash, g, redirect, request
from flask_babel import lazy_gettext
from flask_babel import lazy_gettext as _l
from markupsafe import Markup
from werkzeug.wrappers import Response
from wtforms import BooleanField, RadioField, SelectChoice, SelectField, StringField, TextAreaField, ValidationError

from blueprints import fresh_sign_in
from blueprints.fresh_sign_in import Act
from blueprints.html import forms, frame, leafing, quotas, words
from blueprints.html.catalogues import gettext as _
from blueprints.pages.organizations import credential_runs
from errors import NotFound
from services.access import roles
from services.access.quotas import QuotaReached
from services.pagination import numbered_pages
from services.users import users
from services.vault import agent_uses, credential_declarations, credentials
from services.vault.credential_declarations import MAX_NOTE_LENGTH, SET_BY, KindInfo, NotOfItsKind
from services.vault.credential_scope import Scope
from services.vault.credential_values import MAX_BYTES, is_name
from services.vault.credentials import CredentialInfo, CredentialPair, VersionInfo

blueprint = Blueprint("credentials", __name__)

TABS = ("all", "own", "attention")


# --- the two slots of a name ------------------------------------------------------------------------------------------


class Slot(NamedTuple):
    """What one of both values is to the reader. `state` is a class of the style sheet: used, over, none, fault.

    `badge` and `icon` say the state in a word; `reason` is the line below, without one who set it and when; `action` is a
    link (text, address) that mends or sets it.
    """

    state: str
    info: CredentialInfo | None = None
    text: str = ""
    badge: str = ""
    icon: str = ""
    reason: str = ""
    action: tuple[str, str] | None = None


class CredentialLine(NamedTuple):
    """A row of the table. `service` is who may be asked about the organization's value, `own_service` about the reader's own, for which
    nothing counts that is declared; empty when nobody can be asked."""

    pair: CredentialPair
    service: str
    own_service: str
    organization: Slot
    own: Slot
    may_manage: bool

    @property
    def needs_attention(self) -> bool:
        return "fault" in (self.organization.state, self.own.state)

    def asked_about(self, scope: str) -> str:
        """The service that a value of that scope is tested at."""
        return self.own_service if scope == "user" else self.service

    @property
    def may_set(self) -> dict[str, bool]:
        """By scope, what the reader may give a value."""
        return {
            "org": self.may_manage and self.pair.allows("org"),
            "user": self.pair.allows("user"),
        }

    @property
    def is_of_organization(self) -> bool:
        """Whether the organization has a value for it or says something of it."""
        return self.pair.organization is not None or self.pair.is_declared

    def matches(self, text: str) -> bool:
        return text in self.pair.name.casefold() or text in self.service.casefold()


def line_of(pair: CredentialPair, kind: KindInfo, own_kind: KindInfo, base: str, *, may_manage: bool) -> CredentialLine:
    """own_kind: the one that the name stands for."""
    service, own_service = (each.label if each.has_check else "" for each in (kind, own_kind))
    values = f"{base}/{pair.name}/value?scope="
    org = _organization_slot(pair, service, f"{values}org", may_manage=may_manage)
    return CredentialLine(pair, service, own_service, org, _own_slot(pair, own_service, f"{values}user"), may_manage)


def _organization_slot(pair: CredentialPair, service: str, href: str, *, may_manage: bool) -> Slot:
    info = pair.organization
    if info is not None:
        if not pair.allows("org"):
            return Slot("over", info, reason=_("Not used: each person sets their own"))
        replace = (_("Replace"), href) if may_manage else None
        return _fault(info, service, replace) or _used(info) or Slot("over", info)
    if not pair.allows("org"):
        return Slot("over", text=_("Not allowed"), reason=_("Each person only"))
    if pair.in_force is None:
        action = (_("Set value"), href) if may_manage else None
        reason = _("Programs get no value for it.") if may_manage else _("Ask an owner or admin to set it.")
        return Slot("fault", badge=_("Missing"), icon="warn", reason=reason, action=action)
    return Slot("none", text=_("Not set"), action=(_("Set for everyone"), href) if may_manage else None)


def _own_slot(pair: CredentialPair, service: str, href: str) -> Slot:
    info = pair.own
    if info is not None:
        if not pair.allows("user"):
            return Slot("over", info, reason=_("Not used: organization only"))
        reason = _("Instead of the organization’s") if pair.organization and pair.allows("org") else _("Only works for you")
        return _fault(info, service, (_("Replace"), href)) or _used(info, reason) or Slot("over", info)
    if not pair.allows("user"):
        return Slot("over", text=_("Not allowed"), reason=_("Organization only"))
    action = (_("Set your own"), href)
    if not pair.allows("org"):
        return Slot("fault", badge=_("Missing"), icon="warn", reason=_("Agents that act for you get no value for it."), action=action)
    return Slot("none", text=_("Not set"), action=action)


def _fault(info: CredentialInfo, service: str, action: tuple[str, str] | None) -> Slot | None:
    if info.status == "rejected":
        badge = _("Refused by %(service)s", service=service) if service else _("Refused")
        return Slot("fault", info, badge=badge, icon="alert", action=action)
    if info.status == "unreadable":
        return Slot("fault", info, badge=_("Can’t be read"), icon="alert", reason=_("Its encryption key is gone."), action=action)
    if info.status == "missing":
        return Slot("fault", info, badge=_("Missing"), icon="warn", reason=_("The value is blank."), action=action)
    return None


def _used(info: CredentialInfo, reason: str = "") -> Slot | None:
    return Slot("used", info, badge=_("In use"), icon="check", reason=reason) if info.in_force else None


def _kinds() -> dict[str, KindInfo]:
    return {kind.id: kind for kind in credential_declarations.list_kinds()}


def line_at(slug: str, name: str) -> CredentialLine:
    """Raises: NotFound, also for what is no name."""
    pair = credentials.find_pair(g.actor, slug, name) if is_name(name) else None
    if pair is None:
        raise NotFound()
    own_kind = credential_declarations.kinds_of_names()(name)
    return line_of(pair, _kind_of(pair, _kinds()), own_kind, _base(slug), may_manage=_may_manage(slug))


def _kind_of(pair: CredentialPair, kinds: dict[str, KindInfo]) -> KindInfo:
    """A kind that is not known any more has nobody to ask."""
    return kinds.get(pair.kind) or KindInfo(pair.kind, "", has_check=False)


def _may_manage(slug: str) -> bool:
    return roles.may(frame.organization_here(slug).role, "credentials:manage")


def _base(slug: str) -> str:
    return f"/orgs/{slug}/credentials"


def scope_asked() -> Scope:
    scope = request.args.get("scope")
    if scope not in ("org", "user"):
        raise NotFound()
    return scope  # type: ignore[return-value]  # compared above


# --- list and page ----------------------------------------------------------------------------------------------------


@blueprint.get("/orgs/<slug>/credentials")
def show(slug: str) -> str:
    kinds, own_kind, base, may_manage = _kinds(), credential_declarations.kinds_of_names(), _base(slug), _may_manage(slug)
    pairs = credentials.list_pairs(g.actor, slug)
    lines = [line_of(pair, _kind_of(pair, kinds), own_kind(pair.name), base, may_manage=may_manage) for pair in pairs]
    tabs = {
        "all": lines,
        "own": [line for line in lines if line.pair.own],
        "attention": [line for line in lines if line.needs_attention],
    }
    tab = request.args.get("show") if request.args.get("show") in TABS else "all"
    query = words.plain(request.args.get("q"), 64)
    found = [line for line in tabs[tab] if line.matches(query.casefold())]
    page = numbered_pages.of_list(found, number=leafing.number())
    return frame.render_organization(
        "credentials/list.html",
        slug,
        "credentials",
        lines=page.rows,
        names=_updaters_in(page.rows),
        counts={key: len(of_tab) for key, of_tab in tabs.items()},
        tab=tab,
        query=query,
        pager=leafing.pager(page, show="" if tab == "all" else tab, q=query),
    )


@blueprint.get("/orgs/<slug>/credentials/<name>")
def detail(slug: str, name: str) -> str:
    line = line_at(slug, name)
    versions = [
        (scope, version) for scope, info in _values(line.pair) for version in credentials.list_versions(g.actor, slug, name, scope=scope)
    ]
    return frame.render_organization(
        "credentials/page.html",
        slug,
        "credentials",
        line=line,
        users={scope: agent_uses.list_users_of(g.actor, slug, line.pair, scope) for scope, _info in _values(line.pair)},
        history=history_of(line.pair, versions),
        names=_names_in([line], [version for _scope, version in versions]),
    )


def _values(pair: CredentialPair) -> list[tuple[Scope, CredentialInfo]]:
    """Those that are there."""
    scopes: tuple[Scope, ...] = ("org", "user")
    return [(scope, info) for scope in scopes if (info := pair.at(scope)) is not None]


@dataclass(frozen=True)
class Happened:
    """A row of the history: a value that was put, or (without one) what the service said last of the one in force."""

    scope: str
    at: datetime
    version: VersionInfo | None = None
    is_refused: bool = False


def history_of(pair: CredentialPair, versions: list[tuple[Scope, VersionInfo]]) -> list[Happened]:
    """Newest first."""
    put = [Happened(scope, version.created_at, version) for scope, version in versions]
    said = [
        Happened(scope, info.checked_at, is_refused=info.status == "rejected")
        for scope, info in _values(pair)
        if info.checked_at is not None and info.status in ("ok", "rejected")
    ]
    return sorted([*put, *said], key=lambda row: row.at, reverse=True)


def _updaters_in(lines: list[CredentialLine]) -> dict[uuid.UUID, Markup]:
    """What the people are called who set these values."""
    infos = [info for line in lines for info in (line.pair.organization, line.pair.own) if info]
    found = {info.updated_by: info.updater for info in infos if info.updated_by and info.updater is not None}
    return {user_id: words.untrusted(name) for user_id, name in found.items()}


def _names_in(lines: list[CredentialLine], versions: list[VersionInfo] | None = None) -> dict[uuid.UUID, Markup]:
    """The same, and who set these versions."""
    infos = [info for line in lines for info in (line.pair.organization, line.pair.own) if info]
    found = users.names_of([*(info.updated_by for info in infos), *(version.created_by for version in versions or ())])
    return {user_id: words.untrusted(name) for user_id, name in found.items()}


# --- adding and replacing ---------------------------------------------------------------------------------------------


class ValueForm(forms.Form):
    """A new value. It comes with CRLF line breaks from browsers, and is stored with LF."""

    value = TextAreaField(lazy_gettext("Value"), filters=[lambda text: (text or "").replace("\r\n", "\n")])
    keep_line_breaks = BooleanField(
        lazy_gettext("Keep line breaks"), description=lazy_gettext("For key files, which end with a line break.")
    )
    test = BooleanField(
        lazy_gettext("Test it now"), description=lazy_gettext("The new value is tested with the service before it replaces the old one.")
    )

    def validate_value(self, field: TextAreaField) -> None:
        text = field.data or ""
        if not text.strip():
            raise ValidationError(_("Paste the value"))
        if text.endswith(("\n", "\r")) and not self.keep_line_breaks.data:
            raise ValidationError(_("The value has a line break at the end. Remove it, or tick “Keep line breaks”"))
        if len(text.encode()) > MAX_BYTES or "\0" in text:
            raise ValidationError(_("Use text of 64 kB or less"))

    def refuse(self, status: str, code: str, service: str) -> None:
        """Say what the service said of the value."""
        self.value.errors = [credential_runs.refusal(status, code, service)]

    def forget_value(self) -> None:
        """Before the form is shown again."""
        if (self.value.data or "").strip():
            self.value.description = _("Paste the value again")
        self.value.data = None


class NewCredentialForm(ValueForm):
    """What a member fills in: the key and their own value."""

    begins_with = ("key", "kind", "set_by")

    key = StringField(
        lazy_gettext("Key"),
        description=lazy_gettext("Capital letters, numbers and underscores, like GITHUB_TOKEN"),
        filters=[lambda text: (text or "").strip()],
    )

    def validate_key(self, field: StringField) -> None:
        if not field.data:
            raise ValidationError(_("Enter a key"))
        if not is_name(field.data):
            field.data = ""  # people paste a value where its name belongs
            raise ValidationError(_("Use capital letters, numbers and underscores, starting with a letter"))


class AddCredentialForm(NewCredentialForm):
    """What those fill in who manage credentials."""

    kind = SelectField(lazy_gettext("Service"), validate_choice=False)
    set_by = RadioField(
        lazy_gettext("Who can set a value"),
        description=lazy_gettext("If you choose “Each person only”, the value below is your own and is optional."),
        choices=[
            SelectChoice("both", lazy_gettext("Organization and each person")),
            SelectChoice("organization", lazy_gettext("Organization only")),
            SelectChoice("person", lazy_gettext("Each person only")),
        ],
        default="both",
        validate_choice=False,
    )
    note = StringField(lazy_gettext("Note (optional)"), description=lazy_gettext("What it’s for. Visible to members."))

    def validate_value(self, field: TextAreaField) -> None:
        """Where each person sets their own, this is the adder's, who may not need one."""
        if field.data or self.set_by.data != "person":
            super().validate_value(field)

    def validate_kind(self, field: SelectField) -> None:
        if field.data not in {choice.value for choice in field.choices}:
            raise ValidationError(_("Choose a service"))

    def validate_set_by(self, field: RadioField) -> None:
        if field.data not in SET_BY:
            raise ValidationError(_("Choose who can set a value"))

    def validate_note(self, field: StringField) -> None:
        if len(field.data or "") > MAX_NOTE_LENGTH or not (field.data or "").isprintable():
            raise ValidationError(_("Use %(count)s characters or fewer, on one line", count=MAX_NOTE_LENGTH))


@blueprint.get("/orgs/<slug>/credentials/new")
def new(slug: str) -> str:
    form = _new_form(slug)
    if not is_name(form.key.data or ""):  # of a draft
        form.key.data = ""
    return _new_page(slug, form)


@blueprint.post("/orgs/<slug>/credentials/new")
@fresh_sign_in.needed(
    Act.READERS,
    when=fresh_sign_in.widens_a_declaration,
    why=_l("You signed in %(when)s. Sign in again to change who can set a credential."),
)
def add(slug: str) -> Response | tuple[str, int]:
    form = _new_form(slug)
    is_good = form.validate()
    if is_good and not forms.is_first():
        return nothing_changed(slug)
    if not is_good or not _is_free(slug, form):
        form.forget_value()
        return _new_page(slug, form), 422
    name, value = form.key.data, form.value.data or None
    try:
        if isinstance(form, AddCredentialForm):
            kind, set_by, note = form.kind.data, form.set_by.data, form.note.data or ""
            credentials.add(g.actor, slug, name, kind=kind, set_by=set_by, note=note, value=value)
        else:
            credentials.put(g.actor, slug, name, value=value, fields=None, scope="user")
    except (QuotaReached, NotOfItsKind) as error:
        if isinstance(error, QuotaReached):
            form.key.errors = [quotas.reached(error)]
        else:
            form.value.errors = [credential_runs.not_of_its_kind(error)]
        form.forget_value()
        return _new_page(slug, form), error.status
    flash(_("%(key)s added. It’s used from the next request.", key=name) if value else _("%(key)s added.", key=name), "ok")
    return redirect(_base(slug), 303)


def _new_form(slug: str) -> NewCredentialForm:
    """The one for what the person may do."""
    form = AddCredentialForm() if _may_manage(slug) else NewCredentialForm()
    if isinstance(form, AddCredentialForm):
        kinds = credential_declarations.list_kinds()
        form.kind.choices = [SelectChoice(kind.id, kind.label if kind.has_check else _("Other")) for kind in kinds]
        form.kind.process_data(form.kind.data or kinds[-1].id)
    del form.test
    return form


def _new_page(slug: str, form: NewCredentialForm) -> str:
    return frame.render_organization("credentials/new.html", slug, "credentials", form=form)


def _is_free(slug: str, form: NewCredentialForm) -> bool:
    """Whether there is no such credential yet; else the form says so."""
    pair = credentials.find_pair(g.actor, slug, form.key.data)
    if not isinstance(form, AddCredentialForm):
        is_taken = pair is not None and pair.own is not None
        if pair is not None and not pair.allows("user"):
            form.key.errors = [_("%(key)s is set by the organization only", key=pair.name)]
            return False
    else:
        is_taken = pair is not None and not (pair.own and not pair.organization and form.set_by.data != "person")
    if is_taken:
        form.key.errors = [_("%(key)s already exists. Replace its value instead", key=form.key.data)]
    return not is_taken


@blueprint.get("/orgs/<slug>/credentials/<name>/value")
def show_value(slug: str, name: str) -> str:
    line, scope = _line_to_set(slug, name)
    return _value_page(slug, line, scope, _value_form(line, scope))


@blueprint.post("/orgs/<slug>/credentials/<name>/value")
def set_value(slug: str, name: str) -> Response | tuple[str, int]:
    if is_gone(slug, name):
        return nothing_changed(slug)
    line, scope = _line_to_set(slug, name)
    form = _value_form(line, scope)
    if not form.validate():
        return _value_page(slug, line, scope, form), 422
    if not forms.is_first():
        return nothing_changed(slug)
    try:
        return _put_value(slug, line, scope, form)
    except (QuotaReached, NotOfItsKind) as error:
        form.value.errors = [quotas.reached(error) if isinstance(error, QuotaReached) else credential_runs.not_of_its_kind(error)]
        return _value_page(slug, line, scope, form), error.status


def _put_value(slug: str, line: CredentialLine, scope: Scope, form: ValueForm) -> Response | tuple[str, int]:
    name = line.pair.name
    if "test" in form and form.test.data:
        service, value = line.asked_about(scope), form.value.data or ""
        credentials.check_may_write(g.actor, slug, name, scope=scope, value=value)
        run_id, outcome = credential_runs.put_tested(slug, name, scope=scope, service=service, value=value)
        if outcome is None:
            return redirect(f"{_base(slug)}/{name}/tests/{run_id}", 303)
        if outcome["status"] != "ok":
            form.refuse(outcome["status"], outcome["code"], service)
            return _value_page(slug, line, scope, form), 422
        is_new = bool(outcome["is_new"])
    else:
        is_new = credentials.put(g.actor, slug, name, value=form.value.data, fields=None, scope=scope).is_new
    flash(credential_runs.stored(name, is_new=is_new).striptags(), "ok")
    return redirect(_base(slug), 303)


def is_gone(slug: str, name: str) -> bool:
    """Whether there is no such credential any more.   Raises: NotFound, for what is no name too."""
    if not is_name(name):
        raise NotFound()
    return credentials.find_pair(g.actor, slug, name) is None


def _line_to_set(slug: str, name: str) -> tuple[CredentialLine, Scope]:
    """Raises: NotFound; Forbidden; Conflict."""
    line, scope = line_at(slug, name), scope_asked()
    credentials.check_may_write(g.actor, slug, name, scope=scope)
    return line, scope


def _value_form(line: CredentialLine, scope: Scope) -> ValueForm:
    form = ValueForm()
    if not line.asked_about(scope):
        del form.test
    return form


def _value_page(slug: str, line: CredentialLine, scope: str, form: ValueForm) -> str:
    form.forget_value()
    return frame.render_organization("credentials/value.html", slug, "credentials", line=line, scope=scope, form=form)


# --- an earlier value, and taking away --------------------------------------------------------------------------------


@blueprint.get("/orgs/<slug>/credentials/<name>/restore")
def confirm_restore(slug: str, name: str) -> str:
    line, scope = _line_to_set(slug, name)
    number = request.args.get("version", type=int)
    version = next((kept for kept in credentials.list_versions(g.actor, slug, name, scope=scope) if kept.number == number), None)
    if version is None or version.in_force:
        raise NotFound()
    return frame.render_organization("credentials/restore.html", slug, "credentials", line=line, scope=scope, version=version)


@blueprint.post("/orgs/<slug>/credentials/<name>/restore")
def restore(slug: str, name: str) -> Response:
    if is_gone(slug, name):
        return nothing_changed(slug)
    _line_to_set(slug, name)
    if not forms.is_first():
        return nothing_changed(slug)
    number = request.args.get("version", 0, type=int)
    try:
        credentials.restore(g.actor, slug, name, number=min(max(number, 0), 2**31 - 1), scope=scope_asked())
    except NotOfItsKind as error:
        text = _("%(key)s wasn’t restored: that value doesn’t look like one for %(service)s.", key=name, service=error.label)
        flash(text, "danger")
        return redirect(f"{_base(slug)}/{name}", 303)
    flash(_("%(key)s replaced. It’s used from the next request.", key=name), "ok")
    return redirect(_base(slug), 303)


@blueprint.get("/orgs/<slug>/credentials/<name>/value/remove")
def confirm_remove_value(slug: str, name: str) -> str:
    line, scope = line_at(slug, name), scope_asked()
    if (scope == "org" and not line.may_manage) or line.pair.at(scope) is None:
        raise NotFound()
    users = agent_uses.list_users_of(g.actor, slug, line.pair, scope)
    return frame.render_organization("credentials/remove_value.html", slug, "credentials", line=line, scope=scope, users=users)


@blueprint.post("/orgs/<slug>/credentials/<name>/value/remove")
def remove_value(slug: str, name: str) -> Response:
    scope, pair = scope_asked(), credentials.find_pair(g.actor, slug, name)
    if pair is None or pair.at(scope) is None:
        return nothing_changed(slug)
    credentials.remove(g.actor, slug, name, scope=scope)
    if scope == "org":
        text = _("The organization’s value for %(key)s was removed.", key=name)
    elif pair.organization and pair.allows("org"):
        text = _("Your value for %(key)s was removed. The organization’s is used now.", key=name)
    else:
        text = _("Your value for %(key)s was removed.", key=name)
    flash(text, "ok")
    return redirect(_base(slug), 303)


@blueprint.get("/orgs/<slug>/credentials/<name>/remove")
@fresh_sign_in.needed(Act.READERS, when=fresh_sign_in.takes_a_declaration_back)
def confirm_remove(slug: str, name: str) -> str:
    line = line_at(slug, name)
    if not line.may_manage or not line.is_of_organization:
        raise NotFound()
    users = agent_uses.list_users_of(g.actor, slug, line.pair, "org")
    return frame.render_organization("credentials/remove.html", slug, "credentials", line=line, users=users)


@blueprint.post("/orgs/<slug>/credentials/<name>/remove")
@fresh_sign_in.needed(
    Act.READERS,
    when=fresh_sign_in.takes_a_declaration_back,
    why=_l("You signed in %(when)s. Sign in again to change who can set a credential."),
)
def remove(slug: str, name: str) -> Response:
    pair = credentials.find_pair(g.actor, slug, name)
    if pair is None or not (pair.organization or pair.is_declared):
        return nothing_changed(slug)
    credentials.remove_from_organization(g.actor, slug, name)
    flash(_("%(key)s was removed.", key=name), "ok")
    return redirect(_base(slug), 303)


def nothing_changed(slug: str) -> Response:
    return forms.nothing_changed(_base(slug))
