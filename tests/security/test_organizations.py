"""An organization's name and the address it invites are the inviter's own words: what they can make of the letter, and of the log."""

import logging
from typing import Any

import pytest
from flask import Flask

from tests import factories
from tests.api.company import SAME_ORIGIN, Company
from tests.api.test_invitations import INVITATIONS, invite
from tests.fakes.smtp import FakeSmtp


@pytest.fixture
def company(make_app: Any, smtp: FakeSmtp) -> Company:
    return Company(make_app(mail_url=smtp.url, rate_limits="on"))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (
            "=?utf-8?q?x=0D=0ABcc=3A_eve=40evil.example=0D=0A=0D=0AYour_account_is_locked?=",
            "utf-8 q x 0D 0ABcc 3A eve 40evil. example 0D 0A 0D 0AYour a…",
        ),
        ("=?utf-8?b?eA0KQmNjOiBldmVAZXZpbC5leGFtcGxl?=", "utf-8 b eA0KQmNjOiBldmVAZXZpbC5leGFtcGxl"),
        ("Your account is locked: https://evil.example/x", "Your account is locked https evil. example x"),
        ("Acme” on Gatepost. “Ring +1 900 555 0100", "Acme on Gatepost. Ring …"),
        ("//evil.example or eve@evil.example", "evil. example or eve evil. example"),
        ("🚀", ""),
    ],
)
@pytest.mark.parametrize("language", [None, "de"])
def test_an_organizations_name_is_quoted_and_adds_no_header_and_no_link(
    company: Company, smtp: FakeSmtp, name: str, shown: str, language: str | None
) -> None:
    assert company.owner.send("PATCH", "/orgs/acme", {"name": name}).status_code == 200
    if language:
        factories.make_user(email="ann@example.com", language=language)
    assert invite(company, "ann@example.com").status_code == 201
    (letter,) = smtp.letters
    assert letter["Bcc"] is None
    assert letter["Subject"] == ("Einladung in eine Organisation" if language else "Invitation to an organization")
    if language:
        named = f"„{shown}“" if shown else "einer Organisation"
        expected = f"„Owner“ hat dich zu {named} bei Gatepost auf 127.0.0.1:8000 eingeladen."
    else:
        named = f"“{shown}”" if shown else "an organization"
        expected = f"“Owner” invited you to {named} on Gatepost at 127.0.0.1:8000."
    assert letter.get_content().splitlines()[0] == expected
    assert smtp.recipients == ["ann@example.com"]


def test_an_inviters_name_is_quoted_and_adds_no_link(company: Company, smtp: FakeSmtp) -> None:
    for name in ("https://evil.example/" + "x" * 60, "🚀"):
        assert company.owner.send("PATCH", "/user", {"name": name}).status_code == 200
        assert invite(company, "ann@example.com").status_code in (200, 201)
    first, second = (letter.get_content().splitlines()[0] for letter in smtp.letters)
    assert first.startswith("“https evil. example " + "x" * 39 + "…” invited you to “Acme”")
    assert second.startswith("Someone invited you to “Acme”")


@pytest.mark.parametrize("email", ["a@=?utf-8?q?b.example=2C_c=40d.example?=", "=?utf-8?q?a=0D=0ABcc=3A_b=40c.example?=@d.example"])
def test_an_address_is_one_address(company: Company, smtp: FakeSmtp, email: str) -> None:
    refused = invite(company, email)
    assert (refused.status_code, list(refused.json["fields"])) == (422, ["email"])
    assert smtp.recipients == []


def test_revoking_and_inviting_again_sends_no_more_letters_to_an_address(company: Company, smtp: FakeSmtp) -> None:
    answers = []
    for _ in range(7):
        answers.append(invite(company, "ann@example.com"))
        for row in company.owner.get(INVITATIONS).json["items"]:
            company.owner.send("DELETE", f"{INVITATIONS}/{row['id']}")
    assert [answer.status_code for answer in answers] == [201] * 5 + [429] * 2
    assert len(smtp.letters) == 5


def test_text_that_cannot_be_encoded_is_not_repeated_in_the_log(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    body = {"name": "App", "slug": "app", "organization": "\ud800 a word that somebody pasted"}
    with caplog.at_level(logging.INFO):
        refused = Company(app).owner.http.post("/api/v1/projects", json=body, headers=SAME_ORIGIN)
    assert refused.status_code == 400
    assert "pasted" not in "".join(str(record.__dict__) for record in caplog.records)


@pytest.mark.parametrize("change", ["demoted", "removed", "left"])
def test_who_loses_the_power_to_invite_comes_back_by_no_invitation_of_their_own(app: Flask, change: str) -> None:
    company = Company(app)
    second = company.person("second@example.com", name="Second")
    factories.make_membership(company.acme, second.user, "owner")
    mine = second.send("POST", INVITATIONS, {"email": "me-again@example.com", "role": "owner"})
    other = second.send("POST", INVITATIONS, {"email": "colleague@example.com", "role": "member"})
    who, member = (second if change == "left" else company.owner), f"/orgs/acme/members/{second.id}"
    if change == "demoted":
        assert who.send("PATCH", member, {"role": "admin"}).status_code == 200
    else:
        assert who.send("DELETE", member).status_code == 204
    left = [row["id"] for row in company.owner.get(INVITATIONS).json["items"]]
    assert mine.json["id"] not in left
    assert (other.json["id"] in left) == (change == "demoted")  # an admin still invites members
