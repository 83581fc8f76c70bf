"""GitHub. An OAuth app's token lasts until it is revoked; a GitHub App's user token lasts eight hours and is refreshed."""

from urllib.parse import quote

from connectors import base
from connectors.oauth2 import OAuth2Connector, basic


class GitHub(OAuth2Connector):
    """Revoking is not RFC 7009 here: the app deletes its own token below `<api>/applications`."""

    def _ask_to_revoke(self, tokens: base.VendorTokens) -> base.Answer:
        client_id = self.settings.client_id
        own = f"{self.settings.account_url.removesuffix('/user')}/applications/{quote(client_id, safe='')}/token"
        return base.ask(
            "DELETE",
            self.settings.revoke_url or own,
            json={"access_token": tokens.access_token},
            headers={"Authorization": basic(client_id, self.settings.client_secret)},
        )
