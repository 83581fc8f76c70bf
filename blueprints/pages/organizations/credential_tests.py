"""`/orgs/<slug>/credentials/<name>/test`: asking a service about the value that is stored; how a test that takes longer stands."""

import uuid

from flask import Blueprint, flash, g, redirect, render_template, request
from werkzeug.wrappers import Response

from blueprints import session_cookie
from blueprints.html import frame
from blueprints.pages.organizations import credential_runs, credentials
from errors import NotFound
from services.access import organization_access
from services.sessions import background_runs

blueprint = Blueprint("credential_tests", __name__)


@blueprint.post("/orgs/<slug>/credentials/<name>/test")
def test(slug: str, name: str) -> Response:
    if credentials.is_gone(slug, name):
        return credentials.nothing_changed(slug)
    line, scope = credentials.line_at(slug, name), credentials.scope_asked()
    service = line.asked_about(scope)
    if not service or line.pair.at(scope) is None:
        return credentials.nothing_changed(slug)
    run_id, outcome = credential_runs.test_stored(slug, name, scope=scope, service=service)
    if outcome is None:
        return redirect(f"/orgs/{slug}/credentials/{name}/tests/{run_id}", 303)
    kind, sentence = credential_runs.told({"kind": "check", "service": service, "name": name}, outcome)
    flash(sentence.striptags(), kind)
    return redirect(f"/orgs/{slug}/credentials/{name}", 303)


@blueprint.get("/orgs/<slug>/credentials/<name>/tests/<uuid:run_id>")
def show(slug: str, name: str, run_id: uuid.UUID) -> str | tuple[str, int]:
    """The page; for the script only the block that changes, and nothing while nothing has changed."""
    organization_access.get(g.actor, slug)
    run = background_runs.find(session_cookie.current_raw() or "", str(run_id))
    if run is None or (run.about["slug"], run.about["name"]) != (slug, name):
        raise NotFound()
    outcome = {"status": "lost"} if run.is_lost else run.outcome
    values = {
        "service": run.about["service"],
        "key": name,
        "told": credential_runs.told(run.about, outcome) if outcome else None,
        "credential_href": f"/orgs/{slug}/credentials/{name}",
        "again_href": request.path,
    }
    if request.headers.get("X-Fragment") != "run":
        return frame.render_organization("credentials/test.html", slug, "credentials", **values)
    return render_template("credentials/_test.html", **values) if outcome else ("", 204)
