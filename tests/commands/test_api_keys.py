"""`flask api-keys`: what a leaked text holds, whose keys there are, and ending one."""

import base64
import json

import pytest
from sqlalchemy import select, update

from infra.clock import now
from infra.ids import uuid7
from infra.secret_text import hex_hash, new_secret
from models import AccountEvent, Agent, AuditEvent, User
from services.access.actors import Actor
from services.sign_in import sign_in_links
from services.users import api_keys
from tests import factories, owner
from tests.oauth.flow import Program, bearer, claims_of

pytestmark = pytest.mark.both_databases


@pytest.fixture
def run(cli):
    """`run("find", "-", text="...")` -> (exit code, standard output, standard error)."""

    def invoke(*words: str, text: str | bytes | None = None, group: str = "api-keys"):
        result = cli.invoke(args=[group, *words], input=text)
        assert "Traceback" not in result.output
        return result.exit_code, result.stdout, result.stderr

    return invoke


@pytest.fixture
def acme(app):
    """An organization with a person, an agent of theirs, and a key of each."""

    class Acme:
        ann = factories.make_user(email="ann@example.com", personal=False)
        organization = factories.make_organization(owner=ann, slug="acme")
        agent = factories.make_agent(organization, ann, name="deploy-bot")
        key = factories.make_api_key(organization, ann)
        agent_key = factories.make_api_key(organization, ann, agent=agent)

    return Acme


@pytest.fixture
def issuing(app, acme):
    """Tokens of a grant as an app gets them."""

    class Issued:
        factories.make_resource(identifier="https://api.example.com", scope="projects:read")
        program = Program(app, factories.make_client(client_id="notes", trusted=True))
        browser = app.test_client()
        factories.sign_in(browser, acme.ann)
        tokens = program.get_tokens(browser, resource="https://api.example.com")
        jwt, refresh_token = tokens["access_token"], tokens["refresh_token"]
        grant_id = claims_of(jwt)["jti"].partition(".")[0]

    return Issued


def _found(run, text):
    code, output, errors = run("find", "-", "--json", text=text)
    assert (code, errors) == (0, "")
    return json.loads(output)


def test_a_leaked_key_is_found_in_whatever_text_it_stands_in_and_is_never_printed(app, acme, run):
    raw = acme.agent_key.raw_key
    wrapped = f"key: {raw[:30]}=\n{raw[30:]}\n"
    basic = base64.b64encode(f"bot:{raw}".encode()).decode()
    texts = (
        raw,
        f"curl -H 'Authorization: Bearer {raw}' https://id.example.com",
        f'{{"body": "line\\n{raw}\\n"}}',
        f"https://bot:{raw}@git.example.com/acme.git",
        f"GATEPOST_API_KEY={raw}abc",
        wrapped,
        wrapped.replace("=\n", "\r\n    "),
        f"Authorization: Basic {basic}",
        raw.replace("_", "%5F"),
        f"KEY={raw}\n".encode("utf-16"),
        b"\xff\xfe\x80" + raw.encode() + b"\x00\xc3",
        hex_hash(raw),
        f"key_hash | \\x{hex_hash(raw).upper()}",
    )
    for text in texts:
        found = _found(run, text)
        assert [(each["kind"], each["id"]) for each in found] == [("api_key", str(acme.agent_key.id))], text
        assert found[0]["match"] in ("secret", "hash")
        assert (found[0]["user"], found[0]["agent"], found[0]["organization"]) == ("ann@example.com", "deploy-bot", "acme")
        assert (found[0]["state"], found[0]["last_used_at"]) == ("works", None)
        code, output, errors = run("find", "-", text=text)
        assert (code, errors) == (0, "")
        assert str(acme.agent_key.id) in output
        assert f"flask api-keys revoke {acme.agent_key.id}" in output
        assert raw not in output
        assert raw[-49:] not in output
    assert app.test_client().get("/api/v1/whoami", headers=bearer(raw)).status_code == 200
    assert _found(run, raw)[0]["last_used_at"]


def test_a_key_is_found_by_what_pages_show_of_it_and_by_its_beginning(acme, run):
    raw = acme.key.raw_key
    altered = raw[:-1] + ("0" if raw[-1] != "0" else "1")
    for text in (f"gpp_…{raw[-4:]}", f"gpp_...{raw[-4:]}", f"It begins with {raw[:27]} they say", altered):
        assert [(each["id"], each["match"]) for each in _found(run, text)] == [(str(acme.key.id), "part")], text


