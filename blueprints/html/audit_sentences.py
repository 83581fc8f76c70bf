"""Audit events as sentences: one whole, translatable template for each action, and the names that go into it.

A template is found by `action` and, where an event differs by it, `action variant`: `agent` or `person` (whose key), `org` or
`user` (whose value or connection), `unknown` (who did it), how it ended, or why. A sentence says only what happened. Names are
untrusted text; values of secrets are in no event.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask_babel import LazyString, lazy_gettext
from flask_babel import gettext as _
from markupsafe import Markup, escape

from blueprints.html import words
from config import current
from services.audit.audit_names import Names

SENTENCES: dict[str, LazyString] = {
    "access_token.revoked": lazy_gettext("%(actor)s revoked an access token of an app"),
    "access_token.revoked unknown": lazy_gettext("An access token of an app was revoked"),
    "agent.created": lazy_gettext("%(actor)s created agent %(target)s"),
    "agent.deleted": lazy_gettext("%(actor)s deleted agent %(target)s and its keys"),
    "agent.paused": lazy_gettext("%(actor)s paused agent %(target)s"),
    "agent.resumed": lazy_gettext("%(actor)s resumed agent %(target)s"),
    "api_key.created agent": lazy_gettext("%(actor)s created key %(target)s of %(agent)s"),
    "api_key.created person": lazy_gettext("%(actor)s created access token %(target)s"),
    "api_key.created": lazy_gettext("%(actor)s created key %(target)s"),
    "api_key.revoked unknown": lazy_gettext("Key %(target)s was revoked"),
    "api_key.revoked agent": lazy_gettext("%(actor)s revoked key %(target)s of %(agent)s"),
    "api_key.revoked person": lazy_gettext("%(actor)s revoked access token %(target)s"),
    "api_key.revoked": lazy_gettext("%(actor)s revoked key %(target)s"),
    "connected_app.removed": lazy_gettext("%(actor)s removed the access of app %(target)s"),
    "connection.connected org": lazy_gettext("%(actor)s connected %(service)s as %(account)s for the organization"),
    "connection.connected": lazy_gettext("%(actor)s connected their own %(service)s as %(account)s"),
    "connection.reconnected org": lazy_gettext("%(actor)s reconnected the organization’s %(service)s as %(account)s"),
    "connection.reconnected": lazy_gettext("%(actor)s reconnected their own %(service)s as %(account)s"),
    "connection.disconnected org": lazy_gettext("%(actor)s disconnected the organization’s %(service)s, which was %(account)s"),
    "connection.disconnected": lazy_gettext("%(actor)s disconnected their own %(service)s, which was %(account)s"),
    "connection.refreshed": lazy_gettext("A %(service)s connection was renewed for %(actor)s"),
    "connection.refreshed failed": lazy_gettext("A %(service)s connection could not be renewed for %(actor)s"),
    "connection.used org": lazy_gettext("%(actor)s used the organization’s %(service)s connection"),
    "connection.used": lazy_gettext("%(actor)s used their own %(service)s connection"),
    "consent.granted": lazy_gettext("%(actor)s allowed app %(target)s to act for them"),
    "credential.checked": lazy_gettext("%(actor)s tested %(credential)s with its service"),
    "credential.put org": lazy_gettext("%(actor)s set the organization’s value for %(credential)s"),
    "credential.put": lazy_gettext("%(actor)s set their own value for %(credential)s"),
    "credential.removed org": lazy_gettext("%(actor)s removed the organization’s value for %(credential)s"),
    "credential.removed": lazy_gettext("%(actor)s removed their own value for %(credential)s"),
    "credential.resolved": lazy_gettext("%(actor)s read %(credential)s"),
    "credential.resolved some": lazy_gettext("%(actor)s read %(credential)s, and asked for %(unread)s without getting a value"),
    "credential.resolved none": lazy_gettext("%(actor)s asked for %(unread)s without getting a value"),
    "credential.restored org": lazy_gettext("%(actor)s restored an earlier organization value for %(credential)s"),
    "credential.restored": lazy_gettext("%(actor)s restored an earlier value of their own for %(credential)s"),
    "credential_declaration.put": lazy_gettext("%(actor)s changed the settings of %(credential)s"),
    "credential_declaration.removed": lazy_gettext("%(actor)s reset the settings of %(credential)s"),
    "database.copied": lazy_gettext("%(actor)s copied the database from SQLite"),
    "email_confirmation.requested": lazy_gettext("%(actor)s requested a confirmation email"),
    "email_confirmation.requested unknown": lazy_gettext("A confirmation email was requested"),
    "email_confirmation.tried": lazy_gettext("%(actor)s typed a wrong code to confirm an address"),
    "email_confirmation.tried unknown": lazy_gettext("A wrong code to confirm an address was typed"),
    "email_confirmation.used": lazy_gettext("%(actor)s confirmed an address"),
    "email_confirmation.used unknown": lazy_gettext("An address was confirmed"),
    "encryption.rewrapped": lazy_gettext("%(actor)s encrypted stored secrets under the newest key"),
    "grant.created": lazy_gettext("%(actor)s gave app %(app)s access"),
    "grant.revoked": lazy_gettext("%(actor)s ended the access of an app"),
    "grant.revoked access_lost": lazy_gettext("The access of an app ended: its person has lost access"),
    "grant.revoked code_reused": lazy_gettext("The access of an app ended: its code was used twice"),
    "grant.revoked refresh_token_reused": lazy_gettext("The access of an app ended: one of its refresh tokens was used twice"),
    "grant.revoked revoked_by_client": lazy_gettext("An app ended its own access"),
    "identity.linked": lazy_gettext("%(actor)s linked a %(provider)s account"),
    "identity.linked unknown": lazy_gettext("A %(provider)s account was linked to %(person)s"),
    "identity.moved": lazy_gettext("%(actor)s moved a sign-in account of %(person)s to what its provider calls it now"),
    "identity.unlinked": lazy_gettext("%(actor)s unlinked a %(provider)s account"),
    "identity.unlinked unknown": lazy_gettext("A %(provider)s account was unlinked"),
    "invitation.accepted": lazy_gettext("%(person)s accepted an invitation"),
    "invitation.accepted member": lazy_gettext("%(person)s joined as a member"),
    "invitation.accepted admin": lazy_gettext("%(person)s joined as an admin"),
    "invitation.accepted owner": lazy_gettext("%(person)s joined as an owner"),
    "invitation.created": lazy_gettext("%(actor)s invited %(target)s as %(role)s"),
    "invitation.declined": lazy_gettext("%(actor)s declined an invitation"),
    "invitation.imported": lazy_gettext("%(actor)s imported an invitation of %(target)s as %(role)s"),
    "invitation.link_created": lazy_gettext("%(actor)s created a new link for the invitation of %(target)s"),
    "invitation.renewed": lazy_gettext("%(actor)s sent the invitation of %(target)s again, as %(role)s"),
    "invitation.refused": lazy_gettext("An invitation link was refused to its reader"),
    "invitation.revoked": lazy_gettext("%(actor)s revoked the invitation of %(target)s"),
    "invitation.updated": lazy_gettext("%(actor)s imported a new invitation of %(target)s as %(role)s"),
    "member.accepted": lazy_gettext("%(target)s used the organization for the first time"),
    "member.imported": lazy_gettext("%(actor)s imported %(target)s as %(role)s"),
    "member.left": lazy_gettext("%(target)s left the organization"),
    "member.removed": lazy_gettext("%(actor)s removed %(target)s from the organization"),
    "member.role_changed": lazy_gettext("%(actor)s changed the role of %(target)s from %(before)s to %(role)s"),
    "member.updated": lazy_gettext("%(actor)s imported %(target)s with a new role, %(role)s"),
    "oauth_client.created": lazy_gettext("%(actor)s added OAuth client %(target)s"),
    "oauth_client.deleted": lazy_gettext("%(actor)s deleted OAuth client %(target)s"),
    "oauth_client.old_secret_revoked": lazy_gettext("%(actor)s revoked the old secret of OAuth client %(target)s"),
    "oauth_client.secret_rotated": lazy_gettext("%(actor)s gave OAuth client %(target)s a new secret"),
    "oauth_client.updated": lazy_gettext("%(actor)s changed OAuth client %(target)s"),
    "organization.created": lazy_gettext("%(actor)s created the organization"),
    "organization.created unknown": lazy_gettext("The organization was created"),
    "organization.deleted": lazy_gettext("%(actor)s deleted the organization"),
    "organization.imported": lazy_gettext("%(actor)s imported the organization"),
    "organization.purged": lazy_gettext("%(actor)s permanently deleted the organization"),
    "organization.restored": lazy_gettext("%(actor)s restored the organization"),
    "organization.updated slug": lazy_gettext("%(actor)s changed the organization; its short name is now %(name)s"),
    "organization.updated": lazy_gettext("%(actor)s changed the organization"),
    "project.created": lazy_gettext("%(actor)s created project %(target)s"),
    "project.imported": lazy_gettext("%(actor)s imported project %(target)s"),
    "project.updated": lazy_gettext("%(actor)s imported a new name of project %(target)s"),
    "refresh_token.replayed": lazy_gettext("A refresh token of app %(app)s was used again from another network or by another program"),
    "resource.created": lazy_gettext("%(actor)s added API %(target)s"),
    "resource.updated": lazy_gettext("%(actor)s changed API %(target)s"),
    "sign_in.refused person": lazy_gettext("%(target)s couldn’t sign in with %(provider)s"),
    "sign_in.refused": lazy_gettext("A sign-in with %(provider)s was refused"),
    "sign_in.refused account_disabled": lazy_gettext("%(target)s couldn’t sign in: the account is turned off"),
    "sign_in.refused confirmation_ended": lazy_gettext("A link to confirm an email address was opened after it had ended"),
    "sign_in.refused sign_in_link_ended": lazy_gettext("A one-time sign-in link was opened after it had ended"),
    "sign_in.refused access_denied": lazy_gettext("A sign-in with %(provider)s was canceled there"),
    "sign_in.refused provider_refused": lazy_gettext("A sign-in failed: %(provider)s refused the request"),
    "sign_in.refused provider_unavailable": lazy_gettext("A sign-in failed: %(provider)s didn’t answer"),
    "account.secured": lazy_gettext("The account of %(target)s was secured with a link from a security email"),
    "sign_in_link.created": lazy_gettext("%(actor)s created a one-time sign-in link for %(target)s"),
    "sign_in_link.revoked": lazy_gettext("%(actor)s ended the unused sign-in links of %(target)s"),
    "sign_in_link.used": lazy_gettext("%(target)s used a one-time sign-in link"),
    "signing_key.retired": lazy_gettext("%(actor)s retired signing key %(target)s"),
    "signing_key.rotated": lazy_gettext("%(actor)s started signing with key %(target)s"),
    "user.created": lazy_gettext("An account was created for %(target)s"),
    "user.deleted": lazy_gettext("The account of %(target)s was deleted"),
    "user.disabled": lazy_gettext("%(actor)s disabled %(target)s"),
    "user.email_changed": lazy_gettext("The email address of %(target)s changed"),
    "user.email_changed verified": lazy_gettext("The email address of %(target)s was verified"),
    "user.email_changed unverified": lazy_gettext("The email address of %(target)s is no longer verified"),
    "user.email_not_taken_over": lazy_gettext("%(target)s wasn’t given an email address that belongs to someone else here"),
    "user.enabled": lazy_gettext("%(actor)s enabled %(target)s"),
    "user.admin_revoked": lazy_gettext("%(target)s is no longer an administrator of this server"),
    "user.exported": lazy_gettext("%(actor)s exported the data of %(target)s"),
    "user.made_admin": lazy_gettext("%(target)s became an administrator of this server"),
    "user.profile_changed": lazy_gettext("%(actor)s changed the profile of %(target)s"),
    "user_session.confirmed": lazy_gettext("%(target)s confirmed who they are with %(provider)s"),
    "user_session.ended": lazy_gettext("%(actor)s signed out"),
    "user_session.revoked": lazy_gettext("%(actor)s revoked a session"),
    "user_session.started": lazy_gettext("%(target)s signed in with %(provider)s"),
    "user_sessions.revoked": lazy_gettext("%(actor)s signed out sessions of %(target)s"),
    "user_sessions.revoked unknown": lazy_gettext("Sessions of %(target)s were signed out"),
}

# what kind: its name in the address -> its words, and the nouns of its actions
KINDS: dict[str, tuple[LazyString, tuple[str, ...]]] = {
    "people": (lazy_gettext("People"), ("member", "invitation", "user")),
    "agents": (lazy_gettext("Agents and keys"), ("agent", "api_key")),
    "credentials": (lazy_gettext("Credentials"), ("credential", "credential_declaration")),
    "connections": (lazy_gettext("Connections"), ("connection",)),
    "apps": (lazy_gettext("Connected apps"), ("connected_app", "consent", "grant", "access_token", "refresh_token")),
    "organization": (lazy_gettext("Organization"), ("organization", "project")),
    "sessions": (
        lazy_gettext("Sign-in"),
        ("sign_in", "sign_in_link", "user_session", "user_sessions", "identity", "email_confirmation", "account"),
    ),
    "instance": (lazy_gettext("Instance"), ("oauth_client", "resource", "signing_key", "encryption", "database")),
}

_OUTCOMES = {
    # what to say of an event that did not go as its sentence says -> words, kind of badge
    "refused": (lazy_gettext("Refused"), "danger"),
    "rejected": (lazy_gettext("Refused by the service"), "danger"),
    "needs_reconnecting": (lazy_gettext("Needs reconnecting"), "danger"),
    "unavailable": (lazy_gettext("No answer"), "warn"),
    "retrying": (lazy_gettext("Not renewed yet"), "warn"),
    "partial": (lazy_gettext("Not all"), "warn"),
}
_ICONS = {"user": "user", "agent": "bot", "client": "app", "operator": "term", "system": "gear"}
_UNKNOWN = "unknown"  # who did it: a caller that nobody had authenticated
_TOLD_BY = {"grant.revoked": "reason", "invitation.accepted": "role", "sign_in.refused": "code"}
_THINGS = {
    "role": lazy_gettext("Role"),
    "name": lazy_gettext("Name"),
    "slug": lazy_gettext("Short name"),
    "kind": lazy_gettext("Service"),
    "set_by": lazy_gettext("Who can set a value"),
}
_SET_BY = {
    "both": lazy_gettext("Organization and each person"),
    "organization": lazy_gettext("Organization only"),
    "person": lazy_gettext("Each person only"),
}
_ROLES = {"owner": lazy_gettext("owner"), "admin": lazy_gettext("admin"), "member": lazy_gettext("member")}


@dataclass(frozen=True)
class Told:
    """An event as a row. `outcome`: the badge's words and kind, None where it went well. letters, shape, colour: the actor's
    tile; without letters there is an icon."""

    id: str
    sentence: Markup
    how: str
    ip: str | None
    outcome: tuple[str, str] | None
    letters: str
    shape: str
    colour: str
    icon: str


def told(event: Mapping[str, Any], names: Names, *, audit_href: str | None) -> Told:
    """audit_href: the page that names of actors lead to, filtered; None for no links."""
    outcome = None if event["outcome"] == "ok" else _OUTCOMES.get(event["outcome"], (words.plain(event["outcome"]), "warn"))
    badge = None if outcome is None else (str(outcome[0]), outcome[1])
    kind, id = event["actor"]["type"], event["actor"]["id"]
    name = _known_actors(names).get(kind, {}).get(id, "")
    letters = words.initials(name) if kind == "user" else words.app_initials(name)
    return Told(
        id=event["id"],
        sentence=sentence(event, names, audit_href=audit_href),
        how=how(event),
        ip=event["ip"],
        outcome=badge,
        letters=letters if name else "",
        shape={"user": "person", "agent": "agent"}.get(kind, "app"),
        colour=words.colour(id),
        icon=_ICONS.get(kind, "info"),
    )


def sentence(event: Mapping[str, Any], names: Names, *, audit_href: str | None) -> Markup:
    """What happened, in words; an action that this version does not know, as it is."""
    template = SENTENCES.get(f"{event['action']} {_variant(event, names)}") or SENTENCES.get(event["action"])
    if template is None:
        return Markup("{}: {}").format(actor_name(event, names, audit_href=audit_href), _code(event["action"]))
    return escape(str(template)) % _Values(event, names, audit_href)


def changes(event: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What changed, before and after: names, never values."""
    details = event["details"]
    before, after = details.get("before"), details.get("after")
    if event["action"] == "member.role_changed" and isinstance(before, str):
        before, after = {"role": before}, {"role": details.get("role")}
    if not isinstance(before, dict) or not isinstance(after, dict):
        return []
    return [(_thing(name), _changed(name, before.get(name)), _changed(name, after.get(name))) for name in before]


