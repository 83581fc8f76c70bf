"""What drafts rely on: a page is shown by a view of its own, and every field for a secret is known by its name."""

import importlib
import pkgutil
import re

from flask import Flask
from wtforms import PasswordField
from wtforms.fields.core import UnboundField

import blueprints
from blueprints import DOORS, guards
from blueprints.html import drafts
from blueprints.html.forms import Form
from tests.live_server import ROOT

SOUNDS_SECRET = re.compile(r"secret|password|passphrase|token|(^|_)(key|value|code|pin)(_|$)")
NO_SECRET = {"key": "the name of a credential", "id_token_alg": "an algorithm"}


def test_no_view_both_shows_a_page_and_does_what_its_form_asks_for(app: Flask) -> None:
    """A form that was open too long is answered by running the view that shows its page."""
    doors = {blueprint.name for blueprint, _, guard in DOORS if guard in (guards.pages, guards.admin_pages)}
    methods: dict[object, set[str]] = {}
    for rule in app.url_map.iter_rules():
        if rule.endpoint.partition(".")[0] in doors:
            methods.setdefault(app.view_functions[rule.endpoint], set()).update(rule.methods or ())
    assert len(methods) > 80
    assert [view for view, found in methods.items() if {"GET", "POST"} <= found] == []


def fields_of_forms() -> dict[str, bool]:
    """The name of every field of a form -> whether one of that name hides what is typed."""
    for info in pkgutil.walk_packages(blueprints.__path__, "blueprints."):
        importlib.import_module(info.name)
    found: dict[str, bool] = {}
    kinds: list[type[Form]] = [Form]
    for kind in kinds:
        kinds += kind.__subclasses__()
        for name, field in vars(kind).items():
            if isinstance(field, UnboundField):
                name = field.kwargs.get("name", name)
                found[name] = found.get(name, False) or issubclass(field.field_class, PasswordField)
    return found


def test_every_field_of_a_form_that_sounds_secret_is_never_kept() -> None:
    fields = fields_of_forms()
    secret = {name for name, hides in fields.items() if hides or SOUNDS_SECRET.search(name)}
    assert secret - NO_SECRET.keys() == drafts.SECRETS


def test_every_field_of_a_page_that_a_browser_shall_not_remember_is_never_kept() -> None:
    """`autocomplete` is off where a secret is typed, and, but for filters, which are in the address, only there."""
    text = "".join(path.read_text() for path in (ROOT / "templates").rglob("*.html"))
    named = re.findall(r"ui\.field\(form\.(\w+), autocomplete=['\"](?:off|one-time-code|[a-z]+-password)['\"]", text)
    assert set(named) == drafts.SECRETS
    by_hand = [tag for tag in re.findall(r"<input[^>]*>", text) if re.search(r"type=[\"']?password", tag)]
    assert [tag for tag in by_hand if not re.search(rf"name=\"(?:{'|'.join(drafts.SECRETS)})\"", tag)] == []
