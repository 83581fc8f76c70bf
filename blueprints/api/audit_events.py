"""`/api/v1/orgs/<slug>/audit-events`: what happened in an organization; pages of JSON, or all of it as JSON lines or CSV."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask import Blueprint, Response, g, request

from blueprints import exports, guards
from blueprints.api import bodies
from errors import Invalid
from services.audit import audit_events, audit_names
from services.audit.audit_events import Filters

blueprint = Blueprint("api_audit_events", __name__)

Writer = Callable[[Iterable[dict[str, Any]]], Iterator[str]]
_EXPORTS: dict[str, tuple[str, Writer]] = {
    "jsonl": ("application/x-ndjson", audit_events.json_lines),
    "csv": ("text/csv", audit_events.csv_lines),
}


@blueprint.get("/orgs/<slug>/audit-events")
@guards.requires("audit:read", agents=True)
def index(slug: str) -> Response:
    filters = Filters(**{name: request.args.get(name) for name in ("actor", "action", "since", "until")})
    wanted = _format()
    if wanted in _EXPORTS:
        return _export(slug, filters, wanted)
    after, limit = bodies.page()
    events = audit_events.list_of(g.actor, slug, filters, after=after, limit=limit)
    return bodies.answer_list(audit_names.add_names(events), dict, limit=limit, key=lambda event: event["id"])


def _format() -> str:
    """`?format=` decides, else the Accept header; JSON when neither says."""
    named = request.args.get("format")
    if named is None:
        mimetypes = {mimetype: name for name, (mimetype, _) in _EXPORTS.items()}
        best = request.accept_mimetypes.best_match(["application/json", *mimetypes], default="application/json")
        return mimetypes.get(best or "", "json")
    if named not in (*_EXPORTS, "json"):
        raise Invalid("There is no such format.", fields={"format": "must be json, jsonl or csv"})
    return named


def _export(slug: str, filters: Filters, name: str) -> Response:
    mimetype, lines = _EXPORTS[name]
    events = audit_events.stream(g.actor, slug, filters)
    return exports.answer_file(lines(events), mimetype=mimetype, filename=f"audit.{name}")
