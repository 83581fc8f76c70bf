"""`/healthz`: this process lives; no store is asked. `/readyz`: its stores answer."""

from flask import Blueprint, Response, json

from config import VERSION
from services.instance import readiness

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    return _answer({"status": "ok", "version": VERSION}, 200)


@blueprint.get("/readyz")
def readyz() -> Response:
    stores = readiness.stores()
    is_ready = all(state == "ok" for state in stores.values())
    response = _answer({"status": "ok" if is_ready else "unavailable", "version": VERSION, "stores": stores}, 200 if is_ready else 503)
    if not is_ready:
        response.headers["Retry-After"] = "5"
    return response


def _answer(body: dict[str, object], status: int) -> Response:
    response = Response(json.dumps(body), status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response
