"""Credentials: every state of both slots, the forms, what asks before it takes away."""

from datetime import timedelta
from typing import Any

from werkzeug.datastructures import MultiDict
from wtforms import SelectChoice

from blueprints.html import words
from blueprints.html.leafing import Pager
from blueprints.pages.organizations import credential_runs
from blueprints.pages.organizations.credentials import AddCredentialForm, CredentialLine, NewCredentialForm, ValueForm, history_of, line_of
from infra import clock
from services.pagination.numbered_pages import NumberedPage
from services.vault.credential_declarations import KindInfo
from services.vault.credentials import CredentialInfo, CredentialPair, VersionInfo
from tests.gallery import agents
from tests.gallery.page import ID, OTHER_ID, Page, organization_page

BASE = "/orgs/northwind/credentials"
GITHUB, SLACK, OTHER = KindInfo("github", "GitHub", True), KindInfo("slack", "Slack", True), KindInfo("generic", "Secret", False)
ALONE = Pager(None, None, "")


def _value(scope: Any, last_four: str | None, *, in_force: bool = True, status: str = "set", by: Any = ID) -> CredentialInfo:
    set_at = clock.now() - timedelta(days=49)
    checked_at = clock.now() - timedelta(hours=3) if status == "rejected" else None
    return CredentialInfo("X", scope, status, in_force, "x", "both", "", 3, None, last_four, checked_at, set_at, by)


def _line(
    name: str,
    kind: KindInfo,
    organization: CredentialInfo | None,
    own: CredentialInfo | None,
    *,
    set_by: str = "both",
    note: str = "",
    manages: bool = True,
) -> CredentialLine:
    return line_of(CredentialPair(name, kind.id, set_by, note, True, organization, own), kind, kind, BASE, may_manage=manages)


def lines(name: str | None, *, manages: bool = True) -> list[CredentialLine]:
    note = name if name is not None else "For the nightly report"
    return [
        _line("GITHUB_TOKEN", GITHUB, _value("org", "8f2k", in_force=False), _value("user", "q1Zx"), manages=manages),
        _line("OPENAI_API_KEY", GITHUB, _value("org", None, by=None), None, manages=manages),
        _line("SLACK_BOT_TOKEN", SLACK, _value("org", "m0Qa", status="rejected", by=OTHER_ID), None, manages=manages),
        _line("LINEAR_API_KEY", OTHER, None, _value("user", "4dWp"), note=note, manages=manages),
        _line("STRIPE_RESTRICTED_KEY", OTHER, None, None, set_by="organization", manages=manages),
        _line("SENTRY_AUTH_TOKEN", OTHER, _value("org", "k9Lr", status="unreadable"), None, manages=manages),
        _line("NPM_TOKEN", OTHER, _value("org", "npm1", in_force=False), None, set_by="person", manages=manages),
        _line("A" * 64, OTHER, None, _value("user", None, in_force=False), set_by="organization", manages=manages),
    ]


def _names(name: str | None) -> dict[Any, Any]:
    return {ID: words.untrusted("Tom Halvorsen" if name is None else name), OTHER_ID: words.untrusted("Ines" if name is None else name)}


def _list(page_name: str, name: str | None, shown: list[CredentialLine], **changes: Any) -> Page:
    values = {"lines": shown, "names": _names(name), "counts": {"all": 8, "own": 3, "attention": 4}, "tab": "all", "query": ""}
    values |= {"pager": ALONE, **changes}
    role = values.pop("role", "owner")
    return organization_page(page_name, "credentials/list.html", "credentials", name, role=role, **values)


def _value_form(*, wrong: Any = None, tested: bool = True) -> ValueForm:
    form = ValueForm()
    if not tested:
        del form.test
    if wrong:
        form.value.data = "not shown again"
        form.value.errors = ["Paste the value"] if wrong is True else []
        if wrong is not True:
            form.refuse(*wrong)
        form.forget_value()
    return form


def _new_form(kind: type[NewCredentialForm], *, wrong: bool = False) -> NewCredentialForm:
    form = kind(MultiDict({"key": "OPENAI_API_KEY"})) if wrong else kind()
    del form.test
    if isinstance(form, AddCredentialForm):
        form.kind.choices = [SelectChoice("github", "GitHub"), SelectChoice("slack", "Slack"), SelectChoice("generic", "Other")]
    if wrong:
        form.key.errors = ["OPENAI_API_KEY already exists. Replace its value instead"]
        form.value.data = "not shown again"
        form.forget_value()
    return form


