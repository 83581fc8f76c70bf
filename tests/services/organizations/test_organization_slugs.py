"""A slug that an organization has ever used is never another's, whatever became of the first one."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy import select

from infra import clock
from models import Organization, User
from services.access.actors import Actor
from services.accounts import account_deletion
from services.organizations import organizations
from services.organizations.organizations import RESTORE_SECONDS
from services.validation.slugs import SlugTaken
from tests import factories, owner

pytestmark = pytest.mark.both_databases

FILE = """
[[organization]]
slug = "northwind"
name = "Northwind"

[[organization.member]]
email = "ann@example.com"
role = "owner"
"""


@pytest.fixture
def ann(app: Flask) -> User:
    return factories.make_user(name="Ann", email="ann@example.com")


@pytest.fixture
def mallory(app: Flask) -> User:
    return factories.make_user(name="Mallory", email="mallory@example.com")


def make(user: User, slug: str) -> Organization:
    return organizations.create(factories.make_actor(user), name=slug.title(), slug=slug)


def rename(user: User, slug: str, new: str) -> None:
    organizations.update(factories.make_actor(user), slug, {"slug": new})


def purge(app: Flask) -> None:
    clock.move(RESTORE_SECONDS + 60)
    with owner.at_work(app):
        organizations.unscoped_purge()


def _renamed(app: Flask, ann: User) -> None:
    rename(ann, "northwind", "northwind-trading")


def _renamed_twice(app: Flask, ann: User) -> None:
    rename(ann, "northwind", "northwind-2")
    rename(ann, "northwind-2", "northwind-3")


def _deleted(app: Flask, ann: User) -> None:
    organizations.delete(factories.make_actor(ann), "northwind")


def _purged(app: Flask, ann: User) -> None:
    _deleted(app, ann)
    purge(app)


def _renamed_and_purged(app: Flask, ann: User) -> None:
    _renamed(app, ann)
    organizations.delete(factories.make_actor(ann), "northwind-trading")
    purge(app)


def _gone_with_its_person(app: Flask, ann: User) -> None:
    with owner.at_work(app):
        account_deletion.delete(Actor.operator(), ann.id)


ENDS = (_renamed, _renamed_twice, _deleted, _purged, _renamed_and_purged, _gone_with_its_person)


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__.strip("_"))
def test_nobody_else_gets_it(context: Flask, ann: User, mallory: User, end: Callable[..., None]) -> None:
    make(ann, "northwind")
    end(context, ann)
    with pytest.raises(SlugTaken):
        make(mallory, "northwind")
    make(mallory, "evil")
    with pytest.raises(SlugTaken):
        rename(mallory, "evil", "northwind")
    personal = factories.make_user(name="Northwind")
    assert slug_of(context, personal.id) == "northwind-2" if end is not _renamed_twice else "northwind-4"


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__.strip("_"))
def test_nor_an_import(context: Flask, cli: FlaskCliRunner, tmp_path: Path, ann: User, mallory: User, end: Callable[..., None]) -> None:
    make(ann, "northwind")
    end(context, ann)
    file = tmp_path / "orgs.toml"
    file.write_text(FILE)
    for arguments in (["orgs", "import", str(file)], ["orgs", "import", "--update", str(file)]):
        answer = cli.invoke(args=arguments)
        assert answer.exit_code == 1, answer.output
        assert "conflict organization northwind" in answer.output


def test_the_slug_of_a_personal_organization_goes_to_no_other_person_of_that_name(context: Flask, ann: User) -> None:
    assert slug_of(context, ann.id) == "ann"
    _gone_with_its_person(context, ann)
    assert slug_of(context, factories.make_user(name="Ann").id) == "ann-2"


def test_an_imported_organization_keeps_its_slug_too(context: Flask, cli: FlaskCliRunner, tmp_path: Path, ann: User, mallory: User) -> None:
    file = tmp_path / "orgs.toml"
    file.write_text(FILE)
    assert cli.invoke(args=["orgs", "import", str(file)]).exit_code == 0
    assert cli.invoke(args=["orgs", "import", str(file)]).exit_code == 0
    _renamed(context, ann)
    with pytest.raises(SlugTaken):
        make(mallory, "northwind")


def test_an_organization_takes_its_own_old_slug_back(context: Flask, ann: User) -> None:
    make(ann, "northwind")
    _renamed_twice(context, ann)
    rename(ann, "northwind-3", "northwind")
    rename(ann, "northwind", "northwind-2")


def test_a_refused_change_keeps_nothing(context: Flask, ann: User, mallory: User) -> None:
    make(ann, "northwind")
    make(mallory, "evil")
    for number in range(5):
        rename(mallory, f"evil-{number - 1}" if number else "evil", f"evil-{number}")
    with pytest.raises(organizations.quotas.QuotaReached):
        rename(mallory, "evil-4", "wanted")
    make(ann, "wanted")


def test_an_organization_that_an_older_version_made_keeps_its_slugs(context: Flask, ann: User, mallory: User) -> None:
    """It writes no table of slugs, and may run beside this one for a while."""
    factories.make_organization(slug="old-one", owner=ann)
    with pytest.raises(SlugTaken):
        make(mallory, "old-one")
    rename(ann, "old-one", "new-one")
    with pytest.raises(SlugTaken):
        make(mallory, "old-one")
    rename(ann, "new-one", "old-one")
    organizations.delete(factories.make_actor(ann), "old-one")
    purge(context)
    with pytest.raises(SlugTaken):
        make(mallory, "old-one")


def test_of_two_at_once_one_gets_it(app: Flask, ann: User, mallory: User) -> None:
    with app.app_context():
        make(ann, "first")
        make(mallory, "second")
    made: list[str] = []
    failed: list[BaseException] = []
    barrier = threading.Barrier(8)

    def run(number: int) -> None:
        with app.app_context():
            barrier.wait(10)
            try:
                if number == 0:
                    rename(ann, "first", "wanted")
                elif number == 1:
                    rename(mallory, "second", "wanted")
                else:
                    make((ann, mallory)[number % 2], "wanted")
                made.append("wanted")
            except BaseException as error:
                failed.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert made == ["wanted"]
    assert {type(error) for error in failed} == {SlugTaken}


@pytest.mark.parametrize("spelling", ["Northwind", "NORTHWIND", "northwind ", "n\u043erthwind", "northwind%20", "\uff4eorthwind"])
def test_other_spellings_are_no_slugs(context: Flask, ann: User, mallory: User, spelling: str) -> None:
    make(ann, "northwind")
    _renamed(context, ann)
    with pytest.raises(organizations.slugs.Invalid):
        make(mallory, spelling)


def slug_of(app: Flask, organization_id: object) -> str | None:
    with owner.session(app) as session:
        return session.scalar(select(Organization.slug).where(Organization.id == organization_id))
