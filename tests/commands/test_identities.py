"""`flask identities`: a provider whose issuer, id here or subject ids change, and the people that it would shut out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from models import AuditEvent, Identity, User
from tests import factories, owner
from tests.fakes.browser import Browser, path_of, query_of
from tests.fakes.fixtures import github_settings, oidc_settings
from tests.fakes.github import FakeGitHub, GitHubUser
from tests.fakes.oidc import FakeOidc, OidcUser

pytestmark = pytest.mark.both_databases
OLD, NEW = "https://old.example", "https://new.example"


def run(app: Flask, *words: str) -> tuple[int, str, str]:
    result = app.test_cli_runner().invoke(args=["identities", *words])
    return result.exit_code, result.stdout, result.stderr


def subjects(app: Flask) -> set[tuple[str, str, str]]:
    with owner.session(app) as owners:
        return {(row.provider, row.issuer, row.subject) for row in owners.query(Identity)}


def make(user: User, subject: str, *, provider: str = "staff", issuer: str = OLD, **columns: Any) -> Identity:
    return factories.make_identity(user, provider=provider, issuer=issuer, subject=subject, **{"supplies_email": False, **columns})


# --- a provider that moved --------------------------------------------------------------------------------------------


def test_a_moved_issuer_leads_to_the_operator_and_after_the_move_everybody_is_who_they_were(
    make_app: Callable[..., Flask], op: FakeOidc
) -> None:
    app = make_app(**oidc_settings(op))
    Browser(app).sign_in(op, "authentik")
    with owner.session(app) as owners:
        owners.query(Identity).update({"issuer": "https://old.example"})
        user_id = owners.query(User).one().id
    browser = Browser(app)
    back = browser.sign_in(op, "authentik")
    assert query_of(back.headers["Location"])["error"] == "account_exists"
    page = browser.get(back.headers["Location"]).text
    assert "Ask your administrator to link" in page
    assert back.headers["X-Request-Id"] in page
    assert "Continue with it once" not in page
    doctor = app.test_cli_runner().invoke(args=["doctor", "--json"])
    (finding,) = [row for row in json.loads(doctor.stdout) if "1 identity of authentik under issuer https://old.example" in row["text"]]
    command = f"flask identities move --provider authentik --from-issuer https://old.example --to-issuer {op.issuer} --dry-run"
    assert (finding["level"], command in finding["text"]) == ("warning", True)
    words = command.removeprefix("flask identities ").split()
    code, text, _ = run(app, *words)
    assert (code, "would move 1 identity" in text) == (0, True)
    assert subjects(app) == {("authentik", "https://old.example", "sub-1")}
    assert run(app, *words[:-1])[0] == 0
    assert subjects(app) == {("authentik", op.issuer, "sub-1")}
    assert path_of(Browser(app).sign_in(op, "authentik")) == "/account"
    with owner.session(app) as owners:
        assert owners.query(User).one().id == user_id
    (event,) = owner.events(app, AuditEvent.action == "identity.moved")
    assert (event.actor_type, event.target_type, event.details["user"]) == ("operator", "identity", str(user_id))
    assert event.details["before"] == {"provider": "authentik", "issuer": "https://old.example", "subject": "sub-1"}
    assert event.details["after"] == {"provider": "authentik", "issuer": op.issuer, "subject": "sub-1"}
    assert "under issuer" not in app.test_cli_runner().invoke(args=["doctor"]).stdout


def test_changed_subjects_lead_to_the_operator_and_move_by_a_file(make_app: Callable[..., Flask], op: FakeOidc, tmp_path: Path) -> None:
    app = make_app(**oidc_settings(op))
    Browser(app).sign_in(op, "authentik")
    op.signed_in = OidcUser("new-1", op.signed_in.claims)
    browser = Browser(app)
    back = browser.sign_in(op, "authentik")
    assert query_of(back.headers["Location"])["error"] == "account_exists"
    assert "Ask your administrator to link" in browser.get(back.headers["Location"]).text
    pairs = tmp_path / "pairs.csv"
    pairs.write_text('sub-1,new-1\r\n"never, seen",x\r\n')
    code, text, err = run(app, "move", "--provider", "authentik", "--from-issuer", op.issuer, "--map", str(pairs))
    assert (code, "moved 1 identity" in text, "never, seen" in err) == (0, True, True)
    assert path_of(Browser(app).sign_in(op, "authentik")) == "/account"


def test_the_page_names_only_ways_that_lead_somewhere(make_app: Callable[..., Flask], github: FakeGitHub, op: FakeOidc) -> None:
    app = make_app(**github_settings(github), **oidc_settings(op))
    github.add(GitHubUser.make(101, "ann", "ann@example.com"))
    browser = Browser(app)
    browser.sign_in(github)
    with owner.session(app) as owners:
        user = owners.query(User).one()
        owners.expunge_all()
    make(user, "gone", provider="okta")
    make(user, "sub-1", provider="authentik", issuer=OLD)
    other = Browser(app)
    page = other.get(other.sign_in(op, "authentik").headers["Location"]).text
    assert "signs in with GitHub" in page
    assert "okta" not in page
    assert "administrator" not in page
    with owner.session(app) as owners:
        owners.query(Identity).filter_by(provider="github").delete()
    other = Browser(app)
    page = other.get(other.sign_in(op, "authentik").headers["Location"]).text
    assert "Ask your administrator to link" in page


# --- moving -------------------------------------------------------------------------------------------------------------


def test_a_conflict_is_listed_and_nothing_is_moved(app: Flask) -> None:
    ann, bob = factories.make_user(email="ann@example.com"), factories.make_user(email="bob@example.com")
    make(ann, "1"), make(bob, "2"), make(ann, "1", issuer=NEW), make(ann, "2", issuer=NEW)
    before = subjects(app)
    for more in ([], ["--dry-run"]):
        code, text, _ = run(app, "move", "--provider", "staff", "--from-issuer", OLD, "--to-issuer", NEW, *more)
        assert code == 1
        conflicts = [line for line in text.splitlines() if line.startswith("conflict")]
        assert len(conflicts) == 2
        assert any("2" in line and "bob@example.com" in line and "ann@example.com" in line for line in conflicts)
        assert all("flask identities unlink" in line for line in conflicts)
    report = json.loads(run(app, "move", "--provider", "staff", "--from-issuer", OLD, "--to-issuer", NEW, "--json")[1])
    assert (report["moved"], len(report["conflicts"])) == (0, 2)
    assert subjects(app) == before
    assert owner.events(app, AuditEvent.action == "identity.moved") == []


def test_subjects_that_change_places_and_a_provider_that_is_renamed(app: Flask, tmp_path: Path) -> None:
    ann, bob, eve = (factories.make_user(email=f"{name}@example.com") for name in ("ann", "bob", "eve"))
    make(ann, "1"), make(bob, "2"), make(eve, "3")
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("1,2\n2,1\n")
    code, text, err = run(app, "move", "--provider", "staff", "--from-issuer", OLD, "--map", str(pairs))
    assert (code, "moved 2 identities" in text, "1 identity is not in the file" in err) == (0, True, True)
    with owner.session(app) as owners:
        assert {row.subject: row.user_id for row in owners.query(Identity)} == {"2": ann.id, "1": bob.id, "3": eve.id}
    assert run(app, "move", "--provider", "staff", "--from-issuer", OLD, "--to-provider", "okta", "--to-issuer", NEW)[0] == 0
    assert subjects(app) == {("okta", NEW, subject) for subject in "123"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1,2\n3,2\n", "line 2"),
        ("1,2\n1,3\n", "line 2"),
        ("1\n", "line 1"),
        ("1,2,3\n", "line 1"),
        ("1,\n", "line 1"),
        ("", "no pairs"),
        ("1,a\x01\n", "line 1"),
    ],
)
def test_a_file_that_cannot_be_meant_is_wrong_usage(app: Flask, tmp_path: Path, text: str, problem: str) -> None:
    make(factories.make_user(), "1")
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(text)
    code, _, err = run(app, "move", "--provider", "staff", "--from-issuer", OLD, "--map", str(pairs))
    assert (code, problem in err) == (2, True)


def test_a_move_of_nothing_says_what_there_is(app: Flask) -> None:
    make(factories.make_user(), "1")
    code, _, err = run(app, "move", "--provider", "staff", "--from-issuer", OLD + "/", "--to-issuer", NEW)
    assert (code, f"staff: {OLD} (1)" in err) == (1, True)
    assert run(app, "move", "--provider", "staff", "--from-issuer", OLD)[0] == 2
    code, _, err = run(app, "move", "--provider", "staff", "--from-issuer", OLD, "--to-issuer", NEW)
    assert (code, "no provider called staff is configured" in err) == (0, True)


# --- looking and unlinking ------------------------------------------------------------------------------------------------


def test_list_filters_and_says_what_is_not_configured(make_app: Callable[..., Flask], op: FakeOidc) -> None:
    app = make_app(**oidc_settings(op))
    ann, bob = factories.make_user(email="ann@example.com"), factories.make_user(email="bob@example.com")
    make(ann, "1"), make(ann, "2", provider="authentik", issuer=op.issuer), make(bob, "3", provider="authentik")

    def found(*words: str) -> list[str]:
        code, text, _ = run(app, "list", "--json", *words)
        assert code == 0
        return [row["subject"] for row in json.loads(text)]

    assert found() == ["1", "2", "3"]
    assert found("--provider", "authentik") == ["2", "3"]
    assert found("--provider", "authentik", "--issuer", OLD) == ["3"]
    assert found("--user", "ANN@example.com") == ["1", "2"]
    assert found("--not-configured") == ["1", "3"]
    line = run(app, "list", "--user", "bob@example.com")[1]
    assert all(word in line for word in ("bob@example.com", "authentik", OLD, "3", "not configured"))
    assert run(app, "list", "--user", "nobody@example.com")[0] == 1


def test_unlink_ends_one_way_in_and_tells_if_it_was_the_last(make_app: Callable[..., Flask], op: FakeOidc) -> None:
    app = make_app(**oidc_settings(op))
    ann = factories.make_user(email="ann@example.com")
    first, second = make(ann, "1"), make(ann, "2", provider="authentik", issuer=op.issuer)
    code, text, err = run(app, "unlink", str(first.id))
    assert (code, "ann@example.com" in text, err) == (0, True, "")
    assert subjects(app) == {("authentik", op.issuer, "2")}
    code, _, err = run(app, "unlink", str(second.id))
    assert (code, "no way to sign in" in err) == (0, True)
    assert [event.target_id for event in owner.events(app, AuditEvent.action == "identity.unlinked")] == [str(first.id), str(second.id)]
    assert run(app, "unlink", str(second.id))[0] == 1
    assert run(app, "unlink", "x")[0] == 1
