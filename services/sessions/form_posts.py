"""A form that makes something is worked on once, however often it is sent."""

import re

from extensions import redis
from infra.secret_text import hex_hash

_SECONDS = 3600
_FORM_ID = re.compile(r"[A-Za-z0-9_-]{16,64}", re.ASCII)


def is_first(raw_session: str, form_id: str) -> bool:
    """Whether this session sends this form for the first time. A form without an id is nobody's second one."""
    if not _FORM_ID.fullmatch(form_id):
        return True
    return bool(redis.client.set(f"gatepost:form:{{{hex_hash(raw_session + form_id)}}}", 1, nx=True, ex=_SECONDS))
