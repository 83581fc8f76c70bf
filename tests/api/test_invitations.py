"""Invitations: who makes them, whom they let in, and that nothing but the proved address does."""

import re
import threading
from uuid import uuid4

import pytest

from extensions import db
from infra import clock
from infra.clock import now
from infra.secret_text import hash_secret
from models import Invitation, User
from services.database import row_security
from services.database.transactions import begin_write
from services.organizations import invitations, received_invitations
from services.users import users
from tests import factories, owner
from tests.api.company import SAME_ORIGIN, Company, Person, told
from tests.api.test_members import role_of
from tests.api.test_orgs import audited
from tests.fakes.smtp import FakeSmtp
from tests.oauth.flow import bearer

pytestmark = pytest.mark.both_databases
INVITATIONS = "/orgs/acme/invitations"


@pytest.fixture
def company(app):
    return Company(app)


def invite(company, email="ann@example.com", role="member", by="owner"):
    return getattr(company, by).send("POST", INVITATIONS, {"email": email, "role": role})


def rows(app, *where) -> list[Invitation]:
    with app.app_context():
        row_security.enter(organization_ids=[row.id for row in (db.session.scalars(db.select(factories.Organization)))])
        return list(db.session.scalars(db.select(Invitation).where(*where).order_by(Invitation.id)))


def is_marked(app, user) -> bool:
    with app.app_context():
        return db.session.get_one(User, user.id).has_invitations


def test_an_invitation_shows_its_link_once_and_keeps_only_a_hash(app, company):
    answer = invite(company, "Ann@Example.com", "admin", by="admin")
    assert answer.status_code == 201
    body = answer.json
    assert set(body) == {"id", "email", "role", "state", "expires_at", "url", "token"}
    assert re.fullmatch(r"gpi_[A-Za-z0-9_-]{43}", body["token"])
    assert body["url"] == f"http://127.0.0.1:8000/invitations/{body['token']}"
    assert (body["email"], body["role"]) == ("Ann@Example.com", "admin")
    (row,) = rows(app)
    assert (row.token_hash, row.email_key) == (hash_secret(body["token"]), "ann@example.com")
    assert abs((row.expires_at - now()).total_seconds() - 7 * 86_400) < 60
    listed = company.owner.get(INVITATIONS).json["items"]
    assert listed == [{name: body[name] for name in ("id", "email", "role", "state", "expires_at")}]
    (event,) = audited(app, "invitation.created")
    assert body["token"] not in str(event.details)


def test_an_address_with_a_dot_at_its_end_is_the_same_address(app, company):
    invite(company, "ann@example.com")
    assert invite(company, "ann@example.com.").json["email"] == "ann@example.com"
    assert len(rows(app)) == 1
    member = invite(company, "member@example.com.")
    assert (member.status_code, member.json["error"]) == (409, "already_member")


def test_a_member_neither_sees_nor_makes_invitations_and_a_stranger_learns_nothing(company):
    made = invite(company).json["id"]
    unknown = told(company.stranger.get("/orgs/never-there/invitations"))
    for person, status in ((company.member, 403), (company.stranger, 404)):
        for method, path, body in (
            ("GET", INVITATIONS, None),
            ("POST", INVITATIONS, {"email": "x@example.com", "role": "member"}),
            ("POST", f"{INVITATIONS}/{made}/resend", None),
            ("DELETE", f"{INVITATIONS}/{made}", None),
        ):
            answer = person.send(method, path, body) if method != "GET" else person.get(path)
            assert answer.status_code == status, (path, method)
            assert status == 403 or told(answer) == unknown


def test_an_invitation_of_another_organization_below_my_slug_is_unknown(app, company):
    theirs = company.stranger.send("POST", "/orgs/other/invitations", {"email": "x@example.com", "role": "member"}).json["id"]
    for wrong in (theirs, str(uuid4()), "not-an-id"):
        for method, path in (("DELETE", f"{INVITATIONS}/{wrong}"), ("POST", f"{INVITATIONS}/{wrong}/resend")):
            assert company.owner.send(method, path).status_code == 404
    assert rows(app, Invitation.revoked_at.is_not(None)) == []


def test_an_admin_neither_invites_owners_nor_touches_their_invitations(company):
    assert invite(company, role="owner", by="admin").status_code == 403
    made = invite(company, role="owner").json["id"]
    assert invite(company, role="member", by="admin").status_code == 403
    assert company.admin.send("POST", f"{INVITATIONS}/{made}/resend").status_code == 403
    assert company.admin.send("DELETE", f"{INVITATIONS}/{made}").status_code == 403
    assert company.owner.send("DELETE", f"{INVITATIONS}/{made}").status_code == 204


