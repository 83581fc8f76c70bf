"""Shared parts of page forms: the CSRF token, a name field, a word to type as confirmation, handling each form only once, and the
response when nothing changed."""

import secrets
from typing import Any

from flask import flash, redirect, request
from flask_babel import gettext as _
from flask_babel import lazy_gettext
from flask_wtf import FlaskForm
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response
from wtforms import StringField, ValidationError
from wtforms.csrf.core import CSRF

from blueprints import session_cookie
from blueprints.csrf import FIELD, is_own_token, new_token
from blueprints.html import drafts
from services.sessions import form_posts

NAME_LENGTH = 80


class _BrowserCsrf(CSRF):
    """WTForms' CSRF protection with our token."""

    def generate_csrf_token(self, csrf_token_field: Any) -> str:
        return new_token()

    def validate_csrf_token(self, form: Any, field: Any) -> None:
        if not is_own_token(field.data or ""):
            raise ValueError("This form has expired")


class Form(FlaskForm):
    """Base class of every form. begins_with: the fields its page shows first."""

    begins_with: tuple[str, ...] = ()

    class Meta(FlaskForm.Meta):
        csrf = True
        csrf_class = _BrowserCsrf
        csrf_field_name = FIELD

        def wrap_formdata(self, form: Any, formdata: Any) -> Any:
            """A page that was asked for with a draft is filled with it."""
            if isinstance(formdata, MultiDict) or drafts.current() is None:
                return super().wrap_formdata(form, formdata)
            return drafts.current()

    @property
    def errors(self) -> dict[str, Any]:
        """Errors in the order of the page, for the summary. Otherwise a base class's fields would come first."""
        found = super().errors
        return {name: found[name] for name in (*self.begins_with, *found) if name in found}


class NamedForm(Form):
    """Of what people give a name."""

    name = StringField(lazy_gettext("Name"), filters=[lambda text: " ".join((text or "").split())])

    def validate_name(self, field: StringField) -> None:
        if not field.data:
            raise ValidationError(_("Enter a name"))
        if len(field.data) > NAME_LENGTH:
            raise ValidationError(_("Use %(count)s characters or fewer", count=NAME_LENGTH))
        if not field.data.isprintable():
            raise ValidationError(_("Use letters, numbers and spaces"))


class DeleteForm(Form):
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


def tell_other_session() -> None:
    flash(drafts.other_session(), "info")


def nothing_changed(address: str) -> Response:
    """Back there: the form came twice, or what it is about is gone or is so already."""
    flash(_("Nothing changed."), "info")
    return redirect(address, 303)


def new_form_id() -> str:
    """For a form that makes something, so that it is worked on once."""
    return secrets.token_urlsafe(16)
