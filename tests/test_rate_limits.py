"""Rate limits: they stop guessing, not work."""

import base64
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest

from models import AuditEvent
from services.access.actors import Actor
from services.sign_in import sign_in_links
from tests import factories, owner
from tests.fakes.browser import csrf_token_of

FAST = "token=3,revoke=3,introspect=3,api=3,authorize=4,authorize_address=6,link=2"


@pytest.fixture
def limited(make_app):
    return make_app(rate_limits=FAST)


def _basic(client_id: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()}


def _grant(http, client, secret: str | None = None, address: str = "192.0.2.1"):
    headers = _basic(client.client_id, secret or client.raw_secret)
    return http.post("/oauth/token", data={"grant_type": "client_credentials"}, headers=headers, environ_base={"REMOTE_ADDR": address})


@pytest.fixture
def worker(limited):
    return factories.make_client(type="confidential", grant_types="client_credentials", scope="introspect")


def _is_limited(response) -> bool:
    if response.status_code != 429:
        return False
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    return True


def test_a_right_request_is_never_stopped_by_its_own_success(limited, worker):
    http = limited.test_client()
    assert {_grant(http, worker).status_code for _ in range(20)} == {200}


def test_refusals_are_counted_and_whoever_proves_who_it_is_is_served_all_the_same(limited, worker):
    http = limited.test_client()
    assert [_grant(http, worker, "wrong").status_code for _ in range(3)] == [401, 401, 401]
    stopped = _grant(http, worker, "wrong")
    assert _is_limited(stopped)
    assert stopped.json["error"] == "rate_limited"
    assert _grant(http, worker).status_code == 200
    assert _is_limited(_grant(http, worker, "wrong"))


def test_another_address_and_another_client_have_buckets_of_their_own(limited, worker):
    other = factories.make_client(type="confidential", grant_types="client_credentials", scope="introspect")
    http = limited.test_client()
    for _ in range(3):
        _grant(http, worker, "wrong")
    assert _is_limited(_grant(http, worker, "wrong"))
    assert _grant(http, worker, "wrong", address="192.0.2.2").status_code == 401
    assert _grant(http, other, "wrong").status_code == 401


def test_users_of_one_public_client_share_no_bucket_across_addresses(limited):
    public = factories.make_client()
    http = limited.test_client()

    def refresh(address: str):
        data = {"grant_type": "refresh_token", "refresh_token": "gpr_nonsense", "client_id": public.client_id}
        return http.post("/oauth/token", data=data, environ_base={"REMOTE_ADDR": address})

    for _ in range(3):
        assert refresh("192.0.2.1").json["error"] == "invalid_grant"
    assert _is_limited(refresh("192.0.2.1"))
    assert refresh("192.0.2.2").json["error"] == "invalid_grant"


def test_all_addresses_of_one_ipv6_network_are_one(limited, worker):
    http = limited.test_client()
    for number in range(3):
        _grant(http, worker, "wrong", address=f"2001:db8:1:2::{number}")
    assert _is_limited(_grant(http, worker, "wrong", address="2001:db8:1:2:ffff::9"))
    assert _grant(http, worker, "wrong", address="2001:db8:1:3::1").status_code == 401


@pytest.mark.parametrize("door", ["revoke", "introspect"])
def test_revoke_and_introspect_count_refusals_only(limited, worker, door):
    http = limited.test_client()

    def ask(secret: str):
        return http.post(f"/oauth/{door}", data={"token": "gpo_unknown"}, headers=_basic(worker.client_id, secret))

    assert {ask(worker.raw_secret).status_code for _ in range(10)} == {200}, "an unknown token is an answer, not a refusal"
    assert [ask("wrong").status_code for _ in range(3)] == [401, 401, 401]
    assert _is_limited(ask("wrong"))
    assert ask(worker.raw_secret).status_code == 200


def test_the_api_counts_bad_credentials_of_an_address(limited, worker):
    http = limited.test_client()
    good = _grant(http, worker).json["access_token"]

    def ask(raw: str, address: str = "192.0.2.1"):
        return http.get("/api/v1/whoami", headers={"Authorization": f"Bearer {raw}"}, environ_base={"REMOTE_ADDR": address})

    assert {ask(good).status_code for _ in range(10)} == {200}
    assert [ask("gpo_bad").status_code for _ in range(3)] == [401, 401, 401]
    stopped = ask("gpo_bad")
    assert _is_limited(stopped)
    assert stopped.json["error"] == "rate_limited"
    assert set(stopped.json) == {"error", "error_description", "request_id"}
    assert ask(good).status_code == 200
    assert ask("gpo_bad", "192.0.2.2").status_code == 401


