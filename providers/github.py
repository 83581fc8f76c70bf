"""GitHub and GitHub Enterprise: plain OAuth 2, so who signed in is asked of its API.

The subject is the numeric id: a login name can be changed and taken by somebody else.
"""

from typing import Any

from config import ProviderSettings
from infra import http
from providers import base


class GitHub:
    """GitHub answers a refused token request with status 200 and an `error`; Authlib reads that."""

    def __init__(self, settings: ProviderSettings) -> None:
        self.settings = settings

    def authorize_url(self, trip: base.Trip, hints: base.Hints) -> str:
        session = base.oauth_session(self.settings, auth_method="client_secret_post", redirect_uri=trip.redirect_uri)
        extra = {"login": hints.login_hint} if hints.login_hint else {}
        url, _ = session.create_authorization_url(
            f"{self.settings.url}/login/oauth/authorize", state=trip.state, code_verifier=trip.code_verifier, **extra
        )
        return url

    def check_issuer(self, callback: base.Callback) -> None:
        own = (self.settings.url, f"{self.settings.url}/login/oauth")
        if callback.issuer is not None and callback.issuer not in own:
            raise base.refused(base.other_issuer(callback.issuer, self.settings.url))

    def fetch_account(self, callback: base.Callback, trip: base.Trip) -> base.ProviderAccount:
        return base.guarded(self.settings.url, lambda: self._fetch(callback, trip))

    def examine(self) -> base.Examination:
        return base.Examination(f"{self.settings.url}, which has no metadata")

    def _fetch(self, callback: base.Callback, trip: base.Trip) -> base.ProviderAccount:
        self.check_issuer(callback)
        session = base.oauth_session(self.settings, auth_method="client_secret_post")
        token = base.exchange(session, f"{self.settings.url}/login/oauth/access_token", callback, trip)
        user = http.get_json(session, f"{self.settings.api_url}/user", bearer=token["access_token"])
        subject = user["id"]
        if isinstance(subject, bool) or not isinstance(subject, int) or subject <= 0:
            raise http.UpstreamFailed("no numeric id")
        email, verified = self._address(session, token["access_token"])
        return base.ProviderAccount(
            provider_id=self.settings.provider_id,
            issuer=self.settings.url,
            subject=str(subject),
            login=base.clean_text(user.get("login"), 60),
            name=base.clean_text(user.get("name")) or base.clean_text(user.get("login"), 60),
            email=email,
            email_verified=verified,
            tokens=base.tokens_from(token),
        )

    def _address(self, session: Any, bearer: str) -> tuple[str | None, bool]:
        """The primary address of /user/emails: /user shows only a public one, and does not say if it is verified."""
        try:
            rows = http.get_json(session, f"{self.settings.api_url}/user/emails", bearer=bearer)
        except http.UpstreamRefused:
            return None, False  # the person, or the app's permissions, did not let us see it
        for row in rows:
            if row.get("primary") is True:
                return base.clean_email(row.get("email")), row.get("verified") is True
        return None, False
