"""API keys: their format, what refuses them, when their use is written down."""

import re
import string
import threading
import zlib
from dataclasses import replace

import pytest
from sqlalchemy import select, text, update

from errors import Forbidden, Invalid, NotFound
from extensions import db
from infra import clock
from infra.clock import now
from infra.secret_text import hash_secret
from models import ApiKey, Membership, Organization, User
from services.accounts import user_administration
from services.audit import audit_events
from services.database import row_security
from services.organizations import members
from services.users import agents, api_keys
from tests import factories, owner

pytestmark = pytest.mark.both_databases
DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase


@pytest.fixture
def acme(app):
    """An organization, its owner, an agent of the owner's and a key of each."""

    class Acme:
        person = factories.make_user(personal=False)
        organization = factories.make_organization(owner=person, slug="acme")
        agent = factories.make_agent(organization, person)
        personal_key = factories.make_api_key(organization, person)
        agent_key = factories.make_api_key(organization, person, agent=agent)

    return Acme


def _find(app, raw: str):
    with app.app_context():
        return api_keys.find(raw, ip="192.0.2.1")


def _row(app, key) -> ApiKey:
    with app.app_context():
        return db.session.get_one(ApiKey, key.id)


def _change(app, model, row_id, **values) -> None:
    with owner.session(app) as owners:
        owners.execute(update(model).where(model.id == row_id).values(**values))


def test_a_key_is_prefix_id_secret_and_a_checksum_over_all_before_it(app, acme):
    for key, prefix in ((acme.personal_key, "gpp_"), (acme.agent_key, "gpa_")):
        assert re.fullmatch(prefix + r"[0-9A-Za-z]+_[0-9A-Za-z]{43,}", key.raw_key)
        body, checksum, number = key.raw_key[:-6], "", zlib.crc32(key.raw_key[:-6].encode())
        for _ in range(6):
            number, rest = divmod(number, 62)
            checksum = DIGITS[rest] + checksum
        assert key.raw_key == body + checksum


def test_the_secret_part_holds_256_random_bits(app, acme):
    other = factories.make_api_key(acme.organization, acme.person)
    secrets = {key.raw_key.split("_")[2] for key in (acme.personal_key, acme.agent_key, other)}
    assert len(secrets) == 3
    assert all(62 ** len(secret[:-6]) >= 2**256 for secret in secrets)


def test_only_the_hash_is_stored(app, acme):
    row = _row(app, acme.personal_key)
    assert row.key_hash == hash_secret(acme.personal_key.raw_key)
    stored = " ".join(str(value) for name, value in vars(row).items() if name != "key_hash")
    assert acme.personal_key.raw_key.split("_")[2][:20] not in stored


def test_a_typo_is_refused_without_any_statement(app, acme):
    raw, statements = acme.personal_key.raw_key, []
    typos = [
        raw[:-1] + ("0" if raw[-1] != "0" else "1"),
        raw[:10] + ("a" if raw[10] != "a" else "b") + raw[11:],
        raw[:-1],
        raw + "0",
        raw.upper(),
    ]
    typos += ["gpp_", "gpa_" + raw[4:], raw + "\n", " " + raw, raw.replace("_", "-"), "gpp_" + "é" * 72]
    with app.app_context():
        real = api_keys.engine
        api_keys.engine = lambda: statements.append("a statement") or real()
        try:
            assert [api_keys.find(typo, ip=None) for typo in typos] == [None] * len(typos)
            assert statements == []
            assert api_keys.find(raw, ip=None) is not None
            assert statements
        finally:
            api_keys.engine = real


def test_a_key_tells_person_agent_organization_and_whether_the_address_is_verified(app, acme):
    unverified = factories.make_user(email_verified=False, personal=False)
    factories.make_membership(acme.organization, unverified, "member")
    key = factories.make_api_key(acme.organization, unverified, scopes=["orgs", "projects:read"])
    found = _find(app, key.raw_key)
    assert (found.user.id, found.user.email_verified, found.agent) == (unverified.id, False, None)
    assert (found.organization.slug, found.organization.role, found.scopes) == ("acme", "member", ("orgs", "projects:read"))
    of_agent = _find(app, acme.agent_key.raw_key)
    assert (of_agent.agent.id, of_agent.agent.owner.id, of_agent.agent.owner.email_verified) == (acme.agent.id, acme.person.id, True)


