"""`/invitations/<token>`: joining an organization by a link. Looking at one does not use it."""

from typing import Any

from flask import Blueprint, flash, redirect, render_template, request
from flask_babel import gettext as _

from blueprints import guards, rate_limits, session_cookie
from blueprints.html import journeys, words
from services.access.actors import OrganizationInfo
from services.organizations import invitation_redemption
from services.sign_in.journeys import Journey, address, onward

blueprint = Blueprint("invitations", __name__)


@blueprint.route("/invitations/<token>", methods=["GET", "POST"])
def show_or_join(token: str) -> Any:
    journey, signed_in = journeys.read(), session_cookie.current_signed_in()
    with rate_limits.refusals("link"):
        info = invitation_redemption.get_info(token, reader=signed_in.user.id if signed_in else None)
    here = f"/invitations/{token}"
    if signed_in is None:
        return redirect(address("/login", journey if journey.handoff else Journey(next_path=here)), 303)
    if request.method == "POST" and info.state == "open":
        joined = invitation_redemption.accept(guards.session_actor(signed_in), token)
        flash(_("You joined %(organization)s.", organization=words.plain(info.organization)), "ok")
        return journeys.after_post(_onward(journey, [joined]))
    if info.state == "joined":  # perhaps by the sign-in that this very link led to
        flash(_("You joined %(organization)s.", organization=words.plain(info.organization)), "ok")
        return redirect(_onward(journey, [one for one in signed_in.organizations if one.id == info.organization_id]), 303)
    page = render_template(
        "invitations/join.html",
        invitation=info,
        reader=signed_in.user.email or signed_in.user.name,
        action=address(here, journey),
        switch_href=address("/login", journey if journey.handoff else Journey(next_path=here), switch="1"),
    )
    return page, 200 if info.state == "open" else 403


def _onward(journey: Journey, joined: list[OrganizationInfo]) -> str:
    """Into the organization, unless something waits."""
    return f"/orgs/{joined[0].slug}" if joined and not (journey.handoff or journey.next_path) else onward(journey)
