"""How every cookie of ours is set and taken away: for the whole site, for our pages only, out of scripts' reach."""

from flask import Response

from config import current

A_YEAR_SECONDS = 31_536_000


def put(response: Response, name: str, value: str, *, max_age_seconds: int) -> None:
    response.set_cookie(name, value, max_age=max_age_seconds, path="/", secure=current().is_https, httponly=True, samesite="Lax")


def take_away(response: Response, name: str) -> None:
    response.delete_cookie(name, path="/", secure=current().is_https, httponly=True, samesite="Lax")