@pytest.mark.parametrize("email", ["", "ann", "a@b\r\nc", "a@b@c", "<a@b.c>", "a\0@b.c", "\ud800@b.c", "a" * 250 + "@b.c"], ids=range(8))
def test_what_is_no_address_is_refused(company, email):
    answer = invite(company, email)
    assert (answer.status_code, set(answer.json["fields"])) == (422, {"email"})


def test_a_role_that_is_none_and_a_member_are_refused(company):
    assert set(invite(company, role="king").json["fields"]) == {"role"}
    answer = invite(company, "MEMBER@example.com")
    assert (answer.status_code, answer.json["error"]) == (409, "already_member")


def test_inviting_the_same_address_again_renews_the_one_invitation(app, company):
    first, again = invite(company), invite(company, "ANN@example.com", "admin")
    assert (again.status_code, again.json["id"], again.json["role"]) == (200, first.json["id"], "admin")
    resent = company.admin.send("POST", f"{INVITATIONS}/{first.json['id']}/resend")
    assert (resent.status_code, resent.json["id"]) == (200, first.json["id"])
    assert len({first.json["token"], again.json["token"], resent.json["token"]}) == 3
    assert len(rows(app)) == 1
    ann = company.person("other@example.com")
    for ended in (first, again):
        assert ann.send("POST", "/invitations/accept", {"token": ended.json["token"]}).status_code == 410


def test_many_invitations_of_one_address_at_once_make_one(app, company):
    barrier, statuses = threading.Barrier(6), []

    def run() -> None:
        barrier.wait(5)
        statuses.append(invite(company).status_code)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(statuses) == [200] * 5 + [201]
    assert len(rows(app)) == 1


# --- shown, accepted, declined ---


def declined_events(app) -> list:
    return [event for event in owner.events(app) if event.action == "invitation.declined"]


def shown(person: Person) -> list[dict]:
    return person.get("/session").json["invitations"]


def test_an_invitation_is_shown_to_its_person_until_it_is_accepted(app, company):
    ann = company.person("ann@example.com", personal=True)
    assert not is_marked(app, ann.user)
    made = invite(company, "ANN@EXAMPLE.com", "admin").json
    assert is_marked(app, ann.user)
    (item,) = shown(ann)
    assert item == {
        "id": made["id"],
        "organization": {"slug": "acme", "name": "Acme"},
        "role": "admin",
        "invited_by": "Owner",
        "expires_at": made["expires_at"],
    }
    for _ in range(2):
        answer = ann.send("POST", f"/invitations/{item['id']}/accept")
        assert (answer.status_code, answer.json) == (200, {"id": str(company.acme.id), "slug": "acme", "name": "Acme", "role": "admin"})
    assert ("acme", "admin") in [(org["slug"], org["role"]) for org in ann.get("/session").json["orgs"]]
    assert shown(ann) == []
    assert not is_marked(app, ann.user)
    (event,) = audited(app, "invitation.accepted")
    assert (event.actor_id, event.details["role"]) == (ann.id, "admin")
    assert ann.send("POST", f"/invitations/{item['id']}/decline").status_code == 410


def test_whoever_declines_is_not_in_and_the_inviter_sees_it(app, company):
    ann = company.person("ann@example.com", personal=True)
    made = invite(company, role="owner").json
    for _ in range(2):
        answer = ann.send("POST", f"/invitations/{made['id']}/decline")
        assert (answer.status_code, answer.data) == (204, b"")
    assert shown(ann) == []
    assert not is_marked(app, ann.user)
    for answer in (ann.send("POST", f"/invitations/{made['id']}/accept"), accept(ann, made["token"])):
        assert (answer.status_code, answer.json["error"]) == (410, "invitation_ended")
    assert role_of(app, company.acme, ann.user) is None
    (item,) = company.owner.get(INVITATIONS).json["items"]
    assert (item["id"], item["state"]) == (made["id"], "declined")
    assert company.owner.send("DELETE", f"{INVITATIONS}/{made['id']}").status_code == 404
    assert company.owner.send("POST", f"{INVITATIONS}/{made['id']}/resend").status_code == 404


def test_declining_tells_the_inviter_neither_a_name_nor_an_address_of_the_network(app, company):
    """The event is the person's own."""
    ann = company.person("ann@example.com", personal=True)
    made = invite(company).json
    ann.send("POST", f"/invitations/{made['id']}/decline")
    (event,) = declined_events(app)
    assert (event.actor_id, event.target_id, event.organization_id) == (ann.id, made["id"], None)
    assert event.details == {"organization": str(company.acme.id)}
    log = company.owner.get("/orgs/acme/audit-events")
    assert log.status_code == 200
    assert ann.id not in log.text
    assert ann.id not in company.owner.get("/orgs/acme/invitations").text


