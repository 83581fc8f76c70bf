"""Refresh tokens that are presented again from elsewhere: by a thief who keeps in step with the owner, so that neither comes too late.

The request that spends a token leaves on its row where it came from. A repeat that gets tokens from another network or with another user
agent is audited and listed on its person's activity page, once for each token and place, and for at most PLACES of them. Networks are those
that sign-ins are known by (`site_of`), compared within one address family, because a device with both kinds of address uses either.

A native public client has one device and no secret, so the third repeat to another network within 24 hours ends the grant. Every repeat
counts, also of one token. The counts are in the database, and whoever counts holds the family: they hold for any number of workers.

The repeat is answered after the event is committed. If it cannot be, the response is 503 and nothing is given out: an honest client tries
again within the grace, and a thief gains nothing from a database that is away.
"""

import hashlib
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Literal

from sqlalchemy import func, select, update

from extensions import db
from infra.clock import now
from infra.hot_statements import Row
from infra.rate_limits import site_of
from models import RefreshFamily, RefreshToken
from services.access.actors import Actor
from services.activity import account_events
from services.audit import audit
from services.database.transactions import begin_write
from services.tokens import live, oauth_clients, refresh_families
from services.tokens.oauth_clients import ClientInfo

Other = Literal["network", "user_agent"]
PLACES = 5
LIMIT = 3
WINDOW = timedelta(hours=24)


def place_of(actor: Actor, raw_token: str) -> bytes:
    """Where a request comes from, to be compared with another request for the same token and with nothing else: the address family in
    one byte, then hashes of the network and the user agent. They depend on the token, of which only another hash is stored, so nobody
    can try out networks on a copy of the database."""
    network = site_of(actor.ip)
    family = b"\0" if not network else b"\6" if ":" in network else b"\4"
    return family + _hash("network", network, raw_token) + _hash("user_agent", actor.user_agent or "", raw_token)


def _hash(kind: Other, value: str, raw_token: str) -> bytes:
    return hashlib.sha256(f"gatepost/replay\0{kind}\0{raw_token}\0{value}".encode("utf-8", "surrogatepass")).digest()[:16]


def compare(first: bytes | None, again: bytes) -> list[Other]:
    """What is different at a repeat. Nothing where the first place is unknown (None), or a network is."""
    if first is None:
        return []
    found: dict[Other, bool] = {
        "network": first[0] == again[0] and first[1:17] != again[1:17],
        "user_agent": first[17:] != again[17:],
    }
    return [name for name, is_other in found.items() if is_other]


def report(actor: Actor, client: ClientInfo, row: Row, place: bytes, other: list[Other]) -> bool:
    """Count a repeat from elsewhere, and report a place that is new for this token. row: the spent token. other: what `compare` found.

    Commits: yes.   Returns: whether the grant goes on; if not, the repeat is not answered.
    """
    begin_write()
    held = select(RefreshToken.replayed_to, RefreshToken.network_replays).where(RefreshToken.id == row.token_id).with_for_update()
    token = db.session.execute(held).first()
    if token is None:
        db.session.rollback()
        return False
    places = token.replayed_to or b""
    is_new = len(places) < PLACES * len(place) and place not in (places[at : at + len(place)] for at in range(0, len(places), len(place)))
    is_counted = "network" in other and client.is_public and oauth_clients.is_native(client.redirect_uris)
    if is_new or is_counted:  # of a flood nothing is written
        db.session.execute(
            update(RefreshToken)
            .where(RefreshToken.id == row.token_id)
            .values(replayed_to=places + place if is_new else places, network_replays=token.network_replays + is_counted)
            .execution_options(synchronize_session=False)
        )
    caller = replace(actor, type="client", id=client.client_id)
    about = {"name": client.name, "app": str(client.pk), "is_self_registered": client.is_self_registered, "other": other[0]}
    if is_counted and not _hold(row.family_id):
        db.session.rollback()
        return False
    if is_counted and _count_lately(row.family_id) >= LIMIT:
        account_events.record(caller, row.user_id, "refresh_token_replayed", **about, ended=True)
        refresh_families.revoke(actor, row.family_id, because="refresh_token_replayed")
        return False
    if is_new:
        account_events.record(caller, row.user_id, "refresh_token_replayed", **about, ended=False)
        audit.record(
            caller,
            "refresh_token.replayed",
            target_type="grant",
            target_id=row.family_id,
            organization_id=row.organization_id,
            details={"client_id": client.client_id, "other": other},
        )
    db.session.commit()
    return True


def _hold(family_id: uuid.UUID) -> bool:
    """Wait until nobody else counts for this family. Returns whether it is live."""
    live_family = select(RefreshFamily.id).where(RefreshFamily.id == family_id, live.none_of(RefreshFamily, live.is_revoked))
    return db.session.scalar(live_family.with_for_update()) is not None


def _count_lately(family_id: uuid.UUID) -> int:
    """Repeats to other networks. Each came within the grace after the token was used, a minute at most, so that time stands for theirs."""
    counted = select(func.sum(RefreshToken.network_replays)).where(
        RefreshToken.family_id == family_id, RefreshToken.used_at > now() - WINDOW
    )
    return db.session.scalar(counted) or 0