def _disable(app, acme):
    _change(app, User, acme.person.id, disabled_at=now())


def _leave(app, acme):
    with owner.session(app) as owners:
        owners.delete(owners.get_one(Membership, (acme.organization.id, acme.person.id)))


def _delete_organization(app, acme):
    _change(app, Organization, acme.organization.id, deleted_at=now())


@pytest.mark.parametrize("happens", [_disable, _leave, _delete_organization])
def test_what_happens_to_the_person_or_the_organization_stops_both_keys_at_once(app, acme, happens):
    assert _find(app, acme.personal_key.raw_key)
    assert _find(app, acme.agent_key.raw_key)
    happens(app, acme)
    assert _find(app, acme.personal_key.raw_key) is None
    assert _find(app, acme.agent_key.raw_key) is None


def test_a_paused_agent_stops_and_goes_on(app, acme):
    actor = factories.make_actor(acme.person)
    with app.app_context():
        agents.pause(actor, "acme", str(acme.agent.id))
    assert _find(app, acme.agent_key.raw_key) is None
    assert _find(app, acme.personal_key.raw_key)
    with app.app_context():
        agents.resume(actor, "acme", str(acme.agent.id))
    assert _find(app, acme.agent_key.raw_key)


def test_a_key_ends_when_it_expires(app, acme):
    key = factories.make_api_key(acme.organization, acme.person, expires_in=60)
    assert _find(app, key.raw_key)
    clock.move(61)
    assert _find(app, key.raw_key) is None


def test_a_changed_role_counts_from_the_next_request(app, acme):
    with owner.session(app) as owners:
        owners.get_one(Membership, (acme.organization.id, acme.person.id)).role = "member"
    assert _find(app, acme.personal_key.raw_key).organization.role == "member"


# --- last use ---


def test_a_use_is_written_down_at_most_once_a_minute(app, acme):
    raw = acme.personal_key.raw_key
    _find(app, raw)
    first = _row(app, acme.personal_key)
    assert first.last_used_at is not None
    assert first.last_used_ip == "192.0.2.1"
    clock.move(50)
    _find(app, raw)
    assert _row(app, acme.personal_key).last_used_at == first.last_used_at
    clock.move(70)
    _find(app, raw)
    assert _row(app, acme.personal_key).last_used_at > first.last_used_at


def test_a_row_that_somebody_holds_blocks_no_request(app, acme, database):
    if database.kind == "sqlite":
        return  # SQLite has no row locks
    with owner.session(app) as owners:
        owners.execute(select(ApiKey).where(ApiKey.id == acme.personal_key.id).with_for_update())
        assert _find(app, acme.personal_key.raw_key)
        assert _row(app, acme.personal_key).last_used_at is None
    assert _find(app, acme.personal_key.raw_key)
    assert _row(app, acme.personal_key).last_used_at is not None


# --- making and revoking ---


def test_a_removed_members_agents_are_paused_and_all_their_keys_revoked(app, acme):
    other = factories.make_organization(owner=acme.person, slug="other")
    kept = factories.make_api_key(other, acme.person)
    strangers = factories.make_user(personal=False)
    factories.make_membership(acme.organization, strangers)
    strangers_key = factories.make_api_key(acme.organization, strangers, agent=factories.make_agent(acme.organization, strangers))
    with app.app_context():
        row_security.enter(organization_ids=[acme.organization.id])
        gone = {"organization_id": acme.organization.id, "user_id": acme.person.id}
        agents.pause_of_member(factories.make_actor(strangers), **gone)
        api_keys.revoke_of_member(factories.make_actor(strangers), **gone)
        db.session.commit()
    assert [event.action for event in owner.events(app) if event.organization_id == acme.organization.id] == [
        "agent.paused",
        "api_key.revoked",
        "api_key.revoked",
    ]
    assert _row(app, acme.personal_key).revoked_at
    assert _row(app, acme.agent_key).revoked_at
    assert _find(app, strangers_key.raw_key)
    assert _find(app, kept.raw_key)


