"""GitHub's API as a stored token meets it: whose it is, and which repositories it opens. Answers as in GitHub's documentation."""

from dataclasses import dataclass, field

from tests.fakes.server import Answer, Asked, FakeServer


@dataclass
class Token:
    """`repositories` are those that it opens, `owner/name`; an installation's token has no `login`."""

    login: str | None = "octocat"
    repositories: set[str] = field(default_factory=set)


class FakeGitHubApi(FakeServer):
    """`limit`: primary (the hour is used up), secondary (fewer at once) or too_many (429). `refuses`: paths that answer 403."""

    def __init__(self) -> None:
        self.tokens: dict[str, Token] = {}
        self.moved: set[str] = set()
        self.limit = ""
        self.refuses: dict[str, dict[str, str]] = {}
        super().__init__()

    def answer(self, request: Asked) -> Answer:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if "user-agent" not in request.headers:
            return Answer(403, b"Request forbidden by administrative rules.")
        if self.limit:
            return self._limited()
        token = self.tokens.get(bearer) if scheme == "Bearer" else None
        if token is None:
            return Answer(401, {"message": "Bad credentials, secret upstream text", "status": "401"})
        if request.path in self.refuses:
            return Answer(403, {"message": "Resource not accessible, secret upstream text"}, self.refuses[request.path])
        return self._known(request.path, token)

    def _known(self, path: str, token: Token) -> Answer:
        repository = path.removeprefix("/repos/")
        if path == "/installation/repositories" and token.login is None:
            return Answer(200, {"total_count": len(token.repositories), "repositories": []})
        if path == "/user" and token.login is not None:
            return Answer(200, {"login": token.login, "id": 583231}, {"X-RateLimit-Remaining": "4999"})
        if path in ("/user", "/installation/repositories"):
            return Answer(403, {"message": "Resource not accessible by integration"})
        if repository in self.moved:
            return Answer(301, {"message": "Moved Permanently"}, {"Location": f"{self.url}/repositories/1"})
        if repository in token.repositories:
            return Answer(200, {"full_name": repository, "private": True})
        return Answer(404, {"message": "Not Found, secret upstream text", "status": "404"}, {"X-RateLimit-Remaining": "4998"})

    def _limited(self) -> Answer:
        message = {"message": "API rate limit exceeded, secret upstream text"}
        match self.limit:
            case "primary":
                return Answer(403, message, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"})
            case "secondary":
                return Answer(403, message, {"Retry-After": "60", "X-RateLimit-Remaining": "4000"})
        return Answer(429, message, {"Retry-After": "9"})
