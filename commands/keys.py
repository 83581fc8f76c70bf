"""`flask keys`: the keys that sign JWTs."""

import json

import click

from commands.door import OperatorGroup, json_option, limit_option, moment, tell, tell_many
from services.access.actors import Actor
from services.instance import moments
from services.tokens import signing_keys

group = OperatorGroup("keys", help="Signing keys: next, signing, old, retired.")


@group.command("list")
@limit_option
@json_option
def list_keys(limit: int | None, as_json: bool) -> None:
    """All keys: id, state, when made, since when it signs."""
    rows = [
        {
            "kid": key.kid,
            "state": key.state,
            "algorithm": key.algorithm,
            "created_at": key.created_at,
            "signing_since": key.signing_since,
            "old_since": key.old_since,
            "retired_at": key.retired_at,
        }
        for key in signing_keys.list_keys()
    ]
    tell_many(
        rows,
        lambda row: f"{row['kid']}  {row['state']}  {row['algorithm']}  {moment(row['created_at'])}  {moment(row['signing_since'])}",
        as_json=as_json,
        limit=limit,
    )


@group.command()
@click.option("--force", is_flag=True, help="Also with a key that services may not have read yet.")
@json_option
def rotate(force: bool, as_json: bool) -> None:
    """Sign with the next keys from now on, and publish new next keys, one for each algorithm in use."""
    kid = signing_keys.rotate(Actor.operator(), force=force)
    kids = [kid, *(key.kid for key in signing_keys.list_keys() if key.state == "signing" and key.kid != kid)]
    tell({"kid": kid, "state": "signing", "kids": kids}, [f"signing {one}" for one in kids], as_json=as_json)


@group.command()
@click.argument("kid")
@json_option
def retire(kid: str, as_json: bool) -> None:
    """Stop accepting an old key; tokens that it signed stop working."""
    until = signing_keys.may_retire_at(signing_keys.get(kid))
    signing_keys.retire(Actor.operator(), kid)
    if until is not None and until > moments.now():
        click.echo(f"tokens that it signed are refused from now on; the last ones would have expired at {moment(until)}", err=True)
    tell({"kid": kid, "state": "retired"}, [f"retired {kid}"], as_json=as_json)


@group.command()
@json_option
def jwks(as_json: bool) -> None:
    """The public set as JSON, to build into a service's settings."""
    click.echo(json.dumps(signing_keys.public_jwks(), indent=2))
