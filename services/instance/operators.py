"""What a command does to the application before its work: take the owner's database role, have a Redis to talk to."""

from sqlalchemy import create_engine

from config import current
from errors import Unavailable
from extensions import db, engine_options
from infra import embedded_redis


def prepare() -> None:
    """Use GATEPOST_DATABASE_OWNER_URL and the embedded Redis, where the settings say so.   Raises: Unavailable."""
    settings = current()
    if settings.owner_url != settings.database_url:
        db.engines[None] = create_engine(settings.owner_url, **engine_options(settings.owner_url))
    try:
        embedded_redis.ensure_for_command(settings)
    except embedded_redis.EmbeddedRedisError as error:
        raise Unavailable(str(error)) from error


def require_not_served() -> None:
    """Before this folder's own Gatepost starts: there is none yet.   Raises: Unavailable, saying where it is."""
    settings = current()
    try:
        if settings.redis_url == "embedded":
            embedded_redis.EmbeddedRedis(settings.instance_path).require_not_served()
    except embedded_redis.EmbeddedRedisError as error:
        raise Unavailable(str(error)) from error
