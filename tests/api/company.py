"""An organization with one person of each role and a stranger, each in a browser of their own, for the tests of the API."""

from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models import Organization, User
from tests import factories

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@dataclass
class Person:
    user: User
    http: FlaskClient

    @property
    def id(self) -> str:
        return str(self.user.id)

    def get(self, path: str) -> TestResponse:
        return self.http.get("/api/v1" + path)

    def send(self, method: str, path: str, body: Any = None) -> TestResponse:
        return self.http.open("/api/v1" + path, method=method, json=body, headers=SAME_ORIGIN)


@dataclass
class Company:
    """`acme` has an owner, an admin and a member; the stranger has an organization of their own, `other`.

    mark: ends its slugs and addresses, where a test makes several companies.
    """

    app: Flask
    mark: str = ""
    acme: Organization = field(init=False)
    other: Organization = field(init=False)

    def __post_init__(self) -> None:
        self.owner, self.admin, self.member, self.stranger = (
            self.person(f"{role}{self.mark}@example.com", name=role.title()) for role in ("owner", "admin", "member", "stranger")
        )
        self.acme = factories.make_organization(owner=self.owner.user, slug=f"acme{self.mark}", name="Acme")
        factories.make_membership(self.acme, self.admin.user, "admin")
        factories.make_membership(self.acme, self.member.user, "member")
        self.other = factories.make_organization(owner=self.stranger.user, slug=f"other{self.mark}", name="Other")

    def person(self, email: str, **columns: Any) -> Person:
        user = factories.make_user(email=email, **{"personal": False, **columns})
        http = self.app.test_client()
        factories.sign_in(http, user)
        return Person(user, http)


def told(response: TestResponse) -> dict[str, Any]:
    """An error's body without what differs each time."""
    return {name: value for name, value in response.json.items() if name != "request_id"}
