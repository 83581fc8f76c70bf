"""What the journeys of an organization begin with, and what a program asks of it over HTTP."""

import requests

from models import Organization, User
from tests import factories
from tests.browser.conftest import World


class Desk:
    """An organization with an owner, and members on request."""

    def __init__(self, world: World, *, name: str = "Northwind") -> None:
        self.world = world
        self.owner = factories.make_user(name="Tom Halvorsen")
        self.organization = factories.make_organization(owner=self.owner, name=name)

    def member(self, role: str = "member", **user: object) -> User:
        person = factories.make_user(**user)
        factories.make_membership(self.organization, person, role)
        return person

    @property
    def slug(self) -> str:
        return self.organization.slug

    @property
    def base(self) -> str:
        return f"/orgs/{self.slug}"

    def ask(self, key: str, path: str, body: object | None = None, organization: Organization | None = None) -> requests.Response:
        """As the program that has this key: POST when there is a body."""
        url = f"{self.world.gatepost.url}/api/v1/orgs/{(organization or self.organization).slug}{path}"
        headers = {"Authorization": f"Bearer {key}"}
        return requests.request("GET" if body is None else "POST", url, json=body, headers=headers, timeout=60)

    def resolve(self, key: str, name: str) -> str | None:
        """The value that an agent gets; None where there is none for it."""
        answer = self.ask(key, "/credentials/resolve", {"names": [name]})
        assert answer.status_code == 200, answer.text
        return next((item["value"] for item in answer.json()["items"]), None)
