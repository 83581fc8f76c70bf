"""`flask orgs`: list, show, import: all or nothing, and the same again is no change."""

import json
from pathlib import Path

import pytest

from extensions import db
from models import Invitation, Membership, Organization, Project
from services.database import row_security
from tests import factories
from tests.api.company import Company

pytestmark = pytest.mark.both_databases

FILE = """
[[organization]]
slug = "northwind"
name = "Northwind"

[[organization.member]]
email = "Ann@example.com"
role = "owner"

[[organization.member]]
email = "new@example.com"
role = "member"

[[organization.project]]
slug = "web"
name = "Web"
"""
ALL = ["organization northwind", "member northwind/Ann@example.com", "invitation northwind/new@example.com", "project web"]


@pytest.fixture
def run(cli, tmp_path: Path):
    def run(text: str, *options: str):
        path = tmp_path / "orgs.toml"
        path.write_text(text)
        return cli.invoke(args=["orgs", "import", str(path), *options])

    return run


@pytest.fixture
def ann(app):
    return factories.make_user(email="ann@example.com")


def count(app, model) -> int:
    with app.app_context():
        row_security.enter(organization_ids=db.session.scalars(db.select(Organization.id)).all())
        return len(db.session.scalars(db.select(model)).all())


def test_quotas_do_not_bound_it(make_app, tmp_path: Path):
    app = make_app(max_projects="1", max_organizations="1")
    ann = factories.make_user(email="ann@example.com")
    factories.make_organization(owner=ann)
    path = tmp_path / "orgs.toml"
    path.write_text(FILE + '[[organization.project]]\nslug = "app"\nname = "App"\n')
    done = app.test_cli_runner().invoke(args=["orgs", "import", str(path)])
    assert (done.exit_code, done.stdout.splitlines()) == (0, [f"created {line}" for line in [*ALL, "project app"]])


def test_it_makes_what_the_file_names_and_then_changes_nothing(app, run, ann):
    first, again = run(FILE), run(FILE)
    assert (first.exit_code, first.stdout.splitlines()) == (0, [f"created {line}" for line in ALL])
    assert (again.exit_code, again.stdout.splitlines()) == (0, [f"unchanged {line}" for line in ALL])
    assert (count(app, Project), count(app, Invitation)) == (1, 1)
    assert [row["outcome"] for row in json.loads(run(FILE, "--json").stdout)] == ["unchanged"] * 4


def test_whoever_is_named_and_comes_later_finds_the_invitation_and_accepts_it(app, run, ann):
    run(FILE)
    new = Company(app).person("new@example.com", has_invitations=True, personal=True)
    (item,) = new.get("/session").json["invitations"]
    assert (item["organization"]["slug"], item["invited_by"]) == ("northwind", None)
    assert new.send("POST", f"/invitations/{item['id']}/accept").status_code == 200
    assert run(FILE).stdout.splitlines()[2] == "unchanged member northwind/new@example.com"


def test_a_difference_is_a_conflict_and_nothing_is_applied_until_told_to_follow(app, run, ann):
    run(FILE)
    changed = (
        FILE.replace('"Northwind"', '"Northwind Ltd"').replace('"member"', '"admin"') + '[[organization]]\nslug = "more"\nname = "M"\n'
    )
    changed += '[[organization.member]]\nemail = "ann@example.com"\nrole = "owner"\n'
    refused = run(changed)
    assert refused.exit_code == 1
    assert [line.split()[0] for line in refused.stdout.splitlines()] == [
        "conflict",
        "unchanged",
        "conflict",
        "unchanged",
        "created",
        "created",
    ]
    assert len(refused.stderr.splitlines()) == 1
    with app.app_context():
        assert db.session.scalars(db.select(Organization.slug).where(Organization.slug == "more")).all() == []
    applied = run(changed, "--update")
    assert (applied.exit_code, applied.stdout.splitlines()[0]) == (0, "updated organization northwind")
    assert {line.split()[0] for line in run(changed).stdout.splitlines()} == {"unchanged"}


def test_what_belongs_to_others_is_a_conflict_also_with_update(app, run, ann):
    run(FILE)
    stolen = FILE.replace("northwind", "southwind")
    last_owner = FILE.replace('role = "owner"', 'role = "admin"')
    company = Company(app)
    company.owner.send("DELETE", "/orgs/acme")
    deleted = FILE.replace("northwind", "acme").replace('slug = "web"', 'slug = "fresh"')
    for text, line in (
        (stolen, "conflict project web"),
        (last_owner, "conflict member northwind/Ann@example.com"),
        (deleted, "conflict organization acme"),
    ):
        result = run(text, "--update")
        assert result.exit_code == 1
        assert line in result.stdout.splitlines()
    assert count(app, Membership) == 1 + 1 + 4  # Ann twice: of herself, of northwind; nobody was added


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('slug = "northwind"', 'slug = "North"'), ('name = "Northwind"', "name = 5"), ('role = "member"', 'role = "king"'),
        ("[[organization]]", "[[org]]"), ('name = "Web"', 'name = ""'), ("new@example.com", "new"),
        ("new@example.com", "ANN@example.com"), ('role = "owner"', 'role = "admin"'),
        ('name = "Northwind"', 'name = "Northwind"\nplan = "x"'), ("[[organization]]", "[organization]"), ('slug = "web"', ""), ("=", "=="),
        ("[[organization]]", "deep = " + "[" * 5000 + "\n[[organization]]"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_wrong_usage_and_nothing_is_applied(app, run, ann, old, new):
    result = run(FILE.replace(old, new))
    assert result.exit_code == 2, result.output
    with app.app_context():
        assert db.session.scalars(db.select(Organization.slug).where(Organization.id != ann.id)).all() == []


def test_list_and_show_say_what_is_there(run, cli, ann):
    run(FILE)
    assert "northwind  Northwind  1" in cli.invoke(args=["orgs", "list"]).stdout.splitlines()
    shown = cli.invoke(args=["orgs", "show", "northwind"]).stdout
    assert f"member: {ann.id} ann@example.com (owner)" in shown
    shown = json.loads(cli.invoke(args=["orgs", "show", "northwind", "--json"]).stdout)
    assert shown["members"][0]["role"] == "owner"
    assert shown["organization"] in json.loads(cli.invoke(args=["orgs", "list", "--json"]).stdout)
    assert "role" not in shown["organization"]
    missing = cli.invoke(args=["orgs", "show", "never-there"])
    assert (missing.exit_code, missing.stderr.startswith("error:")) == (1, True)
