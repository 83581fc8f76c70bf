"""`/account/delete`: what goes with an account, what stops it, and the typed confirmation."""

from typing import Any

from flask import Blueprint, g, make_response, render_template

from blueprints import session_cookie
from blueprints.pages import frame, fresh_sign_in, words
from blueprints.pages.forms import DeleteForm
from services import account_deletion, users
from services.users import Profile

blueprint = Blueprint("account_deletion", __name__)


@blueprint.get("/account/delete")
@fresh_sign_in.asks_for_it
def confirm() -> str:
    return _page(DeleteForm())


@blueprint.post("/account/delete")
@fresh_sign_in.asks_for_it
def delete() -> Any:
    form = DeleteForm()
    form.ask_for(_word())
    if not form.validate():
        return _page(form), 422
    account_deletion.delete(g.actor, g.actor.user.id)
    g.page_kind = "gate"
    return session_cookie.clear_on(make_response(render_template("account/deleted.html")))


def _page(form: DeleteForm) -> str:
    form.ask_for(_word())
    return frame.render("account/delete.html", "profile", form=form, found=account_deletion.preview(g.actor))


def _word() -> str:
    return word_of(users.get_profile(g.actor.user.id))


def word_of(profile: Profile) -> str:
    """What is typed: the address; somebody without one types their name, or their id."""
    return words.plain(profile.email, 254) or words.plain(profile.name) or str(profile.id)
