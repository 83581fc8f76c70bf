"""Slack: the connection is the workspace's, its token the bot's; tokens of single people are not asked for.

Refused requests have status 200, `ok: false` and an `error`.
"""

from connectors import base
from connectors.oauth2 import OAuth2Connector, account
from infra.foreign_text import clean_text


class Slack(OAuth2Connector):
    def scope_parameter(self) -> str:
        return self.settings.scopes.replace(" ", ",")

    def account_from(self, answer: base.Answer) -> base.VendorAccount:
        found = answer.members
        if found.get("ok") is not True:
            raise base.VendorRefused(base.code_of(found.get("error")) or "unknown_error")
        return account(found.get("team_id"), clean_text(found.get("team")))

    def _ask_to_revoke(self, tokens: base.VendorTokens) -> base.Answer:
        return base.ask("POST", self.settings.revoke_url, headers={"Authorization": f"Bearer {tokens.access_token}"})
