"""Google: OpenID Connect with two habits of its own."""

from typing import Any

from config import ProviderSettings
from providers import base
from providers.oidc import OpenIdProvider

_ISSUER = "https://accounts.google.com"


class Google(OpenIdProvider):
    """Google may write its issuer without the scheme, and knows no `prompt=login`."""

    def __init__(self, settings: ProviderSettings) -> None:
        super().__init__(settings)
        if settings.issuer == _ISSUER:
            self.accepted_issuers = (_ISSUER, "accounts.google.com")

    def upstream_hints(self, hints: base.Hints) -> dict[str, Any]:
        upstream = super().upstream_hints(hints)
        if hints.prompt == "login" and self.settings.issuer == _ISSUER:
            upstream["prompt"] = "select_account"
        return upstream