def _tests(name: str | None) -> list[Page]:
    """A test that takes its time, and each way in which one ends."""
    service = name if name is not None else "Slack"
    href = f"{BASE}/SLACK_BOT_TOKEN"
    common = {"service": service, "key": "SLACK_BOT_TOKEN", "credential_href": href, "again_href": f"{href}/tests/{ID}"}
    ends: dict[str, tuple[str, dict[str, str]] | None] = {
        "running": None,
        "replaced": ("put", {"status": "ok"}),
        "refused": ("put", {"status": "rejected", "code": "invalid_auth"}),
        "accepted": ("check", {"status": "ok"}),
        "lost": ("check", {"status": "lost"}),
    }

    def page(end: str, told: tuple[str, dict[str, str]] | None) -> Page:
        sentence = credential_runs.told({"kind": told[0], "service": service, "name": "SLACK_BOT_TOKEN"}, told[1]) if told else None
        return organization_page(f"credential-test-{end}", "credentials/test.html", "credentials", name, told=sentence, **common)

    return [page(end, told) for end, told in ends.items()]


def pages(name: str | None) -> list[Page]:
    shown = lines(name)
    many = [_line(f"SERVICE_{number}_API_KEY", GITHUB, _value("org", f"{number:04}"), None) for number in range(50)]
    github, _openai, slack, linear, *_ = shown
    moment = clock.now()
    history: list[tuple[Any, VersionInfo]] = [
        ("org", VersionInfo(3, "set", True, None, "8f2k", moment - timedelta(days=49), ID)),
        ("user", VersionInfo(1, "set", True, None, None, moment - timedelta(days=90), ID)),
        ("org", VersionInfo(2, "set", False, None, "77Tc", moment - timedelta(days=100), OTHER_ID)),
        ("org", VersionInfo(1, "unreadable", False, None, None, moment - timedelta(days=400), None)),
    ]
    users = {"org": NumberedPage([agents.agent(name), agents.agent(name, is_own=False, acts_for_owner=True)], 1, 60)}
    users["user"] = NumberedPage([agents.agent(name, last_used_at=None)], 1, 1)
    nobody = {"org": NumberedPage([], 1, 0)}
    page: dict[str, Any] = {"line": github, "users": users, "history": history_of(github.pair, history), "names": _names(name)}
    refused_slack = {"line": lines(name, manages=False)[2], "history": history_of(slack.pair, []), "users": nobody}
    refused = _value_form(wrong=("rejected", "invalid_auth", "Slack"))

    def made(page_name: str, template: str, **values: Any) -> Page:
        return organization_page(page_name, f"credentials/{template}.html", "credentials", name, **values)

    return [
        _list("credentials", name, shown),
        _list("credentials-member", name, lines(name, manages=False), role="member"),
        _list("credentials-found", name, shown[2:3], query=name if name is not None else "slack", tab="attention"),
        _list("credentials-nothing-found", name, [], query="zz"),
        _list("credentials-none", name, [], counts={"all": 0, "own": 0, "attention": 0}),
        _list("credentials-fifty", name, many, pager=Pager(f"{BASE}?page=1", f"{BASE}?page=3", "Showing 50 of 140")),
        made("credential", "page", **page),
        made("credential-member", "page", **{**page, **refused_slack}, role="member"),
        made("credential-new", "new", form=_new_form(AddCredentialForm)),
        made("credential-new-wrong", "new", form=_new_form(AddCredentialForm, wrong=True)),
        made("credential-new-member", "new", form=_new_form(NewCredentialForm), role="member"),
        made("credential-value", "value", line=slack, scope="org", form=_value_form()),
        made("credential-value-own", "value", line=linear, scope="user", form=_value_form(tested=False)),
        made("credential-value-wrong", "value", line=slack, scope="org", form=_value_form(wrong=True)),
        made("credential-value-refused", "value", line=slack, scope="org", form=refused),
        *_tests(name),
        made("credential-restore", "restore", line=github, scope="org", version=history[2][1]),
        made("credential-restore-own", "restore", line=github, scope="user", version=history[3][1]),
        made("credential-remove-value", "remove_value", line=github, scope="org", users=users["org"]),
        made("credential-remove-own", "remove_value", line=github, scope="user", users=users["user"]),
        made("credential-remove-only", "remove_value", line=linear, scope="user", users=users["user"]),
        made("credential-remove", "remove", line=github, users=nobody["org"]),
    ]
