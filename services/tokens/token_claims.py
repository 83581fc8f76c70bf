"""What tokens say of a person: the claims of JWT access tokens (RFC 9068), id_tokens and userinfo."""

import base64
import hashlib
import json
import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select

from config import current
from infra.clock import now_seconds
from infra.hot_statements import HotStatement
from infra.ids import parse_uuid, uuid7
from models import Membership, Organization, Project
from models.membership import in_own_order
from services.access.actors import OrganizationInfo, UserInfo
from services.access.scopes import split
from services.database.row_security import rows_of
from services.database.transactions import engine
from services.tokens import signing_keys
from services.tokens.grants import Grant, Issued
from services.tokens.oauth_clients import ClientInfo

LIST_LIMIT, LISTS_BYTES = 100, 4096
_PERSON = ("name", "email", "email_verified")
_OPENED_BY = {
    "orgs": ("orgs", "orgs_truncated"),
    "projects:read": ("projects", "projects_truncated"),
}
_LISTED = frozenset({"orgs", "projects:read"})  # the scopes whose claims are looked up while an answer is built

_ORGANIZATIONS = HotStatement(
    select(Organization.id, Organization.slug, Organization.name, Membership.role)
    .join(Membership, Membership.organization_id == Organization.id)
    .where(Membership.user_id == bindparam("user_id"), Organization.deleted_at.is_(None))
    .order_by(*in_own_order())
    .limit(LIST_LIMIT + 1)
)
_PROJECTS = HotStatement(
    select(Project.id, Project.slug)
    .where(Project.organization_id == bindparam("organization_id"))
    .order_by(Project.slug)
    .limit(LIST_LIMIT + 1)
)


def may_look_up(client: ClientInfo) -> bool:
    """Whether building the response for this client may need the database."""
    return not _LISTED.isdisjoint(client.scopes)


def access_token(grant: Grant, scope: str, issued: Issued) -> str:
    """A signed JWT access token for the grant's resource. `jti` begins with the family's id, so that revoking the
    family reaches it where the store is asked."""
    scopes = split(scope)
    claims = {
        **_head(grant.client_id, scope, str(grant.resource), jti_of(grant.family_id, issued.id), seconds(issued.at)),
        "sub": str(grant.user_id),
        "sid": grant.sid,
        "auth_time": seconds(grant.auth_time),
        **_organization(grant),
        **person(grant, scopes),
        **_lists(grant, scopes),
    }
    return signing_keys.sign(claims, typ="at+jwt")


def client_access_token(client: ClientInfo, scope: str, resource: str) -> str:
    """A signed JWT access token for a client that acts for itself."""
    return signing_keys.sign(
        {**_head(client.client_id, scope, resource, str(uuid7()), now_seconds()), "sub": client.client_id}, typ="at+jwt"
    )


def jti_of(family_id: uuid.UUID, issued_id: uuid.UUID) -> str:
    """The `jti` of a person's token: of which family, and which of its tokens."""
    return f"{family_id}.{issued_id}"


def family_of(jti: object) -> uuid.UUID | None:
    """The family named in a `jti` of ours; None for a client's own token."""
    first, dot, _ = str(jti).partition(".")
    return parse_uuid(first) if dot else None


def _head(client_id: str, scope: str, audience: str, jti: str, moment: int) -> dict[str, Any]:
    return {
        "iss": current().public_url,
        "aud": audience,
        "client_id": client_id,
        "scope": scope,
        "iat": moment,
        "exp": moment + current().access_token_seconds,
        "jti": jti,
    }


def id_token(grant: Grant, scope: str, raw_access_token: str, issued: Issued) -> str:
    """OpenID Connect Core section 2. `at_hash` binds the access token of the same answer."""
    moment = seconds(issued.at)
    digest = hashlib.sha256(raw_access_token.encode()).digest()
    claims = {
        "iss": current().public_url,
        "sub": str(grant.user_id),
        "aud": grant.client_id,
        "iat": moment,
        "exp": moment + current().access_token_seconds,
        "auth_time": seconds(grant.auth_time),
        "sid": grant.sid,
        "at_hash": base64.urlsafe_b64encode(digest[:16]).rstrip(b"=").decode(),
        **({"nonce": grant.nonce} if grant.nonce is not None else {}),
        **person(grant, split(scope)),
        **_lists(grant, [name for name in split(scope) if name == "orgs"]),
    }
    return signing_keys.sign(claims, typ="JWT", algorithm=grant.id_token_alg)