def test_every_key_of_a_long_text_is_found_once_also_between_the_parts_that_are_read(acme, run):
    filler = "2026-12-01 10:00:00 request served " + new_secret() + "\n"
    raw = acme.key.raw_key
    for shift in (0, 10, 40, 70):
        text = filler * 20 + "x" * (1 << 20)
        text = text[: (1 << 20) - shift] + " " + raw + " " + filler * 3 + acme.agent_key.raw_key + "\n" + raw
        found = _found(run, text)
        assert {(each["id"], each["match"]) for each in found} == {(str(acme.key.id), "secret"), (str(acme.agent_key.id), "secret")}
        assert len(found) == 2


def test_what_is_not_here_or_no_key_ends_with_1_and_wrong_usage_with_2(acme, run):
    unknown = api_keys.new_key("gpa_", uuid7())
    code, output, errors = run("find", "-", text=f"it was {unknown}")
    assert (code, output) == (1, "")
    assert "1 " in errors
    assert "unknown" in errors
    assert unknown not in errors
    for text in ("", "nothing", "0" * 64, "gpp_", "gpp_" + "\0" * 80):
        code, output, errors = run("find", "-", text=text)
        assert (code, output, len(errors.splitlines())) == (1, "", 1), text
    assert run("find", "-", "--json", text="nothing")[:2] == (1, "[]\n")
    for words in (["find"], ["find", acme.key.raw_key], ["find", "-", "-"], ["revoke"], ["list", "--limit", "0"]):
        code, output, errors = run(*words, text="")
        assert (code, output) == (2, ""), words
        assert acme.key.raw_key not in errors


def test_find_says_what_state_a_key_is_in(app, acme, run):
    def state():
        return _found(run, acme.agent_key.raw_key)[0]["state"]

    owner.rows(app, update(Agent).values(paused_at=now()))
    assert state() == "paused"
    owner.rows(app, update(Agent).values(paused_at=None))
    owner.rows(app, update(User).values(disabled_at=now()))
    assert state() == "refused"
    owner.rows(app, update(User).values(disabled_at=None))
    assert run("revoke", str(acme.agent_key.id))[0] == 0
    assert state() == "revoked"
    assert "revoke" not in run("find", "-", text=acme.agent_key.raw_key)[1].replace("revoked", "")


def test_find_names_every_other_secret_of_gatepost_and_what_ends_it(app, client, sign_in, acme, run, issuing):
    client_row = factories.make_client(client_id="worker", type="confidential", grant_types="client_credentials", scope="introspect")
    seeded = factories.make_client(client_id="seeded", type="confidential", secret="chosen-by-somebody.with:all~sorts/of+signs=1")
    grant = factories.make_grant(acme.ann, organization=acme.organization)
    raw_session = sign_in(client, acme.ann)
    sid = client.get("/api/v1/session").json["session"]["id"]
    invitation = factories.make_invitation(acme.organization, "eve@example.com")
    with app.app_context():
        link = sign_in_links.create(Actor.operator(), "ann@example.com")
    wanted = {
        client_row.raw_secret: ("client_secret", "worker", "flask clients revoke-old-secret worker"),
        seeded.raw_secret: ("client_secret", "seeded", "flask clients revoke-old-secret seeded"),
        grant.raw_token: ("access_token", str(grant.id), f"flask sessions revoke {grant.id}"),
        issuing.refresh_token: ("refresh_token", issuing.grant_id, f"flask sessions revoke {issuing.grant_id}"),
        issuing.jwt: ("jwt", issuing.grant_id, f"flask sessions revoke {issuing.grant_id}"),
        raw_session: ("session", sid, f"flask sessions revoke {sid}"),
        invitation.raw_token: ("invitation", str(invitation.id), "/orgs/acme/invitations"),
        link: ("sign_in_link", None, f"flask users sign-in-link {acme.ann.id} --revoke"),
    }
    text = "\n".join(f"GET /x?secret={raw} HTTP/1.1" for raw in wanted)
    code, output, errors = run("find", "-", text=text)
    assert (code, errors) == (0, "")
    assert not [raw for raw in wanted if raw in output]
    found = {(each["kind"], each["id"]): each for each in _found(run, text)}
    assert len(found) == len(wanted)
    for kind, id, command in wanted.values():
        each = next(each for (of, _), each in found.items() if of == kind and id in (None, each["id"]))
        assert each["state"] == "works"
        assert command in each["end"], each
    ends = {each["kind"]: each["end"].removeprefix("flask ") for each in found.values()}
    for command in (ends["session"], ends["refresh_token"], ends["sign_in_link"], *ends["client_secret"].split(" && flask ")):
        group, *words = command.split()
        assert run(*words, group=group)[0] == 0, command
    after = {(each["kind"], each["id"]): each["state"] for each in _found(run, text)}
    assert after["refresh_token", issuing.grant_id] == "revoked"
    assert {kind for kind, _ in after} & {"session", "sign_in_link"} == set(), "they are gone"


