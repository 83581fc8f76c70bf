"""Pages of the instance, for its administrators."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from blueprints.html import words
from blueprints.html.forms import DeleteForm
from blueprints.html.leafing import Pager
from blueprints.pages.admin import overview as admin_overview
from blueprints.pages.admin.clients import ChangeForm, ClientForm
from blueprints.pages.organizations import audit_events
from infra import clock
from infra.session_store import SessionRecord
from models import OAuthClient, SigningKey
from services.accounts.user_administration import FoundUser, UserPage, UserRow
from services.instance.instance_overview import KINDS, Kind, Overview, ProviderState, StoreState
from services.pagination.numbered_pages import NumberedPage
from services.tokens.grant_lists import GrantInfo
from services.tokens.oauth_clients import ClientRow
from services.users.identities import IdentityInfo
from tests.gallery import audit, tokens
from tests.gallery.page import FIREFOX, ID, OTHER_ID, Page, admin_page


def pages(name: str | None) -> list[Page]:
    return [*_overview(name), *_users(name), *_clients(name), *_keys(name), *_audit(name)]


def _audit(name: str | None) -> list[Page]:
    """The same templates as an organization's."""
    found = [page for page in audit.pages(name) if page.name in ("audit", "audit-event")]
    own = {page.name: {key: value for key, value in page.values.items() if key != "frame"} for page in found}
    href: dict[str, Any] = {"audit_href": "/admin/audit"}
    events = [
        audit.event("agent.paused", name),
        audit.event("user.created", name, organization=None),
        audit.event("agent.created", name, organization=str(ID)),
    ]
    own["audit"] |= {
        "rows": audit_events.rows_of(events, audit.names(name), href["audit_href"]),
        "places": audit_events.places_of(events, audit.names(name), href["audit_href"]),
    }
    own["audit-event"]["place"] = own["audit"]["places"][0]
    return [admin_page(f"admin-{page.name}", page.template, "audit", name, **{**own[page.name], **href}) for page in found]


# --- overview ---------------------------------------------------------------------------------------------------------


def signing_key(state: str, *, age: timedelta = timedelta(days=3)) -> SigningKey:
    moment = clock.now() - age
    kid = {"next": "91d0c4b2e85f6a37", "signing": "4fe1a07c39b2d658", "old": "c25d9e01f7a8b346", "retired": "0b7e63f29ad41c85"}[state]
    return SigningKey(
        kid=kid,
        algorithm="ES256",
        state=state,
        created_at=moment,
        signing_since=moment if state != "next" else None,
        old_since=moment + timedelta(days=1) if state in ("old", "retired") else None,
        retired_at=moment + timedelta(days=2) if state == "retired" else None,
    )


