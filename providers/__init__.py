"""Upstream identity providers for sign-in: which there are, by the settings."""

from config import ProviderSettings
from providers.base import Callback, Hints, Provider, ProviderAccount, ProviderTokens, Trip
from providers.github import GitHub
from providers.google import ISSUER, Google
from providers.oidc import OpenIdProvider

_KINDS = {"github": GitHub, "google": Google, "oidc": OpenIdProvider}


def build(settings: ProviderSettings) -> Provider:
    return Google(settings) if settings.issuer == ISSUER else _KINDS[settings.kind](settings)


__all__ = ["Callback", "Hints", "Provider", "ProviderAccount", "ProviderTokens", "Trip", "build"]
