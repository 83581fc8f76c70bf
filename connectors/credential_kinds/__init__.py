"""The kinds of credentials that are known by their names, and `generic` for all others."""

from collections.abc import Callable
from urllib.parse import urlsplit

from config import Settings
from connectors.credential_kinds import developer, models, slack
from connectors.credential_kinds.base import Check, Generic, Kind, token_of
from connectors.credential_kinds.github import GitHubToken, Site

_FIXED: tuple[Kind, ...] = (*models.ALL, *developer.ALL, *slack.ALL, Generic())


def all_kinds(settings: Settings) -> tuple[Kind, ...]:
    """Every kind; the last one is `generic`."""
    return (GitHubToken(github_site(settings)), *_FIXED)


def find_kind(kind_id: str, settings: Settings) -> Kind | None:
    """The kind that a declaration names."""
    return next((kind for kind in all_kinds(settings) if kind.kind_id == kind_id), None)


def kind_for(name: str, settings: Settings) -> Kind:
    """The kind of a credential called `name`, when nobody has declared one."""
    kinds = all_kinds(settings)
    return next((kind for kind in kinds if name in kind.names), kinds[-1])


def known_kinds(settings: Settings) -> Callable[[str], Kind]:
    """The same for many names."""
    kinds = all_kinds(settings)
    by_name = {name: kind for kind in reversed(kinds) for name in kind.names}
    return lambda name: by_name.get(name, kinds[-1])


def github_site(settings: Settings) -> Site:
    """Where GitHub is: as the connector says, else as the sign-in provider says, else github.com."""
    if connector := settings.find_connector("github"):
        parts = urlsplit(connector.authorize_url)
        return Site(f"{parts.scheme}://{parts.netloc}", connector.account_url.removesuffix("/user"))
    if provider := settings.find_provider("github"):
        return Site(provider.url, provider.api_url)
    return Site()


__all__ = ["Check", "Kind", "Site", "all_kinds", "find_kind", "github_site", "kind_for", "known_kinds", "token_of"]
