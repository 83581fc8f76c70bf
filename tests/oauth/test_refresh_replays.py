"""A refresh token that is presented from two places: what is reported, and when the grant ends.

A thief who keeps in step with the owner presents each token within the grace, so that neither ever comes too late.
"""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text, update

from infra import clock
from models import AccountEvent, ApiKey, AuditEvent, RefreshFamily, RefreshToken
from services.tokens import replays
from tests import factories, owner, statements
from tests.oauth.flow import Program, assert_refused

pytestmark = pytest.mark.both_databases

HOME, SAME_NETWORK, ELSEWHERE, FAR_AWAY = "192.0.2.7", "192.0.2.250", "198.51.100.9", "203.0.113.5"
HOME_6, SAME_NETWORK_6, ELSEWHERE_6 = "2001:db8:1:2::1", "2001:db8:1:9::1", "2001:db8:2::1"
DAY = 86_400
LOOPBACK, PRIVATE_SCHEME = "http://127.0.0.1/callback", "com.example.notes:/callback"


def at(app, client, address=HOME, agent="notes/1.0"):
    """The client's program, in some network."""
    program = Program(app, client)
    program.http.environ_base.update({"REMOTE_ADDR": address, "HTTP_USER_AGENT": agent})
    return program


def activity_of(browser):
    """The page without the marks around names."""
    return re.sub(r"</?bdi[^>]*>", "", browser.get("/account/activity").text)


@pytest.fixture
def make_client():
    def make(**registration):
        usual = {"name": "Patchwork", "trusted": True, "confirm": False, "redirect_uris": [LOOPBACK]}
        return factories.make_client(**{**usual, **registration})

    return make


class Theft:
    """An owner and a thief of one grant's tokens."""

    def __init__(self, app, browser, client, *, thief=ELSEWHERE, agent="notes/1.0"):
        self.app = app
        self.owner, self.thief = at(app, client), at(app, client, thief, agent)
        self.token = self.owner.get_tokens(browser, scope="openid offline_access orgs")["refresh_token"]

    def step(self):
        """The owner refreshes and the thief repeats it. Returns the thief's response."""
        first = self.owner.refresh(self.token)
        assert first.status_code == 200, first.text
        second = self.thief.refresh(self.token)
        if second.status_code == 200:
            assert second.json["refresh_token"] == first.json["refresh_token"]
        self.token = first.json["refresh_token"]
        return second

    @property
    def audited(self):
        return owner.events(self.app, AuditEvent.action.in_(["refresh_token.replayed", "grant.revoked"]))

    @property
    def reported(self):
        which = select(AccountEvent.details, AccountEvent.via, AccountEvent.ip, AccountEvent.user_agent)
        return owner.rows(self.app, which.where(AccountEvent.kind == "refresh_token_replayed").order_by(AccountEvent.id))

    def family(self):
        [family] = owner.rows(self.app, select(RefreshFamily.id, RefreshFamily.user_id, RefreshFamily.revoked_because))
        return family


@pytest.mark.parametrize("redirect_uri", [LOOPBACK, PRIVATE_SCHEME])
def test_a_thief_in_step_with_a_native_app_ends_its_grant_at_the_third_expiry(app, browser, make_client, person, redirect_uri):
    theft = Theft(app, browser, make_client(redirect_uris=[redirect_uri]))
    key = factories.make_api_key(
        factories.make_organization(owner=person), person, grant_id=theft.family().id, client_pk=theft.owner.client.id
    )
    for hour in (1, 2):
        clock.move(hour * 3600)
        assert theft.step().status_code == 200
        assert theft.family().revoked_because is None
    clock.move(3 * 3600)
    newest = theft.owner.refresh(theft.token).json
    assert_refused(theft.thief.refresh(theft.token), "invalid_grant")
    assert not theft.owner.is_live(newest["access_token"])
    assert_refused(theft.owner.refresh(newest["refresh_token"]), "invalid_grant")
    assert theft.family().revoked_because == "refresh_token_replayed"
    assert owner.rows(app, select(ApiKey.revoked_at).where(ApiKey.id == key.id))[0].revoked_at is not None
    assert [event.action for event in theft.audited] == ["refresh_token.replayed", "refresh_token.replayed", "grant.revoked"]
    assert theft.audited[-1].details == {"reason": "refresh_token_replayed"}
    assert [row.details["ended"] for row in theft.reported] == [False, False, True]
    page = activity_of(browser)
    assert "The same token of Patchwork was used from two networks. If that wasn’t you, remove its access." in page
    assert "used from two networks three times within 24 hours, so its access was removed" in page


