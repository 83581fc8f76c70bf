"""A token, key, code or grant that has ended is refused at every door that accepts one; services/tokens/live.py has the rules.

The token endpoint uses up what it is given, so introspection comes first. Not tested here: revocation, which accepts any token,
and lists, which have their own tests.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete, insert, update

from infra import clock
from infra.clock import now
from models import AccessToken, Agent, ApiKey, Membership, OAuthClient, Organization, RefreshFamily, RefreshToken, RevokedJwt, User
from tests import factories, owner
from tests.oauth.flow import ISSUER, Program, bearer, claims_of

pytestmark = pytest.mark.both_databases

API = f"{ISSUER}/api/v1"
SCOPE = "openid orgs offline_access"


@dataclass
class Held:
    """The live tokens, keys and codes of one person in one organization, and the clients and browser that use them."""

    app: Flask
    program: Program
    stranger: Program
    browser: FlaskClient
    user: User
    organization: Organization
    agent: Agent
    opaque: str = field(repr=False)
    refresh: str = field(repr=False)
    jwt: str = field(repr=False)
    code: str = field(repr=False)
    own_token: str = field(repr=False)
    key: str = field(repr=False)
    agent_key: str = field(repr=False)

    def asks_api(self, raw: str) -> bool:
        """Call an endpoint that checks the database even for a JWT."""
        answer = self.program.http.get("/api/v1/orgs", headers=bearer(raw))
        assert answer.status_code in (200, 401), answer.text
        return answer.status_code == 200

    def asks_userinfo(self, raw: str) -> bool:
        answer = self.program.userinfo(raw)
        assert answer.status_code in (200, 401), answer.text
        return answer.status_code == 200

    def is_active(self, raw: str) -> bool:
        answer = self.stranger.introspect(raw)
        assert answer.status_code == 200, answer.text
        return answer.json["active"]


def _gets_tokens(answer) -> bool:
    assert answer.status_code == 200 or answer.json["error"] in ("invalid_grant", "invalid_client"), answer.text
    return answer.status_code == 200


def _gets_code(held: Held) -> bool:
    answer = held.program.authorize(held.browser, organization="acme", scope=SCOPE)
    return answer.headers.get("Location", "").startswith(f"{held.program.redirect_uri}?code=")


DOORS: dict[str, Callable[[Held], bool]] = {
    "opaque at the API": lambda held: held.asks_api(held.opaque),
    "opaque at userinfo": lambda held: held.asks_userinfo(held.opaque),
    "opaque at introspection": lambda held: held.is_active(held.opaque),
    "JWT at the API": lambda held: held.asks_api(held.jwt),
    "JWT at userinfo": lambda held: held.asks_userinfo(held.jwt),
    "JWT at introspection": lambda held: held.is_active(held.jwt),
    "refresh token at introspection": lambda held: held.is_active(held.refresh),
    "refresh token at the token endpoint": lambda held: _gets_tokens(held.program.refresh(held.refresh)),
    "code at the token endpoint": lambda held: _gets_tokens(held.program.exchange(held.code)),
    "another code": _gets_code,
    "the client's own token at introspection": lambda held: held.is_active(held.own_token),
    "the client for itself": lambda held: _gets_tokens(held.program.ask_for_itself()),
    "key at the API": lambda held: held.asks_api(held.key),
    "agent's key at the API": lambda held: held.asks_api(held.agent_key),
}
OPAQUE, JWT, REFRESH = ({door for door in DOORS if door.startswith(kind)} for kind in ("opaque", "JWT", "refresh"))
CODE, ANOTHER, KEYS, AGENTS = (
    {"code at the token endpoint"},
    {"another code"},
    {"key at the API", "agent's key at the API"},
    {"agent's key at the API"},
)
FOR_ITSELF = {"the client's own token at introspection", "the client for itself"}


def _change(held: Held, statement) -> None:
    owner.rows(held.app, statement)


ENDINGS: dict[str, tuple[Callable[[Held], None], set[str]]] = {
    "the person is disabled": (
        lambda held: _change(held, update(User).where(User.id == held.user.id).values(disabled_at=now())),
        OPAQUE | JWT | REFRESH | CODE | ANOTHER | KEYS,
    ),
    "the membership is gone": (
        lambda held: _change(held, delete(Membership).where(Membership.organization_id == held.organization.id)),
        OPAQUE | JWT | REFRESH | CODE | ANOTHER | KEYS,
    ),
    "the organization is deleted": (
        lambda held: _change(held, update(Organization).where(Organization.id == held.organization.id).values(deleted_at=now())),
        OPAQUE | JWT | REFRESH | CODE | ANOTHER | KEYS,
    ),
    "the families are revoked": (
        lambda held: _change(held, update(RefreshFamily).values(revoked_at=now(), revoked_because="a test")),
        OPAQUE | JWT | REFRESH,
    ),
    "the access tokens are revoked": (
        lambda held: _change(held, update(AccessToken).values(revoked_at=now())),
        OPAQUE | {"the client's own token at introspection"},
    ),
    "the JWT is revoked": (
        lambda held: _change(held, insert(RevokedJwt).values(jti=claims_of(held.jwt)["jti"], expires_at=now())),
        JWT,
    ),
    "the keys are revoked": (lambda held: _change(held, update(ApiKey).values(revoked_at=now())), KEYS),
    "the agent is paused": (lambda held: _change(held, update(Agent).values(paused_at=now())), AGENTS),
    "a minute goes by": (lambda held: clock.move(61), CODE),
    "the life of an access token goes by": (
        lambda held: clock.move(1801),
        OPAQUE | JWT | CODE | {"the client's own token at introspection"},
    ),
    "an hour goes by": (
        lambda held: clock.move(3601),
        OPAQUE | JWT | CODE | KEYS | {"the client's own token at introspection"},
    ),
    "the refresh tokens expire": (lambda held: _change(held, update(RefreshToken).values(expires_at=now())), REFRESH),
    "the families reach their end": (lambda held: _change(held, update(RefreshFamily).values(expires_at=now())), REFRESH),
    "the client changes its version": (
        lambda held: _change(held, update(OAuthClient).where(OAuthClient.id == held.program.client.id).values(version=2)),
        set(),
    ),
    "the client is removed": (
        lambda held: _change(held, delete(OAuthClient).where(OAuthClient.id == held.program.client.id)),
        OPAQUE | JWT | REFRESH | CODE | ANOTHER | FOR_ITSELF,
    ),
}


@pytest.fixture
def held(app, register, server_side, person, browser) -> Held:
    organization = factories.make_organization(slug="acme", owner=person)
    agent = factories.make_agent(organization, person)
    program = register(
        client_id="notes",
        type="confidential",
        trusted=True,
        grant_types="authorization_code refresh_token client_credentials",
        scope=f"{SCOPE} projects:read",
    )
    tokens = program.get_tokens(browser, organization="acme", scope=SCOPE)
    return Held(
        app,
        program,
        server_side,
        browser,
        person,
        organization,
        agent,
        opaque=tokens["access_token"],
        refresh=tokens["refresh_token"],
        jwt=program.get_tokens(browser, organization="acme", scope="openid orgs", resource=API)["access_token"],
        code=program.get_code(browser, organization="acme", scope=SCOPE),
        own_token=program.ask_for_itself(scope="projects:read").json["access_token"],
        key=factories.make_api_key(organization, person).raw_key,
        agent_key=factories.make_api_key(organization, person, agent=agent).raw_key,
    )


@pytest.mark.parametrize("door", DOORS)
def test_what_is_live_opens_every_door(held, door):
    assert DOORS[door](held)


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_has_ended_opens_none_and_everything_else_still_does(held, ending):
    end, shut = ENDINGS[ending]
    end(held)
    assert {door for door, opens in DOORS.items() if not opens(held)} == shut
