"""`/orgs/<slug>/agents/<agent_id>/keys`: what an agent shows to be let in."""

import uuid

from flask import Blueprint, flash, g, redirect
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from werkzeug.wrappers import Response

from blueprints import fresh_sign_in, session_cookie
from blueprints.fresh_sign_in import Act
from blueprints.html import frame, key_forms, quotas, words
from blueprints.html.forms import is_first, nothing_changed
from config import current
from services.access.quotas import QuotaReached
from services.access.scopes import AGENT_SCOPES
from services.sessions import shown_once
from services.users import agents, api_keys
from services.users.agents import AgentRow
from services.vault import credentials

blueprint = Blueprint("agent_keys", __name__)


@blueprint.get("/orgs/<slug>/agents/<uuid:agent_id>/keys/new")
@fresh_sign_in.needed(Act.KEYS)
def new(slug: str, agent_id: uuid.UUID) -> str:
    return _new_page(slug, agents.get_own(g.actor, slug, str(agent_id)), _form())


@blueprint.post("/orgs/<slug>/agents/<uuid:agent_id>/keys/new")
@fresh_sign_in.needed(Act.KEYS, why=_l("You signed in %(when)s. Sign in again to create a key."))
def create(slug: str, agent_id: uuid.UUID) -> Response | tuple[str, int]:
    agent, form = agents.get_own(g.actor, slug, str(agent_id)), _form()
    if not form.validate():
        return _new_page(slug, agent, form), 422
    if not is_first():
        return nothing_changed(f"/orgs/{slug}/agents/{agent_id}")
    try:
        made, raw = api_keys.mint(
            g.actor, owner=str(agent_id), organization=slug, name=form.name.data, scopes=form.scopes.data, expires_in=form.expires_in
        )
    except QuotaReached as error:
        form.name.errors = [quotas.reached(error)]
        return _new_page(slug, agent, form), error.status
    shown_once.keep(session_cookie.current_raw() or "", f"api_key:{made.id}", raw)
    return redirect(f"/orgs/{slug}/agents/{agent_id}/keys/{made.id}/created", 303)


def _form() -> key_forms.KeyForm:
    form = key_forms.KeyForm()
    form.scopes.choices = [key_forms.choice_of(scope) for scope in AGENT_SCOPES]
    return form


def _new_page(slug: str, agent: AgentRow, form: key_forms.KeyForm) -> str:
    return frame.render_organization("agents/new_key.html", slug, "agents", agent=agent, form=form)


@blueprint.get("/orgs/<slug>/agents/<uuid:agent_id>/keys/<uuid:key_id>/created")
def created(slug: str, agent_id: uuid.UUID, key_id: uuid.UUID) -> str:
    agent = agents.get(g.actor, slug, str(agent_id))
    key = api_keys.get_of_agent(g.actor, slug, str(agent_id), str(key_id))
    secret = shown_once.take(session_cookie.current_raw() or "", f"api_key:{key.id}")
    lines = _environment(slug, secret) if secret else ""
    ask = _ask(slug) if secret and "credentials:read" in key.scopes else ""
    return frame.render_organization("agents/key_created.html", slug, "agents", agent=agent, key=key, secret=secret, lines=lines, ask=ask)


def _environment(slug: str, secret: str) -> str:
    return f"GATEPOST_URL={current().public_url}\nGATEPOST_ORGANIZATION={slug}\nGATEPOST_API_KEY={secret}"


def _ask(slug: str) -> str:
    return request_for(next((pair.name for pair in credentials.list_pairs(g.actor, slug)), "OPENAI_API_KEY"))


def request_for(name: str) -> str:
    """The request that reads a credential, for a shell with the lines of the environment."""
    return (
        'curl -sS "$GATEPOST_URL/api/v1/orgs/$GATEPOST_ORGANIZATION/credentials/resolve" \\\n'
        "  -H \"Authorization: Bearer $GATEPOST_API_KEY\" -H 'Content-Type: application/json' \\\n"
        f'  -d \'{{"names": ["{name}"]}}\''
    )


@blueprint.get("/orgs/<slug>/agents/<uuid:agent_id>/keys/<uuid:key_id>/revoke")
def confirm_revoke(slug: str, agent_id: uuid.UUID, key_id: uuid.UUID) -> str:
    agent = agents.get(g.actor, slug, str(agent_id))
    key = api_keys.get_of_agent(g.actor, slug, str(agent_id), str(key_id))
    return frame.render_organization("agents/revoke_key.html", slug, "agents", agent=agent, key=key)


@blueprint.post("/orgs/<slug>/agents/<uuid:agent_id>/keys/<uuid:key_id>/revoke")
def revoke(slug: str, agent_id: uuid.UUID, key_id: uuid.UUID) -> Response:
    if not api_keys.revoke_of_agent(g.actor, slug, str(agent_id), str(key_id)):
        return nothing_changed(f"/orgs/{slug}/agents/{agent_id}")
    agent = agents.get(g.actor, slug, str(agent_id))
    flash(_("Key revoked. %(agent)s has %(count)s left.", agent=words.plain(agent.name), count=agent.key_count), "ok")
    return redirect(f"/orgs/{slug}/agents/{agent_id}", 303)
