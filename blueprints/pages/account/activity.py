"""`/account/activity`: what happened to an account, newest first, and where it can be undone."""

from collections.abc import Iterable
from dataclasses import dataclass

from flask import Blueprint, g
from flask_babel import gettext as _
from markupsafe import Markup

from blueprints import session_cookie
from blueprints.html import activity_sentences, frame, leafing
from services.activity import account_events
from services.activity.account_events import AccountEventInfo
from services.authorization import connected_apps
from services.sessions import user_sessions
from services.tokens import grant_lists
from services.users import api_keys, identities

blueprint = Blueprint("activity", __name__)


@dataclass(frozen=True)
class Row:
    """undo: label and address of the button that undoes it; None where there is nothing left to undo."""

    event: AccountEventInfo
    sentence: Markup
    via: str
    undo: tuple[str, str] | None


@dataclass(frozen=True)
class Present:
    """Ids of what the account has now."""

    identities: frozenset[str]
    sids: frozenset[str]
    apps: frozenset[str]
    keys: frozenset[str]


@blueprint.get("/account/activity")
def show() -> str:
    page = account_events.list_own(g.actor, number=leafing.number())
    user_id, signed_in = g.actor.user.id, session_cookie.current_signed_in()
    grants, records = grant_lists.list_for(user_id), user_sessions.list_for(user_id)
    own = signed_in.record.sid if signed_in else ""
    present = Present(
        identities=frozenset(str(way.id) for way in identities.list_for(user_id)),
        sids=frozenset(record.sid for record in records),
        apps=frozenset(str(app.id) for app in connected_apps.list_for(user_id, grants)),
        keys=frozenset(api_keys.list_kept(user_id, [str(event.details.get("key")) for event in page.rows if event.kind == "key_created"])),
    )
    return frame.render(
        "account/activity.html",
        "activity",
        counts=(len(records) + len(grants), connected_apps.count_for(user_id, grants).apps),
        rows=rows_of(page.rows, present),
        pager=leafing.pager(page),
        has_elsewhere=any(sid != own for sid in (*(record.sid for record in records), *(grant.sid for grant in grants))),
    )


def rows_of(events: Iterable[AccountEventInfo], present: Present) -> list[Row]:
    return [Row(event, activity_sentences.sentence(event), activity_sentences.via(event), _undo(event, present)) for event in events]


def _undo(event: AccountEventInfo, present: Present) -> tuple[str, str] | None:
    details = event.details
    match event.kind:
        case "address_changed":
            return _("Change"), "/account"
        case "identity_linked" if len(present.identities) > 1 and details.get("identity") in present.identities:
            return _("Unlink"), f"/account/linked/{details['identity']}/unlink"
        case "identity_unlinked":
            return _("Link"), "/account/linked"
        case "key_created" if details.get("key") in present.keys:
            of_agent = f"/orgs/{details['organization']}/agents/{details['agent_id']}/keys" if "agent_id" in details else "/account/tokens"
            return _("Revoke"), f"{of_agent}/{details['key']}/revoke"
        case "app_allowed" | "refresh_token_replayed" if details.get("app") in present.apps:
            return _("Remove access"), f"/account/apps/{details['app']}/remove"
        case "sign_in_from_new_place" if details.get("sid") in present.sids:
            return _("Revoke"), f"/account/sessions/{details['sid']}/revoke"
        case "sign_in_link_created":
            return _("Sessions"), "/account/sessions"
    return None
