"""What the forms of access tokens and of agents' keys have in common: a name, when it expires, what it may do."""

from collections.abc import Sequence
from datetime import datetime, time, timedelta, tzinfo
from math import ceil

from flask_babel import gettext as _
from flask_babel import lazy_gettext, ngettext
from wtforms import RadioField, SelectChoice, SelectMultipleField, StringField, ValidationError

from blueprints.html import frame, permissions
from blueprints.html.forms import NamedForm
from services.instance import moments
from services.users.api_keys import MAX_SECONDS, KeyRow

DAY_SECONDS = 86_400
SOON = timedelta(days=7)
SHOWN = 2


class KeyForm(NamedForm):
    """A date is meant in the person's time zone."""

    expires = RadioField(
        lazy_gettext("Expires"),
        choices=[
            SelectChoice("7", lazy_gettext("In 7 days")),
            SelectChoice("30", lazy_gettext("In 30 days")),
            SelectChoice("90", lazy_gettext("In 90 days")),
            SelectChoice("date", lazy_gettext("On a date")),
        ],
        validate_choice=False,
    )
    date = StringField(
        lazy_gettext("Date (optional)"),
        description=lazy_gettext("For “On a date”: a date like 2027-01-31. Valid through the end of that day."),
        filters=[lambda text: (text or "").strip()],
    )
    scopes = SelectMultipleField(lazy_gettext("Permissions"), validate_choice=False)

    expires_in: int | None = None

    def validate_expires(self, field: RadioField) -> None:
        if field.data in ("7", "30", "90"):
            self.expires_in = int(field.data) * DAY_SECONDS
        elif field.data != "date":
            raise ValidationError(_("Choose when it expires"))

    def validate_date(self, field: StringField) -> None:
        if self.expires.data == "date":
            self.expires_in = _seconds_to_end_of(field.data or "", frame.zone())
            if self.expires_in is None:
                raise ValidationError(_("Choose a date within the next 365 days"))

    def validate_scopes(self, field: SelectMultipleField) -> None:
        known = {choice.value for choice in field.choices}
        if not field.data or not set(field.data) <= known:
            raise ValidationError(_("Choose at least one permission"))


def choice_of(scope: str) -> SelectChoice:
    row = permissions.in_words([scope], refresh_days=1)[0]
    return SelectChoice(scope, row.title, render_kw={"hint": ". ".join(text for text in (row.detail, row.badge) if text)})


def _seconds_to_end_of(text: str, zone: tzinfo) -> int | None:
    """How long it is until that day is over; None for what is no day of the next 365."""
    moment = moments.now()
    try:
        day = datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007  # a day has no zone; it gets the person's below
        seconds = ceil((datetime.combine(day + timedelta(days=1), time(), zone) - moment).total_seconds())
    except (ValueError, OverflowError):
        return None
    is_near = moment.astimezone(zone).date() <= day and seconds <= MAX_SECONDS + DAY_SECONDS
    return min(seconds, MAX_SECONDS) if is_near and seconds >= 60 else None


# --- a key as a row ---------------------------------------------------------------------------------------------------


def begins(key: KeyRow) -> str:
    """What people recognize a key by: "gpa_…8f2k"."""
    return f"{'gpp' if key.owner == 'self' else 'gpa'}_…{key.last_four}"


def expiry_badge(key: KeyRow) -> tuple[str, str, str] | None:
    """Text, kind and icon of a badge, for a key that ends within seven days or has ended."""
    if key.expires_at is None:
        return None
    left = key.expires_at - moments.now()
    if left <= timedelta(0):
        return _("Expired"), "danger", "alert"
    if left > SOON:
        return None
    days = ceil(left.total_seconds() / DAY_SECONDS)
    text = _("Expires in 1 day") if days == 1 else _("Expires in %(days)s days", days=days)
    return text, "warn", "clock"


def in_words(scopes: Sequence[str]) -> str:
    """What a key may do, in one line."""
    titles = [row.title for row in permissions.in_words(scopes, refresh_days=1)]
    more = len(titles) - SHOWN
    return ", ".join([*titles[:SHOWN], *([ngettext("%(num)s more", "%(num)s more", more)] if more > 0 else [])])
