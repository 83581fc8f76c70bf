"""Every address that an account claims: its own, and those of its identities. Only a verified one proves anything."""

from sqlalchemy import select, union_all

from models.identity import Identity
from models.user import User

CLAIMED = union_all(
    select(User.id.label("user_id"), User.email_key, User.email_verified),
    select(Identity.user_id, Identity.email_key, Identity.email_verified),
).subquery("claimed_addresses")
