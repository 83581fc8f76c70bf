"""Credentials over the wire: one rule for who writes where, values to a Bearer only, and nobody else's ever."""

import json
import re
import uuid

import pytest

from models import AuditEvent
from tests import factories
from tests import owner as tables
from tests.api.company import SAME_ORIGIN
from tests.live_server import ROOT
from tests.oauth.flow import bearer

pytestmark = pytest.mark.both_databases

ORG = "/api/v1/orgs/acme/credentials"
OWN = "/api/v1/user/credentials"
ALL = "credentials:read credentials:write"


def _key(organization, user, *, agent=None, scope=ALL) -> dict[str, str]:
    """The header of an API key: `user`'s own, or their agent's."""
    return bearer(factories.make_api_key(organization, user, agent=agent, scopes=scope.split()).raw_key)


def _agent(organization, owner, *, acts_for_owner=False):
    return factories.make_agent(organization, owner, acts_for_owner=acts_for_owner)


def _audit(app, action):
    """What was written of such events, oldest first: outcome and details but for who the actor was, as the tables' owner reads them."""
    events = tables.events(app, AuditEvent.action == action)
    return [(event.outcome, {name: value for name, value in event.details.items() if name != "known_as"}) for event in events]


class Person:
    """Somebody with a browser and a key of their own in the organization."""

    def __init__(self, app, organization, role):
        self.user = factories.make_user(personal=False)
        factories.make_membership(organization, self.user, role)
        self.http = app.test_client()
        factories.sign_in(self.http, self.user)
        self.key = _key(organization, self.user)
        self.bare = app.test_client()

    def put(self, name, base=ORG, **body):
        return self.http.put(f"{base}/{name}", json=body, headers=SAME_ORIGIN)

    def delete(self, name, base=ORG, query=""):
        return self.http.delete(f"{base}/{name}{query}", headers=SAME_ORIGIN)

    def get(self, path="", base=ORG):
        return self.http.get(base + path)

    def resolve(self, *names, base=ORG):
        return _resolve(self.bare, self.key, *names, base=base)


def _resolve(http, key, *names, base=ORG):
    answer = http.post(f"{base}/resolve", json={"names": list(names)}, headers=key)
    assert answer.status_code == 200, answer.json
    return {item["name"]: (item["scope"], item.get("value") or item.get("fields")) for item in answer.json["items"]}


@pytest.fixture
def acme(app):
    return factories.make_organization(slug="acme")


@pytest.fixture
def owner(app, acme):
    return Person(app, acme, "owner")


@pytest.fixture
def admin(app, acme):
    return Person(app, acme, "admin")


@pytest.fixture
def member(app, acme):
    return Person(app, acme, "member")


# --- who writes where ---


def test_an_owners_or_admins_write_goes_to_the_organization_and_a_members_to_the_user(owner, admin, member):
    assert owner.put("A_KEY", value="of the owner").json["scope"] == "org"
    assert admin.put("B_KEY", value="of the admin").json["scope"] == "org"
    assert member.put("A_KEY", value="of the member").json["scope"] == "user"
    assert admin.put("A_KEY", value="the admin's own", scope="user").json["scope"] == "user"
    assert owner.resolve("A_KEY", "B_KEY") == {"A_KEY": ("org", "of the owner"), "B_KEY": ("org", "of the admin")}
    assert admin.resolve("A_KEY") == {"A_KEY": ("user", "the admin's own")}
    assert member.resolve("A_KEY", "B_KEY") == {"A_KEY": ("user", "of the member"), "B_KEY": ("org", "of the admin")}


def test_a_member_can_neither_overwrite_nor_take_the_organizations_away(owner, member):
    owner.put("A_KEY", value="shared")
    refused = member.put("A_KEY", value="mine", scope="org")
    assert (refused.status_code, refused.json["error"]) == (403, "org_scope_requires_admin")
    refused = member.delete("A_KEY", query="?scope=org")
    assert (refused.status_code, refused.json["error"]) == (403, "org_scope_requires_admin")
    assert member.delete("A_KEY").status_code == 404
    assert member.resolve("A_KEY") == {"A_KEY": ("org", "shared")}


