"""`flask doctor`: judge settings, database, Redis, keys and sign-in providers."""

import click

from commands.door import OperatorCommand, json_option, tell_many
from services.instance import doctor
from services.instance.doctor import Finding


@click.command("doctor", cls=OperatorCommand)
@json_option
def command(as_json: bool) -> None:
    """Each line is ok, warning or fault; exit code 1 on a fault."""
    findings: list[Finding] = []

    def seen(finding: Finding) -> Finding:
        findings.append(finding)
        return finding

    tell_many(
        map(seen, doctor.examine()),
        lambda finding: f"{finding.level:8} {finding.area}: {finding.subject}: {finding.text}",
        as_json=as_json,
    )
    if any(finding.level == "fault" for finding in findings):
        raise click.exceptions.Exit(1)
