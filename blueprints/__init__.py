"""Doors: HTTP in, HTTP out. One table says which blueprint stands where and who guards it."""

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask

from blueprints import assets, guards, health, oauth, well_known
from blueprints.api import agents as api_agents
from blueprints.api import api_keys as api_api_keys
from blueprints.api import audit_events as api_audit_events
from blueprints.api import connections as api_connections
from blueprints.api import credentials as api_credentials
from blueprints.api import invitations as api_invitations
from blueprints.api import members as api_members
from blueprints.api import openapi as api_openapi
from blueprints.api import orgs as api_orgs
from blueprints.api import projects as api_projects
from blueprints.api import session as api_session
from blueprints.api import user_sessions as api_user_sessions
from blueprints.api import users as api_users
from blueprints.api import whoami as api_whoami
from blueprints.pages.account import access_tokens, account, account_deletion, activity, connected_apps, linked_accounts, user_sessions
from blueprints.pages.admin import audit as admin_audit
from blueprints.pages.admin import clients as admin_clients
from blueprints.pages.admin import keys as admin_keys
from blueprints.pages.admin import overview as admin_overview
from blueprints.pages.admin import users as admin_users
from blueprints.pages.gate import account_securing, done, email_confirmations, home, invitations, pending_links, sign_in, sign_in_links
from blueprints.pages.organizations import agent_keys, agents, audit_events, connections, credential_tests, credentials, members, orgs
from blueprints.pages.organizations import invitations as invitations_sent
from blueprints.pages.organizations import settings as organization_settings

Guard = Callable[[], Any]

DOORS: tuple[tuple[Blueprint, str | None, Guard], ...] = (
    (assets.blueprint, None, guards.public),
    (health.blueprint, None, guards.public),
    (well_known.blueprint, None, guards.public),
    (oauth.blueprint, None, guards.public),
    (home.blueprint, None, guards.gate),
    (done.blueprint, None, guards.gate),
    (sign_in.blueprint, None, guards.gate),
    (sign_in_links.blueprint, None, guards.gate),
    (email_confirmations.blueprint, None, guards.gate),
    (pending_links.blueprint, None, guards.gate),
    (invitations.blueprint, None, guards.gate),
    (account_securing.blueprint, None, guards.gate),
    (account.blueprint, None, guards.pages),
    (account_deletion.blueprint, None, guards.pages),
    (linked_accounts.blueprint, None, guards.pages),
    (user_sessions.blueprint, None, guards.pages),
    (connected_apps.blueprint, None, guards.pages),
    (activity.blueprint, None, guards.pages),
    (connections.blueprint, None, guards.pages),
    (orgs.blueprint, None, guards.pages),
    (members.blueprint, None, guards.pages),
    (invitations_sent.blueprint, None, guards.pages),
    (organization_settings.blueprint, None, guards.pages),
    (audit_events.blueprint, None, guards.pages),
    (credentials.blueprint, None, guards.pages),
    (credential_tests.blueprint, None, guards.pages),
    (agents.blueprint, None, guards.pages),
    (agent_keys.blueprint, None, guards.pages),
    (access_tokens.blueprint, None, guards.pages),
    (admin_overview.blueprint, None, guards.admin_pages),
    (admin_audit.blueprint, None, guards.admin_pages),
    (admin_clients.blueprint, None, guards.admin_pages),
    (admin_keys.blueprint, None, guards.admin_pages),
    (admin_users.blueprint, None, guards.admin_pages),
    (api_session.blueprint, "/api/v1", guards.api),
    (api_whoami.blueprint, "/api/v1", guards.api),
    (api_user_sessions.blueprint, "/api/v1", guards.api),
    (api_users.blueprint, "/api/v1", guards.api),
    (api_orgs.blueprint, "/api/v1", guards.api),
    (api_members.blueprint, "/api/v1", guards.api),
    (api_invitations.blueprint, "/api/v1", guards.api),
    (api_projects.blueprint, "/api/v1", guards.api),
    (api_agents.blueprint, "/api/v1", guards.api),
    (api_api_keys.blueprint, "/api/v1", guards.api),
    (api_audit_events.blueprint, "/api/v1", guards.api),
    (api_credentials.blueprint, "/api/v1", guards.api),
    (api_connections.blueprint, "/api/v1", guards.api),
    (api_openapi.blueprint, "/api/v1", guards.public),
)


def register(app: Flask) -> None:
    for blueprint, prefix, guard in DOORS:
        if guard is not guards.public and guard not in blueprint.before_request_funcs.get(None, []):
            blueprint.before_request(guard)
        app.register_blueprint(blueprint, url_prefix=prefix)
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/api/v1/") and not hasattr(app.view_functions[rule.endpoint], "needs"):
            raise RuntimeError(f"{rule.endpoint} does not say which scopes it requires")
