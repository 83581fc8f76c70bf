"""PyPI social-auth-core (Django's and Flask's social auth) with its default settings: RS256, no PKCE, a nonce."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from social_core.backends.open_id_connect import OpenIdConnectAuth
from social_core.exceptions import SocialAuthBaseException
from social_core.storage import AssociationMixin, BaseStorage, NonceMixin
from social_core.strategy import BaseStrategy

from tests.interop.gatepost import Gatepost, Person

CALLBACK = "http://127.0.0.1/complete/oidc/"


class Associations(AssociationMixin):
    """Nonces, as it keeps them."""

    kept: list[Any] = []

    @classmethod
    def store(cls, server_url: str, association: Any) -> None:
        row = cls()
        vars(row).update(vars(association), id=association.handle)
        cls.kept.append(row)

    @classmethod
    def get(cls, server_url: str | None = None, handle: str | None = None) -> list[Any]:
        return [one for one in cls.kept if handle in (None, one.handle)]

    @classmethod
    def remove(cls, ids_to_delete: list[str]) -> None:
        cls.kept[:] = [one for one in cls.kept if one.id not in ids_to_delete]


class Nonces(NonceMixin):
    """States that have not come back yet."""

    kept: set[tuple[str, int, str]] = set()

    @classmethod
    def use(cls, server_url: str, timestamp: int, salt: str) -> bool:
        cls.kept.add((server_url, timestamp, salt))
        return True

    @classmethod
    def consume(cls, server_url: str, timestamp: int, salt: str) -> bool:
        is_there = (server_url, timestamp, salt) in cls.kept
        cls.kept.discard((server_url, timestamp, salt))
        return is_there


class Storage(BaseStorage):
    association, nonce = Associations, Nonces


class Site(BaseStrategy):
    """A site with one browser: what a framework's strategy would take from it. `authenticate` ends with what was proved."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(Storage)
        self.settings, self.session, self.data = settings, {}, {}

    def get_setting(self, name: str) -> Any:
        return self.settings[name]

    def redirect(self, url: str) -> str:
        return url

    def get_request_data(self, merge: bool = True) -> dict[str, Any]:
        return self.data

    def request_host(self) -> str:
        return "127.0.0.1"

    def build_absolute_uri(self, path: str | None = None) -> str:
        return path or ""

    def session_get(self, name: str, default: Any = None) -> Any:
        return self.session.get(name, default)

    def session_set(self, name: str, value: Any) -> None:
        self.session[name] = value

    def session_pop(self, name: str) -> Any:
        return self.session.pop(name, None)

    def authenticate(self, backend: Any, *args: Any, **kwargs: Any) -> Any:
        return kwargs["response"], backend.id_token


def sign_in(gatepost: Gatepost, person: Person, settings: dict[str, Any] | None = None, **registration: Any) -> Any:
    client = gatepost.register(type="confidential", redirect_uris=[CALLBACK], **registration)
    site = Site(
        {
            "SOCIAL_AUTH_OIDC_OIDC_ENDPOINT": gatepost.url,
            "SOCIAL_AUTH_OIDC_KEY": client.client_id,
            "SOCIAL_AUTH_OIDC_SECRET": client.raw_secret,
            **(settings or {}),
        }
    )
    answer = person.browser.get(OpenIdConnectAuth(site, CALLBACK).start(), allow_redirects=False, timeout=30)
    assert answer.status_code == 303, answer.text
    site.data = dict(parse_qsl(urlsplit(answer.headers["Location"]).query))
    backend = OpenIdConnectAuth(site, CALLBACK)
    backend.data = site.data
    return backend.auth_complete()


def test_its_defaults_work_with_a_client_that_is_registered_for_them(gatepost: Gatepost, person: Person) -> None:
    response, id_token = sign_in(gatepost, person, id_token_alg="RS256", pkce="optional")
    assert response["sub"] == id_token["sub"] == str(person.user.id)
    assert response["email"] == person.user.email


def test_with_pkce_and_es256_it_needs_no_registration_of_its_own(gatepost: Gatepost, person: Person) -> None:
    settings = {"SOCIAL_AUTH_OIDC_USE_PKCE": True, "SOCIAL_AUTH_OIDC_JWT_ALGORITHMS": ["ES256"]}
    _, id_token = sign_in(gatepost, person, settings)
    assert id_token["sub"] == str(person.user.id)


@pytest.mark.parametrize("registration", [{"id_token_alg": "RS256"}, {"pkce": "optional"}], ids=["no PKCE", "ES256"])
def test_each_of_both_is_needed(gatepost: Gatepost, person: Person, registration: dict[str, str]) -> None:
    with pytest.raises(SocialAuthBaseException):
        sign_in(gatepost, person, **registration)
