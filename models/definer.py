"""Look-ups that begin with a secret, before anybody's rows are opened: scalar expressions for a statement.

On PostgreSQL each is a function owned by the migration role (SECURITY DEFINER), so that row-level security lets it
through; it answers one question about one row and can list nothing. On SQLite each is the same question as a subquery.
"""

from typing import Any

from sqlalchemy import Boolean, String, Uuid
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from extensions import FUNCTIONS, db


class role_of(FunctionElement[str]):
    """`role_of(organization_id, user_id)`: the role there; null without a membership."""

    name = "role_of"
    type = String()
    inherit_cache = True


class agent_acts_for_owner(FunctionElement[bool]):
    """`agent_acts_for_owner(agent_id)`: whether it does; null for an agent that is paused or gone."""

    name = "agent_acts_for_owner"
    type = Boolean()
    inherit_cache = True


class organization_inviting(FunctionElement[Any]):
    """`organization_inviting(token_hash)`: the organization of the invitation with that secret; null without one."""

    name = "organization_inviting"
    type = Uuid()
    inherit_cache = True


class is_invited(FunctionElement[bool]):
    """`is_invited(email_key, moment)`: whether an invitation to a live organization waits for the address at that time."""

    name = "is_invited"
    type = Boolean()
    inherit_cache = True


db.metadata.info[FUNCTIONS] = [f"gatepost_{kind.name}" for kind in (role_of, agent_acts_for_owner, organization_inviting, is_invited)]


@compiles(role_of, "postgresql")
@compiles(agent_acts_for_owner, "postgresql")
@compiles(organization_inviting, "postgresql")
@compiles(is_invited, "postgresql")
def _as_function(element: Any, compiler: Any, **kw: Any) -> str:
    return f"gatepost_{element.name}({compiler.process(element.clauses, **kw)})"


@compiles(role_of, "sqlite")
def _role_of(element: Any, compiler: Any, **kw: Any) -> str:
    organization_id, user_id = (compiler.process(part, **kw) for part in element.clauses)
    return f"(SELECT m.role FROM memberships m WHERE m.organization_id = {organization_id} AND m.user_id = {user_id})"  # noqa: S608 - compiled expressions, no values


@compiles(agent_acts_for_owner, "sqlite")
def _agent_acts_for_owner(element: Any, compiler: Any, **kw: Any) -> str:
    (agent_id,) = (compiler.process(part, **kw) for part in element.clauses)
    return f"(SELECT a.acts_for_owner FROM agents a WHERE a.id = {agent_id} AND a.paused_at IS NULL)"  # noqa: S608 - compiled expressions, no values


@compiles(organization_inviting, "sqlite")
def _organization_inviting(element: Any, compiler: Any, **kw: Any) -> str:
    (token_hash,) = (compiler.process(part, **kw) for part in element.clauses)
    return f"(SELECT i.organization_id FROM invitations i WHERE i.token_hash = {token_hash})"  # noqa: S608 - compiled expressions, no values


@compiles(is_invited, "sqlite")
def _is_invited(element: Any, compiler: Any, **kw: Any) -> str:
    email_key, moment = (compiler.process(part, **kw) for part in element.clauses)
    return (
        "EXISTS (SELECT 1 FROM invitations i JOIN organizations o ON o.id = i.organization_id WHERE o.deleted_at IS NULL"  # noqa: S608 - compiled expressions, no values
        " AND i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.declined_at IS NULL"
        f" AND i.email_key = {email_key} AND i.expires_at > {moment})"
    )
