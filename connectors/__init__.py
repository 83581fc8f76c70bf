"""Vendors whose accounts are connected: which there are, by the settings."""

from config import ConnectorSettings
from connectors.base import (
    Connector,
    Trip,
    VendorAccount,
    VendorNotAsked,
    VendorRefused,
    VendorTokens,
    VendorUnavailable,
    VendorUnclear,
)
from connectors.github import GitHub
from connectors.google import Google
from connectors.oauth2 import OAuth2Connector
from connectors.slack import Slack

_KNOWN: dict[str, type[OAuth2Connector]] = {"github": GitHub, "google": Google, "slack": Slack}


def build(settings: ConnectorSettings) -> Connector:
    return _KNOWN.get(settings.connector_id, OAuth2Connector)(settings)


__all__ = [
    "Connector",
    "Trip",
    "VendorAccount",
    "VendorNotAsked",
    "VendorRefused",
    "VendorTokens",
    "VendorUnavailable",
    "VendorUnclear",
    "build",
]
