"""Tables: columns, constraints and tiny predicates, one file each. Imports `extensions.db` only; commits nothing."""

from models.access_token import AccessToken, RevokedJwt
from models.audit_event import AuditEvent
from models.authorization_code import AuthorizationCode
from models.consent import Consent
from models.email_confirmation import EmailConfirmation
from models.identity import Identity
from models.membership import Membership
from models.oauth_client import OAuthClient
from models.organization import Organization
from models.project import Project
from models.refresh_token import RefreshFamily, RefreshToken
from models.resource import Resource
from models.sign_in_link import SignInLink
from models.signing_key import SigningKey
from models.user import User

__all__ = [
    "AccessToken",
    "AuditEvent",
    "AuthorizationCode",
    "Consent",
    "EmailConfirmation",
    "Identity",
    "Membership",
    "OAuthClient",
    "Organization",
    "Project",
    "RefreshFamily",
    "RefreshToken",
    "Resource",
    "RevokedJwt",
    "SignInLink",
    "SigningKey",
    "User",
]
