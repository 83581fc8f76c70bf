"""`/admin/keys`: the keys that sign tokens, stage by stage: next, signing, still accepted, retired."""

from flask import Blueprint, flash, g, redirect
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from werkzeug.wrappers import Response

from blueprints import fresh_sign_in
from blueprints.fresh_sign_in import Act
from blueprints.html import frame
from blueprints.html.forms import DeleteForm, nothing_changed
from errors import NotFound
from services.instance import moments
from services.tokens import signing_keys

blueprint = Blueprint("admin_keys", __name__)
ORDER = ("next", "signing", "old", "retired")


@blueprint.get("/admin/keys")
def index() -> str:
    keys = sorted(signing_keys.list_keys(), key=lambda key: ORDER.index(key.state))
    steps = {"next": signing_keys.may_start_at, "old": signing_keys.may_retire_at}
    rows = [(key, steps[key.state](key) if key.state in steps else None) for key in keys]
    return frame.render_admin("admin/keys.html", "keys", rows=rows, moment=moments.now())


@blueprint.get("/admin/keys/rotate")
def rotate() -> Response:
    """An address for instructions, which cannot know the id of the next key."""
    kid = next((key.kid for key in signing_keys.list_keys() if key.state == "next"), None)
    return redirect(f"/admin/keys/{kid}/start" if kid else "/admin/keys", 303)


@blueprint.get("/admin/keys/<kid>/start")
@fresh_sign_in.needed(Act.ADMINISTRATION)
def confirm_start(kid: str) -> Response | str:
    if signing_keys.get(kid).state != "next":
        return nothing_changed("/admin/keys")
    return frame.render_admin("admin/key_start.html", "keys", kid=kid)


@blueprint.post("/admin/keys/<kid>/start")
@fresh_sign_in.needed(Act.ADMINISTRATION, why=_l("You signed in %(when)s. Sign in again to change the signing keys."))
def start(kid: str) -> Response:
    if not signing_keys.start(g.actor, kid):
        return nothing_changed("/admin/keys")
    flash(_("%(key)s is now the signing key.", key=kid), "ok")
    return redirect("/admin/keys", 303)


@blueprint.get("/admin/keys/<kid>/retire")
@fresh_sign_in.needed(Act.ADMINISTRATION)
def confirm_retire(kid: str) -> Response | str:
    return _retire_page(kid, DeleteForm.asking_for(kid)) if _may_retire(kid) else nothing_changed("/admin/keys")


@blueprint.post("/admin/keys/<kid>/retire")
@fresh_sign_in.needed(Act.ADMINISTRATION, why=_l("You signed in %(when)s. Sign in again to change the signing keys."))
def retire(kid: str) -> Response | tuple[str, int]:
    if not _may_retire(kid):
        return nothing_changed("/admin/keys")
    form = DeleteForm.asking_for(kid)
    if not form.validate():
        return _retire_page(kid, form), 422
    signing_keys.retire(g.actor, kid)
    flash(_("%(key)s retired. Tokens it signed are no longer accepted.", key=kid), "ok")
    return redirect("/admin/keys", 303)


def _may_retire(kid: str) -> bool:
    """The key that signs is retired by starting another; one that is retired stays so.   Raises NotFound."""
    state = signing_keys.get(kid).state
    if state == "signing":
        raise NotFound()
    return state != "retired"


def _retire_page(kid: str, form: DeleteForm) -> str:
    key = signing_keys.get(kid)
    return frame.render_admin(
        "admin/key_retire.html", "keys", key=key, form=form, safe_at=signing_keys.may_retire_at(key), moment=moments.now()
    )
