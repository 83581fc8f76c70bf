"""What every command has in common: stores, `--json`, errors of one line, exit codes.

Exit codes: 0 done, 1 refused or failed (also a store that is away), 2 wrong usage. Plain lines or JSON go to standard
output, everything else to standard error.
"""

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

import click
from flask.cli import ScriptInfo
from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from config import SettingError
from errors import GatepostError, KeysUnreadable
from services.instance import operators
from services.instance.store_faults import reason
from services.mail import delivery


class OperatorCommand(click.Command):
    """A command inside the application, with its stores; what it raises becomes one line and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        if not all(map(_is_text, ctx.params.values())):
            raise click.UsageError("an argument is not valid UTF-8", ctx)
        try:
            app = ctx.ensure_object(ScriptInfo).load_app()
            with app.app_context():
                operators.prepare()
                try:
                    return super().invoke(ctx)
                finally:
                    delivery.finish()  # what the command has to mail, before its process ends
        except GatepostError as error:
            problem = _problem_of_ours(error)
        except SettingError as error:
            problem = str(error)
        except RedisError as error:
            problem = f"Redis does not answer: {reason(error)}"
        except SQLAlchemyError as error:
            problem = problem_of(error)
        return fail(problem)


def _is_text(value: object) -> bool:
    """Whether an argument, or each of several, can be stored: Python hands on what is no UTF-8 as surrogates."""
    if isinstance(value, tuple):
        return all(map(_is_text, value))
    return not isinstance(value, str) or not any("\ud800" <= character <= "\udfff" for character in value)


class OperatorGroup(click.Group):
    command_class = OperatorCommand


def _problem_of_ours(error: GatepostError) -> str:
    """An operator may know the store's own reason, and which key is missing."""
    if isinstance(error.__cause__, SQLAlchemyError):
        return problem_of(error.__cause__)
    return f"{error.message} ({error.detail})" if isinstance(error, KeysUnreadable) else error.message


def problem_of(error: Exception) -> str:
    """One line on a database that fails."""
    return f"the database does not answer as it should: {reason(error)}"


def fail(problem: str) -> NoReturn:
    """End the command with one line on standard error and exit code 1."""
    click.echo(f"error: {problem}", err=True)
    sys.exit(1)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def tell(value: Any, lines: Iterable[str], *, as_json: bool) -> None:
    """Print `value` as JSON, or `lines` for people."""
    if as_json:
        click.echo(json.dumps(value, default=_plain, indent=2))
        return
    for line in lines:
        click.echo(line)


def tell_many(values: Iterable[Any], line: Callable[[Any], str], *, as_json: bool) -> None:
    """Print a list: JSON as an array, or a line each, as they come."""
    if as_json:
        click.echo(json.dumps(list(values), default=_plain, indent=2))
        return
    for value in values:
        click.echo(line(value))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def moment(value: datetime | None) -> str:
    """A time for people, UTC."""
    return value.strftime("%Y-%m-%d %H:%M:%SZ") if value else "-"
