"""A protocol endpoint's request: read strictly, once, from the body alone.    (RFC 6749 sections 3.2 and 4)"""

from collections import defaultdict
from urllib.parse import parse_qsl

from authlib.oauth2.rfc6749 import OAuth2Payload, OAuth2Request
from flask import Request

from errors import OAuthRefused

_FORM = "application/x-www-form-urlencoded"
_MAX_FIELDS = 100
_MAX_BYTES = 131_072  # a token has up to 32,768 characters, three bytes each if all are escaped; a megabyte takes 140 ms to decode


class Parameters(OAuth2Payload):
    """The form as a plain dict. A parameter without a value is absent, but for `token`; none but `resource` may stand twice."""

    def __init__(self, values: dict[str, str], resource_values: list[str]) -> None:
        self._values = values
        self._lists = defaultdict(list, {name: [value] for name, value in values.items()}, resource=resource_values)

    @property
    def data(self) -> dict[str, str]:
        return self._values

    @property
    def datalist(self) -> defaultdict[str, list[str]]:
        return self._lists


class ProtocolRequest(OAuth2Request):
    """Authlib's request object over our parameters. Transport is the public URL's business, not the socket's.

    known_client_id: the client that the request claims to be from, set once it is found, proven or not.
    """

    def __init__(self, request: Request) -> None:
        self.method = request.method
        self.uri = request.path
        self.headers = request.headers
        self.payload = read_parameters(request)
        self.client = None
        self.known_client_id = ""
        self.auth_method = None
        self.user = None
        self.authorization_code = None
        self.refresh_token = None
        self.credential = None
        self._scope = None
        self._body = None

    @property
    def args(self) -> dict[str, str]:
        return {}

    @property
    def form(self) -> dict[str, str]:
        return self.payload.data


def read_parameters(request: Request) -> Parameters:
    """Raises OAuthRefused: anything in the query, another content type, too long a body, a parameter given twice."""
    if request.environ.get("QUERY_STRING"):
        raise OAuthRefused("invalid_request", "Send the parameters in the body, not in the query.")
    if request.mimetype != _FORM:
        raise OAuthRefused("invalid_request", f"Send the parameters as {_FORM}.")
    body = request.get_data(cache=False)
    if len(body) > _MAX_BYTES:
        raise OAuthRefused("request_too_large", f"The body is longer than {_MAX_BYTES} bytes.", status=413)
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise OAuthRefused("invalid_request", "The body is not a readable form.") from error
    values: dict[str, str] = {}
    resource_values: list[str] = []
    for name, value in pairs:
        if "\0" in value and name != "token":  # what is asked about, or revoked, may be anything; only its hash is looked up
            raise OAuthRefused("invalid_request", "The body is not a readable form.")
        if name == "resource":
            resource_values.append(value)
        elif name in values:
            raise OAuthRefused("invalid_request", "A parameter is given twice.")
        else:
            values[name] = value
    present = {name: value for name, value in values.items() if value or name == "token"}
    return Parameters(present, [value for value in resource_values if value])
