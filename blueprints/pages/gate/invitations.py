"""`/invitations/<token>`: the invitation behind a link. `/invitations/<id>/accept`, `.../decline`: the buttons of its page and the card."""

from dataclasses import replace
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request
from flask_babel import gettext as _
from werkzeug.wrappers import Response

from blueprints import guards, rate_limits, session_cookie
from blueprints.html import invitation_cards, journeys, words
from blueprints.request_log import request_id
from services.organizations import received_invitations
from services.organizations.received_invitations import RoleChanged
from services.sign_in import refusals
from services.sign_in.journeys import Journey, address, onward

blueprint = Blueprint("invitations", __name__)


@blueprint.get("/invitations/<token>")
def show(token: str) -> Any:
    journey, signed_in = journeys.read(), session_cookie.current_signed_in()
    actor = replace(guards.session_actor(signed_in), request_id=request_id()) if signed_in else guards.anonymous_actor()
    with refusals.recorded(actor), rate_limits.refusals("link"):
        info = received_invitations.get_info(token, reader=signed_in.user.id if signed_in else None)
    back = journey if journey.handoff else Journey(next_path=f"/invitations/{token}")
    if signed_in is None:
        return redirect(address("/login", back), 303)
    if info.state == "other_address" or info.state == "not_verified":
        refusals.record_reader(actor, received_invitations.refusal_of(info.state, info.id, info.organization_id))
    page = render_template(
        "invitations/join.html",
        invitation=info,
        organization=words.label_of(info, signed_in.organizations),
        reader=signed_in.user.email or signed_in.user.name,
        is_own_address=invitation_cards.is_own(info.email, signed_in.user),
        action=address(f"/invitations/{info.id}/accept", journey),
        onward_href=_onward(journey, info.slug),
        switch_href=address("/login", back, switch="1"),
    )
    return page, 200 if info.state in ("open", "member") else 403


@blueprint.post("/invitations/<invitation_id>/accept")
def accept(invitation_id: str) -> Response:
    journey, signed_in = journeys.read(), session_cookie.current_signed_in()
    if signed_in is None:
        return _to_sign_in(journey)
    try:
        actor = guards.session_actor(signed_in)
        with refusals.recorded(actor):
            joined = received_invitations.accept(actor, invitation_id, role=request.form.get("role"))
    except RoleChanged:
        flash(_("The invitation has changed. Check the role, then accept it again."), "info")
        return redirect("/orgs", 303)
    flash(invitation_cards.joined(words.label_of(joined, signed_in.organizations), joined.role), "ok")
    return journeys.after_post(_onward(journey, joined.slug))


@blueprint.post("/invitations/<invitation_id>/decline")
def decline(invitation_id: str) -> Response:
    journey, signed_in = journeys.read(), session_cookie.current_signed_in()
    if signed_in is None:
        return _to_sign_in(journey)
    received_invitations.decline(guards.session_actor(signed_in), invitation_id)
    flash(_("Invitation declined."), "ok")
    return redirect(journey.next_path or "/orgs", 303)


def _to_sign_in(journey: Journey) -> Response:
    """The session ended while the page was open: after the sign-in the invitation is on the list of organizations."""
    return redirect(address("/login", journey if journey.handoff else Journey(next_path="/orgs")), 303)


def _onward(journey: Journey, slug: str) -> str:
    """Into the organization, unless something waits."""
    return onward(journey) if journey.handoff or journey.next_path else f"/orgs/{slug}"