def _overview(name: str | None) -> list[Page]:
    moment = clock.now()
    this_hour = moment.replace(minute=0, second=0, microsecond=0)
    activity: dict[Kind, dict[datetime, int]] = {
        kind: {this_hour - timedelta(hours=ago): (ago * step + ago // 5) % most for ago in range(720)}
        for kind, step, most in (("sign_ins", 7, 40), ("refreshes", 131, 900), ("refusals", 11, 5))
    }
    stores = [StoreState("database", True, "PostgreSQL 17.2"), StoreState("redis", True, "Valkey 8.0.1")]
    providers = [
        ProviderState("github", "GitHub", "github", 1204, moment - timedelta(minutes=4)),
        ProviderState("northwind", "Northwind SSO" if name is None else name, "oidc", 0, None),
        ProviderState("staff", "Staff" if name is None else name, "oidc", 9, None, "provider_refused", moment - timedelta(minutes=40)),
        ProviderState("away", "Partners" if name is None else name, "oidc", 2, None, "provider_unavailable", moment - timedelta(minutes=2)),
    ]
    counts = {"users": 1840, "disabled": 12, "admins": 2, "organizations": 311, "clients": 9, "keys": 2204}
    whole = Overview(moment, {"Gatepost": "0.1.0", "Python": "3.13.1"}, stores, providers, counts)
    away = Overview(moment, whole.versions, [stores[0], StoreState("redis", False, "")], [], counts)
    keys = [signing_key("signing"), signing_key("next")]
    zone = words.zone_of("Europe/Oslo")
    nothing: dict[Kind, dict[datetime, int]] = {kind: {} for kind in KINDS}

    def made(page_name: str, overview: Overview, counted: dict[Kind, dict[datetime, int]]) -> Page:
        values = {
            "overview": overview,
            "counts": admin_overview.numbers(counts),
            "keys": keys,
            "periods": admin_overview.periods(counted, zone, moment),
        }
        return admin_page(page_name, "admin/overview.html", "overview", name, **values)

    return [made("admin-overview", whole, activity), made("admin-overview-new", away, nothing)]


# --- users ------------------------------------------------------------------------------------------------------------


def _user(name: str | None, called: str = "Tom Halvorsen", email: str = "tom@northwind.dev", **changes: Any) -> UserRow:
    values: dict[str, Any] = {
        "id": OTHER_ID,
        "email": email if name is None else name,
        "email_verified": True,
        "name": called if name is None else name,
        "is_admin": False,
        "disabled_at": None,
        "created_at": clock.now() - timedelta(days=200),
    }
    return UserRow(**{**values, **changes})


def _user_page(name: str | None, user: UserRow) -> UserPage:
    moment = clock.now()
    text = "tomh" if name is None else name
    way = IdentityInfo(ID, "github", "GitHub", text, user.email, True, True, user.created_at, moment - timedelta(hours=3))
    made = int((moment - timedelta(hours=3)).timestamp() * 1000)
    record = SessionRecord(str(ID), OTHER_ID, made, made, made, made + 10**8, "github", "81.166.20.4", FIREFOX, None)
    app = "Gatepost CLI" if name is None else name
    started = moment - timedelta(days=9)
    ends = moment + timedelta(days=80)
    grant = GrantInfo(UUID(int=7), str(ID), "cli", app, "openid", ID, "10.20.0.14", None, started, moment, ends, "seeded", [])
    organization = "Northwind" if name is None else name
    return UserPage(user, [way], [(organization, "northwind", "admin"), ("Tom", "tom", "owner")], [record], [grant])


def _users(name: str | None) -> list[Page]:
    moment = clock.now()
    tom, off = _user(name), _user(name, "Lena Brandt", "lena@northwind.dev", id=UUID(int=5), disabled_at=moment - timedelta(days=2))
    maya = _user(name, "Maya Kovač", "maya@northwind.dev", id=ID, is_admin=True)
    fresh = _user(name, "", "ines@northwind.dev", id=UUID(int=6), email_verified=False)
    found = [FoundUser(maya, moment), FoundUser(tom, moment - timedelta(hours=3)), FoundUser(off, moment - timedelta(days=40))]
    listed: dict[str, Any] = {"text": "", "wanted_state": "", "pager": tokens.ALONE}
    many = NumberedPage([FoundUser(tom, moment)] * 50, 2, 140)
    leafing = Pager("/admin/users?page=1", "/admin/users?page=3", "Showing 50 of 140")

    def made(page_name: str, template: str, **values: Any) -> Page:
        return admin_page(page_name, f"admin/{template}.html", "users", name, **values)

    return [
        made("admin-users", "users", **listed, page=NumberedPage([*found, FoundUser(fresh, None)], 1, 4)),
        made("admin-users-fifty", "users", **{**listed, "pager": leafing}, page=many),
        made(
            "admin-users-no-match", "users", **{**listed, "text": name or "nobody", "wanted_state": "disabled"}, page=NumberedPage([], 1, 0)
        ),
        made("admin-user", "user", found=_user_page(name, tom), is_reader=False),
        made("admin-user-self", "user", found=_user_page(name, maya), is_reader=True),
        made("admin-user-disabled", "user", found=UserPage(off, [], [], [], [], app_keys=1), is_reader=False),
        made("admin-user-sign-out", "user_sign_out", user=tom, count=3, keys=2, is_reader=False),
        made("admin-user-sign-out-self", "user_sign_out", user=maya, count=1, keys=0, is_reader=True),
        made("admin-user-disable", "user_disable", user=tom),
    ]


# --- signing keys -----------------------------------------------------------------------------------------------------


def _keys(name: str | None) -> list[Page]:
    moment, soon = clock.now(), clock.now() + timedelta(minutes=25)
    following, signing, old, retired = (signing_key(state) for state in ("next", "signing", "old", "retired"))
    wrong, form = DeleteForm.asking_for(old.kid), DeleteForm.asking_for(old.kid)
    wrong.typed.errors = [f"That doesn’t match. Type {old.kid}"]

    def made(page_name: str, template: str, **values: Any) -> Page:
        return admin_page(page_name, f"admin/{template}.html", "keys", name, **values)

    retiring: dict[str, Any] = {"key": old, "form": form, "safe_at": soon, "moment": moment}
    return [
        made("admin-keys", "keys", rows=[(following, moment), (signing, None), (old, moment), (retired, None)], moment=moment),
        made("admin-keys-waiting", "keys", rows=[(following, soon), (signing, None), (old, soon)], moment=moment),
        made("admin-key-start", "key_start", kid=following.kid),
        made("admin-key-retire", "key_retire", **retiring),
        made("admin-key-retire-next", "key_retire", **{**retiring, "key": following, "safe_at": None}),
        made("admin-key-retire-wrong", "key_retire", **{**retiring, "form": wrong, "safe_at": moment}),
    ]


# --- OAuth clients ----------------------------------------------------------------------------------------------------


def _client(name: str | None, called: str, *uris: str, **changes: Any) -> ClientRow:
    moment = clock.now()
    values: dict[str, Any] = {
        "id": ID,
        "client_id": "patchwork",
        "name": called if name is None else name,
        "type": "confidential",
        "redirect_uris": list(uris),
        "post_logout_redirect_uris": [],
        "previous_secret_expires_at": None,
        "grant_types": "authorization_code refresh_token",
        "scope": "openid profile email offline_access",
        "resource": None,
        "id_token_alg": "ES256",
        "trusted": False,
        "origin": "seeded",
        "created_at": moment - timedelta(days=90),
        "last_used_at": moment - timedelta(minutes=9),
    }
    return ClientRow(OAuthClient(**{**values, **changes}), 214, key_count=3)


def _filled_client_form(*, wrong: bool) -> ClientForm:
    form = ClientForm.made()
    if wrong:
        form.name.errors = ["Enter a name"]
        form.redirect_uris.data = "https://boards.example/callback\nhttp://boards.example/callback"
        form.redirect_uris.errors = ["Line 2: use https, or http with 127.0.0.1"]
        form.scopes.errors = ["Choose at least one permission"]
    return form


def _change_form(row: ClientRow, *, wrong: bool = False) -> ChangeForm:
    form = ChangeForm.of(row.client)
    if wrong:
        form.redirect_uris.data = "https://boards.example/callback\nhttp://boards.example/callback"
        form.redirect_uris.errors = ["Line 2: use https, or http with 127.0.0.1"]
    return form


def _clients(name: str | None) -> list[Page]:
    web = _client(name, "Boards", *(f"https://{host}.boards.example/callback" for host in ("eu", "us", "apac", "test")), trusted=True)
    native = _client(name, "Gatepost CLI", "http://127.0.0.1/callback", type="public", id=OTHER_ID, origin="registered")
    job = ClientRow(_client(name, "Nightly job", client_id="nightly", id=UUID(int=4), last_used_at=None).client, 0)
    ending = clock.now() + timedelta(hours=20)
    rotating = _client(name, "Boards", "https://boards.example/callback", previous_secret_expires_at=ending)

    def made(page_name: str, template: str, **values: Any) -> Page:
        return admin_page(page_name, f"admin/{template}.html", "clients", name, **values)

    def one(page_name: str, template: str, row: ClientRow, *, has_two: bool = False, **values: Any) -> Page:
        return made(page_name, template, row=row, has_two=has_two, **values)

    return [
        made("admin-clients", "clients", page=NumberedPage([web, native, job], 1, 3), pager=tokens.ALONE),
        made("admin-clients-none", "clients", page=NumberedPage([], 1, 0), pager=tokens.ALONE),
        one("admin-client", "client", web),
        one("admin-client-native", "client", native),
        one("admin-client-two-secrets", "client", rotating, has_two=True),
        made("admin-client-new", "client_new", form=_filled_client_form(wrong=False)),
        made("admin-client-new-wrong", "client_new", form=_filled_client_form(wrong=True)),
        made("admin-client-edit", "client_edit", row=web, form=_change_form(web)),
        made("admin-client-edit-wrong", "client_edit", row=native, form=_change_form(native, wrong=True)),
        one("admin-client-created", "client_created", web, secret=tokens.raw_key("gpc_")),
        one("admin-client-seen", "client_created", web, secret=None),
        one("admin-client-secret", "client_secret", web),
        one("admin-client-delete", "client_delete", web),
    ]
