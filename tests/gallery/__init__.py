"""Every template with values as its door gives them: for the template tests, the screenshots and axe. No store is asked.

`pages(name=...)` puts one hostile name everywhere a stranger may choose one.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from flask import Blueprint, Flask, Response, g, make_response, render_template, request
from flask_babel import get_locale
from wtforms import SelectChoice

from blueprints.html import permissions, sign_in_errors, words
from blueprints.html.invitation_cards import Card
from blueprints.oauth import ConsentView, OrganizationChoice
from blueprints.pages.account.account import ProfileForm, zones
from blueprints.pages.account.user_sessions import AppSession
from blueprints.pages.gate.email_confirmations import CodeForm
from blueprints.pages.gate.sign_in import ProviderLink, why_again
from config import ProviderSettings
from infra import clock
from infra.session_store import SessionRecord
from services.access.actors import UserInfo
from services.authorization.authorize_requests import WaitingParty
from services.authorization.connected_apps import ConnectedApp, InOrganization
from services.organizations.received_invitations import InvitationInfo
from services.sessions.user_sessions import SignedIn
from services.sign_in.journeys import Journey
from services.tokens.grant_lists import GrantInfo
from services.users.identities import IdentityInfo
from tests.gallery import account_deletion, activity, admin, agents, audit, connections, credentials, organizations, tokens
from tests.gallery.page import CHROME, FIREFOX, ID, IPHONE, OTHER_ID, Page, account_page


def pages(name: str | None = None) -> list[Page]:
    """All of them. Call it inside a request: forms make CSRF tokens. name: used for every untrusted text."""
    return [
        *_sign_in_pages(name),
        *_oauth_pages(name),
        *_other_gate_pages(name),
        *connections.pages(name),
        *audit.pages(name),
        *organizations.pages(name),
        *credentials.pages(name),
        *agents.pages(name),
        *tokens.pages(name),
        *_account_pages(name),
        *account_deletion.pages(name),
        *activity.pages(name),
        *admin.pages(name),
    ]


# --- gate pages ---------------------------------------------------------------------------------------------------


def _sign_in_pages(name: str | None) -> list[Page]:
    email = name if name is not None else "maya@northwind.dev"
    providers = [
        ProviderLink("github", "GitHub", "github", "/login/github", True),
        ProviderLink("google", "Google", "google", "/login/google", False),
        ProviderLink("northwind", "Northwind SSO", "oidc", "/login/northwind", False),
    ]
    started = int((clock.now() - timedelta(seconds=90)).timestamp() * 1000)
    cli = WaitingParty(name if name is not None else "Gatepost CLI", False, True, "127.0.0.1:33418", started, frozenset(), None, None, None)
    web = WaitingParty(name if name is not None else "Patchwork", True, False, "patchwork.example", started, frozenset(), None, None, None)
    facts = sign_in_errors.Facts("id.northwind.dev", "github", "GitHub", email, ("Google",), (), "3f1c2a9e77d0b412")
    plain = {
        "purpose": "sign-in",
        "providers": providers,
        "waiting": None,
        "error": None,
        "reason": "",
        "continue_as": None,
        "handoff": None,
        "next_path": None,
        "invite_only": False,
        "invitation": None,
        "too_new": "",
    }
    found = [
        Page("sign-in", "sign_in/page.html", {**plain, "waiting": cli}),
        Page("sign-in-web", "sign_in/page.html", {**plain, "waiting": web, "invite_only": True}),
        Page("sign-in-invited", "sign_in/page.html", {**plain, "invitation": _invitation(name)}),
        Page("sign-in-no-provider", "sign_in/page.html", {**plain, "providers": []}),
        Page("sign-in-continue", "sign_in/page.html", {**plain, "waiting": cli, "continue_as": email, "handoff": "h.1.s"}),
        Page("reauth", "sign_in/page.html", {**plain, "purpose": "reauth", "providers": providers[:1], "reason": _reason()}),
        Page("reauth-nothing", "sign_in/page.html", {**plain, "purpose": "reauth", "providers": [], "reason": _reason()}),
        Page(
            "reauth-too-new",
            "sign_in/page.html",
            {**plain, "purpose": "reauth", "providers": [], "reason": _reason(), "too_new": words.joined(["Northwind SSO"])},
        ),
    ]
    for code in sign_in_errors.TABLE:
        error = sign_in_errors.describe(code, facts)
        found.append(Page(f"sign-in-{code}", "sign_in/page.html", {**plain, "waiting": cli, "error": error, "invite_only": True}))
    for_administrators = sign_in_errors.describe(
        "auth_time_missing", replace(facts, provider_label="Northwind SSO", setting="GATEPOST_OIDC__NORTHWIND__AUTH_TIME")
    )
    again = {**plain, "purpose": "reauth", "providers": providers[2:]}
    found.append(Page("reauth-administrator", "sign_in/page.html", {**again, "reason": _reason(), "error": for_administrators}))
    link = {"email": email, "action": "/login/link/token"}
    mail = {
        "email": email,
        "provider_label": "Northwind SSO",
        "account": name if name is not None else "mayak",
        "action": "/login/confirm/token",
    }
    wrong = CodeForm()
    wrong.code.errors = ["That code isn’t right"]
    return [
        *found,
        Page("link", "sign_in/link.html", link),
        Page("confirm-email", "sign_in/confirm_email.html", {**mail, "is_same_browser": True, "code": None}),
        Page("confirm-email-elsewhere", "sign_in/confirm_email.html", {**mail, "is_same_browser": False, "code": "WDJB-MJHT"}),
        Page("check-mail", "sign_in/check_mail.html", {"email": email, "action": "/login/check-mail", "form": CodeForm()}),
        Page("check-mail-wrong", "sign_in/check_mail.html", {"email": email, "action": "/login/check-mail", "form": wrong}),
        Page(
            "link-accounts",
            "sign_in/link_accounts.html",
            {
                "user_email": email,
                "provider_label": "GitHub",
                "account": name if name is not None else "mayak",
                "email": email,
                "name": "0" * 64,
                "action": "/account/link",
                "skip_href": "/account",
            },
        ),
        Page("signed-out", "sign_in/signed_out.html"),
    ]


def _reason(provider: str = "github", **changes: Any) -> str:
    record = replace(_record(1, FIREFOX, "81.166.20.4", provider, timedelta(minutes=25), timedelta()), **changes)
    user = UserInfo(ID, "maya@northwind.dev", True, "Maya Kovač", False)
    return why_again(Journey("reauth", next_path="/account/tokens/new"), SignedIn(record, user, ()))


def _view(name: str | None, **changes: Any) -> ConsentView:
    scope = "openid profile email connections:use offline_access"
    values: dict[str, Any] = {
        "client_id": "patchwork",
        "client_name": name if name is not None else "Patchwork",
        "is_self_registered": True,
        "registered_at": clock.now() - timedelta(minutes=4),
        "redirect_kind": "loopback",
        "redirect_host": "127.0.0.1:33418",
        "resource": "mcp.northwind.dev/github",
        "user_id": ID,
        "user_name": name if name is not None else "Maya Kovač",
        "user_email": name if name is not None else "maya@northwind.dev",
        "organizations": [
            OrganizationChoice("northwind", name if name is not None else "Northwind", True),
            OrganizationChoice("fjord-labs", name if name is not None else "Fjord Labs", False),
        ],
        "permissions": permissions.in_words(scope.split(), organization=None, refresh_days=30),
        "nots": permissions.what_not(scope.split()),
        "scope": scope,
        "action": "/oauth/authorize?handoff=h.1.s",
        "switch_href": "/login?handoff=h.1.s&switch=1",
        "ip": "81.166.20.4",
    }
    return ConsentView(**{**values, **changes})


def _oauth_pages(name: str | None) -> list[Page]:
    everything = "openid profile email orgs projects:read audit:read credentials:read credentials:write orgs:write keys:write unknown:thing"
    checked = _view(
        name,
        is_self_registered=False,
        redirect_kind="https",
        redirect_host="patchwork.example",
        resource=None,
        organizations=[OrganizationChoice("northwind", name if name is not None else "Northwind", True)],
        permissions=permissions.in_words(everything.split(), organization=name if name is not None else "Northwind", refresh_days=30),
        nots=[],
        scope=everything,
    )
    cli = _view(name, client_name=name if name is not None else "Gatepost CLI", is_self_registered=False)
    two = [OrganizationChoice(slug, f"{name if name is not None else 'Northwind'} ({slug})", False) for slug in ("northwind", "fjord-labs")]
    one = {"organizations": [OrganizationChoice("northwind", name if name is not None else "Northwind", True)]}
    target = "http://127.0.0.1:33418/callback?code=abc&state=x%22y&iss=http%3A%2F%2F127.0.0.1"
    return [
        Page("consent", "oauth/consent.html", {"view": _view(name)}),
        Page("consent-checked", "oauth/consent.html", {"view": checked}),
        Page(
            "consent-grown",
            "oauth/consent.html",
            {
                "view": _view(
                    name,
                    permissions=permissions.in_words(everything.split(), refresh_days=30, allowed=everything.split()[:4]),
                    nots=[],
                )
            },
        ),
        Page(
            "consent-scheme",
            "oauth/consent.html",
            {"view": _view(name, redirect_kind="scheme", redirect_host="com.example.app")},
        ),
        Page(
            "confirm-native",
            "oauth/confirm_native.html",
            {"view": _view(name, **{"client_name": cli.client_name, "is_self_registered": False, **one})},
        ),
        Page("confirm-native-organizations", "oauth/confirm_native.html", {"view": cli}),
        Page("choose-organization", "oauth/choose_organization.html", {"view": cli}),
        Page("choose-organization-imported", "oauth/choose_organization.html", {"view": replace(cli, organizations=two)}),
        Page("consent-imported", "oauth/consent.html", {"view": _view(name, organizations=two)}),
        Page("consent-no-organization", "oauth/consent.html", {"view": _view(name, organizations=[])}),
        Page("confirm-native-imported", "oauth/confirm_native.html", {"view": replace(cli, organizations=two[:1])}),
        Page(
            "onward",
            "oauth/onward.html",
            {
                "target": target,
                "host": "127.0.0.1:33418",
                "app_name": name if name is not None else "Gatepost CLI",
                "is_self_registered": name is not None,
                "is_back": True,
            },
        ),
        Page(
            "onward-to-link",
            "oauth/onward.html",
            {"target": target, "host": "github.com", "app_name": "GitHub", "is_self_registered": False, "is_back": False},
        ),
        Page(
            "form-post",
            "oauth/form_post.html",
            {
                "target": "https://patchwork.example/callback?tenant=a",
                "fields": {"code": "c", "state": name if name is not None else "s", "iss": "https://id.northwind.dev"},
                "host": "patchwork.example",
                "app_name": name if name is not None else "Patchwork",
                "is_self_registered": name is not None,
            },
        ),
        Page(
            "logout",
            "oauth/logout.html",
            {
                "email": name if name is not None else "maya@northwind.dev",
                "values": {"client_id": "patchwork", "state": name if name is not None else "s"},
            },
        ),
    ]


def _invitation(name: str | None, state: str = "open") -> InvitationInfo:
    organization, email, inviter = (name, name, name) if name is not None else ("Northwind", "maya@northwind.dev", "Tom Halvorsen")
    return InvitationInfo(OTHER_ID, ID, "northwind", organization, "admin", email, inviter, state)


def _profile_page(page_name: str, name: str | None, **values: Any) -> Page:
    return account_page(page_name, "account/profile.html", "profile", name, **{"card": Card(), **values})


def _other_gate_pages(name: str | None) -> list[Page]:
    email = name if name is not None else "maya@northwind.dev"
    blank = {"way_out_text": "Go to start", "way_out_href": "/", "code": "", "value": "", "reference": "", "again": []}
    mismatch = {
        **blank,
        "heading": "This app’s return address isn’t registered",
        "text": "For your safety you weren’t sent there. Tell the app’s maker:",
        "code": "REDIRECT_MISMATCH",
        "value": name if name is not None else "https://evil.example/callback?" + "x" * 150,
    }
    broken = {
        **blank,
        "heading": "Something broke on our side",
        "text": "It’s been recorded. Try again in a minute.",
        "reference": "3f1c2a9e77d0b412",
    }
    joining = {
        "organization": words.label_of(_invitation(name), []),
        "reader": email,
        "is_own_address": True,
        "action": "/invitations/x/accept",
        "onward_href": "/orgs/northwind",
        "switch_href": "/login?switch=1",
    }
    return [
        *(
            Page(f"invitation-{state}", "invitations/join.html", {**joining, "invitation": _invitation(name, state)})
            for state in ("open", "member", "other_address", "not_verified")
        ),
        Page("invitation-linked", "invitations/join.html", {**joining, "is_own_address": False, "invitation": _invitation(name)}),
        Page("done", "done.html", {"email": email, "is_denied": False}),
        Page("done-nobody", "done.html", {"email": None, "is_denied": False}),
        Page("done-denied", "done.html", {"email": None, "is_denied": True}),
        Page(
            "error-404",
            "errors/page.html",
            {**blank, "heading": "Nothing here", "text": "The address may be wrong, or you may not have access."},
        ),
        Page("error-redirect", "errors/page.html", mismatch),
        Page("error-500", "errors/page.html", broken),
        Page("error-500-form", "errors/page.html", {**broken, "again": [("name", name or "deploy-bot"), ("csrf_token", "x")]}),
    ]


# --- account pages ------------------------------------------------------------------------------------------------


def _identity(id_: UUID, provider: str, label: str, login: str, email: str, supplies: bool) -> IdentityInfo:
    return IdentityInfo(id_, provider, label, login, email, True, supplies, datetime(2026, 3, 3, tzinfo=UTC), None)


def _record(number: int, user_agent: str, ip: str, provider: str, age: timedelta, seen: timedelta) -> SessionRecord:
    moment = clock.now()
    made, active = (int((moment - ago).timestamp() * 1000) for ago in (age, seen))
    return SessionRecord(
        sid=f"01939000-0000-7000-8000-{number:012}",
        user_id=ID,
        auth_time_ms=made,
        created_at_ms=made,
        last_seen_ms=active,
        expires_at_ms=active + 604_800_000,
        provider=provider,
        ip=ip,
        user_agent=user_agent,
        handoff_hash=None,
    )


def _grant(number: int, client: str, user_agent: str | None, ip: str, age: timedelta, seen: timedelta) -> GrantInfo:
    moment = clock.now()
    return GrantInfo(
        UUID(int=number),
        str(ID),
        "gatepost-cli",
        client,
        "openid",
        ID,
        ip,
        user_agent,
        moment - age,
        moment - seen,
        moment + timedelta(days=80),
        "seeded",
        ["http://127.0.0.1/callback"],
    )


def _profile_form(name: str | None, *, emails: list[SelectChoice] | None = None, wrong: bool = False) -> ProfileForm:
    form = ProfileForm(
        data={"name": name if name is not None else "Maya Kovač", "time_zone": "Europe/Oslo", "theme": "device", "email": str(ID)}
    )
    form.time_zone.choices = zones()
    if emails:
        form.email.choices = emails
    else:
        del form.email
    if wrong:
        form.name.errors = ["Enter a name"]
    return form


def _account_pages(name: str | None) -> list[Page]:
    login = name if name is not None else "mayak"
    github = _identity(ID, "github", "GitHub", login, name if name is not None else "maya@northwind.dev", True)
    sso = _identity(OTHER_ID, "northwind", "Northwind SSO", login, name if name is not None else "maya.kovac@northwind.dev", False)
    google = ProviderSettings("google", "google", "Google", "x", "x")
    kinds = {"github": "github", "northwind": "oidc"}
    emails = [SelectChoice(str(way.id), f"{way.email}, from {way.label}") for way in (github, sso)]
    day, hour, minute = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
    here = _record(1, FIREFOX, "81.166.20.4", "github", 4 * day, 0 * day)
    others = [
        _record(2, CHROME, "185.71.9.30", "northwind", 3 * hour, 2 * hour),
        _record(3, IPHONE, "2a01:799:1d0:ab00:85a3:8d3:1319:8a2e", "link", 40 * day, 26 * hour),
        *([_record(4, name, "10.0.0.1", "gone", 400 * day, 399 * day)] if name is not None else []),
    ]
    client = name if name is not None else "Gatepost CLI"
    app_sessions = [
        AppSession(
            _grant(7, client, "gatepost-cli/1.4.2", "81.166.20.4", 9 * day, 6 * minute), words.untrusted(client), "gatepost-cli 1.4.2", True
        ),
        AppSession(_grant(8, client, None, "10.20.0.14", 90 * day, 50 * day), words.untrusted(client, quoted=True), "", False),
    ]
    scopes = ("openid", "profile", "email", "connections:use", "offline_access")
    rows = permissions.in_words(scopes, organization=None, refresh_days=30)
    moment = clock.now()
    org = name if name is not None else "Northwind"
    registered = ConnectedApp(
        ID,
        "patchwork",
        name if name is not None else "Patchwork",
        True,
        "loopback",
        "127.0.0.1",
        (InOrganization("northwind", org),),
        ("https://mcp.northwind.dev/github",),
        scopes,
        moment - 9 * day,
        moment - 2 * hour,
        key_count=2,
    )
    web = ConnectedApp(
        OTHER_ID,
        "boards",
        name if name is not None else "Boards",
        False,
        "https",
        "boards.example",
        (InOrganization("northwind", org), InOrganization("fjord-labs", org)),
        (),
        scopes,
        moment - 90 * day,
        None,
    )
    nots = permissions.what_not(scopes)
    sessions = {
        "here": here,
        "others": others,
        "app_sessions": app_sessions,
        "new_since": moment - day,
        "has_elsewhere": True,
        "token_seconds": 1800,
    }
    began = words.joined([words.untrusted(client)])
    return [
        _profile_page("profile", name, form=_profile_form(name), source=github),
        _profile_page("profile-emails", name, form=_profile_form(name, emails=emails), source=github),
        _profile_page("profile-wrong", name, form=_profile_form(name, wrong=True), source=None),
        _profile_page("profile-invited", name, form=_profile_form(name), source=github, card=organizations.card(name, 7)),
        account_page("linked", "account/linked.html", "linked", name, ways=[github, sso], kinds=kinds, others=[google]),
        account_page("linked-only", "account/linked.html", "linked", name, ways=[github], kinds=kinds, others=[google]),
        account_page("linked-none", "account/linked.html", "linked", name, ways=[], kinds={}, others=[]),
        account_page("unlink", "account/unlink.html", "linked", name, way=github),
        account_page("sessions", "account/sessions.html", "sessions", name, **sessions),
        account_page(
            "sessions-one",
            "account/sessions.html",
            "sessions",
            name,
            **{**sessions, "others": [], "app_sessions": [], "has_elsewhere": False},
        ),
        account_page(
            "sessions-fifty", "account/sessions.html", "sessions", name, **{**sessions, "others": others[:2] * 25, "app_sessions": []}
        ),
        account_page(
            "revoke-session", "account/revoke_session.html", "sessions", name, sid=ID, record=others[0], app=None, began_here=began, keys=1
        ),
        account_page(
            "revoke-app-session",
            "account/revoke_session.html",
            "sessions",
            name,
            sid=ID,
            record=None,
            app=app_sessions[0],
            began_here="",
            keys=0,
        ),
        account_page("revoke-others", "account/revoke_others.html", "sessions", name, count=4, keys=2),
        account_page("revoke-others-keys", "account/revoke_others.html", "sessions", name, count=0, keys=2),
        account_page("revoke-others-none", "account/revoke_others.html", "sessions", name, count=0, keys=0),
        account_page("apps", "account/apps.html", "apps", name, apps=[(registered, rows), (web, rows)]),
        account_page("apps-fifty", "account/apps.html", "apps", name, apps=[(registered, rows), (web, rows)] * 25),
        account_page("apps-none", "account/apps.html", "apps", name, apps=[]),
        account_page("app", "account/app.html", "apps", name, app=registered, permissions=rows, nots=nots),
        account_page("app-checked", "account/app.html", "apps", name, app=web, permissions=rows, nots=nots),
        account_page("remove-app", "account/remove_app.html", "apps", name, app=registered),
        account_page(
            "app-no-organization", "account/app.html", "apps", name, app=replace(web, organizations=()), permissions=rows, nots=nots
        ),
    ]


# --- showing them -------------------------------------------------------------------------------------------------


def add_to(app: Flask) -> None:
    """Serve them at `/gallery/<name>`, `?named=` everybody so, with the headers of real pages. Before the first request."""
    blueprint = Blueprint("gallery", __name__)
    made: dict[tuple[str | None, str], dict[str, Page]] = {}  # making all of them takes ten times as long as showing one

    @blueprint.get("/gallery/<name>")
    def show(name: str) -> Response:
        key = (request.args.get("named"), str(get_locale()))
        if key not in made:
            made[key] = {page.name: page for page in pages(key[0])}
        text = render(made[key][name]).replace('content="0;url=', 'content="86400;url=')  # onward stays to be looked at
        return make_response(re.sub(r'<script src="/static/form_post[^>]+></script>', "", text))  # and so does the page that posts itself

    app.register_blueprint(blueprint)


def render(page: Page) -> str:
    g.page_kind = "app" if page.is_app else "gate"
    return render_template(page.template, **page.values)


@contextmanager
def rendering(app: Flask) -> Iterator[None]:
    """A request in which `pages` and `render` work."""
    with app.test_request_context("/gallery"):
        yield
