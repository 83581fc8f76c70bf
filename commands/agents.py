"""`flask agents`: programs that act in organizations, and the people they belong to."""

import click

from commands.door import OperatorGroup, json_option, moment, tell_many
from services.users import agents
from services.users.agents import OwnedAgent

group = OperatorGroup("agents", help="Agents and their owners.")


@group.command("list")
@click.option("--organization", metavar="SLUG", help="Only those of one organization.")
@click.option("--owner", metavar="EMAIL-OR-ID", help="Only those of one user.")
@click.option("--without-owner", is_flag=True, help="Only those whose owner left the organization or is disabled: they do not work.")
@json_option
def list_agents(organization: str | None, owner: str | None, without_owner: bool, as_json: bool) -> None:
    """Agents, oldest first: id, name, organization, owner, state, last use."""
    tell_many(agents.unscoped_list(slug=organization, owner=owner, without_owner=without_owner), _line, as_json=as_json)


def _line(agent: OwnedAgent) -> str:
    state = "owner left" if agent.owner_left else "owner disabled" if agent.owner_disabled else "paused" if agent.paused_at else "active"
    owner = agent.owner_email or agent.owner_id
    return f"{agent.id}  {agent.name}  {agent.organization}  {owner}  {state}  {moment(agent.last_used_at)}"
