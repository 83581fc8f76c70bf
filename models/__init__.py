"""Tables: columns, constraints and tiny predicates, one file each. Imports `extensions.db` only; commits nothing."""

from models.access_token import AccessToken, RevokedJwt
from models.account_address import AccountAddress
from models.account_event import AccountEvent
from models.agent import Agent
from models.api_key import ApiKey
from models.audit_event import AuditEvent
from models.authorization_code import AuthorizationCode
from models.connection import Connection
from models.consent import Consent
from models.credential import Credential, CredentialDeclaration, CredentialVersion
from models.email_confirmation import EmailConfirmation
from models.identity import Identity
from models.invitation import Invitation
from models.known_app import KnownApp
from models.membership import Membership
from models.oauth_client import OAuthClient
from models.organization import Organization
from models.organization_slug import OrganizationSlug
from models.project import Project
from models.refresh_token import RefreshFamily, RefreshToken
from models.resource import Resource
from models.secure_link import SecureLink
from models.sign_in_link import SignInLink
from models.sign_in_place import SignInPlace
from models.signing_key import SigningKey
from models.user import User

__all__ = [
    "AccessToken",
    "AccountAddress",
    "AccountEvent",
    "Agent",
    "ApiKey",
    "AuditEvent",
    "AuthorizationCode",
    "Connection",
    "Consent",
    "Credential",
    "CredentialDeclaration",
    "CredentialVersion",
    "EmailConfirmation",
    "Identity",
    "Invitation",
    "KnownApp",
    "Membership",
    "OAuthClient",
    "Organization",
    "OrganizationSlug",
    "Project",
    "RefreshFamily",
    "RefreshToken",
    "Resource",
    "RevokedJwt",
    "SecureLink",
    "SignInLink",
    "SignInPlace",
    "SigningKey",
    "User",
]
