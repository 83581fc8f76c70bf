"""Slack tokens, of bots and of people. A refusal has status 200 and `ok: false`."""

from connectors.base import Answer, VendorUnavailable, code_of
from connectors.credential_kinds.base import ApiKey, Check, bearer, rate_limited
from infra.foreign_text import clean_text

_REJECTED = frozenset({"invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "no_permission"})


class SlackToken(ApiKey):
    def _judge(self, answer: Answer) -> Check:
        found = answer.members
        error = code_of(found.get("error"))
        if error == "ratelimited":
            return rate_limited(self.label, answer)
        if error in _REJECTED:
            return Check("rejected", detail="Slack does not accept it.", code=error)
        if answer.status == 200 and found.get("ok") is not True:
            raise VendorUnavailable(error or "malformed_answer")
        whose = super()._judge(answer)
        return Check(whose.status, clean_text(found.get("team")) or None, whose.detail, whose.retry_after_seconds)


ALL = (
    SlackToken(
        "slack", "Slack", "SLACK_BOT_TOKEN", "SLACK_TOKEN", "SLACK_USER_TOKEN", url="https://slack.com/api/auth.test", headers=bearer
    ),
)
