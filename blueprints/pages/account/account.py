"""`/account`: who a person is here."""

from functools import cache
from zoneinfo import available_timezones

from flask import Blueprint, flash, g, redirect
from flask_babel import gettext as _
from flask_babel import lazy_gettext
from flask_babel import lazy_gettext as _l
from werkzeug.wrappers import Response
from wtforms import RadioField, SelectChoice, SelectField

from blueprints import fresh_sign_in
from blueprints.fresh_sign_in import Act
from blueprints.html import frame, invitation_cards, languages
from blueprints.html.forms import NamedForm
from blueprints.html.invitation_cards import Card
from services.users import identities, users
from services.users.identities import IdentityInfo

blueprint = Blueprint("account", __name__)


@cache
def zones() -> list[SelectChoice]:
    """The cities that this machine's zone data knows; UTC first."""
    cities = sorted(
        name for name in available_timezones() if "/" in name and not name.startswith(("Etc/", "SystemV/", "US/", "posix", "right"))
    )
    return [SelectChoice("", "UTC"), *(SelectChoice(name, name.replace("_", " ")) for name in cities)]


class ProfileForm(NamedForm):
    """What a person may change. `email` is the id of the identity that supplies the address."""

    email = SelectField(
        lazy_gettext("Email address"),
        description=lazy_gettext(
            "From the accounts you sign in with. Only verified addresses can be chosen. You’ll be asked to confirm it’s you."
        ),
    )
    time_zone = SelectField(lazy_gettext("Time zone"), description=lazy_gettext("Used for times on these pages."))
    language = SelectField(
        lazy_gettext("Language"),
        choices=[SelectChoice("", lazy_gettext("Same as browser")), *(SelectChoice(*row) for row in languages.LANGUAGES.items())],
    )
    theme = RadioField(
        lazy_gettext("Theme"),
        choices=[
            SelectChoice("device", lazy_gettext("Same as device")),
            SelectChoice("light", lazy_gettext("Light")),
            SelectChoice("dark", lazy_gettext("Dark")),
        ],
    )


def _form(ways: list[IdentityInfo]) -> ProfileForm:
    """The form with its choices; without `email` when there is nothing to choose from."""
    profile = users.get_profile(g.actor.user.id)
    usable = {way.id: way for way in ways if way.email and way.email_verified}
    supplying = next((way for way in ways if way.supplies_email), None)
    form = ProfileForm(
        data={
            "name": profile.name,
            "time_zone": profile.time_zone or "",
            "language": profile.language or "",
            "theme": profile.theme or "device",
            "email": str(supplying.id) if supplying else "",
        }
    )
    form.time_zone.choices = zones()
    if not form.is_submitted() and form.time_zone.data not in {zone.value for zone in zones()}:
        form.time_zone.data = ""
    if len(usable) > 1 or (usable and supplying is None):
        form.email.choices = [
            SelectChoice(str(way.id), _("%(email)s, from %(provider)s", email=way.email, provider=way.label)) for way in usable.values()
        ]
        if supplying is None or supplying.id not in usable:
            form.email.choices.insert(0, SelectChoice(str(supplying.id) if supplying else "", profile.email or _("None")))
    else:
        del form.email
    return form


def _page(form: ProfileForm, ways: list[IdentityInfo], card: Card | None = None) -> str:
    source = next((way for way in ways if way.supplies_email), None)
    return frame.render("account/profile.html", "profile", form=form, source=source, card=card or Card())


@blueprint.get("/account")
def profile() -> str:
    card = invitation_cards.read(rows=invitation_cards.ROWS)
    ways = identities.list_for(g.actor.user.id)
    return _page(_form(ways), ways, card)


@blueprint.post("/account")
@fresh_sign_in.needed(
    Act.ADDRESS, when=fresh_sign_in.chooses_an_address, why=_l("You signed in %(when)s. Sign in again to choose another address.")
)
def save_profile() -> Response | tuple[str, int]:
    ways = identities.list_for(g.actor.user.id)
    form = _form(ways)
    if not form.validate():
        return _page(form, ways), 422
    user_id = g.actor.user.id
    users.update_profile(
        g.actor,
        user_id,
        name=form.name.data or "",
        time_zone=form.time_zone.data or None,
        language=form.language.data or None,
        theme=form.theme.data,
    )
    chosen = next((way for way in ways if "email" in form and str(way.id) == form.email.data and not way.supplies_email), None)
    if chosen:
        identities.choose_email(g.actor, user_id, chosen.id)
    languages.choose(form.language.data or None)
    flash(_("Saved."), "ok")
    return redirect("/account", 303)
