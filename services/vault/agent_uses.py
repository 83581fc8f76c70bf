"""What agents can use, by the rule of services/vault/credential_scope.py: nobody grants an agent anything by itself.

An agent uses what is the organization's, and its owner's own when it acts for them. A reader sees no other person's own, so of
somebody else's agent only the organization's part is told here.
"""

from dataclasses import dataclass

from services.access.actors import Actor
from services.pagination.numbered_pages import NumberedPage
from services.users import agents
from services.users.agents import TO_CONNECTIONS, TO_CREDENTIALS, AgentRow
from services.vault import connections, credentials
from services.vault.connections import ConnectionRow
from services.vault.credential_scope import Scope
from services.vault.credentials import CredentialPair


@dataclass(frozen=True)
class Usable:
    """What the reader sees in an organization that agents could use."""

    pairs: list[CredentialPair]
    connections: list[ConnectionRow]

    def credentials_of(self, agent: AgentRow) -> list[tuple[str, Scope]]:
        """Names, and whose value answers to each."""
        if TO_CREDENTIALS not in agent.reaches:
            return []
        found = [(pair.name, _answering(pair, sees_own=_sees_own(agent))) for pair in self.pairs]
        return [(name, scope) for name, scope in found if scope is not None]

    def connections_of(self, agent: AgentRow) -> list[ConnectionRow]:
        if TO_CONNECTIONS not in agent.reaches:
            return []
        return [row for row in self.connections if row.scope == "org" or _sees_own(agent)]


def read(actor: Actor, slug: str) -> Usable:
    """As many statements for any number of agents.   Raises NotFound."""
    return Usable(credentials.list_pairs(actor, slug), connections.list_of(actor, slug)[:100])


def list_users_of(actor: Actor, slug: str, pair: CredentialPair, scope: Scope) -> NumberedPage[AgentRow]:
    """The agents that the value of that scope answers; none where there is none, or where it may not be used.

    Those that act for another person are among them: whether that person has a value of their own is theirs to know.
    Raises NotFound.
    """
    if pair.at(scope) is None or not pair.allows(scope):
        return NumberedPage([], 1, 0)
    has_other = pair.own is not None and pair.set_by == "both"
    return agents.list_able(actor, slug, TO_CREDENTIALS, acting_for_reader=True if scope == "user" else False if has_other else None)


def _sees_own(agent: AgentRow) -> bool:
    return agent.acts_for_owner and agent.is_own


def _answering(pair: CredentialPair, *, sees_own: bool) -> Scope | None:
    if sees_own and pair.own is not None and pair.allows("user"):
        return "user"
    return "org" if pair.organization is not None and pair.allows("org") else None