def test_the_third_repeat_of_one_token_counts_as_much(app, browser, make_client):
    theft = Theft(app, browser, make_client())
    successor = theft.owner.refresh(theft.token).json
    assert [theft.thief.refresh(theft.token).status_code for _ in range(4)] == [200, 200, 400, 400]
    assert_refused(theft.owner.refresh(successor["refresh_token"]), "invalid_grant")
    assert len(theft.audited) == len(theft.reported) == 2  # the first, and the end


def test_the_event_says_which_grant_and_where_it_came_from_and_the_page_how_to_end_it(app, browser, make_client, person):
    theft = Theft(app, browser, make_client(), agent="curl/8")
    theft.step()
    [event] = theft.audited
    assert (event.actor_type, event.actor_id, event.ip, event.outcome) == ("client", theft.owner.client_id, ELSEWHERE, "ok")
    assert (event.target_type, event.target_id) == ("grant", str(theft.family().id))
    assert event.organization_id == person.id
    assert event.details == {"client_id": theft.owner.client_id, "other": ["network", "user_agent"]}
    [row] = theft.reported
    assert (row.via, row.ip, row.user_agent) == ("api", ELSEWHERE, "curl/8")
    page = activity_of(browser)
    assert "The same token of Patchwork was used from two networks." in page
    href = f"/account/apps/{theft.owner.client.id}/remove"
    assert f'href="{href}"' in page
    assert browser.get(href).status_code == 200


@pytest.mark.parametrize(
    ("first", "second"),
    [(HOME, HOME), (HOME, SAME_NETWORK), (HOME, f"::ffff:{SAME_NETWORK}"), (HOME_6, SAME_NETWORK_6), (HOME, HOME_6), ("", HOME)],
)
def test_a_repeat_from_the_same_place_is_reported_nowhere(app, browser, make_client, first, second):
    theft = Theft(app, browser, make_client(), thief=second)
    theft.owner.http.environ_base["REMOTE_ADDR"] = first
    for _ in range(4):
        for side in (theft.owner, theft.thief):
            assert side.refresh(theft.token).status_code == 200
        assert theft.step().status_code == 200
    assert theft.audited == theft.reported == []


@pytest.mark.parametrize(("first", "second"), [(HOME, ELSEWHERE), (HOME_6, ELSEWHERE_6)])
def test_networks_are_compared_within_one_family_of_addresses(app, browser, make_client, first, second):
    theft = Theft(app, browser, make_client(), thief=second)
    theft.owner.http.environ_base["REMOTE_ADDR"] = first
    theft.step()
    assert [event.details["other"] for event in theft.audited] == [["network"]]


@pytest.mark.parametrize("address", [HOME, HOME_6])
def test_another_program_is_reported_and_ends_nothing(app, browser, make_client, address):
    theft = Theft(app, browser, make_client(), thief=address, agent="curl/8")
    for _ in range(5):
        assert theft.step().status_code == 200
    assert [event.details["other"] for event in theft.audited] == [["user_agent"]] * 5
    assert theft.family().revoked_because is None
    assert "The same token of Patchwork was used by two programs. If that wasn’t you, remove its access." in activity_of(browser)


@pytest.mark.parametrize(
    "registration",
    [
        {"redirect_uris": ["https://app.example.com/callback"]},
        {"redirect_uris": [LOOPBACK, "https://app.example.com/callback"]},
        {"type": "confidential"},
    ],
    ids=["web", "web and native", "confidential"],
)
def test_of_all_other_clients_it_is_only_reported_and_a_flood_in_few_events(app, browser, make_client, registration):
    theft = Theft(app, browser, make_client(**registration))
    for _ in range(2):
        theft.owner.refresh(theft.token)
        for number in range(24):
            far = at(app, theft.owner.client, f"198.51.{number % 8}.9", f"agent/{number}")
            assert far.refresh(theft.token).status_code == 200
        assert theft.step().status_code == 200
    assert [event.action for event in theft.audited] == ["refresh_token.replayed"] * 2 * replays.PLACES
    assert len(theft.reported) == 2 * replays.PLACES
    assert theft.family().revoked_because is None


def test_a_token_is_reported_once_from_each_place(app, browser, make_client):
    theft = Theft(app, browser, make_client())
    theft.owner.refresh(theft.token)
    for address, agent in ((HOME, "curl/8"), (HOME, "curl/8"), (ELSEWHERE, "curl/8"), (HOME, "curl/9"), (FAR_AWAY, "notes/1.0")):
        assert at(app, theft.owner.client, address, agent).refresh(theft.token).status_code == 200
    expected = [["user_agent"], ["network", "user_agent"], ["user_agent"], ["network"]]
    assert [event.details["other"] for event in theft.audited] == expected


