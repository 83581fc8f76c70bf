"""Documents that programs look for: RFC 8414, OIDC Discovery, RFC 9728, JWKS. All spellings of each address."""

from flask import Blueprint, Response, json

from config import current
from errors import NotFound
from oauth import metadata
from services.tokens import resources, signing_keys

blueprint = Blueprint("well_known", __name__)
_JWKS_SECONDS = 60


@blueprint.get("/.well-known/openid-configuration")
@blueprint.get("/.well-known/oauth-authorization-server")
def authorization_server() -> Response:
    return _document(metadata.authorization_server())


@blueprint.get("/.well-known/oauth-protected-resource")
@blueprint.get("/.well-known/oauth-protected-resource/<path:path>")
def protected_resource(path: str = "api/v1") -> Response:
    """A resource of ours by its path below the public URL."""
    resource = resources.find(f"{current().public_url}/{path}")
    if resource is None:
        raise NotFound()
    return _document(metadata.protected_resource(resource))


@blueprint.get("/.well-known/jwks.json")
def jwks() -> Response:
    return _document(signing_keys.public_jwks(), media_type="application/jwk-set+json")


def _document(body: object, *, media_type: str = "application/json") -> Response:
    response = Response(json.dumps(body), mimetype=media_type)
    response.headers["Cache-Control"] = f"public, max-age={_JWKS_SECONDS}"
    return response