def test_disabling_ends_keys_for_good(app, acme):
    with owner.at_work(app):
        user_administration.disable(factories.make_actor(), str(acme.person.id))
        user_administration.enable(factories.make_actor(), str(acme.person.id))
    assert _find(app, acme.personal_key.raw_key) is None
    assert _find(app, acme.agent_key.raw_key) is None


def test_somebody_who_left_meanwhile_gets_no_key(app, acme):
    actor = factories.make_actor(acme.person)
    _leave(app, acme)
    with app.app_context(), pytest.raises(NotFound):
        api_keys.mint(actor, owner="self", organization="acme", name="late", scopes=["orgs"])
    with app.app_context(), pytest.raises(NotFound):
        api_keys.mint(actor, owner=str(acme.agent.id), organization=None, name="late", scopes=["orgs"])


def test_a_key_that_is_minted_while_its_person_is_removed_does_not_come_to_be(app, acme, database):
    if database.kind == "sqlite":
        return  # SQLite has one writer at a time
    answers = []

    def mint() -> None:
        with app.app_context():
            try:
                answers.append(
                    api_keys.mint(factories.make_actor(acme.person), owner="self", organization="acme", name="late", scopes=["orgs"])
                )
            except NotFound:
                answers.append(None)

    with owner.session(app) as owners:
        owners.delete(owners.get_one(Membership, (acme.organization.id, acme.person.id)))
        owners.flush()
        thread = threading.Thread(target=mint)
        thread.start()
        while not owners.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
            assert thread.is_alive()
    thread.join(30)
    assert answers == [None]


def test_the_service_itself_mints_nothing_for_a_key_or_an_agent(app, acme):
    with_key = replace(factories.make_actor(acme.person), credential_type="api_key")
    nobody = factories.make_actor()
    for actor in (with_key, nobody):
        with app.app_context(), pytest.raises(Forbidden):
            api_keys.mint(actor, owner="self", organization=None, name="x", scopes=["orgs"])
    for call in (api_keys.list_own, lambda actor: api_keys.revoke(actor, str(acme.personal_key.id))):
        with app.app_context(), pytest.raises(Forbidden):
            call(nobody)


def test_the_raw_key_is_in_no_event_and_no_repr(app, acme):
    with app.app_context():
        made, raw = api_keys.mint(factories.make_actor(acme.person), owner="self", organization="acme", name="ci", scopes=["orgs"])
    secret = raw.split("_")[2]
    assert secret not in repr(made)
    assert all(secret not in str(audit_events.to_values(event)) for event in owner.events(app))


@pytest.mark.parametrize("name", ["", " ", "a\0b", "a\x1bb", "x" * 101, "\u202egpj.exe", "\ud800"])
def test_a_name_is_one_printable_line(app, acme, name):
    with app.app_context(), pytest.raises(Invalid) as refused:
        api_keys.mint(factories.make_actor(acme.person), owner="self", organization="acme", name=name, scopes=["orgs"])
    assert set(refused.value.fields) == {"name"}


def test_minting_and_removing_at_once_never_wait_for_each_other_in_a_circle(app, acme, database):
    if database.kind == "sqlite":
        return  # SQLite has one writer at a time
    boss, failed, made = factories.make_user(personal=False), [], []
    factories.make_membership(acme.organization, boss, "owner")

    def attempt(act) -> None:
        with app.app_context():
            try:
                made.append(act())
            except NotFound:
                pass
            except Exception as error:
                failed.append(error)

    def mint(owner_of_key: str):
        return api_keys.mint(factories.make_actor(acme.person), owner=owner_of_key, organization="acme", name="late", scopes=["orgs"])[1]

    acts = [lambda: members.remove(factories.make_actor(boss), "acme", str(acme.person.id))]
    acts += [lambda: mint(str(acme.agent.id)), lambda: mint("self")] * 4
    threads = [threading.Thread(target=attempt, args=[act]) for act in (*acts[1:5], acts[0], *acts[5:])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert [raw for raw in made if raw and _find(app, raw)] == []
    with owner.session(app) as owners:
        assert owners.scalars(select(ApiKey.id).where(ApiKey.user_id == acme.person.id, ApiKey.revoked_at.is_(None))).all() == []
