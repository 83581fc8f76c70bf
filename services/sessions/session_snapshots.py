"""A signed copy of a session for the browser to carry, so that reads spare the stores (GATEPOST_SESSION_CACHE_SECONDS).

Revocation then lags by that time where it is used; it is used for reads only. It is bound to the session cookie's value
and holds nothing that the person may not see.
"""

import base64
import hashlib
import hmac
import json
import uuid
from dataclasses import asdict
from typing import Any

from config import current
from infra.clock import now_ms
from infra.secret_text import hex_hash
from infra.session_store import SessionRecord
from services.access.actors import OrganizationInfo, UserInfo
from services.sessions.user_sessions import SignedIn

MAX_LENGTH = 3800


def make(raw_session: str, signed_in: SignedIn) -> str | None:
    """The snapshot, `<base64url JSON>.<hex HMAC>`; None when it would not fit a cookie."""
    content = {
        "of": hex_hash(raw_session),
        "at": now_ms(),
        "record": signed_in.record.to_json(),
        "user": {**asdict(signed_in.user), "id": str(signed_in.user.id)},
        "orgs": [{**organization.to_values(), "origin": organization.origin} for organization in signed_in.organizations],
        "has_deleted": signed_in.has_deleted,
        "pages": [signed_in.language, signed_in.time_zone, signed_in.theme],
        "has_invitations": signed_in.has_invitations,
    }
    body = base64.urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode()).decode()
    text = f"{body}.{_mac(current().secret_keys[0], body)}"
    return text if len(text) <= MAX_LENGTH else None


def read(raw_session: str, text: str) -> SignedIn | None:
    """Who the snapshot says this session is: only for the same cookie, only while it is fresh, only in the form that is made here."""
    body, _, mac = text.partition(".")
    if len(text) > MAX_LENGTH or not text.isascii() or not any(hmac.compare_digest(mac, _mac(key, body)) for key in current().secret_keys):
        return None
    try:
        return _read(raw_session, json.loads(base64.urlsafe_b64decode(body)))
    except (KeyError, TypeError, ValueError, AttributeError):  # another version of Gatepost made it
        return None


def _read(raw_session: str, content: dict[str, Any]) -> SignedIn | None:
    settings, moment, record = current(), now_ms(), SessionRecord.from_json(content["record"])
    is_fresh = moment - settings.session_cache_seconds * 1000 < content["at"] <= moment
    if not is_fresh or record.expires_at_ms <= moment or not hmac.compare_digest(content["of"], hex_hash(raw_session)):
        return None
    user = UserInfo(**{**content["user"], "id": uuid.UUID(content["user"]["id"])})
    organizations = tuple(OrganizationInfo(**{**row, "id": uuid.UUID(row["id"])}) for row in content["orgs"])
    language, time_zone, theme = content["pages"]
    more = {"language": language, "time_zone": time_zone, "theme": theme, "has_invitations": content["has_invitations"]}
    return SignedIn(record, user, organizations, has_deleted=content["has_deleted"], **more)


def _mac(key: bytes, body: str) -> str:
    return hmac.new(key, b"gatepost/snapshot\0" + body.encode(), hashlib.sha256).hexdigest()
