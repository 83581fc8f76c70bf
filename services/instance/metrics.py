"""What the doors may count; the counters themselves are in infra/metrics.py."""

from collections.abc import Callable

from config import Settings
from errors import LINK_CODES, SIGN_IN_CODES
from infra import http, metrics
from infra.metrics import Gauges, count, expect, observe_request

__all__ = ["count", "enable", "expect", "observe_request"]


def enable(settings: Settings, read_gauges: Callable[[], Gauges]) -> None:
    """Begin to count, with a 0 for all that the settings name. Called once, when the application starts."""
    metrics.enable(settings.metrics_bind, read_gauges)
    expect("sign_ins", provider=[provider.provider_id for provider in settings.providers], outcome=["ok", *SIGN_IN_CODES])
    expect("sign_ins", provider=["none"], outcome=[*SIGN_IN_CODES, *LINK_CODES])
    expect(
        "connection_refreshes", connector=[connector.connector_id for connector in settings.connectors], outcome=metrics.REFRESH_OUTCOMES
    )
    expect("unreadable_values", encryption_key=[key.key_id for key in settings.encryption_keys])
    upstreams = sorted({http.origin_of(address) for address in _addresses(settings)})
    expect("upstream_refusals", upstream=upstreams)
    expect("upstream_timeouts", upstream=upstreams)
    expect("upstream_failures", upstream=upstreams, outcome=metrics.FAILURE_OUTCOMES)


def _addresses(settings: Settings) -> list[str]:
    """Where the server calls, as far as the settings say so; a provider's metadata may name more."""
    of_providers = [address for found in settings.providers for address in (found.issuer, found.url, found.api_url)]
    of_connectors = [
        address for found in settings.connectors for address in (found.token_url, found.refresh_url, found.revoke_url, found.account_url)
    ]
    return [address for address in of_providers + of_connectors if address]
