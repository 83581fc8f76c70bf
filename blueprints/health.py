"""`/healthz`: this process lives; no store is asked. `/readyz`: its stores answer. `/metrics`: gauges, for the metrics listener alone.

With GATEPOST_HEALTH_BIND, the public address returns only the status; version and stores go to the health listener.
"""

from flask import Blueprint, Response, json, request

from config import VERSION
from errors import NotFound
from services.instance import gauges, health, readiness

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    return _answer("ok", 200, {"version": VERSION})


@blueprint.get("/readyz")
def readyz() -> Response:
    states = readiness.states()
    is_ready = all(state == "ok" for state in states.values())
    more = {"version": VERSION, "keys": states.pop("keys"), "stores": states}
    response = _answer("ok" if is_ready else "unavailable", 200 if is_ready else 503, more)
    if not is_ready:
        response.headers["Retry-After"] = "5"
    return response


@blueprint.get("/metrics")
def metrics() -> Response:
    """What infra/metrics_process.py adds to the counters.   Raises: NotFound, for everybody else."""
    if not health.is_one(request.headers.get(health.HEADER, "")):
        raise NotFound()
    return Response(json.dumps(gauges.read()), mimetype="application/json", headers={"Cache-Control": "no-store"})


def _answer(word: str, status: int, more: dict[str, object]) -> Response:
    tells_all = not health.is_apart() or health.is_one(request.headers.get(health.HEADER, ""))
    response = Response(json.dumps({"status": word, **(more if tells_all else {})}), status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response
