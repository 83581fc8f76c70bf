"""What was written to the stores, as the operations see it.

This module imports nothing of Gatepost: the operations also run inside the process of another checkout, whose modules may have
other names.
"""

import uuid
from collections import deque
from dataclasses import dataclass, field

REDIRECT_URI = "http://127.0.0.1:4567/callback"
RESOURCE = "https://api.example.com"
GRANT_SCOPE = "profile email offline_access orgs"
TEAMS_OF = 20
CREDENTIALS_OF = 20
CREDENTIAL_NAMES = [f"SERVICE_{n:02}_TOKEN" for n in range(CREDENTIALS_OF)]
GRANTS_OF = 5
PAGE_ROWS = 50  # what a page of a list holds: the members and the credentials of the organization that pages are of
BROWSERS = 3
BUSY_SESSIONS = 1000  # of those seeded: each is seen many times a minute, as an application's are
BUSY_HOLDERS = 100


@dataclass(frozen=True)
class Amounts:
    users: int = 10_000
    sessions: int = 10_000
    holders: int = 5_000

    @property
    def tokens(self) -> int:
        return self.users * GRANTS_OF


@dataclass(frozen=True)
class Client:
    id: uuid.UUID
    client_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Person:
    """A user with one organization, so that authorize asks nothing."""

    id: uuid.UUID
    email: str
    name: str
    slug: str


def value_of(slug: str, name: str) -> str:
    """What an organization's credential is: as long as an API key."""
    return f"sk_live_{name}_of_{slug}_0123456789abcdef"


@dataclass(frozen=True)
class Holder:
    """A person's organization that holds credentials and a connection, with the keys that ask for them."""

    person: Person
    agent_id: uuid.UUID
    connection_id: uuid.UUID
    agent_key: str = field(repr=False)
    own_key: str = field(repr=False)

    def value_of(self, name: str) -> str:
        return value_of(self.person.slug, name)

    @property
    def vendor_token(self) -> str:
        return f"at_{self.person.slug}_0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Team:
    """The organization that pages are of, with PAGE_ROWS members and credentials, and a browser session of its owner."""

    id: uuid.UUID
    slug: str
    owner: Person
    session: str = field(repr=False)


@dataclass
class Seeds:
    """What the operations need of what was written. Refresh chains move on: the deque holds the newest token of each.

    `writing_sessions`: one more session for each of the first BUSY_HOLDERS holders, which writes by page and does nothing else.
    """

    native: Client
    introspector: Client
    worker: Client
    team: Team
    people: list[Person] = field(default_factory=list)
    holders: list[Holder] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list, repr=False)
    writing_sessions: list[str] = field(default_factory=list, repr=False)
    access_tokens: list[str] = field(default_factory=list, repr=False)
    chains: deque[str] = field(default_factory=deque, repr=False)
