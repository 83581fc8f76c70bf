"""What well-known OpenID providers send, as their public documentation describes it: for a person with a name and an address, for one
without, and when no code comes back. The person is made up."""

from dataclasses import dataclass, field
from typing import Any

from tests.fakes.oidc import CLIENT_ID, FakeOidc, OidcUser, make_key

EMAIL, NAME = "grace@example.com", "Grace Hopper"
_ADDRESS = {"email": EMAIL, "email_verified": True}
_PARTS = {"given_name": "Grace", "family_name": "Hopper"}


@dataclass(frozen=True)
class Known:
    """One provider. `id_token` and `userinfo` are beside what every provider sends; `bare` and `bare_userinfo` are those of a person
    without name and address. `errors`: what it sends back in place of a code, and what the sign-in page makes of it."""

    id_token: dict[str, Any]
    userinfo: dict[str, Any] = field(default_factory=dict)
    bare: dict[str, Any] = field(default_factory=dict)
    bare_userinfo: dict[str, Any] = field(default_factory=dict)
    errors: tuple[tuple[str, str], ...] = (("access_denied", "access_denied"),)
    path: str = ""
    algorithm: str = "RS256"
    subject: str = "a1b2c3d4-0000-4000-8000-000000000001"
    header: dict[str, Any] = field(default_factory=dict)
    key: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    callback: dict[str, str] = field(default_factory=dict)
    token: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    kind: str = "oidc"
    sends_iss: bool = False
    name: str = NAME
    other_keys: tuple[dict[str, Any], ...] = ()

    def start(self) -> FakeOidc:
        """The provider, with the person signed in there."""
        op = FakeOidc(self.path, sends_iss=self.sends_iss)
        op.rotate(self.algorithm)
        op.in_id_token = False
        op.keys = [*self.other_keys, {name: value for name, value in {**op.published, **self.key}.items() if value is not None}]
        op.header, op.metadata, op.callback, op.token = dict(self.header), dict(self.metadata), dict(self.callback), dict(self.token)
        self.sign_in(op)
        return op

    def sign_in(self, op: FakeOidc, *, is_bare: bool = False) -> None:
        op.signed_in = OidcUser(self.subject, dict(self.bare_userinfo if is_bare else self.userinfo))
        op.claims = dict(self.bare if is_bare else self.id_token)


_ENCRYPTION_KEY = {**make_key("RS256", "enc").as_dict(private=False), "use": "enc", "alg": "RSA-OAEP"}
_AUTHENTIK = {"acr": "goauthentik.io/providers/oauth2/default", "amr": ["pwd"], "sid": "5f0c", "groups": []}
_KEYCLOAK = {"typ": "ID", "azp": CLIENT_ID, "acr": "1", "sid": "0b1c", "jti": "ID-1", "email_verified": False}
_ENTRA = {
    "ver": "2.0",
    "tid": "9122040d-6c67-4c5b-b112-36a304b66dad",
    "oid": "6b2f",
    "uti": "x",
    "rh": "1.A",
    "at_hash": None,
    "auth_time": None,
}
_OKTA = {"ver": 1, "jti": "ID.x", "amr": ["pwd"], "idp": "00o1"}
_GITLAB = {"sub_legacy": "8f14e45fceea167a", "groups_direct": ["example/platform"]}
_ZITADEL = {"aud": [CLIENT_ID, "170086774599581953"], "azp": CLIENT_ID, "client_id": CLIENT_ID, "amr": ["pwd"], "sid": "V1_1"}
_RAUTHY = {"typ": "Id", "azp": CLIENT_ID, "amr": ["pwd"], "sid": "s", "nbf": 1, "preferred_username": "grace", "roles": ["user"]}
_POCKET_ID = {"type": "id-token", "groups": ["staff"], "preferred_username": "grace"}
_CASDOOR = {"owner": "example", "id": "1", "tokenType": "id-token", "tag": "staff", "azp": CLIENT_ID, "aud": [CLIENT_ID], "at_hash": None}
_KANIDM = {"azp": CLIENT_ID, "nbf": 1, "jti": None, "scopes": ["email", "openid", "profile"], "at_hash": None}