def _thing(name: str) -> str:
    return str(_THINGS.get(name) or words.plain(name))


def _changed(name: str, value: object) -> str:
    told = {"role": _ROLES, "set_by": _SET_BY}.get(name, {}).get(value) if isinstance(value, str) else None
    return str(told or words.plain(value if isinstance(value, str) else "", 200))


def how(event: Mapping[str, Any]) -> str:
    """From where it was done."""
    if event["actor"]["type"] == "agent":
        return _("Agent")
    if event["actor"]["type"] == "client":
        return _("API")
    if event["actor"]["type"] in ("operator", "system"):
        return _("CLI")
    return _("API") if event["credential"] and event["credential"]["type"] != "session" else _("Web")


def actor_name(event: Mapping[str, Any], names: Names, *, audit_href: str | None) -> Markup:
    kind, id = event["actor"]["type"], event["actor"]["id"]
    if kind == "operator":
        return escape(_("An operator"))
    if kind == "system":
        return escape("Gatepost")
    if id is None:
        return escape(_("Unknown"))
    return _linked(id, _name(_known_actors(names).get(kind, {}), id), audit_href)


def _known_actors(names: Names) -> dict[str, Mapping[str, str]]:
    return {"user": names.users, "agent": names.agents, "client": names.clients}


class _Values(dict[str, Markup]):
    """The names of a template, each made when the template asks for it."""

    def __init__(self, event: Mapping[str, Any], names: Names, audit_href: str | None) -> None:
        super().__init__()
        self.event, self.details, self.names, self.audit_href = event, event["details"], names, audit_href
        self.target_id = str((event["target"] or {}).get("id") or "")

    def __missing__(self, name: str) -> Markup:
        made: Markup = getattr(self, f"_{name}")()
        return made

    def _actor(self) -> Markup:
        return actor_name(self.event, self.names, audit_href=self.audit_href)

    def _target(self) -> Markup:
        kind, id = (self.event["target"] or {}).get("type"), self.target_id
        otherwise = self.details.get("name") or self.details.get("slug")
        if kind == "user":
            return self._one_person(id)
        if kind == "agent":
            return _linked(id, _name(self.names.agents, id, otherwise), self.audit_href)
        if kind == "api_key" and (key := self.names.keys.get(id)):
            return _key(key.name, key.last_four)
        known = {"oauth_client": self.names.clients, "invitation": self.names.invitations, "project": self.names.projects}
        return _name(known.get(str(kind), {}), id, otherwise)

    def _agent(self) -> Markup:
        key = self.names.keys.get(self.target_id)
        agent_id = str((key and key.agent_id) or self.details.get("owner") or "")
        return _linked(agent_id, _name(self.names.agents, agent_id), self.audit_href)

    def _person(self) -> Markup:
        return self._one_person(str(self.details.get("user") or ""))

    def _one_person(self, id: str) -> Markup:
        return _linked(id, _name(self.names.users, id), self.audit_href)

    def _service(self) -> Markup:
        connector = str(self.details.get("connector") or "")
        settings = current().find_connector(connector)
        return words.untrusted(settings.label if settings else connector)

    def _account(self) -> Markup:
        return words.untrusted(self.details.get("account"), empty=_("an account without a name"))

    def _credential(self) -> Markup:
        """One name, or all that were read at once; of many the first."""
        return _codes([*(self.details.get("names") or {})] or [str(self.details.get("name") or self.target_id)])

    def _unread(self) -> Markup:
        """Those that were asked for in vain."""
        return _codes(_unread(self.details))

    def _name(self) -> Markup:
        return _code(self.details.get("slug") or self.details.get("name"))

    def _app(self) -> Markup:
        return _name(self.names.clients, str(self.details.get("client_id") or ""))

    def _role(self) -> Markup:
        return _role(self.details.get("role"))

    def _before(self) -> Markup:
        return _role(self.details.get("before"))

    def _provider(self) -> Markup:
        provider = self.details.get("provider")
        return words.untrusted(words.provider_label(provider) if isinstance(provider, str) else None, empty=_("an unknown provider"))