def test_after_a_day_it_is_counted_anew(app, browser, make_client):
    theft = Theft(app, browser, make_client())
    for moment in (0, 60, DAY + 61, DAY + 120):
        clock.move(moment)
        assert theft.step().status_code == 200
    clock.move(2 * DAY + 60)
    assert_refused(theft.step(), "invalid_grant")


def test_every_grant_counts_for_itself(app, browser, make_client):
    client = make_client()
    for _ in range(3):
        theft = Theft(app, browser, client)
        assert [theft.step().status_code for _ in range(2)] == [200, 200]
        assert theft.owner.refresh(theft.token).status_code == 200


def test_of_many_repeats_at_once_two_are_answered_and_the_grant_ends_once(app, browser, make_client):
    theft = Theft(app, browser, make_client())
    successor = theft.owner.refresh(theft.token).json
    sides = [at(app, theft.owner.client, f"198.51.{number}.9") for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda side: side.refresh(theft.token), sides))
    assert sorted(answer.status_code for answer in answers) == [200, 200] + [400] * 6
    assert {answer.json["error"] for answer in answers if answer.status_code == 400} == {"invalid_grant"}
    assert_refused(theft.owner.refresh(successor["refresh_token"]), "invalid_grant")
    assert [event.action for event in theft.audited] == ["refresh_token.replayed", "refresh_token.replayed", "grant.revoked"]
    assert [row.details["ended"] for row in theft.reported] == [False, False, True]


def test_what_cannot_be_reported_is_not_answered(app, browser, make_client):
    """A thief who could keep the event from being written would stay unseen. The owner just tries again."""
    theft = Theft(app, browser, make_client())
    successor = theft.owner.refresh(theft.token).json
    owner.rows(app, text("ALTER TABLE account_events RENAME TO account_events_away"))
    try:
        assert theft.thief.refresh(theft.token).status_code == 503
        assert theft.owner.refresh(theft.token).json["refresh_token"] == successor["refresh_token"]  # from there it is no news
    finally:
        owner.rows(app, text("ALTER TABLE account_events_away RENAME TO account_events"))
    assert theft.audited == []
    assert theft.thief.refresh(theft.token).json["refresh_token"] == successor["refresh_token"]
    assert len(theft.audited) == len(theft.reported) == 1


def test_a_repeat_that_gets_no_tokens_is_not_reported(app, browser, make_client):
    theft = Theft(app, browser, make_client())
    successor = theft.owner.refresh(theft.token).json
    assert_refused(theft.thief.refresh(theft.token, scope="openid"), "invalid_grant")
    assert theft.owner.refresh(successor["refresh_token"]).status_code == 200
    assert_refused(theft.thief.refresh(theft.token), "invalid_grant")
    assert theft.audited == theft.reported == []


def test_a_token_that_the_version_before_has_spent_tells_nothing(app, browser, make_client):
    theft = Theft(app, browser, make_client())
    theft.owner.refresh(theft.token)
    owner.rows(app, update(RefreshToken).values(spent_from=None))
    assert theft.thief.refresh(theft.token).status_code == 200
    assert theft.audited == theft.reported == []


def test_what_is_kept_of_a_place_cannot_be_compared_between_tokens(app, browser, make_client):
    """Without the tokens themselves, which nobody stores, no list of networks or programs helps to read it."""
    theft = Theft(app, browser, make_client())
    for _ in range(3):
        theft.step()
        theft.thief.http.environ_base["REMOTE_ADDR"] = HOME
    kept = [row.spent_from for row in owner.rows(app, select(RefreshToken.spent_from)) if row.spent_from]
    assert len(kept) == 3
    for part in (slice(1, 17), slice(17, 33)):
        assert len({places[part] for places in kept}) == 3


def test_a_refresh_and_its_repeat_from_the_same_place_stay_one_statement(app, browser, make_client, database):
    program = at(app, make_client(scope="openid offline_access"))
    token = program.get_tokens(browser, scope="openid offline_access")["refresh_token"]
    for _ in range(2):
        with statements.counted() as seen:
            assert program.refresh(token).status_code == 200
        if database.kind == "postgresql":
            assert len(seen) == 1, seen


def test_nobody_is_mailed(make_app, smtp, make_client):
    app = make_app(mail_url=smtp.url)
    person, browser = factories.make_user(email="ada@example.com"), app.test_client()
    factories.sign_in(browser, person)
    theft = Theft(app, browser, make_client(origin="seeded"))
    before = len(smtp.letters)
    for _ in range(3):
        theft.step()
    assert len(theft.reported) == 3
    assert len(smtp.letters) == before