def test_a_missing_credential_is_no_guess(limited):
    http = limited.test_client()
    assert {http.get("/api/v1/session").status_code for _ in range(10)} == {401}


def test_a_window_ends(limited, worker):
    http = limited.test_client()
    for _ in range(3):
        _grant(http, worker, "wrong")
    assert _is_limited(_grant(http, worker, "wrong"))
    store = limited.extensions["gatepost.redis"]
    keys = list(store.scan_iter("LIMITS*"))
    assert keys
    assert all(0 < store.ttl(key) <= 60 for key in keys)
    for key in keys:
        store.pexpire(key, 1)
    time.sleep(0.05)
    assert _grant(http, worker, "wrong").status_code == 401


def test_authorize_counts_a_browser_before_its_address(limited):
    http = limited.test_client()
    http.get("/login")
    answers = [http.get("/oauth/authorize?client_id=unknown") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [400] * 4 + [429]
    assert answers[-1].mimetype == "text/html"
    assert _is_limited(answers[-1])
    stranger = limited.test_client()
    assert stranger.get("/oauth/authorize?client_id=unknown").status_code == 400


def test_a_browser_that_has_used_up_its_own_limit_takes_nothing_from_its_neighbors(limited):
    http = limited.test_client()
    http.get("/login")
    assert {http.get("/oauth/authorize?client_id=unknown").status_code for _ in range(20)} == {400, 429}
    assert [limited.test_client().get("/oauth/authorize").status_code for _ in range(3)] == [400, 400, 429]


def test_an_address_that_has_used_up_its_limit_leaves_no_more_counters(limited, redis):
    """A browser's id is whatever is sent."""
    for number in range(20):
        made_up = {"Cookie": f"gatepost_browser={number:043}"}
        limited.test_client(use_cookies=False).get("/oauth/authorize?client_id=unknown", headers=made_up)
    assert len(redis.keys("LIMITS*")) == 6 + 1


def test_one_time_links_that_are_not_there_are_counted_and_good_ones_open(limited):
    http = limited.test_client()
    with limited.app_context():
        raw = sign_in_links.create(Actor.operator(), "ada@example.com", create=True)
    form = {"csrf_token": csrf_token_of(http.get(f"/login/link/{raw}"))}
    doors = ["/login/link/{}", "/login/confirm/{}", "/invitations/{}"]
    answers = [http.get(doors[number % 3].format(f"{number}" * 43)) for number in range(6)]
    assert [answer.status_code for answer in answers] == [410, 410, 429, 429, 429, 429]
    assert _is_limited(answers[-1])
    assert answers[-1].mimetype == "text/html"
    for _ in range(5):
        assert http.get(f"/login/link/{raw}").status_code == 200
    assert _is_limited(http.post(f"/login/link/{'x' * 43}", data=form))
    assert http.post(f"/login/link/{raw}", data=form).status_code == 303
    assert http.get("/api/v1/session").status_code == 200
    assert _is_limited(http.post(f"/login/link/{raw}", data=form)), "it works once"


def test_off_means_no_limit_and_no_key(app, redis):
    worker = factories.make_client(type="confidential", grant_types="client_credentials", scope="introspect")
    http = app.test_client()
    assert {_grant(http, worker, "wrong").status_code for _ in range(80)} == {401}
    assert list(redis.scan_iter("LIMITS*")) == []


def test_a_right_request_asks_redis_nothing(limited, worker):
    http = limited.test_client()
    _grant(http, worker)
    store = limited.extensions["gatepost.redis"]
    before = store.info("commandstats")
    assert _grant(http, worker).status_code == 200
    after = store.info("commandstats")
    calls = {name: after[name]["calls"] - before.get(name, {"calls": 0})["calls"] for name in after}
    assert {name: number for name, number in calls.items() if number and name != "cmdstat_info"} == {}


def test_no_hook_of_the_limiter_runs_on_other_routes(limited, app):
    def hooks(some_app):
        return len(some_app.before_request_funcs[None]), len(some_app.after_request_funcs[None]), len(some_app.teardown_request_funcs[None])

    assert hooks(limited) == hooks(app)


def test_a_refusal_that_cannot_be_counted_is_no_refusal(make_app):
    app = make_app(rate_limits="on")
    worker = factories.make_client(type="confidential", grant_types="client_credentials", scope="introspect")
    away = make_app(rate_limits="on", redis_url="redis://127.0.0.1:1")
    response = _grant(away.test_client(), worker, "wrong")
    assert (response.status_code, response.json["error"]) == (503, "temporarily_unavailable")
    assert "Retry-After" in response.headers
    assert _grant(away.test_client(), worker).status_code == 200, "who proves who it is needs no counter"
    assert _grant(app.test_client(), worker, "wrong").status_code == 401


def test_callers_behind_an_undeclared_proxy_are_pointed_out_in_the_log(limited, worker, caplog):
    http = limited.test_client()
    for _ in range(3):
        _grant(http, worker, "wrong")
    headers = {**_basic(worker.client_id, "wrong"), "X-Forwarded-For": "203.0.113.9"}
    response = http.post(
        "/oauth/token", data={"grant_type": "client_credentials"}, headers=headers, environ_base={"REMOTE_ADDR": "192.0.2.1"}
    )
    assert _is_limited(response), "a header of an unknown proxy is not believed"
    assert "GATEPOST_TRUSTED_PROXIES" in caplog.text


def test_a_declared_proxy_tells_callers_apart(make_app):
    app = make_app(rate_limits=FAST, trusted_proxies=1)
    worker = factories.make_client(type="confidential", grant_types="client_credentials", scope="introspect")
    http = app.test_client()

    def ask(forwarded: str, secret: str):
        headers = {**_basic(worker.client_id, secret), "X-Forwarded-For": forwarded}
        return http.post("/oauth/token", data={"grant_type": "client_credentials"}, headers=headers)

    for _ in range(3):
        ask("203.0.113.9", "wrong")
    assert _is_limited(ask("203.0.113.9", "wrong"))
    assert ask("203.0.113.10", "wrong").status_code == 401
    assert _is_limited(ask("198.51.100.1, 203.0.113.9", "wrong")), "what the caller wrote itself does not count"


@pytest.mark.parametrize(
    ("forwarded", "same"),
    [
        ("203.0.113.9:5000", "203.0.113.9"),
        ("203.0.113.9", "::ffff:203.0.113.9"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]:443", "[2001:db8::ffff]:444"),
        ("unknown", "198.51.100.7 198.51.100.8"),
    ],
)
def test_one_caller_is_one_however_a_proxy_writes_the_address(make_app, forwarded, same):
    app = make_app(rate_limits=FAST, trusted_proxies=1)
    http = app.test_client()

    def ask(address: str, secret: str = "wrong"):
        headers = {**_basic("nobody", secret), "X-Forwarded-For": address}
        return http.post("/oauth/token", data={"grant_type": "client_credentials"}, headers=headers)

    assert [ask(forwarded).status_code for _ in range(3)] == [401, 401, 401]
    assert _is_limited(ask(same))
    assert ask("203.0.113.10").status_code == 401


def test_the_audit_trail_has_the_address_that_is_counted(make_app, sign_in):
    app = make_app(trusted_proxies=1)
    browser = app.test_client()
    browser.environ_base["HTTP_X_FORWARDED_FOR"] = "[2001:db8::1]:443"
    sign_in(browser, factories.make_user())
    origin = {"Origin": "http://127.0.0.1:8000"}
    assert browser.post("/api/v1/orgs", json={"slug": "northwind", "name": "Northwind"}, headers=origin).status_code == 201
    assert owner.events(app, AuditEvent.action == "organization.created")[-1].ip == "2001:db8::1"


def test_workers_share_one_count_and_good_clients_do_not_notice(app, live_server):
    good, guessed = (factories.make_client(type="confidential", grant_types="client_credentials", scope="introspect") for _ in range(2))
    server = live_server(workers=2, env={"GATEPOST_RATE_LIMITS": "token=10"})

    def ask(client_id: str, secret: str) -> int:
        form = urlencode({"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}).encode()
        try:
            with urllib.request.urlopen(server.url + "/oauth/token", data=form, timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    with ThreadPoolExecutor(4) as pool:
        guesses = list(pool.map(lambda _: ask(guessed.client_id, "wrong"), range(40)))
        work = list(pool.map(lambda _: ask(good.client_id, good.raw_secret), range(40)))
    assert (guesses.count(401), guesses.count(429)) == (10, 30)
    assert ask(guessed.client_id, guessed.raw_secret) == 200
    assert set(work) == {200}
