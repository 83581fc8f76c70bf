"""Every kind of caller of the API, seen from `acme`: what each sends its request with.

`scope` is what the route asks for: the narrow key has every other one.
"""

from collections.abc import Callable

from flask.testing import FlaskClient

from infra.clock import now
from services.access.scopes import API_SCOPES, join
from tests import factories
from tests.api.company import SAME_ORIGIN, Company
from tests.oauth.flow import ISSUER, Program, bearer

Caller = tuple[FlaskClient, dict[str, str]]
ALL_SCOPES = join(API_SCOPES)


def _with(company: Company, raw: str) -> Caller:
    return company.app.test_client(), bearer(raw)


def _of_another_organization(company: Company) -> Caller:
    """A person's token for their second organization does not open the first."""
    second = factories.make_organization(owner=company.owner.user)
    return _with(company, factories.make_grant(company.owner.user, organization=second, scope=ALL_SCOPES).raw_token)


def _narrow_key(company: Company, scope: str) -> Caller:
    scopes = [other for other in API_SCOPES if other != scope]
    return _with(company, factories.make_api_key(company.acme, company.owner.user, scopes=scopes).raw_key)


def _agent(company: Company) -> Caller:
    agent = factories.make_agent(company.acme, company.owner.user)
    return _with(company, factories.make_api_key(company.acme, company.owner.user, agent=agent).raw_key)


def _client(company: Company) -> Caller:
    client = factories.make_client(type="confidential", grant_types="client_credentials", scope=ALL_SCOPES, redirect_uris=[])
    return _with(company, Program(company.app, client).ask_for_itself(scope=ALL_SCOPES).json["access_token"])


def _disabled(company: Company) -> Caller:
    shut_out = factories.make_user(disabled_at=now())
    factories.make_membership(company.acme, shut_out, "owner")
    return _with(company, factories.make_api_key(company.acme, shut_out).raw_key)


def _jwt(company: Company) -> Caller:
    program = Program(company.app, factories.make_client(trusted=True, scope=f"openid {ALL_SCOPES}"))
    wanted = {"scope": ALL_SCOPES, "resource": f"{ISSUER}/api/v1", "organization": company.acme.slug}
    return _with(company, program.get_tokens(company.owner.http, **wanted)["access_token"])


CALLERS: dict[str, Callable[[Company, str], Caller]] = {
    "nobody": lambda company, _: (company.app.test_client(), SAME_ORIGIN),
    "owner": lambda company, _: (company.owner.http, SAME_ORIGIN),
    "admin": lambda company, _: (company.admin.http, SAME_ORIGIN),
    "member": lambda company, _: (company.member.http, SAME_ORIGIN),
    "stranger": lambda company, _: (company.stranger.http, SAME_ORIGIN),
    "elsewhere": lambda company, _: _of_another_organization(company),
    "key": lambda company, _: _with(company, factories.make_api_key(company.acme, company.owner.user).raw_key),
    "narrow": _narrow_key,
    "agent": lambda company, _: _agent(company),
    "client": lambda company, _: _client(company),
    "disabled": lambda company, _: _disabled(company),
    "jwt": lambda company, _: _jwt(company),
    "origin": lambda company, _: (company.owner.http, {"Origin": "https://elsewhere.example"}),
}
