"""What forms of several pages share: a name, a word that must be typed, being worked on once, and the answer when nothing changed."""

from flask import flash, redirect, request
from flask_babel import gettext as _
from flask_babel import lazy_gettext
from werkzeug.wrappers import Response
from wtforms import StringField, ValidationError

from blueprints import browser, session_cookie
from services.sessions import form_posts

NAME_LENGTH = 80


class NamedForm(browser.Form):
    """Of what people give a name."""

    name = StringField(lazy_gettext("Name"), filters=[lambda text: " ".join((text or "").split())])

    def validate_name(self, field: StringField) -> None:
        if not field.data:
            raise ValidationError(_("Enter a name"))
        if len(field.data) > NAME_LENGTH:
            raise ValidationError(_("Use %(count)s characters or fewer", count=NAME_LENGTH))
        if not field.data.isprintable():
            raise ValidationError(_("Use letters, numbers and spaces"))


class DeleteForm(browser.Form):
    """Of what cannot be had back. `word`: what must be typed, like a short name."""

    typed = StringField()
    word = ""

    @classmethod
    def asking_for(cls, word: str) -> "DeleteForm":
        form = cls()
        form.word = word
        form.typed.label.text = _("Type %(word)s to confirm", word=word)
        return form

    def validate_typed(self, field: StringField) -> None:
        if not (field.data or "").strip():
            raise ValidationError(_("Type %(word)s to confirm", word=self.word))
        if field.data.strip() != self.word:
            raise ValidationError(_("That doesn’t match. Type %(word)s", word=self.word))


def is_first() -> bool:
    """Whether this post of a form that makes something is the first with its id."""
    return form_posts.is_first(session_cookie.current_raw() or "", request.form.get("form_id", ""))


def nothing_changed(address: str) -> Response:
    """Back there: the form came twice, or what it is about is gone or is so already."""
    flash(_("Nothing changed."), "info")
    return redirect(address, 303)
