"""Deleting an account: what goes, what stops it, the end."""

from blueprints.html.forms import DeleteForm
from blueprints.pages.account.account_deletion import word_of
from services.accounts.account_deletion import Consequences
from tests.gallery.page import Page, account_page, organization, profile


def pages(name: str | None) -> list[Page]:
    solo, fjord = organization(name), organization(name, "member")
    nothing = Consequences((), (), (), 0, 0, 0, 0, 0)
    much = Consequences((), (solo,), (fjord,), 2, 5, 3, 1, 2)
    held = Consequences((solo,), (), (fjord,), 2, 5, 3, 1, 2)
    wrong = _form(name)
    wrong.typed.errors = ["That doesn’t match. Type maya@northwind.dev"]
    return [
        account_page("delete-account", "account/delete.html", "profile", name, form=_form(name), found=much),
        account_page("delete-account-nothing", "account/delete.html", "profile", name, form=_form(name), found=nothing),
        account_page("delete-account-held", "account/delete.html", "profile", name, form=_form(name), found=held),
        account_page("delete-account-wrong", "account/delete.html", "profile", name, form=wrong, found=much),
        Page("deleted-account", "account/deleted.html"),
    ]


def _form(name: str | None) -> DeleteForm:
    return DeleteForm.asking_for(word_of(profile(name)))