def test_removing_is_symmetric(owner, member):
    owner.put("A_KEY", value="shared")
    member.put("A_KEY", value="mine")
    assert member.delete("A_KEY").status_code == 204
    assert member.resolve("A_KEY") == {"A_KEY": ("org", "shared")}
    assert member.delete("A_KEY").status_code == 404
    assert owner.delete("A_KEY", query="?scope=user").status_code == 404
    assert owner.delete("A_KEY").status_code == 204
    assert owner.resolve("A_KEY") == {}


def test_without_an_organization_a_write_goes_to_the_user_and_organization_scope_is_422(owner, member):
    assert owner.put("A_KEY", OWN, value="everywhere").json["scope"] == "user"
    assert owner.resolve("A_KEY", base=OWN) == {"A_KEY": ("user", "everywhere")}
    assert owner.resolve("A_KEY") == {"A_KEY": ("user", "everywhere")}
    for answer in (
        owner.put("A_KEY", OWN, value="x", scope="org"),
        owner.get("/A_KEY?scope=org", OWN),
        owner.delete("A_KEY", OWN, "?scope=org"),
        owner.get("/A_KEY/versions?scope=org", OWN),
        owner.http.post(f"{OWN}/A_KEY/restore", json={"version": 1, "scope": "org"}, headers=SAME_ORIGIN),
        owner.http.post(f"{OWN}/A_KEY/check", json={"scope": "org"}, headers=SAME_ORIGIN),
    ):
        assert (answer.status_code, answer.json["error"]) == (422, "invalid_request")
        assert set(answer.json["fields"]) == {"scope"}
    assert member.get("/A_KEY", OWN).status_code == 404
    assert member.get("", OWN).json["items"] == member.get().json["items"] == []


def test_a_put_is_201_when_new_and_200_after(owner):
    first, second = owner.put("A_KEY", value="one"), owner.put("A_KEY", value="two")
    assert (first.status_code, first.json["version"]) == (201, 1)
    assert (second.status_code, second.json["version"]) == (200, 2)


# --- reading ---


def test_a_read_says_which_scope_answers(owner, member):
    owner.put("A_KEY", value="shared")
    assert member.get("/A_KEY").json["scope"] == "org"
    member.put("A_KEY", value="mine")
    assert member.get("/A_KEY").json["scope"] == "user"
    shared = member.get("/A_KEY?scope=org").json
    assert (shared["scope"], shared["in_force"], shared["updated_by"]) == ("org", False, str(owner.user.id))
    assert owner.get("/A_KEY?scope=user").status_code == 404
    assert owner.get("/OTHER").status_code == 404
    assert owner.get("/A_KEY?scope=all").status_code == 422


def test_status_for_every_member_so_that_all_see_it_is_there(owner, member):
    owner.put("A_KEY", value="a value of some length")
    item = member.get().json["items"][0]
    assert set(item) == {
        *("name", "scope", "status", "in_force", "kind", "set_by", "note", "version", "fields", "last_four"),
        *("checked_at", "updated_at", "updated_by"),
    }
    assert (item["name"], item["scope"], item["status"], item["in_force"], item["last_four"]) == ("A_KEY", "org", "set", True, "ngth")


def test_the_list_shows_both_states_and_nothing_of_a_colleague(owner, member):
    owner.put("A_KEY", value="shared")
    member.put("A_KEY", value="mine")
    member.put("B_KEY", value="mine")
    shown = [(item["name"], item["scope"], item["in_force"]) for item in member.get().json["items"]]
    assert shown == [("A_KEY", "org", False), ("A_KEY", "user", True), ("B_KEY", "user", True)]
    assert [(item["name"], item["scope"], item["in_force"]) for item in owner.get().json["items"]] == [("A_KEY", "org", True)]
    assert [item["name"] for item in member.get(base=OWN).json["items"]] == ["A_KEY", "B_KEY"]


