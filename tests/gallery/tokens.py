"""Access tokens of a person: list, form, shown once, revoking."""

from datetime import timedelta
from typing import Any

from wtforms import SelectChoice

from blueprints.html import key_forms
from blueprints.html.leafing import Pager
from blueprints.pages.account.access_tokens import TokenForm
from infra import clock
from infra.ids import uuid7
from services.access.scopes import API_SCOPES
from services.users.api_keys import KeyMaker, KeyRow, new_key
from tests.gallery.page import ID, Page, account_page

ALONE = Pager(None, None, "")


def key(
    name: str, *, owner: str = "self", expires_in: int = 80, used: int | None = 4, last_four: str = "8f2k", app: str | None = None
) -> KeyRow:
    """expires_in: days. used: minutes ago. app: what the app is called that made it."""
    moment = clock.now()
    return KeyRow(
        id=ID,
        owner=owner,
        organization="northwind",
        name=name,
        scopes=("orgs", "credentials:read"),
        last_four=last_four,
        created_at=moment - timedelta(days=9),
        expires_at=moment + timedelta(days=expires_in),
        last_used_at=None if used is None else moment - timedelta(minutes=used),
        last_used_ip=None if used is None else "10.20.0.14",
        created_with=None if app is None else KeyMaker("patchwork", app, is_self_registered=True),
    )


def raw_key(prefix: str) -> str:
    return new_key(prefix, uuid7())


def fill(form: key_forms.KeyForm, *, wrong: bool) -> key_forms.KeyForm:
    form.scopes.choices = [key_forms.choice_of(scope) for scope in API_SCOPES]
    if wrong:
        form.name.errors = ["Enter a name so you can recognize this token later"]
        form.expires.errors = ["Choose when it expires"]
        form.date.errors = ["Choose a date within the next 365 days"]
        form.scopes.errors = ["Choose at least one permission"]
    return form


def _form(name: str | None, *, wrong: bool = False) -> key_forms.KeyForm:
    form = TokenForm()
    form.organization.choices = [SelectChoice("northwind", name if name is not None else "Northwind"), SelectChoice("fjord", "Fjord Labs")]
    return fill(form, wrong=wrong)


def pages(name: str | None) -> list[Page]:
    called = name if name is not None else "nightly report"
    app = name if name is not None else "Patchwork"
    keys = [key(called), key(called, expires_in=3, used=None, app=app), key(called, expires_in=-2, used=90_000)]
    names = {"northwind": name if name is not None else "Northwind"}

    def made(page_name: str, template: str, **values: Any) -> Page:
        return account_page(page_name, f"account/{template}.html", "tokens", name, **values)

    return [
        made("tokens", "tokens", keys=keys, names=names, pager=ALONE),
        made("tokens-fifty", "tokens", keys=[keys[0]] * 50, names=names, pager=Pager(None, "/account/tokens?page=2", "Showing 50 of 60")),
        made("tokens-none", "tokens", keys=[], names=names, pager=ALONE),
        made("token-new", "tokens_new", form=_form(name)),
        made("token-new-wrong", "tokens_new", form=_form(name, wrong=True)),
        made("token-created", "tokens_created", key=keys[0], secret=raw_key("gpp_")),
        made("token-seen", "tokens_created", key=keys[0], secret=None),
        made("token-revoke", "tokens_revoke", key=keys[0]),
    ]