def _variant(event: Mapping[str, Any], names: Names) -> str:
    action, details, target_id = event["action"], event["details"], (event["target"] or {}).get("id")
    if event["actor"]["type"] == "anonymous" and f"{action} {_UNKNOWN}" in SENTENCES:
        return _UNKNOWN
    if action.startswith("api_key."):
        key = names.keys.get(str(target_id))
        return "" if key is None else "agent" if key.agent_id else "person"
    if action == "credential.resolved":
        return ("some" if details.get("names") else "none") if _unread(details) else ""
    if action == "connection.refreshed":
        return "" if event["outcome"] == "ok" else "failed"
    if action == "organization.updated":
        return "slug" if "slug" in details else ""
    if action == "sign_in.refused" and f"{action} {details.get('code')}" not in SENTENCES:
        return "person" if target_id else ""
    if action == "user.email_changed" and details.get("is_same"):
        return "verified" if details.get("email_verified") else "unverified"
    return str(details.get(_TOLD_BY.get(action, "scope")) or "")


def _unread(details: Mapping[str, Any]) -> list[str]:
    return [*(details.get("missing") or []), *(details.get("unreadable") or [])]


def _codes(names: list[str]) -> Markup:
    shown = [_code(name) for name in names[:3]]
    return words.joined([*shown, _("%(count)d more", count=len(names) - 3)] if len(names) > 3 else shown)


def _name(known: Mapping[str, str], id: str, otherwise: object = None) -> Markup:
    """A name, else the id of what has none any more."""
    name = known.get(id) or (otherwise if isinstance(otherwise, str) else None)
    return words.untrusted(name) if name else _code(id)


def _linked(actor_id: str, name: Markup, audit_href: str | None) -> Markup:
    if audit_href is None or not actor_id:
        return name
    return Markup('<a href="{}?{}">{}</a>').format(audit_href, urlencode({"who": actor_id}), name)


def _key(name: str, last_four: str) -> Markup:
    if not last_four:
        return words.untrusted(name, quoted=True)
    return Markup("{} ({})").format(words.untrusted(name, quoted=True), escape(_("ends %(end)s")) % {"end": _code(last_four)})


def _code(text: object) -> Markup:
    return Markup('<code translate="no" dir="ltr">{}</code>').format(words.plain(str(text or "")))


def _role(role: object) -> Markup:
    return escape(str(_ROLES[role])) if role in _ROLES else _code(role)
