"""`/account/delete`: what goes with an account, what stops it, and the typed confirmation."""

from typing import Any

from flask import Blueprint, g, make_response, render_template
from flask_babel import lazy_gettext as _l

from blueprints import fresh_sign_in, session_cookie
from blueprints.fresh_sign_in import Act
from blueprints.html import frame, words
from blueprints.html.forms import DeleteForm
from services.access.actors import UserInfo
from services.accounts import account_deletion

blueprint = Blueprint("account_deletion", __name__)


@blueprint.get("/account/delete")
@fresh_sign_in.needed(Act.DELETION)
def confirm() -> str:
    return _page(_form())


@blueprint.post("/account/delete")
@fresh_sign_in.needed(Act.DELETION, why=_l("You signed in %(when)s. Sign in again to delete your account."))
def delete() -> Any:
    form = _form()
    if not form.validate():
        return _page(form), 422
    account_deletion.delete(g.actor, g.actor.user.id)
    g.page_kind = "gate"
    return session_cookie.clear_on(make_response(render_template("account/deleted.html")))


def _page(form: DeleteForm) -> str:
    return frame.render("account/delete.html", "profile", form=form, found=account_deletion.preview(g.actor))


def _form() -> DeleteForm:
    return DeleteForm.asking_for(word_of(g.actor.user))


def word_of(person: UserInfo) -> str:
    """What is typed: the address; somebody without one types their name, or their id."""
    return words.plain(person.email, 254) or words.plain(person.name) or str(person.id)
