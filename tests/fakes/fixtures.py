"""Fixtures of the fakes: providers of a test's own, and applications that know them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from infra import mail_queue
from providers import oidc
from tests import machine
from tests.fakes.browser import Browser
from tests.fakes.github import CLIENT_ID, CLIENT_SECRET, FakeGitHub
from tests.fakes.oidc import CLIENT_ID as OIDC_CLIENT_ID
from tests.fakes.oidc import CLIENT_SECRET as OIDC_CLIENT_SECRET
from tests.fakes.oidc import FakeOidc, NodeMissing, NpmOidcProvider
from tests.fakes.smtp import FakeSmtp
from tests.fakes.vendor import CLIENT_ID as VENDOR_CLIENT_ID
from tests.fakes.vendor import CLIENT_SECRET as VENDOR_CLIENT_SECRET
from tests.fakes.vendor import FakeVendor


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    """A strict GitHub."""
    fake = FakeGitHub()
    yield fake
    fake.stop()


@pytest.fixture
def op() -> Iterator[FakeOidc]:
    """An OpenID provider that can lie."""
    oidc.forget_all()
    fake = FakeOidc()
    yield fake
    fake.stop()


def github_settings(fake: FakeGitHub) -> dict[str, Any]:
    return {"github__client_id": CLIENT_ID, "github__client_secret": CLIENT_SECRET, "github__url": fake.url, "github__api_url": fake.url}


def oidc_settings(fake: Any, name: str = "authentik", **more: Any) -> dict[str, Any]:
    values = {"issuer": fake.issuer, "client_id": OIDC_CLIENT_ID, "client_secret": OIDC_CLIENT_SECRET, **more}
    return {f"oidc__{name}__{key}": value for key, value in values.items()}


@pytest.fixture
def vendor() -> Iterator[FakeVendor]:
    """A vendor whose refresh tokens rotate."""
    fake = FakeVendor()
    yield fake
    fake.stop()


def vendor_settings(fake: FakeVendor, name: str = "acme", **more: Any) -> dict[str, Any]:
    """`make_app(**vendor_settings(vendor))`: the vendor as a connector called `name`."""
    values = {
        "client_id": VENDOR_CLIENT_ID,
        "client_secret": VENDOR_CLIENT_SECRET,
        "authorize_url": f"{fake.url}/authorize",
        "token_url": f"{fake.url}/token",
        "revoke_url": f"{fake.url}/revoke",
        "account_url": f"{fake.url}/account",
        "scopes": "read write",
        **more,
    }
    return {f"connector__{name}__{key}": value for key, value in values.items()}


@pytest.fixture
def sign_in_app(make_app: Callable[..., Flask], github: FakeGitHub, op: FakeOidc) -> Flask:
    """The application with GitHub and an OpenID provider called Authentik."""
    return make_app(**github_settings(github), **oidc_settings(op))


@pytest.fixture
def browser(sign_in_app: Flask) -> Browser:
    return Browser(sign_in_app)


@pytest.fixture
def smtp() -> Iterator[FakeSmtp]:
    """A mail server that keeps its letters."""
    fake = FakeSmtp()
    yield fake
    fake.stop()
    mail_queue.wait(60)


NPM_USERS = {
    "ann": {"email": "ann@example.com", "email_verified": True, "name": "Ann Example", "preferred_username": "ann", "groups": ["staff"]},
    "bob": {"email": "bob@example.com", "email_verified": False, "name": "Bob", "preferred_username": "bob"},
    "eve": {"name": "Eve", "preferred_username": "eve"},
}


@pytest.fixture(scope="session")
def authentik() -> Iterator[NpmOidcProvider]:
    """npm's oidc-provider: ann's address is verified, bob's is not, eve has none."""
    try:
        provider = NpmOidcProvider(NPM_USERS, "http://127.0.0.1:8000/login/authentik/callback")
    except NodeMissing as error:
        if machine.is_strict():
            pytest.fail(f"CI skips nothing, and this machine has no {error}")
        pytest.skip(f"this machine has no {error}")
    yield provider
    provider.stop()