def test_the_list_comes_in_pages_that_neither_skip_nor_repeat(owner):
    for name in ("C", "A", "B_1", "B"):
        owner.put(name, value="x")
        owner.put(name, value="y", scope="user")
    seen, cursor = [], None
    while True:
        page = owner.get("?limit=3" + (f"&cursor={cursor}" if cursor else "")).json
        seen += [(item["name"], item["scope"]) for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert len(seen) == 8 and len(set(seen)) == 8
    assert owner.get("?cursor=AP_-").status_code == 422
    assert owner.get("?limit=0").status_code == 422


def test_no_answer_but_resolve_shows_a_value(app, owner, member):
    secret = "sk-a-value-nobody-may-see"
    answers = [owner.put("A_KEY", value=secret), owner.put("A_KEY", value=secret)]
    answers += [owner.put("F_KEY", fields={"user": "u", "password": secret})]
    answers += [person.get(path) for person in (owner, member) for path in ("", "/A_KEY", "/F_KEY", "/A_KEY/versions")]
    answers += [owner.http.post(f"{ORG}/A_KEY/{act}", json=body, headers=SAME_ORIGIN) for act, body in (("restore", {"version": 1}),)]
    answers += [owner.http.post(f"{ORG}/A_KEY/check", json={}, headers=SAME_ORIGIN)]
    answers += [owner.http.post(f"{ORG}/resolve", json={"names": ["A_KEY"]}, headers=SAME_ORIGIN)]
    assert [answer.status_code for answer in answers[:3]] == [201, 200, 201]
    assert all(secret not in answer.text for answer in answers)
    assert all(secret not in json.dumps(details) for _, details in _audit(app, "credential.put"))


# --- values ---

BAD_VALUES = [
    {},
    {"value": ""},
    {"value": "x" * 65_537},
    {"value": "é" * 32_769},
    {"value": "a\0b"},
    {"value": 5},
    {"value": ["x"]},
    {"value": "x", "fields": {"a": "b"}},
    {"fields": {}},
    {"fields": {"a": ""}},
    {"fields": {"a": {"b": "c"}}},
    {"fields": {"a": 1}},
    {"fields": {"a": None}},
    {"fields": {"1a": "x"}},
    {"fields": {"a-b": "x"}},
    {"fields": {"a" * 65: "x"}},
    {"fields": {f"a{n}": "x" for n in range(33)}},
    {"fields": {"a": "x" * 40_000, "b": "x" * 40_000}},
    {"fields": ["a"]},
    {"value": "x", "scope": "organization"},
    {"value": "x", "scope": 1},
    {"value": "x", "kind": "github"},
]


@pytest.mark.parametrize("body", BAD_VALUES, ids=range(len(BAD_VALUES)))
def test_a_bad_value_is_422_with_its_field_and_is_not_repeated(owner, body):
    answer = owner.put("A_KEY", **body)
    assert (answer.status_code, answer.json["error"]) == (422, "invalid_request")
    assert answer.json["fields"]
    assert "xxxx" not in answer.text
    assert owner.get("/A_KEY").status_code == 404


@pytest.mark.parametrize("text", ['{"value": "\\ud800 a-secret"}', '{"fields": {"a": "\\udfff a-secret"}}'])
def test_lone_surrogates_are_refused(owner, text):
    answer = owner.http.put(f"{ORG}/A_KEY", data=text, content_type="application/json", headers=SAME_ORIGIN)
    assert answer.status_code == 422 and "a-secret" not in answer.text


def test_a_body_that_is_not_utf8_is_400_and_is_not_repeated(owner):
    for data in (b'{"value": "a-secret \xff"}', b'{"value": "a-secret"', b'{"value": "a-secret", "value": "b"}'):
        answer = owner.http.put(f"{ORG}/A_KEY", data=data, content_type="application/json", headers=SAME_ORIGIN)
        assert answer.status_code == 400 and "a-secret" not in answer.text


@pytest.mark.parametrize(
    "value", ["x", "x" * 65_536, "é" * 32_768, "line\nline\n", "  ", '{"a": 1}', "\U0001f511", "null", "\u2028\x01"], ids=range(9)
)
def test_a_good_value_comes_back_byte_for_byte(owner, value):
    assert owner.put("A_KEY", value=value).status_code == 201
    assert owner.resolve("A_KEY") == {"A_KEY": ("org", value)}


def test_credentials_of_several_fields(owner):
    fields = {"host": "db.example.com", "password": "p\u00e4ss", "username": "ann"}
    stored = owner.put("DATABASE", fields=fields)
    assert (stored.json["fields"], stored.json["last_four"]) == (["host", "password", "username"], None)
    assert owner.resolve("DATABASE") == {"DATABASE": ("org", fields)}


@pytest.mark.parametrize(("value", "shown"), [("x" * 15, None), ("x" * 12 + "abcd", "abcd"), ("é" * 8, None)])
def test_the_last_four_characters_are_kept_only_where_there_are_sixteen(owner, value, shown):
    assert owner.put("A_KEY", value=value).json["last_four"] == shown


BAD_NAMES = ["a_key", "1A", "_A", "A-B", "A" * 65, "A%20", "A%00", "%C3%84", "A%0A", "A.B"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_of_another_form_is_422(owner, name):
    for answer in (
        owner.put(name, value="x"),
        owner.get(f"/{name}"),
        owner.delete(name),
        owner.get(f"/{name}/versions"),
        owner.http.post(f"{ORG}/{name}/restore", json={"version": 1}, headers=SAME_ORIGIN),
        owner.http.post(f"{ORG}/{name}/check", json={}, headers=SAME_ORIGIN),
        owner.http.put(f"{ORG}/{name}/declaration", json={}, headers=SAME_ORIGIN),
    ):
        assert (answer.status_code, set(answer.json["fields"])) == (422, {"name"})


# --- resolving ---


def test_resolution_reads_user_then_organization_in_one_call(app, owner, member):
    owner.put("A_KEY", value="shared")
    owner.put("B_KEY", fields={"id": "1"})
    member.put("A_KEY", value="mine")
    answer = member.bare.post(f"{ORG}/resolve", json={"names": ["NOT_THERE", "B_KEY", "A_KEY", "B_KEY"]}, headers=member.key)
    assert answer.json == {
        "items": [{"name": "B_KEY", "scope": "org", "fields": {"id": "1"}}, {"name": "A_KEY", "scope": "user", "value": "mine"}],
        "missing": ["NOT_THERE"],
        "unreadable": [],
    }
    assert answer.headers["Cache-Control"] == "no-store"
    assert _audit(app, "credential.resolved") == [
        ("partial", {"names": {"B_KEY": "org", "A_KEY": "user"}, "missing": ["NOT_THERE"], "unreadable": []})
    ]


def test_a_hundred_names_are_resolved_and_audited_once(app, owner):
    names = [f"KEY_{number}" for number in range(100)]
    for name in names[:3]:
        owner.put(name, value=name.lower())
    assert owner.resolve(*names) == {name: ("org", name.lower()) for name in names[:3]}
    ((outcome, details),) = _audit(app, "credential.resolved")
    assert outcome == "partial" and len(details["missing"]) == 97


@pytest.mark.parametrize("names", [[], ["A"] * 101, [5], [None], ["a"], ["A", ""], ["A\0"], ["SECRET-VALUE"], {}, "A_KEY", None, [["A"]]])
def test_bad_names_are_422_and_not_repeated(app, owner, names):
    answer = owner.bare.post(f"{ORG}/resolve", json={"names": names}, headers=owner.key)
    assert (answer.status_code, set(answer.json["fields"])) == (422, {"names"})
    assert "SECRET" not in answer.text
    assert _audit(app, "credential.resolved") == []


def test_a_cookie_resolves_nothing(owner):
    owner.put("A_KEY", value="shared")
    for base in (ORG, OWN):
        answer = owner.http.post(f"{base}/resolve", json={"names": ["A_KEY"]}, headers=SAME_ORIGIN)
        assert (answer.status_code, answer.json["error"]) == (403, "bearer_required")


def test_a_key_without_the_scope_resolves_nothing(owner, acme):
    key = _key(acme, owner.user, scope="credentials:write")
    answer = owner.bare.post(f"{ORG}/resolve", json={"names": ["A_KEY"]}, headers=key)
    assert (answer.status_code, answer.json["error"]) == (403, "insufficient_scope")
    reader = _key(acme, owner.user, scope="credentials:read")
    answer = owner.bare.put(f"{ORG}/A_KEY", json={"value": "x"}, headers=reader)
    assert (answer.status_code, answer.json["error"]) == (403, "insufficient_scope")


def test_an_agent_resolves_the_organizations_only(app, acme, owner, member):
    owner.put("A_KEY", value="shared")
    member.put("A_KEY", value="of the member")
    member.put("B_KEY", value="of the member")
    http, key = app.test_client(), _key(acme, member.user, agent=_agent(acme, member.user))
    assert _resolve(http, key, "A_KEY", "B_KEY") == {"A_KEY": ("org", "shared")}
    assert http.get(f"{ORG}/B_KEY", headers=key).status_code == 404
    assert http.get(f"{ORG}/A_KEY?scope=user", headers=key).status_code == 404
    assert [(item["name"], item["scope"]) for item in http.get(ORG, headers=key).json["items"]] == [("A_KEY", "org")]


def test_an_agent_that_acts_for_its_owner_reads_the_owners_first_and_nobody_elses(app, acme, owner, member):
    owner.put("A_KEY", value="shared")
    owner.put("C_KEY", value="the owner's own", scope="user")
    member.put("A_KEY", value="of the member")
    http, key = app.test_client(), _key(acme, member.user, agent=_agent(acme, member.user, acts_for_owner=True))
    assert _resolve(http, key, "A_KEY", "C_KEY") == {"A_KEY": ("user", "of the member")}


def test_an_agent_writes_nothing_and_has_no_credentials_of_its_own(app, acme, owner):
    owner.put("A_KEY", value="shared")
    http, key = app.test_client(), _key(acme, owner.user, agent=_agent(acme, owner.user, acts_for_owner=True))
    refused = [
        http.put(f"{ORG}/A_KEY", json={"value": "x"}, headers=key),
        http.put(f"{ORG}/A_KEY", json={"value": "x", "scope": "user"}, headers=key),
        http.delete(f"{ORG}/A_KEY", headers=key),
        http.get(f"{ORG}/A_KEY/versions", headers=key),
        http.post(f"{ORG}/A_KEY/restore", json={"version": 1}, headers=key),
        http.post(f"{ORG}/A_KEY/check", json={}, headers=key),
        http.put(f"{ORG}/A_KEY/declaration", json={}, headers=key),
        http.delete(f"{ORG}/A_KEY/declaration", headers=key),
        http.get(OWN, headers=key),
        http.put(f"{OWN}/A_KEY", json={"value": "x"}, headers=key),
        http.post(f"{OWN}/resolve", json={"names": ["A_KEY"]}, headers=key),
    ]
    assert {(answer.status_code, answer.json["error"]) for answer in refused} == {(403, "agents_cannot_manage_account")}


def test_a_key_opens_its_organization_and_no_other(app, owner):
    other = factories.make_organization(owner=owner.user, slug="other")
    factories.make_organization(slug="foreign")
    owner.put("A_KEY", "/api/v1/orgs/other/credentials", value="of the other")
    answers = [
        owner.bare.open(f"/api/v1/orgs/{slug}/credentials{path}", method=method, json=body, headers=owner.key)
        for slug in ("other", "foreign", "nobody")
        for method, path, body in (
            ("POST", "/resolve", {"names": ["A_KEY"]}),
            ("GET", "", None),
            ("GET", "/A_KEY", None),
            ("PUT", "/A_KEY", {"value": "x"}),
            ("DELETE", "/A_KEY", None),
            ("POST", "/A_KEY/restore", {"version": 1}),
            ("POST", "/A_KEY/check", {}),
            ("PUT", "/A_KEY/declaration", {}),
        )
    ]
    assert {(answer.status_code, answer.json["error"]) for answer in answers} == {(404, "not_found")}
    assert _resolve(app.test_client(), _key(other, owner.user), "A_KEY", base="/api/v1/orgs/other/credentials") == {
        "A_KEY": ("org", "of the other")
    }
    assert owner.resolve("A_KEY") == {}


def test_a_token_of_an_app_opens_its_organization_and_no_other(app, acme, owner):
    factories.make_organization(owner=owner.user, slug="other")
    owner.put("A_KEY", value="of acme")
    owner.put("A_KEY", "/api/v1/orgs/other/credentials", value="of the other")
    raw = factories.make_grant(owner.user, scope="credentials:read", organization=acme).raw_token
    http = app.test_client()
    assert _resolve(http, bearer(raw), "A_KEY") == {"A_KEY": ("org", "of acme")}
    answer = http.post("/api/v1/orgs/other/credentials/resolve", json={"names": ["A_KEY"]}, headers=bearer(raw))
    assert (answer.status_code, answer.json["error"]) == (404, "not_found")


def test_resolution_never_reads_the_environment(owner, monkeypatch):
    monkeypatch.setenv("A_KEY", "of the server")
    answer = owner.bare.post(f"{ORG}/resolve", json={"names": ["A_KEY", "PATH", "HOME"]}, headers=owner.key)
    assert (answer.json["items"], answer.json["missing"]) == ([], ["A_KEY", "PATH", "HOME"])


def test_one_pure_function_decides_and_nobody_else_compares_roles():
    """Whatever puts, removes, lists or resolves asks services/vault/credential_scope.py; none of them knows a role by its name."""
    for name in ("credentials", "credential_resolution", "credential_checks", "credential_declarations", "connections"):
        source = (ROOT / "services" / "vault" / f"{name}.py").read_text()
        assert not re.search(r"""["'](owner|admin|member)["']""", source), name
        if name in ("credentials", "credential_resolution", "connections"):
            assert "from services.vault.credential_scope import" in source, name


# --- versions ---


def test_ten_versions_are_kept_and_one_can_be_restored(app, owner, member):
    for number in range(1, 13):
        owner.put("A_KEY", value=f"value number {number:04}")
    kept = owner.get("/A_KEY/versions").json["items"]
    assert [item["version"] for item in kept] == list(range(12, 2, -1))
    assert [item["in_force"] for item in kept] == [True] + [False] * 9
    assert kept[-1]["last_four"] == "0003"
    restored = owner.http.post(f"{ORG}/A_KEY/restore", json={"version": 3}, headers=SAME_ORIGIN)
    assert (restored.status_code, restored.json["version"]) == (200, 13)
    assert owner.resolve("A_KEY") == {"A_KEY": ("org", "value number 0003")}
    assert _audit(app, "credential.restored") == [("ok", {"name": "A_KEY", "scope": "org", "version": 13, "restored": 3})]
    for number in (2, 14, 3):
        assert owner.http.post(f"{ORG}/A_KEY/restore", json={"version": number}, headers=SAME_ORIGIN).status_code == 404
    refused = member.http.post(f"{ORG}/A_KEY/restore", json={"version": 13, "scope": "org"}, headers=SAME_ORIGIN)
    assert (refused.status_code, refused.json["error"]) == (403, "org_scope_requires_admin")
    assert member.http.post(f"{ORG}/A_KEY/restore", json={"version": 13}, headers=SAME_ORIGIN).status_code == 404


@pytest.mark.parametrize("version", [0, -1, 2**31, True, "1", 1.0, None])
def test_a_version_that_is_no_number_is_422(owner, version):
    answer = owner.http.post(f"{ORG}/A_KEY/restore", json={"version": version}, headers=SAME_ORIGIN)
    assert (answer.status_code, set(answer.json["fields"])) == (422, {"version"})


# --- the form of a known kind ---

BAD_VALUES = [
    ("GITHUB_TOKEN", "short"),
    ("GITHUB_TOKEN", "   "),
    ("GH_TOKEN", "ghp_" + "a" * 36 + "\n"),
    ("GITHUB_PAT", {"token": "short", "repository": "https://github.com/octo/app"}),
    ("OPENAI_API_KEY", "sk-a b"),
    ("OPENAI_API_KEY", {"api_key": "sk-\u00e4", "region": "eu"}),
    ("ANTHROPIC_API_KEY", "sk-ant\r\nX-Evil: 1"),
    ("SLACK_BOT_TOKEN", "xoxb 1"),
    ("STRIPE_API_KEY", "\t"),
    ("NPM_TOKEN", "npm_\u202e"),
    ("DECLARED", "short"),
]
GOOD_VALUES = [
    ("GITHUB_TOKEN", "ghp_" + "a" * 36),
    ("GITHUB_TOKEN", {"token": "github_pat_" + "a" * 40}),
    ("GITHUB_TOKEN", {"user": "octocat", "password": "a b"}),  # nobody can tell which is the token
    ("OPENAI_API_KEY", "sk-1"),
    ("ANYTHING", "short, with spaces\n"),
    ("DECLARED", "0123456789abcdef0123456789abcdef01234567"),
]


def _sent(value):
    return {"value": value} if isinstance(value, str) else {"fields": value}


@pytest.mark.parametrize(("name", "value"), BAD_VALUES, ids=str)
def test_a_value_that_cannot_be_of_its_kind_is_not_stored(app, owner, member, name, value):
    _declare(owner, "DECLARED", kind="github")
    answers = [owner.put(name, **_sent(value)), member.put(name, **_sent(value))]
    if name != "DECLARED":
        answers.append(member.put(name, base=OWN, **_sent(value)))
    for answer in answers:
        assert (answer.status_code, answer.json["error"]) == (422, "invalid_request")
        assert set(answer.json["fields"]) == {"value" if isinstance(value, str) else "fields"}
        assert not [
            secret for secret in ([value] if isinstance(value, str) else value.values()) if secret.strip() and secret in answer.text
        ]
    assert [owner.get(f"/{name}").json.get("version"), member.get(f"/{name}", base=OWN).json.get("version")] == [None, None]
    assert _audit(app, "credential.put") == []


@pytest.mark.parametrize(("name", "value"), GOOD_VALUES, ids=str)
def test_a_value_that_could_be_of_its_kind_is_stored(owner, member, name, value):
    _declare(owner, "DECLARED", kind="github")
    assert owner.put(name, **_sent(value)).status_code == 201
    assert member.put(name, base=OWN, **_sent(value)).status_code == 201


def test_a_name_that_is_declared_to_be_of_no_kind_takes_anything(owner, member):
    _declare(owner, "GOOGLE_API_KEY", kind="generic")
    assert owner.put("GOOGLE_API_KEY", value="a b").status_code == 201
    assert member.put("GOOGLE_API_KEY", base=OWN, value="a b").status_code == 422


def test_an_earlier_value_that_is_not_of_the_kind_declared_since_is_not_restored(owner):
    owner.put("A_KEY", value="short")
    owner.put("A_KEY", value="ghp_" + "a" * 36)
    _declare(owner, "A_KEY", kind="github")
    path = f"{ORG}/A_KEY/restore"
    refused = owner.http.post(path, json={"version": 1}, headers=SAME_ORIGIN)
    assert (refused.status_code, set(refused.json["fields"])) == (422, {"value"})
    assert owner.http.post(path, json={"version": 2}, headers=SAME_ORIGIN).json["version"] == 3


# --- declarations ---


def _declare(person, name, **body):
    return person.http.put(f"{ORG}/{name}/declaration", json=body, headers=SAME_ORIGIN)


def test_a_declared_name_without_a_value_is_listed_as_missing(app, owner, member):
    made = _declare(owner, "GITHUB_TOKEN", note="A classic token with repo")
    assert made.status_code == 201
    assert made.json == {"name": "GITHUB_TOKEN", "kind": "github", "set_by": "both", "note": "A classic token with repo"}
    assert _declare(owner, "GITHUB_TOKEN", set_by="person").status_code == 200
    item = member.get().json["items"][0]
    assert (item["name"], item["scope"], item["status"], item["set_by"]) == ("GITHUB_TOKEN", None, "missing", "person")
    assert member.get("/GITHUB_TOKEN").json["status"] == "missing"
    assert member.get("/GITHUB_TOKEN/declaration").json["set_by"] == "person"
    assert owner.http.delete(f"{ORG}/GITHUB_TOKEN/declaration", headers=SAME_ORIGIN).status_code == 204
    assert owner.http.delete(f"{ORG}/GITHUB_TOKEN/declaration", headers=SAME_ORIGIN).status_code == 404
    assert member.get("/GITHUB_TOKEN").status_code == 404
    before, after = ({"kind": "github", "set_by": whose} for whose in ("both", "person"))
    assert [details for _, details in _audit(app, "credential_declaration.put")] == [before, {**after, "before": before, "after": after}]


def test_a_declared_credential_may_say_who_sets_it(owner, member):
    _declare(owner, "SHARED", set_by="organization")
    _declare(owner, "PERSONAL", set_by="person")
    refused = [member.put("SHARED", value="x"), owner.put("SHARED", value="x", scope="user"), owner.put("PERSONAL", value="x")]
    assert {(answer.status_code, answer.json["error"]) for answer in refused} == {(409, "scope_not_allowed")}
    assert owner.put("SHARED", value="x").status_code == 201
    assert member.put("PERSONAL", value="x").status_code == 201
    assert owner.put("PERSONAL", value="x", scope="user").status_code == 201


def test_a_later_declaration_decides_what_is_read_and_leaves_everybody_their_own_to_remove(owner, member):
    owner.put("A_KEY", value="shared")
    member.put("A_KEY", value="mine")
    _declare(owner, "A_KEY", set_by="organization")
    assert member.resolve("A_KEY") == {"A_KEY": ("org", "shared")}
    assert member.get("/A_KEY").json["scope"] == "org"
    shown = [(item["scope"], item["in_force"]) for item in member.get().json["items"]]
    assert shown == [("org", True), ("user", False)]
    assert member.delete("A_KEY").status_code == 204
    _declare(owner, "A_KEY", set_by="person")
    assert member.resolve("A_KEY") == {}
    assert member.get("/A_KEY").json["status"] == "missing"


def test_only_owners_and_admins_declare(member, admin):
    refused = _declare(member, "A_KEY")
    assert (refused.status_code, refused.json["error"]) == (403, "forbidden")
    assert member.http.delete(f"{ORG}/A_KEY/declaration", headers=SAME_ORIGIN).status_code == 403
    assert _declare(admin, "A_KEY").status_code == 201


@pytest.mark.parametrize(
    "body",
    [{"set_by": "me"}, {"kind": "unheard of"}, {"note": "x" * 501}, {"note": "a\nb"}, {"note": "\ud800"}, {"value": "x"}, {"note": 1}],
)
def test_a_wrong_declaration_is_422(owner, body):
    answer = _declare(owner, "A_KEY", **body)
    assert (answer.status_code, set(answer.json["fields"])) == (422, set(body))


# --- of other organizations ---


def test_a_member_of_two_organizations_sees_each_ones_own(app, acme, owner):
    factories.make_organization(owner=owner.user, slug="other")
    there = "/api/v1/orgs/other/credentials"
    owner.put("A_KEY", value="of acme")
    owner.put("B_KEY", there, value="of the other")
    assert [item["name"] for item in owner.get().json["items"]] == ["A_KEY"]
    assert [item["name"] for item in owner.get(base=there).json["items"]] == ["B_KEY"]
    assert owner.get(base=OWN).json["items"] == []


def test_who_is_not_a_member_meets_a_404_equal_to_unknown(app, owner):
    stranger = app.test_client()
    factories.sign_in(stranger, factories.make_user())
    owner.put("A_KEY", value="shared")
    bodies = []
    for slug in ("acme", "nobody"):
        answer = stranger.put(f"/api/v1/orgs/{slug}/credentials/A_KEY", json={"value": "x"}, headers=SAME_ORIGIN)
        bodies.append({**answer.json, "request_id": None})
        assert answer.status_code == 404
    assert bodies[0] == bodies[1]


def test_every_change_leaves_its_trace_with_the_name_and_never_the_value(app, owner):
    owner.put("A_KEY", value="a-secret-value")
    owner.delete("A_KEY")
    assert _audit(app, "credential.put") == [("ok", {"name": "A_KEY", "scope": "org", "version": 1})]
    assert _audit(app, "credential.removed") == [("ok", {"name": "A_KEY", "scope": "org"})]


def test_a_client_that_acts_for_itself_has_no_credentials(app, owner):
    made = factories.make_client(type="confidential", grant_types="client_credentials", scope=ALL)
    http = app.test_client()
    answer = http.post(
        "/oauth/token",
        data={"grant_type": "client_credentials", "client_id": made.client_id, "client_secret": made.raw_secret, "scope": ALL},
    )
    key = bearer(answer.json["access_token"])
    assert http.get(OWN, headers=key).status_code == 403
    assert http.post(f"{OWN}/resolve", json={"names": ["A_KEY"]}, headers=key).status_code == 403
    assert http.put(f"{OWN}/A_KEY", json={"value": "x"}, headers=key).status_code == 403
    assert http.post(f"{ORG}/resolve", json={"names": ["A_KEY"]}, headers=key).status_code == 404


def test_ids_in_answers_are_opaque_strings(owner):
    assert uuid.UUID(owner.put("A_KEY", value="x").json["updated_by"]) == owner.user.id