KNOWN = {
    "authentik": Known(  # says that no address is verified, unless it is told otherwise
        {
            **_AUTHENTIK,
            **_ADDRESS,
            "email_verified": False,
            "name": NAME,
            "given_name": NAME,
            "preferred_username": "grace",
            "nickname": "grace",
        },
        bare={**_AUTHENTIK, "email": "", "email_verified": False, "name": "", "preferred_username": "grace"},
        path="/application/o/gatepost/",
        settings={"email_trust": "trusted"},
    ),
    "keycloak": Known(
        {**_KEYCLOAK, **_ADDRESS, **_PARTS, "name": NAME, "preferred_username": "grace"},
        bare={**_KEYCLOAK, "preferred_username": "grace"},
        errors=(
            ("access_denied", "access_denied"),
            ("temporarily_unavailable", "provider_unavailable"),
        ),  # the page there was open too long
        path="/realms/example",
        sends_iss=True,
        callback={"session_state": "0b1c"},
        token={"not-before-policy": 0, "refresh_expires_in": 1800, "session_state": "0b1c"},
        other_keys=(_ENCRYPTION_KEY,),
    ),
    "entra": Known(  # keys have no `alg`; nothing says whether an address is verified
        {**_ENTRA, "name": NAME, "preferred_username": EMAIL, "email": EMAIL},
        userinfo={**_PARTS, "name": NAME, "email": EMAIL, "picture": "https://graph.example/photo"},
        bare={**_ENTRA, "preferred_username": "grace@tenant.example"},
        errors=(("access_denied", "access_denied"), ("consent_required", "access_denied"), ("interaction_required", "access_denied")),
        path="/9122040d-6c67-4c5b-b112-36a304b66dad/v2.0",
        subject="AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ",
        key={"alg": None, "x5t": "x", "x5c": ["MIIC"], "issuer": "https://login.example/{tenantid}/v2.0"},
        metadata={"token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"]},
        callback={"session_state": "s"},
        token={"ext_expires_in": 3599, "refresh_token": None},
        settings={"email_trust": "trusted"},
    ),
    "okta": Known(  # a thin id_token; the rest is at userinfo
        _OKTA,
        userinfo={**_ADDRESS, **_PARTS, "name": NAME, "preferred_username": EMAIL, "locale": "en-US", "zoneinfo": "Europe/Berlin"},
        bare=_OKTA,
        bare_userinfo={"preferred_username": "grace"},
        errors=(("access_denied", "access_denied"), ("login_required", "access_denied"), ("server_error", "provider_unavailable")),
        subject="00uid4BxXw6I6TV4m0g3",
    ),
    "gitlab": Known(  # the name is at userinfo only
        {**_GITLAB, **_ADDRESS},
        userinfo={
            **_ADDRESS,
            "name": NAME,
            "nickname": "grace",
            "preferred_username": "grace",
            "sub_legacy": "8f14",
            "groups": ["example"],
        },
        bare=_GITLAB,
        bare_userinfo={"nickname": "grace"},
        subject="1042",
        token={"created_at": 1795265358},
    ),
    "google": Known(
        {**_ADDRESS, **_PARTS, "azp": CLIENT_ID, "hd": "example.com", "name": NAME, "picture": "https://lh3.example/a"},
        bare={"azp": CLIENT_ID},
        kind="google",
        subject="110169484474386276334",
        callback={"scope": "email profile openid", "authuser": "0", "prompt": "none", "hd": "example.com"},
        token={"refresh_token": None},
    ),
    "dex": Known(
        {**_ADDRESS, "name": NAME, "preferred_username": "grace", "groups": ["staff"], "c_hash": "x", "auth_time": None},
        bare={"c_hash": "x", "auth_time": None},
        path="/dex",
        subject="Cg0wLTM4NS0yODA4OS0wEgRtb2Nr",
    ),
    "zitadel": Known(  # the project is an audience too
        _ZITADEL,
        userinfo={**_ADDRESS, **_PARTS, "name": NAME, "preferred_username": "grace@example.zitadel.example", "locale": None},
        bare=_ZITADEL,
        bare_userinfo={"preferred_username": "grace@example.zitadel.example"},
        subject="170848145649959169",
    ),
    "rauthy": Known(  # no `name`
        {**_RAUTHY, **_ADDRESS, **_PARTS},
        bare=_RAUTHY,
        errors=(("access_denied", "access_denied"), ("login_required", "access_denied"), ("invalid_scope", "provider_refused")),
        path="/auth/v1/",
        algorithm="EdDSA",
        sends_iss=True,
    ),
    "pocket id": Known(
        {**_POCKET_ID, **_ADDRESS, **_PARTS, "name": NAME, "display_name": NAME},
        bare={**_POCKET_ID, "email_verified": False},
        errors=(("access_denied", "access_denied"), ("interaction_required", "access_denied")),
    ),
    "casdoor": Known(  # `name` is the user name; `email_verified` is at userinfo, the id_token has one of its own spelling
        {**_CASDOOR, "name": "grace", "displayName": NAME, "email": EMAIL, "emailVerified": True},
        userinfo={**_ADDRESS, "name": NAME, "preferred_username": "grace", "groups": []},
        bare={**_CASDOOR, "name": "grace", "email": "", "emailVerified": False},
        bare_userinfo={"preferred_username": "grace"},
        name="grace",
        subject="example/0f0f",
    ),
    "kanidm": Known(
        {**_KANIDM, **_ADDRESS, "name": NAME, "preferred_username": "grace@idm.example.com"},
        bare={**_KANIDM, "preferred_username": "grace@idm.example.com"},
        path="/oauth2/openid/gatepost",
        algorithm="ES256",
        metadata={"token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"]},
    ),
}
