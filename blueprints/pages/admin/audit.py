"""`/admin/audit`: who did what anywhere in the instance. The same pages as those of an organization."""

from typing import Any

from flask import Blueprint

from blueprints.pages.organizations import audit_events

blueprint = Blueprint("admin_audit", __name__)


@blueprint.get("/admin/audit")
def index() -> Any:
    return audit_events.list_page(None)


@blueprint.get("/admin/audit/<event_id>")
def detail(event_id: str) -> str:
    return audit_events.event_page(None, event_id)


@blueprint.get("/admin/audit.csv")
def as_csv() -> Any:
    return audit_events.export(None, "csv")


@blueprint.get("/admin/audit.jsonl")
def as_json_lines() -> Any:
    return audit_events.export(None, "jsonl")
