"""The rules for when a token, key, code or grant is live, each written once, in SQL, for every statement that reads one.

A statement selects the columns that the rules need, under the names used here, and `judged` adds the column `ended`: why the
row is not live, or None if it is. Lists use `none_of` to keep only live rows. PostgreSQL and SQLite evaluate the same
expressions, and Python code relies on `ended` instead of checking again.

Not here: what callers do with the result (the grace period, client versions, the expiry inside a JWT), and how tokens are
revoked (`refresh_families.revoke`, `access_tokens.revoke`).
"""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, String, Uuid, and_, bindparam, case, literal_column, not_, or_, select

from infra.word_lists import has_words
from models import ApiKey, OAuthClient, Organization, RefreshFamily, User
from models.definer import role_of
from models.types import UtcDateTime
from services.tokens import resources

NOW = bindparam("now", type_=UtcDateTime())
CLIENT_PK = bindparam("client_pk", type_=Uuid())
CLIENT_VERSION = bindparam("client_version", type_=Integer())
BEGIN_GRANTS = ("authorization_code",)  # the grant types that a person's grant begins with; refreshing goes on with it


class Ended(StrEnum):
    """Why something is not live, or cannot be used by this request. The values are written to the log."""

    UNKNOWN = "unknown"
    CLIENT = "its client may do nothing"
    GRANT_TYPE = "its client may not use this grant type any more"
    RESOURCE = "its resource is not registered any more"
    OTHER_CLIENT = "issued to another client"
    STALE_CLIENT = "the client has changed"
    OTHER_REQUEST = "wrong redirect_uri or code_verifier"
    OTHER_RESOURCE = "the resource is not the one that was granted"
    MORE_SCOPE = "the scope is more than was granted"
    REVOKED = "revoked"
    EXPIRED = "expired"
    USED = "used before"
    LEFT = "the person is disabled or has left the organization"
    PAUSED = "the agent is paused"


Rule = Callable[[Any, Any], tuple[ColumnElement[bool], Ended]]

# --- the client and the person behind a row ---------------------------------------------------------------------------


def client_version(client: Any = OAuthClient) -> ColumnElement[int]:
    """A client's version, or null if the client is shut out. client: the table, or the columns of an alias.

    It is never null today, because removing a client deletes its rows. A condition that shuts clients out belongs here: every
    statement that acts for a client, or reads something it owns, uses this expression.
    """
    return client.version


def client_may_act(family_id: Any = RefreshFamily.id, client: Any = OAuthClient) -> ColumnElement[bool]:
    """Whether the client is registered for a grant type that begins grants like this one: a person's, which has a family, or its own.

    Null without a client: of a key that no app made.
    """
    begins = or_(*(has_words(client.grant_types, _word(name)) for name in BEGIN_GRANTS))
    return case((family_id.is_(None), has_words(client.grant_types, _word("client_credentials"))), else_=begins)


def client_may_refresh(scope: Any, client: Any = OAuthClient) -> ColumnElement[bool]:
    """Whether the client may still refresh a grant of this scope: a refresh token that `offline_access` was needed for needs it."""
    offline = _word("offline_access")
    return and_(
        has_words(client.grant_types, _word("refresh_token")), or_(not_(has_words(scope, offline)), has_words(client.scope, offline))
    )


def role(source: Any) -> ColumnElement[str]:
    """The current role of `source`'s person in its organization; null if the person is disabled, the organization is deleted or
    the membership is gone. Empty for a grant without an organization. The statement must join User and (outer) Organization."""
    is_enabled = and_(User.id.is_not(None), User.disabled_at.is_(None))
    return case(
        (and_(is_enabled, source.organization_id.is_(None)), literal_column("''", String())),
        (and_(is_enabled, Organization.deleted_at.is_(None)), role_of(source.organization_id, source.user_id)),
    )


# --- the conditions ---------------------------------------------------------------------------------------------------


