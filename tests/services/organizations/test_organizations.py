"""The personal organization: made once, with a slug nobody has."""

import threading
from collections.abc import Callable
from uuid import UUID

import pytest
from flask import Flask

from extensions import db
from models import AuditEvent, Membership, Organization
from services.access.actors import Actor
from services.database import row_security
from services.organizations import organizations
from services.validation import slugs
from tests import factories


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("Ann Example", "ann-example"),
        ("--Ünï__x--", "uni-x"),
        ("Zoran Kovač", "zoran-kovac"),
        ("", ""),
        ("…", ""),
        ("a" * 60, "a" * 40),
        ("O'Brien & Sons", "o-brien-sons"),
    ],
)
def test_slugs_are_plain(text: str, slug: str) -> None:
    assert slugs.from_text(text) == slug


@pytest.mark.both_databases
def test_the_personal_organization_has_the_id_of_its_person(context: Flask) -> None:
    user = factories.make_user(name="Ann Example", personal=False)
    (made,) = organizations.ensure_personal(Actor.operator(), user.id)
    assert (made.id, made.slug, made.name, made.role) == (user.id, "ann-example", "Ann Example", "owner")
    assert organizations.ensure_personal(Actor.operator(), user.id) == [made]


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("name", "login", "expected"),
    [
        ("Ada Lovelace", "ada.secret@example.com", ("ada-lovelace", "Ada Lovelace")),
        ("", "ada.secret@example.com", ("personal", "Personal")),
        ("ada.secret@example.com", "ada.secret@example.com", ("personal", "Personal")),
        ("ada.secret@example.com", "", ("personal", "Personal")),
        ("Ada <ada.secret@example.com>", "lovelace", ("lovelace", "lovelace")),
        ("Ada Lovelace", "lovelace", ("lovelace", "Ada Lovelace")),
        ("", "lovelace", ("lovelace", "lovelace")),
        ("", "", ("personal", "Personal")),
    ],
)
def test_its_name_and_slug_which_every_token_tells_contain_no_address(
    context: Flask, name: str, login: str, expected: tuple[str, str]
) -> None:
    user = factories.make_user(name=name, email="ada.secret@example.com", personal=False)
    organizations.add_personal(Actor.operator(), user, login=login)
    db.session.commit()
    made = db.session.get(Organization, user.id)
    assert made is not None
    assert (made.slug, made.name) == expected


@pytest.mark.both_databases
def test_a_taken_slug_gets_a_number_and_then_letters(context: Flask) -> None:
    slugs = []
    for _ in range(8):
        user = factories.make_user(name="Ann", personal=False)
        slugs.append(organizations.ensure_personal(Actor.operator(), user.id)[0].slug)
    assert slugs[:5] == ["ann", "ann-2", "ann-3", "ann-4", "ann-5"]
    assert all(slug.startswith("ann-") for slug in slugs[5:])
    assert len(set(slugs)) == 8


@pytest.mark.both_databases
def test_who_is_in_an_organization_gets_their_own_all_the_same_and_first(context: Flask) -> None:
    user = factories.make_user(name="Ann", personal=False)
    factories.make_membership(factories.make_organization(slug="acme"), user)
    assert [row.slug for row in organizations.ensure_personal(Actor.operator(), user.id)] == ["ann", "acme"]


def test_the_setting_turns_it_off(make_app: Callable[..., Flask]) -> None:
    app = make_app(personal_organizations="off")
    user = factories.make_user()
    with app.app_context():
        assert organizations.ensure_personal(Actor.operator(), user.id) == []
        assert organizations.list_own(factories.make_actor(user)) == []


def test_somebody_who_does_not_exist_gets_nothing(context: Flask) -> None:
    assert organizations.ensure_personal(Actor.operator(), UUID(int=1)) == []


@pytest.mark.both_databases
def test_requests_at_once_make_exactly_one(app: Flask) -> None:
    user_ids = [factories.make_user(name="Ann", personal=False).id for _ in range(2)]
    errors: list[BaseException] = []

    def ask(user_id: UUID) -> None:
        with app.app_context():
            try:
                assert len(organizations.ensure_personal(Actor.operator(), user_id)) == 1
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=ask, args=(user_id,)) for user_id in user_ids * 50]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with app.app_context():
        row_security.enter(organization_ids=user_ids)
        assert len(list(db.session.scalars(db.select(Organization)))) == len(list(db.session.scalars(db.select(Membership)))) == 2
        assert len(list(db.session.scalars(db.select(AuditEvent).where(AuditEvent.action == "organization.created")))) == 2
