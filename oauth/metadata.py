"""What the server says of itself: RFC 8414, OIDC Discovery, RFC 9728. Built from what the grants enforce."""

from typing import Any, get_args

from config import current
from errors import ResponseMode
from oauth.client_authentication import METHODS
from oauth.server import GRANTS
from services.access.scopes import API_SCOPES, IDENTITY_SCOPES
from services.tokens.resources import ResourceInfo
from services.tokens.signing_keys import ALGORITHMS

_CONFIDENTIAL = [method for method in METHODS if method != "none"]


def authorization_server() -> dict[str, Any]:
    """One document for both well-known addresses."""
    base = current().public_url
    return {
        "issuer": base,
        "authorization_endpoint": f"{base}/oauth/authorize",
        "token_endpoint": f"{base}/oauth/token",
        "revocation_endpoint": f"{base}/oauth/revoke",
        "introspection_endpoint": f"{base}/oauth/introspect",
        "userinfo_endpoint": f"{base}/oauth/userinfo",
        "end_session_endpoint": f"{base}/oauth/logout",
        "jwks_uri": f"{base}/.well-known/jwks.json",
        "scopes_supported": list(dict.fromkeys([*IDENTITY_SCOPES, *API_SCOPES])),
        "response_types_supported": ["code"],
        "response_modes_supported": list(get_args(ResponseMode)),
        "grant_types_supported": [grant.GRANT_TYPE for grant in GRANTS],
        "token_endpoint_auth_methods_supported": list(METHODS),
        "revocation_endpoint_auth_methods_supported": list(METHODS),
        "introspection_endpoint_auth_methods_supported": _CONFIDENTIAL,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": list(ALGORITHMS),
        "claims_supported": [
            "sub",
            "iss",
            "aud",
            "exp",
            "iat",
            "auth_time",
            "nonce",
            "sid",
            "at_hash",
            "email",
            "email_verified",
            "name",
            "org",
            "orgs",
        ],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "claims_parameter_supported": False,
    }


def protected_resource(resource: ResourceInfo) -> dict[str, Any]:
    """RFC 9728 section 2. `offline_access` is the client's business and never listed here."""
    return {
        "resource": resource.identifier,
        "authorization_servers": [current().public_url],
        "scopes_supported": list(resource.scopes),
        "bearer_methods_supported": ["header"],
        "resource_name": resource.name,
    }
