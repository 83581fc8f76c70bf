"""Fakes of upstream providers, one for each test."""

from collections.abc import Iterator

import pytest

from providers import oidc
from tests.fakes.github import FakeGitHub
from tests.fakes.oidc import FakeOidc


@pytest.fixture()
def github() -> Iterator[FakeGitHub]:
    fake = FakeGitHub()
    yield fake
    fake.stop()


@pytest.fixture()
def op() -> Iterator[FakeOidc]:
    oidc.forget_all()
    fake = FakeOidc()
    yield fake
    fake.stop()