def person(subject: Any, scopes: list[str]) -> dict[str, Any]:
    """Name and address of anything that has them, as far as the scopes go; no claim is empty (OpenID Connect Core section 5.3.2)."""
    claims: dict[str, Any] = {}
    if "profile" in scopes and subject.name:
        claims["name"] = subject.name
    if "email" in scopes and subject.email:
        claims |= {"email": subject.email, "email_verified": subject.email_verified}
    return claims


def opened(claims: dict[str, Any], scope: str, user: UserInfo | None, organization: OrganizationInfo | None) -> dict[str, Any]:
    """The claims of a JWT whose scope counts no further than `scope` now, with its person and organization as they are now. The lists are
    those that it was signed with, but for that organization."""
    scopes = split(scope)
    closed = {claim for needed, names in _OPENED_BY.items() if needed not in scopes for claim in names}.union(_PERSON)
    told = {name: value for name, value in claims.items() if name not in closed} | {"scope": scope}
    if user is not None:
        told |= person(user, scopes)
    if organization is not None:
        told["org"] = organization.to_values()
        if "orgs" in told:
            told["orgs"] = [told["org"] if one["id"] == told["org"]["id"] else one for one in told["orgs"]]
    return told


def organizations_of(user_id: uuid.UUID, bound: dict[str, Any] | None) -> dict[str, Any]:
    """The claim `orgs`, in the person's own order, and `orgs_truncated` when there are more than it holds. bound: the organization of
    the grant, which is first."""
    return _Room().claim("orgs", _organizations(user_id, bound))


def _lists(grant: Grant, scopes: list[str]) -> dict[str, Any]:
    """`orgs` and `projects`, as many as have room in a token, projects last."""
    room, claims = _Room(), {}
    if "orgs" in scopes:
        claims |= room.claim("orgs", _organizations(grant.user_id, _organization(grant).get("org")))
    if "projects:read" in scopes and grant.organization_id is not None:
        local = rows_of(organization_ids=[grant.organization_id])
        rows = _PROJECTS.all(engine(), local=local, organization_id=grant.organization_id)
        claims |= room.claim("projects", [{"id": str(row.id), "slug": row.slug, "org": grant.organization_slug} for row in rows])
    return claims


def _organizations(user_id: uuid.UUID, bound: dict[str, Any] | None) -> list[dict[str, Any]]:
    rows = _ORGANIZATIONS.all(engine(), local=rows_of(user_id=user_id), user_id=user_id)
    every = [{"id": str(row.id), "slug": row.slug, "name": row.name, "role": row.role} for row in rows]
    return every if bound is None else [bound, *(one for one in every if one["id"] != bound["id"])]


class _Room:
    """LISTS_BYTES for all lists of a token together, as compact JSON: a token is a header line, and servers limit those."""

    def __init__(self) -> None:
        self._left = LISTS_BYTES - len('{"orgs":[],"projects":[]}')

    def claim(self, name: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
        """The first entries that fit, at most LIST_LIMIT, and whether there are more."""
        taken = []
        for entry in entries[:LIST_LIMIT]:
            size = len(json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()) + 1
            if size > self._left:
                self._left = 0  # what comes later stays out too, however short
                break
            self._left -= size
            taken.append(entry)
        return {name: taken, **({f"{name}_truncated": True} if len(taken) < len(entries) else {})}


def _organization(grant: Grant) -> dict[str, Any]:
    """The claim `org`; none for a person who is in no organization."""
    if grant.organization_id is None:
        return {}
    return {"org": {"id": str(grant.organization_id), "slug": grant.organization_slug, "name": grant.organization_name, "role": grant.role}}


def seconds(moment: datetime) -> int:
    return int(moment.timestamp())
