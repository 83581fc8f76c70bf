"""`/orgs/<slug>/agents`: programs that act in an organization."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from flask import Blueprint, flash, g, redirect
from flask_babel import gettext as _
from flask_babel import lazy_gettext
from flask_babel import lazy_gettext as _l
from markupsafe import Markup
from werkzeug.wrappers import Response
from wtforms import BooleanField

from blueprints import fresh_sign_in
from blueprints.fresh_sign_in import Act
from blueprints.html import frame, leafing, quotas, words
from blueprints.html.audit_sentences import Told
from blueprints.html.forms import NamedForm, is_first, nothing_changed
from blueprints.pages.organizations import audit_events as audit_pages
from blueprints.pages.organizations import connections
from services.access import organization_access, roles
from services.access.quotas import QuotaReached
from services.audit import audit_events, audit_names
from services.users import agents, api_keys
from services.users.agents import AgentRow
from services.vault import agent_uses
from services.vault.agent_uses import Usable
from services.vault.connections import ConnectionRow

blueprint = Blueprint("agents", __name__)

RECENT = 10
SHOWN = 10


class AgentForm(NamedForm):
    acts_for_owner = BooleanField(
        lazy_gettext("Acts for me"),
        description=lazy_gettext("It uses your own credential values before the organization’s. You’ll be asked to confirm it’s you."),
    )


@blueprint.get("/orgs/<slug>/agents")
def show(slug: str) -> str:
    page = agents.list_numbered(g.actor, slug, number=leafing.number())
    usable = agent_uses.read(g.actor, slug)
    return frame.render_organization("agents/list.html", slug, "agents", agents=page.rows, usable=usable, pager=leafing.pager(page))


@blueprint.get("/orgs/<slug>/agents/new")
def new(slug: str) -> str:
    return frame.render_organization("agents/new.html", slug, "agents", form=AgentForm())


@blueprint.post("/orgs/<slug>/agents/new")
@fresh_sign_in.needed(
    Act.READERS,
    when=fresh_sign_in.acts_for_its_owner,
    why=_l("You signed in %(when)s. Sign in again to create an agent that acts for you."),
)
def create(slug: str) -> Response | tuple[str, int]:
    form = AgentForm()
    if not form.validate():
        return frame.render_organization("agents/new.html", slug, "agents", form=form), 422
    if not is_first():
        return nothing_changed(f"/orgs/{slug}/agents")
    try:
        made = agents.create(g.actor, slug, name=form.name.data or "", acts_for_owner=form.acts_for_owner.data)
    except QuotaReached as error:
        form.name.errors = [quotas.reached(error)]
        return frame.render_organization("agents/new.html", slug, "agents", form=form), error.status
    flash(_("%(agent)s created. Create a key so it can work.", agent=words.plain(made.name)), "ok")
    return redirect(f"/orgs/{slug}/agents/{made.id}", 303)


@blueprint.get("/orgs/<slug>/agents/<uuid:agent_id>")
def detail(slug: str, agent_id: uuid.UUID) -> str:
    agent = agents.get(g.actor, slug, str(agent_id))
    page = api_keys.list_of_agent(g.actor, slug, str(agent_id), number=leafing.number()) if agent.may_manage else None
    return frame.render_organization(
        "agents/page.html",
        slug,
        "agents",
        agent=agent,
        uses=uses_of(agent, agent_uses.read(g.actor, slug), f"/orgs/{slug}"),
        keys=page.rows if page else [],
        pager=leafing.pager(page) if page else None,
        events=_recent(slug, agent),
    )


@dataclass(frozen=True)
class AgentUses:
    """What an agent may use, as links: text, address, whose (org or user); the first of each, and how many more there are."""

    credentials: list[tuple[Markup, str, str]]
    connections: list[tuple[Markup, str, str]]
    more_credentials: int
    more_connections: int


def uses_of(agent: AgentRow, usable: Usable, base: str) -> AgentUses:
    found, rows = usable.credentials_of(agent), usable.connections_of(agent)
    return AgentUses(
        [(words.mono(name), f"{base}/credentials/{name}", scope) for name, scope in found[:SHOWN]],
        [(_connection(row), f"{base}/connections/{row.id}", row.scope) for row in rows[:SHOWN]],
        max(len(found) - SHOWN, 0),
        max(len(rows) - SHOWN, 0),
    )


def _connection(row: ConnectionRow) -> Markup:
    service = words.untrusted(connections.label_of(row.connector))
    if not row.account:
        return service
    return words.filled(_("%(service)s as %(account)s"), service=service, account=words.untrusted(row.account))


def _recent(slug: str, agent: AgentRow) -> list[tuple[Told, datetime]] | None:
    """What the agent did last; None for who may not read the audit log."""
    if not roles.may(organization_access.get(g.actor, slug).role, "audit:read"):
        return None
    events = audit_events.list_of(g.actor, slug, audit_events.Filters(actor=str(agent.id)), limit=RECENT)[:RECENT]
    return audit_pages.rows_of(events, audit_names.names_of(events), f"/orgs/{slug}/audit")


@blueprint.post("/orgs/<slug>/agents/<uuid:agent_id>/pause")
def pause(slug: str, agent_id: uuid.UUID) -> Response:
    if agents.find(g.actor, slug, str(agent_id)) is None:
        return nothing_changed(f"/orgs/{slug}/agents")
    agents.pause(g.actor, slug, str(agent_id))
    return redirect(f"/orgs/{slug}/agents/{agent_id}", 303)  # the page itself says that it is paused


@blueprint.post("/orgs/<slug>/agents/<uuid:agent_id>/resume")
def resume(slug: str, agent_id: uuid.UUID) -> Response:
    if agents.find(g.actor, slug, str(agent_id)) is None:
        return nothing_changed(f"/orgs/{slug}/agents")
    agents.resume(g.actor, slug, str(agent_id))
    flash(_("Resumed. Its keys work again."), "ok")
    return redirect(f"/orgs/{slug}/agents/{agent_id}", 303)


@blueprint.get("/orgs/<slug>/agents/<uuid:agent_id>/delete")
def confirm_delete(slug: str, agent_id: uuid.UUID) -> str:
    agent = agents.get(g.actor, slug, str(agent_id))
    keys = api_keys.list_of_agent(g.actor, slug, str(agent_id), working=True).rows
    return frame.render_organization("agents/delete.html", slug, "agents", agent=agent, keys=keys)


@blueprint.post("/orgs/<slug>/agents/<uuid:agent_id>/delete")
def delete(slug: str, agent_id: uuid.UUID) -> Response:
    agent = agents.find(g.actor, slug, str(agent_id))
    if agent is None:
        return nothing_changed(f"/orgs/{slug}/agents")
    agents.delete(g.actor, slug, str(agent_id))
    flash(_("%(agent)s deleted.", agent=words.plain(agent.name)), "ok")
    return redirect(f"/orgs/{slug}/agents", 303)
