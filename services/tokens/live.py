"""What makes a token, key, code or grant live: each condition once, in SQL, for every statement that reads one.

A statement selects the columns that its rows are judged by, under the names used here, and gets the column `ended` from
`judged`: why the row is not live, None while it is. A list keeps its live rows with `none_of`. PostgreSQL and SQLite judge by
the same expressions, and what is told in `ended` is not judged again in Python.

Not here: what a caller makes of it (a grace, a client's version, the expiry that a JWT carries), and how a token ends
(`refresh_families.revoke`, `access_tokens.revoke`).
"""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, String, Uuid, and_, bindparam, case, literal_column, select

from models import ApiKey, OAuthClient, Organization, RefreshFamily, User
from models.definer import role_of
from models.types import UtcDateTime

NOW = bindparam("now", type_=UtcDateTime())
CLIENT_PK = bindparam("client_pk", type_=Uuid())
CLIENT_VERSION = bindparam("client_version", type_=Integer())


class Ended(StrEnum):
    """Why something is not live, or not for this request. The texts are for the log."""

    UNKNOWN = "unknown"
    CLIENT = "its client may do nothing"
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

# --- whom it speaks for -----------------------------------------------------------------------------------------------


def client_version(client: Any = OAuthClient) -> ColumnElement[int]:
    """A client's version; null where the client may do nothing. client: the table, or the columns of an alias.

    It is never null today: a client that is removed takes its rows along. What is to shut a client out is said here, and every
    statement that works for a client, or reads something of one, holds to it.
    """
    return client.version


def role(source: Any) -> ColumnElement[str]:
    """The role that something of a person speaks with, for `source`'s person in its organization, both joined; null where the
    person is disabled, the organization deleted or the membership gone."""
    is_open = and_(User.disabled_at.is_(None), Organization.deleted_at.is_(None))
    return case((is_open, role_of(source.organization_id, source.user_id)))


# --- the conditions ---------------------------------------------------------------------------------------------------


def is_unknown(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    """For statements that find something else as well, and so always have a row."""
    return row.id.is_(None), Ended.UNKNOWN


def client_is_shut_out(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    return row.client_version.is_(None), Ended.CLIENT


def of_another_client(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    """For requests of a client that has authenticated: CLIENT_PK."""
    return row.client_pk.is_distinct_from(CLIENT_PK), Ended.OTHER_CLIENT


def client_is_stale(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    """It authenticated as the version CLIENT_VERSION, which this process remembers, and the row has moved on."""
    return row.client_version.is_distinct_from(CLIENT_VERSION), Ended.STALE_CLIENT


def is_revoked(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    return row.revoked_at.is_not(None), Ended.REVOKED


def family_is_revoked(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    return row.family_revoked_at.is_not(None), Ended.REVOKED


def is_expired(row: Any, moment: Any) -> tuple[ColumnElement[bool], Ended]:
    """What has no expiry (null) does not expire."""
    return row.expires_at <= moment, Ended.EXPIRED


def family_is_expired(row: Any, moment: Any) -> tuple[ColumnElement[bool], Ended]:
    return row.family_expires_at <= moment, Ended.EXPIRED


def is_used(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    return row.used_at.is_not(None), Ended.USED


def person_has_left(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    return row.role.is_(None), Ended.LEFT


def person_behind_has_left(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    """For what a client may also hold for itself: then there is no family."""
    return and_(row.family_id.is_not(None), row.role.is_(None)), Ended.LEFT


def agent_is_paused(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    return and_(row.agent_id.is_not(None), row.acts_for_owner.is_(None)), Ended.PAUSED


# --- what each kind is judged by, in this order -----------------------------------------------------------------------

ACCESS_TOKEN: tuple[Rule, ...] = (client_is_shut_out, is_revoked, family_is_revoked, is_expired, person_behind_has_left)
JWT: tuple[Rule, ...] = (client_is_shut_out, is_revoked, family_is_revoked, person_behind_has_left)  # it carries its expiry
REFRESH_TOKEN: tuple[Rule, ...] = (client_is_shut_out, family_is_revoked, family_is_expired, person_has_left, is_used, is_expired)
CODE: tuple[Rule, ...] = (is_used, is_expired, person_has_left)
API_KEY: tuple[Rule, ...] = (is_revoked, is_expired, person_has_left, agent_is_paused)
OF_THIS_CLIENT: tuple[Rule, ...] = (of_another_client, client_is_stale)  # a stranger learns nothing of versions


def ended(row: Any, *rules: Rule, moment: datetime | ColumnElement[datetime] = NOW) -> ColumnElement[str | None]:
    """Why `row` is not live, by the first rule that says so; null while it is. row: a table, or the columns of a subquery.

    A condition that is null says nothing: what must not pass for live is compared so that it never is.
    """
    judgments = (rule(row, moment) for rule in rules)
    return case(*((condition, _literal(reason)) for condition, reason in judgments))


def _literal(reason: Ended) -> ColumnElement[str]:
    """In the statement's text: a bound value would be sent with every call."""
    return literal_column("'" + reason.replace("'", "''") + "'", String())


def none_of(row: Any, *rules: Rule, moment: datetime | ColumnElement[datetime] = NOW) -> ColumnElement[bool]:
    """Whether none of the rules says that the row has ended; for lists, and for UPDATEs of what has not."""
    return ended(row, *rules, moment=moment).is_(None)


def grant_is_live(moment: datetime | ColumnElement[datetime] = NOW) -> ColumnElement[bool]:
    """For lists of grants: a family that goes on, of a client that may do something; RefreshFamily and OAuthClient are joined."""
    return and_(none_of(RefreshFamily, is_revoked, is_expired, moment=moment), client_version().is_not(None))


def key_works(moment: datetime) -> ColumnElement[bool]:
    """For lists and counts of API keys: neither revoked nor expired, whoever may use them."""
    return none_of(ApiKey, is_revoked, is_expired, moment=moment)


def judged(facts: Select[Any], *rules: Rule, by: tuple[Any, ...] = ()) -> Select[Any]:
    """The columns of `facts` and, last, `ended`. by: columns that the rules read and nobody else.

    PostgreSQL is kept from looking a role up twice, once to tell it and once to judge by it.
    """
    told = [column.key for column in facts.selected_columns]
    rows = facts.add_columns(*by).cte("facts").prefix_with("MATERIALIZED", dialect="postgresql")
    return select(*(rows.c[name] for name in told), ended(rows.c, *rules).label("ended"))
