"""Google: OpenID Connect with some habits of its own."""

from typing import Any

from config import ProviderSettings
from providers import base
from providers.oidc import OpenIdProvider

ISSUER = "https://accounts.google.com"
_OWN_DOMAINS = frozenset({"gmail.com", "googlemail.com"})


class Google(OpenIdProvider):
    """Google may write its issuer without the scheme, and knows no `prompt=login`.

    Anyone can open a personal account with an address of any domain, and keeps it after losing the address. `hd` tells which
    domain's administrators run an account.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        super().__init__(settings)
        if settings.issuer == ISSUER:
            self.accepted_issuers = (ISSUER, "accounts.google.com")

    def upstream_hints(self, hints: base.Hints) -> dict[str, Any]:
        upstream = super().upstream_hints(hints)
        if hints.prompt == "login" and self.settings.issuer == ISSUER:
            upstream["prompt"] = "select_account"
        return upstream

    def hosted_domain(self, signed: dict[str, Any], email: str | None) -> str:
        domain = (email or "").rpartition("@")[2].lower()
        return base.clean_text(signed.get("hd")).lower() or (domain if domain in _OWN_DOMAINS else "")