def test_who_declined_can_be_invited_anew_and_the_declined_one_stays_listed(app, company):
    ann = company.person("ann@example.com", personal=True)
    first = invite(company).json
    ann.send("POST", f"/invitations/{first['id']}/decline")
    second = invite(company)
    assert second.status_code == 201
    assert second.json["id"] != first["id"]
    assert [(item["id"], item["state"]) for item in company.owner.get(INVITATIONS).json["items"]] == [
        (first["id"], "declined"),
        (second.json["id"], "pending"),
    ]
    assert [item["id"] for item in shown(ann)] == [second.json["id"]]
    assert ann.send("POST", f"/invitations/{first['id']}/decline").status_code == 204, "that one only"
    assert ann.send("POST", f"/invitations/{second.json['id']}/accept").status_code == 200
    assert len(rows(app)) == 2


def test_the_list_has_every_state_but_revoked(app, company):
    people = [company.person(f"{name}@example.com") for name in ("accepts", "declines", "waits", "revoked", "expires")]
    made = [invite(company, str(person.user.email)).json for person in people]
    people[0].send("POST", f"/invitations/{made[0]['id']}/accept")
    people[1].send("POST", f"/invitations/{made[1]['id']}/decline")
    company.owner.send("DELETE", f"{INVITATIONS}/{made[3]['id']}")
    listed = company.owner.get(INVITATIONS).json["items"]
    assert [item["state"] for item in listed] == ["accepted", "declined", "pending", "pending"]
    clock.move(7 * 86_400 + 5)
    factories.sign_in(company.owner.http, company.owner.user)
    assert [item["state"] for item in company.owner.get(INVITATIONS).json["items"]] == ["accepted", "declined", "expired", "expired"]


def test_a_token_for_an_organization_declines_too_and_accepts_nothing(app, company):
    ann = factories.make_user(email="ann@example.com")
    http, headers = app.test_client(), bearer(factories.make_grant(ann, scope="orgs:write").raw_token)
    declined = invite(company).json["id"]
    assert http.post(f"/api/v1/invitations/{declined}/decline", headers=headers).status_code == 204
    assert [event.organization_id for event in declined_events(app)] == [None], "not that of the token either"
    waiting = invite(company).json["id"]
    answer = http.post(f"/api/v1/invitations/{waiting}/accept", headers=headers)
    assert (answer.status_code, answer.json["error"]) == (403, "bound_to_organization")
    assert role_of(app, company.acme, ann) is None
    narrow = bearer(factories.make_grant(ann, scope="orgs").raw_token)
    assert http.post(f"/api/v1/invitations/{waiting}/decline", headers=narrow).json["error"] == "insufficient_scope"


@pytest.mark.parametrize("wrong", [str(uuid4()), "not-an-id", "%00", "gpi_" + "A" * 43])
def test_an_id_that_is_none_is_unknown(company, wrong):
    ann = company.person("ann@example.com", personal=True)
    invite(company)
    for act in ("accept", "decline"):
        assert ann.send("POST", f"/invitations/{wrong}/{act}").status_code == 404


def test_an_unverified_address_waits_until_it_is_verified(app, company):
    ann = company.person("ann@example.com", email_verified=False, personal=True)
    made = invite(company).json
    assert shown(ann) == []
    answer = ann.send("POST", "/invitations/accept", {"token": made["token"]})
    assert (answer.status_code, answer.json["error"]) == (403, "email_not_verified")
    assert ann.send("POST", f"/invitations/{made['id']}/accept").status_code == 404
    assert role_of(app, company.acme, ann.user) is None
    with app.app_context():
        begin_write()
        user = db.session.get_one(User, ann.user.id)
        users.follow_address(factories.make_actor(user), user, email="ann@example.com", email_verified=True)
        db.session.commit()
    assert [item["id"] for item in shown(ann)] == [made["id"]]