def test_keys_are_listed_by_person_and_organization(acme, run):
    other = factories.make_user(email="bob@example.com")
    elsewhere = factories.make_organization(owner=acme.ann, slug="elsewhere")
    third = factories.make_api_key(elsewhere, acme.ann)
    bobs = factories.make_api_key(elsewhere, other)

    def ids(*words: str):
        code, output, _ = run("list", *words, "--json")
        assert code == 0
        return [each["id"] for each in json.loads(output)]

    everything = [str(key.id) for key in (acme.key, acme.agent_key, third, bobs)]
    assert ids() == everything
    assert ids("--user", "ANN@example.com") == everything[:3]
    assert ids("--user", str(other.id)) == everything[3:]
    assert ids("--organization", "acme") == ids("--organization", str(acme.organization.id)) == everything[:2]
    assert ids("--user", "bob@example.com", "--organization", "elsewhere") == everything[3:]
    assert ids("--limit", "1") == everything[:1]
    code, output, _ = run("list", "--organization", "acme")
    assert [line.split()[0] for line in output.splitlines()] == everything[:2]
    assert f"gpa_…{acme.agent_key.last_four}" in output.splitlines()[1]
    assert acme.agent_key.raw_key not in output
    assert run("revoke", everything[0])[0] == 0
    assert ids("--organization", "acme") == everything[1:2]
    assert ids("--organization", "acme", "--all") == everything[:2]
    for words in (["--user", "nobody@example.com"], ["--organization", "nobody"]):
        code, output, errors = run("list", *words)
        assert (code, output, len(errors.splitlines())) == (1, "", 1)


def test_revoking_ends_the_key_is_audited_and_told_to_its_person(app, acme, run):
    ids = [str(acme.key.id), str(acme.agent_key.id)]
    http = app.test_client()
    assert run("revoke", *ids, str(uuid7()))[:2] == (1, ""), "one of them is unknown: nothing was done"
    assert run("revoke", "nonsense")[:2] == (1, "")
    assert http.get("/api/v1/whoami", headers=bearer(acme.key.raw_key)).status_code == 200
    assert run("revoke", *ids)[:2] == (0, "".join(f"revoked {each}\n" for each in ids))
    for key in (acme.key, acme.agent_key):
        assert http.get("/api/v1/whoami", headers=bearer(key.raw_key)).status_code == 401
    events = owner.events(app, AuditEvent.action == "api_key.revoked")
    assert {(each.actor_type, each.target_id, each.organization_id) for each in events} == {
        ("operator", each, acme.organization.id) for each in ids
    }
    assert len(events) == 2
    assert json.loads(run("revoke", ids[0], "--json")[1]) == {"revoked": 0}, "twice is no error"
    columns = (AccountEvent.kind, AccountEvent.user_id, AccountEvent.via, AccountEvent.details)
    told = owner.rows(app, select(*columns).order_by(AccountEvent.id))
    assert [(each.kind, each.user_id, each.via, each.details["key"]) for each in told] == [
        ("key_revoked", acme.ann.id, "cli", each) for each in ids
    ]


def test_the_person_reads_of_it_on_their_activity_page(app, client, sign_in, acme, run):
    run("revoke", str(acme.key.id), str(acme.agent_key.id))
    sign_in(client, acme.ann)
    page = client.get("/account/activity").get_data(as_text=True)
    assert page.count("was revoked by an administrator") == 2
    assert "deploy-bot" in page