def is_unknown(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    """For statements that also look up something else and therefore return a row even if there is no token."""
    return row.id.is_(None), Ended.UNKNOWN


def client_is_shut_out(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    return row.client_version.is_(None), Ended.CLIENT


def client_behind_is_shut_out(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    """For keys: one that no app made has no grant."""
    return and_(row.grant_id.is_not(None), row.client_version.is_(None)), Ended.CLIENT


def of_another_client(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    """For requests from an authenticated client, whose id is CLIENT_PK."""
    return row.client_pk.is_distinct_from(CLIENT_PK), Ended.OTHER_CLIENT


def client_is_stale(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    """The client authenticated against CLIENT_VERSION, the version cached in this process, and its row has changed since."""
    return row.client_version.is_distinct_from(CLIENT_VERSION), Ended.STALE_CLIENT


def client_may_not_act(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    return row.client_may_act.is_(False), Ended.GRANT_TYPE


def client_may_not_refresh(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    return or_(row.client_may_act.is_(False), row.client_may_refresh.is_(False)), Ended.GRANT_TYPE


def _is_gone(resource: Any, resource_scope: Any) -> ColumnElement[bool]:
    return and_(resource.is_not(None), resource_scope.is_(None))


def resource_is_gone(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    return _is_gone(row.resource, row.resource_scope), Ended.RESOURCE


def is_revoked(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    return row.revoked_at.is_not(None), Ended.REVOKED


def family_is_revoked(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    return row.family_revoked_at.is_not(None), Ended.REVOKED


def is_expired(row: Any, moment: Any) -> tuple[ColumnElement[bool], Ended]:
    """A row without an expiry (null) never expires."""
    return row.expires_at <= moment, Ended.EXPIRED


def family_is_expired(row: Any, moment: Any) -> tuple[ColumnElement[bool], Ended]:
    return row.family_expires_at <= moment, Ended.EXPIRED


def is_used(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    return row.used_at.is_not(None), Ended.USED


def person_has_left(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    return row.role.is_(None), Ended.LEFT


def person_behind_has_left(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    """For tokens that a client can also hold on its own behalf; those have no family."""
    return and_(row.family_id.is_not(None), row.role.is_(None)), Ended.LEFT


def agent_is_paused(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    return and_(row.agent_id.is_not(None), row.acts_for_owner.is_(None)), Ended.PAUSED


# --- the rules for each kind, in order --------------------------------------------------------------------------------

_CLIENT: tuple[Rule, ...] = (client_is_shut_out, client_may_not_act)
ACCESS_TOKEN: tuple[Rule, ...] = (*_CLIENT, is_revoked, family_is_revoked, is_expired, person_behind_has_left)
JWT: tuple[Rule, ...] = (*_CLIENT, resource_is_gone, is_revoked, family_is_revoked, person_behind_has_left)  # its expiry is in the JWT
REFRESH_TOKEN: tuple[Rule, ...] = (
    client_is_shut_out,
    client_may_not_refresh,
    resource_is_gone,
    family_is_revoked,
    family_is_expired,
    person_has_left,
    is_used,
    is_expired,
)
CODE: tuple[Rule, ...] = (is_used, is_expired, resource_is_gone, person_has_left)
API_KEY: tuple[Rule, ...] = (client_behind_is_shut_out, client_may_not_act, is_revoked, is_expired, person_has_left, agent_is_paused)
OF_THIS_CLIENT: tuple[Rule, ...] = (of_another_client, client_is_stale)  # in this order, so that other clients learn nothing about versions


def ended(row: Any, *rules: Rule, moment: datetime | ColumnElement[datetime] = NOW) -> ColumnElement[str | None]:
    """The reason given by the first rule that applies to `row`, or null if it is live. row: a table, or the columns of a subquery.

    A condition that evaluates to null counts as false, so a rule must never evaluate to null for a row that is not live.
    """
    judgments = (rule(row, moment) for rule in rules)
    return case(*((condition, _word(reason)) for condition, reason in judgments))


def _word(text: str) -> ColumnElement[str]:
    """A constant as part of the statement's text; a bound value would be sent with every call."""
    return literal_column("'" + text.replace("'", "''") + "'", String())


def none_of(row: Any, *rules: Rule, moment: datetime | ColumnElement[datetime] = NOW) -> ColumnElement[bool]:
    """Whether none of the rules applies to the row. For lists, and for UPDATEs of rows that have not ended."""
    return ended(row, *rules, moment=moment).is_(None)


def grant_is_live(moment: datetime | ColumnElement[datetime] = NOW) -> ColumnElement[bool]:
    """For lists of grants: the family is neither revoked nor expired, its client is not shut out and may still have grants, and its
    resource is registered.

    The statement must join RefreshFamily and OAuthClient, outer join the family's Resource, and bind `resources.API_RESOURCE`.
    """
    is_for_nothing = _is_gone(RefreshFamily.resource, resources.scope_of(RefreshFamily.resource))
    return and_(
        none_of(RefreshFamily, is_revoked, is_expired, moment=moment), client_version().is_not(None), client_may_act(), not_(is_for_nothing)
    )


def key_works(moment: datetime) -> ColumnElement[bool]:
    """For lists and counts of API keys: neither revoked nor expired, whatever the state of their person or agent."""
    return none_of(ApiKey, is_revoked, is_expired, moment=moment)


def judged(facts: Select[Any], *rules: Rule, by: tuple[Any, ...] = ()) -> Select[Any]:
    """Select the columns of `facts`, followed by `ended`. by: columns that only the rules need.

    MATERIALIZED keeps PostgreSQL from looking up a role twice, once to return it and once to judge by it.
    """
    told = [column.key for column in facts.selected_columns]
    rows = facts.add_columns(*by).cte("facts").prefix_with("MATERIALIZED", dialect="postgresql")
    return select(*(rows.c[name] for name in told), ended(rows.c, *rules).label("ended"))