def test_accepting_many_times_at_once_makes_one_membership_and_one_event(app, company):
    ann = company.person("ann@example.com", personal=True)
    made = invite(company).json["id"]
    raw, barrier, seen = factories.make_session(ann.user), threading.Barrier(12), []

    def run(act: str) -> None:
        http = app.test_client()
        http.set_cookie("gatepost_session", raw, domain="127.0.0.1")
        barrier.wait(10)
        seen.append((act, http.post(f"/api/v1/invitations/{made}/{act}", headers=SAME_ORIGIN).status_code))

    threads = [threading.Thread(target=run, args=("accept" if n % 3 else "decline",)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    joined = role_of(app, company.acme, ann.user) is not None
    assert sorted(seen) == sorted([("accept", 200 if joined else 410)] * 8 + [("decline", 410 if joined else 204)] * 4)
    assert (len(audited(app, "invitation.accepted")), len(declined_events(app))) == ((1, 0) if joined else (0, 1))


def test_an_invitation_never_lowers_a_role_and_may_raise_it(app, company):
    ann = company.person("ann@example.com")
    for invited, before, after in (("member", "owner", "owner"), ("admin", "member", "admin")):
        made = invite(company, role=invited).json["id"]
        factories.make_membership(company.acme, ann.user, before)
        assert [item["id"] for item in shown(ann)] == ([made] if before != after else []), "what gives a member nothing is not shown"
        assert ann.send("POST", f"/invitations/{made}/accept").json["role"] == after
        assert role_of(app, company.acme, ann.user) == after
        company.owner.send("DELETE", f"/orgs/acme/members/{ann.id}")


def test_a_revoked_an_expired_and_a_deleted_organizations_invitation_lets_nobody_in(app, company):
    ann = company.person("ann@example.com", personal=True)
    made = invite(company).json
    for _ in range(2):
        assert company.admin.send("DELETE", f"{INVITATIONS}/{made['id']}").status_code == 204
    expired = company.stranger.send("POST", "/orgs/other/invitations", {"email": "ann@example.com", "role": "admin"}).json
    third = factories.make_organization(owner=company.owner.user, slug="third")
    deleted = company.owner.send("POST", "/orgs/third/invitations", {"email": "ann@example.com", "role": "admin"}).json
    company.owner.send("DELETE", "/orgs/third")
    assert [item["id"] for item in shown(ann)] == [expired["id"]]
    clock.move(7 * 86_400 + 5)
    factories.sign_in(ann.http, ann.user)
    assert shown(ann) == []
    assert [org["slug"] for org in ann.get("/session").json["orgs"]] == [ann.get("/session").json["active_org"]]
    answers = [ann.send("POST", "/invitations/accept", {"token": one["token"]}) for one in (made, expired, deleted)]
    answers += [ann.send("POST", f"/invitations/{one['id']}/{act}") for one in (made, expired) for act in ("accept", "decline")]
    answers += [ann.send("POST", f"/invitations/{deleted['id']}/accept")]
    answers += [
        ann.send("POST", "/invitations/accept", {"token": token}) for token in ("", "x", "gpi_" + "A" * 43, "gpi_\0", "\ud800", "x" * 9999)
    ]
    assert {(answer.status_code, answer.json["error"]) for answer in answers} == {(410, "invitation_ended")}
    assert all(told(answer) == told(answers[0]) for answer in answers)
    assert {role_of(app, org, ann.user) for org in (company.acme, company.other, third)} == {None}
    assert len(audited(app, "invitation.revoked")) == 1


def test_a_restored_organization_shows_its_invitations_again(app, company):
    ann = company.person("ann@example.com", personal=True)
    made = invite(company).json["id"]
    company.owner.send("DELETE", "/orgs/acme")
    assert shown(ann) == []
    assert not is_marked(app, ann.user)
    company.owner.send("POST", "/orgs/acme/restore")
    assert [item["id"] for item in shown(ann)] == [made]


def test_one_that_was_sent_again_is_shown_again(app, company):
    ann = company.person("ann@example.com", personal=True)
    made = invite(company).json["id"]
    clock.move(7 * 86_400 + 5)
    for person in (ann, company.owner):
        factories.sign_in(person.http, person.user)
    assert (shown(ann), is_marked(app, ann.user)) == ([], False)
    company.owner.send("POST", f"{INVITATIONS}/{made}/resend")
    assert [item["id"] for item in shown(ann)] == [made]


def test_a_hundred_invitations_are_shown_newest_first_and_no_more(app, company):
    ann = factories.make_user(email="ann@example.com", has_invitations=True)
    for number in range(103):
        organization = factories.make_organization(slug=f"org-{number:03}")
        factories.make_invitation(organization, "ann@example.com")
    with app.app_context():
        found = received_invitations.list_for(ann.id)
    assert found.has_more
    assert [row.slug for row in found.rows] == [f"org-{number:03}" for number in range(102, 2, -1)]


# --- by the link ---


def accept(person: Person, token: str):
    return person.send("POST", "/invitations/accept", {"token": token})


def test_the_link_brings_in_the_address_it_was_made_for_and_nobody_else(app, company):
    token = invite(company, role="admin").json["token"]
    for person in (company.stranger, company.member):
        answer = accept(person, token)
        assert (answer.status_code, answer.json["error"]) == (403, "email_mismatch")
    assert (role_of(app, company.acme, company.stranger.user), role_of(app, company.acme, company.member.user)) == (None, "member")
    ann = company.person("ann@example.com")
    for _ in range(2):
        answer = accept(ann, token)
        assert (answer.status_code, answer.json) == (200, {"id": str(company.acme.id), "slug": "acme", "name": "Acme", "role": "admin"})
    assert len(audited(app, "invitation.accepted")) == 1


def test_whoever_was_removed_does_not_come_back_by_the_old_link(app, company):
    ann = company.person("ann@example.com")
    token = invite(company).json["token"]
    accept(ann, token)
    company.owner.send("DELETE", f"/orgs/acme/members/{ann.id}")
    assert accept(ann, token).status_code == 410
    assert role_of(app, company.acme, ann.user) is None


def test_a_client_that_acts_for_itself_accepts_nothing(app, company):
    token = invite(company).json["token"]
    assert app.test_client().post("/api/v1/invitations/accept", json={"token": token}).status_code == 401


# --- mail ---


def test_an_invitation_is_mailed_and_a_mail_server_that_refuses_loses_nothing(make_app, smtp: FakeSmtp):
    app = make_app(mail_url=smtp.url)
    company = Company(app)
    body = invite(company).json
    (letter,) = smtp.letters
    assert (letter["To"], letter["Subject"]) == ("ann@example.com", "Invitation to an organization")
    assert body["url"] in letter.get_content()
    assert "“Owner” invited you to “Acme”" in letter.get_content()
    smtp.refuses = True
    again = company.owner.send("POST", f"{INVITATIONS}/{body['id']}/resend")
    assert again.status_code == 200
    assert accept(company.person("ann@example.com"), again.json["token"]).status_code == 200


def test_production_without_mail_writes_no_link_to_the_log(make_app, caplog):
    app = make_app(env="production", public_url="https://id.example.com")
    with app.app_context():
        owner = factories.make_user(email="owner@example.com")
        factories.make_organization(owner=owner, slug="acme")
        sent = invitations.invite(factories.make_actor(owner), "acme", email="ann@example.com", role="member")
    assert sent.raw_token not in caplog.text
    assert sent.raw_token not in repr(sent)


def test_nobodys_mailbox_is_filled(make_app, smtp: FakeSmtp):
    app = make_app(mail_url=smtp.url, rate_limits="on")
    company = Company(app)
    assert [invite(company).status_code for _ in range(6)] == [201, 200, 200, 200, 200, 429]
    assert [invite(company, f"{n}@example.com").status_code for n in range(3)] == [201, 201, 201]
    assert len(smtp.letters) == 8
    refused = invite(company)
    assert (refused.json["error"], refused.headers["Retry-After"]) == ("rate_limited", "3600")
    assert len(company.owner.get(INVITATIONS).json["items"]) == 4
    clock.move(3601)
    assert invite(company).status_code == 200


def test_the_sweep_takes_what_has_expired_and_leaves_what_waits(app, company, cli):
    invite(company, "old@example.com")
    clock.move(86_400)
    kept = invite(company, "new@example.com").json["id"]
    clock.move(7 * 86_400 + 60)
    assert cli.invoke(args=["sweep", "--kind", "invitations", "--dry-run"]).stdout == "invitations: 1\n"
    assert cli.invoke(args=["sweep", "--kind", "invitations"]).stdout == "invitations: 1\n"
    assert [str(row.id) for row in rows(app)] == [kept]


def test_who_was_imported_and_accepts_an_invitation_has_accepted_the_organization(app, company):
    person = company.person("ann@example.com", personal=True)
    ann = person.user
    factories.make_membership(company.acme, ann, "member", origin="imported")
    made = invite(company, "ann@example.com", "admin")
    assert made.status_code == 409  # a member, as everybody can see
    invited = factories.make_invitation(company.acme, "ann@example.com", role="admin")
    assert person.send("POST", f"/invitations/{invited.id}/accept").status_code == 200
    with app.app_context():
        row_security.enter(user_id=ann.id)
        own = db.session.scalars(db.select(factories.Membership).where(factories.Membership.user_id == ann.id))
        assert {(row.organization_id == ann.id, row.role, row.origin) for row in own} == {
            (True, "owner", "created"),
            (False, "admin", "accepted"),
        }
