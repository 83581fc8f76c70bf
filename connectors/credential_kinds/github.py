"""GitHub tokens: classic (ghp_, gho_, ghu_, ghs_), fine-grained (github_pat_), and the forty hex digits of old.

What a token may open is asked of GitHub when somebody wants to know: a fine-grained token says 404 or 403 for every
repository that is not on its list. An address is only read: the token goes to the configured API, never to the host that the
address names.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from connectors.base import Answer, ask, unusable
from connectors.credential_kinds.base import Check, Values, flaw_of, rate_limited, token_of
from infra import clock
from infra.foreign_text import clean_text

_SHAPE = re.compile(r"(gh[pous]_[A-Za-z0-9_.-]{16,4096}|github_pat_[A-Za-z0-9_]{22,512}|[0-9a-f]{40})")
_REPOSITORY = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,99})/(?!\.{1,2}(?:\.git)?/?$)([A-Za-z0-9._-]{1,100}?)(?:\.git)?/?")
_MAX_WAIT_SECONDS = 3600


@dataclass(frozen=True)
class Site:
    """github.com, or a GitHub Enterprise: its pages and its API."""

    web_url: str = "https://github.com"
    api_url: str = "https://api.github.com"

    def repository_of(self, address: str) -> tuple[str, str] | None:
        """Owner and name of a repository of this site, from any address that git takes; None for all else."""
        parts = urlsplit(self.web_url)
        host = parts.hostname or ""
        prefixes = [f"{self.web_url}/", f"git@{host}:", f"ssh://git@{host}/", f"ssh://git@{host}:22/"]
        if host == "github.com":
            prefixes += ["ssh://git@ssh.github.com:443/"]
        for prefix in prefixes:
            if address[: len(prefix)].lower() == prefix.lower():
                found = _REPOSITORY.fullmatch(address, len(prefix))
                return (found[1], found[2]) if found else None
        return None


class GitHubToken:
    """A credential of several fields has its token in `token` and may name its `repository`."""

    kind_id, label = "github", "GitHub"
    names = ("GITHUB_TOKEN", "GH_TOKEN", "GITHUB_PAT")

    def __init__(self, site: Site) -> None:
        self.site = site

    def flaw(self, values: Values) -> Check | None:
        flaw = flaw_of(token_of(values))
        if flaw or _SHAPE.fullmatch(token_of(values)):
            return flaw
        return Check("rejected", detail="This is not the form of a GitHub token; it was not sent anywhere.", code="malformed")

    def check(self, values: Values, *, address: str | None = None) -> Check:
        if flaw := self.flaw(values):
            return flaw
        token = token_of(values)
        address = address or (values.get("repository") if isinstance(values, Mapping) else None)
        repository = self.site.repository_of(address) if address else None
        if address and repository is None:
            return Check("wrong_address", detail=f"This is not the address of a repository at {urlsplit(self.site.web_url).netloc}.")
        whose = self._check_token(token)
        if whose.status != "ok" or repository is None:
            return whose
        return self._check_repository(token, repository, whose)

    def _check_token(self, token: str) -> Check:
        # an installation's token belongs to no user
        path = "/installation/repositories?per_page=1" if token.startswith("ghs_") else "/user"
        answer = self._ask(token, path)
        if answer.is_rate_limit:
            return _limited(answer)
        if answer.status == 401:
            return Check("rejected", detail="GitHub does not accept it: it is mistyped, expired or revoked.", code="status_401")
        if answer.status == 403:
            refusal = "GitHub knows it and refuses it: the account or its organization does not allow it here."
            return Check("rejected", detail=refusal, code="status_403")
        if answer.status != 200 or not answer.members:
            raise unusable(answer)
        return Check("ok", clean_text(answer.members.get("login"), 60) or None)

    def _check_repository(self, token: str, repository: tuple[str, str], whose: Check) -> Check:
        answer = self._ask(token, "/repos/{}/{}".format(*repository))
        if answer.is_rate_limit:
            return _limited(answer)
        if answer.status == 200 and answer.members:
            return whose
        if answer.status == 401:
            return Check("rejected", whose.account, "GitHub does not accept it any more.")
        if answer.status == 403 and "X-GitHub-SSO" in answer.headers:
            return Check("rejected", whose.account, "The organization wants this token to be authorized for single sign-on.")
        if answer.status == 301:
            return Check("wrong_address", whose.account, "The repository has moved; give its new address.")
        if answer.status in (403, 404, 451):
            return Check("wrong_address", whose.account, "There is no such repository, or the token does not open it.")
        raise unusable(answer)

    def _ask(self, token: str, path: str) -> Answer:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        return ask("GET", self.site.api_url + path, headers=headers)


def _limited(answer: Answer) -> Check:
    reset = answer.headers.get("X-RateLimit-Reset", "")
    seconds = int(reset) - clock.now_seconds() if re.fullmatch(r"[0-9]{1,12}", reset) else 60
    return rate_limited("GitHub", answer, seconds=min(max(seconds, 1), _MAX_WAIT_SECONDS))
