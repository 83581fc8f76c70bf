"""Inviting through the pages: the list, many at once, sending again, revoking."""

import re
from typing import Any

import pytest
from flask import Flask

from infra import clock, mail_queue
from infra.ids import uuid7
from tests import factories, owner
from tests.api.company import Company
from tests.fakes.smtp import FakeSmtp
from tests.pages.forms import counted, post, said

pytestmark = pytest.mark.usefixtures("database")

INVITATIONS = "/orgs/acme/invitations"
NEW = f"{INVITATIONS}/new"


@pytest.fixture
def app(make_app: Any, smtp: FakeSmtp) -> Flask:
    return make_app(mail_url=smtp.url, rate_limits="on")


@pytest.fixture
def company(app: Flask) -> Company:
    return Company(app)


def _invite(company: Company, email: str = "lena@example.com", role: str = "member") -> str:
    """By the API; the invitation's address on the pages."""
    answer = company.owner.send("POST", INVITATIONS, {"email": email, "role": role})
    assert answer.status_code == 201, answer.text
    return f"{INVITATIONS}/{answer.json['id']}"


@pytest.mark.parametrize("path", ["", "/new", f"/{uuid7()}/revoke"])
def test_only_who_invites_opens_the_pages(company: Company, path: str) -> None:
    there = 404 if path.endswith("revoke") else 200
    statuses = [
        person.http.get(INVITATIONS + path).status_code for person in (company.owner, company.admin, company.member, company.stranger)
    ]
    assert statuses == [there, there, 403, 404]


def test_many_are_invited_at_once_and_the_result_is_counted(company: Company, app: Flask, smtp: FakeSmtp) -> None:
    emails = " ann@example.com\n\nBob@Example.com\r\nmember@example.com\nANN@example.com\ncleo@example.com\n"
    answer = post(company.admin.http, NEW, emails=emails, role="admin")
    assert (answer.status_code, answer.location) == (303, INVITATIONS)
    page = said(company.admin.http.get(INVITATIONS))
    assert "Sending 3 invitations. 1 was already a member." in page
    assert "Members 3 Invitations 3" in page
    assert sorted(smtp.recipients) == ["Bob@Example.com", "ann@example.com", "cleo@example.com"]
    assert owner.actions(app).count("invitation.created") == 3


def test_one_is_named_and_a_member_alone_is_only_said(company: Company, smtp: FakeSmtp) -> None:
    post(company.owner.http, NEW, emails="ann@example.com", role="member")
    assert "Sending the invitation to ann@example.com." in said(company.owner.http.get(INVITATIONS))
    post(company.owner.http, NEW, emails="member@example.com\nadmin@example.com", role="member")
    assert "2 were already members." in said(company.owner.http.get(INVITATIONS))
    assert smtp.recipients == ["ann@example.com"]


def test_each_bad_line_is_named_and_nothing_is_sent_or_lost(company: Company, smtp: FakeSmtp) -> None:
    emails = "ann@example.com\n\nlena@\nbob@example.com\n=?utf-8?q?a=0D=0ABcc=3A_b=40c.example?=@d.example"
    answer = post(company.owner.http, NEW, emails=emails, role="admin")
    text = said(answer)
    assert answer.status_code == 422
    assert "<title>Error: Invite people" in answer.text
    assert text.startswith("There is a problem Line 3: enter an email address like name@example.com Line 5: enter an email")
    for line in ("ann@example.com", "lena@", "bob@example.com"):
        assert line in answer.text.partition("<textarea")[2].partition("</textarea>")[0]
    assert 'value="admin" selected' in answer.text
    assert smtp.recipients == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"emails": " \n "}, "Enter at least one email address"),
        ({"emails": "\n".join(f"p{number}@example.com" for number in range(51))}, "Enter 50 addresses or fewer"),
    ],
)
def test_none_and_too_many_are_refused(company: Company, smtp: FakeSmtp, fields: dict[str, str], words: str) -> None:
    answer = post(company.owner.http, NEW, role="member", **fields)
    assert answer.status_code == 422
    assert words in said(answer)
    assert smtp.recipients == []


def test_nobody_is_invited_as_an_owner_here(company: Company, smtp: FakeSmtp) -> None:
    assert 'value="owner"' not in company.owner.http.get(NEW).text
    assert post(company.owner.http, NEW, emails="ann@example.com", role="owner").status_code == 422
    assert smtp.recipients == []


def test_fifty_letters_ask_the_database_little_more_than_five(company: Company, app: Flask) -> None:
    counts = []
    for number in (5, 50):
        emails = "\n".join(f"p{number}-{index}@example.com" for index in range(number))
        with counted(app) as statements:
            assert post(company.owner.http, NEW, emails=emails, role="member").status_code == 303
        counts.append(len(statements))
    assert counts[1] <= counts[0] + 2


def test_the_form_sent_twice_sends_once(company: Company, smtp: FakeSmtp) -> None:
    for _ in range(2):
        answer = post(company.owner.http, NEW, emails="ann@example.com", role="member", form_id="one-and-the-same-form")
        assert answer.location == INVITATIONS
    assert "Nothing changed." in said(company.owner.http.get(INVITATIONS))
    assert smtp.recipients == ["ann@example.com"]


def test_too_many_letters_keep_what_was_typed_and_send_nothing(company: Company, smtp: FakeSmtp) -> None:
    for _ in range(5):
        post(company.owner.http, NEW, emails="ann@example.com", role="member")
    answer = post(company.owner.http, NEW, emails="bob@example.com\nann@example.com", role="member")
    assert answer.status_code == 429
    assert "Nothing was sent" in said(answer)
    assert "bob@example.com" in answer.text
    assert smtp.recipients == ["ann@example.com"] * 5


def test_a_mail_server_that_is_away_loses_no_invitation(make_app: Any) -> None:
    company = Company(make_app(mail_url="smtp://127.0.0.1:1"))
    assert "Each person gets a one-time link, valid for 7 days. They must sign in with this address." in said(company.owner.http.get(NEW))
    assert post(company.owner.http, NEW, emails="ann@example.com\nbob@example.com", role="member").status_code == 303
    page = said(company.owner.http.get(INVITATIONS))
    assert "Sending 2 invitations." in page
    assert "bob@example.com" in page


def test_when_too_many_letters_wait_the_page_says_that_none_is_sent(
    company: Company, smtp: FakeSmtp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_queue._queue, "_limit", 1)
    post(company.owner.http, NEW, emails="ann@example.com\nbob@example.com", role="member")
    page = said(company.owner.http.get(INVITATIONS))
    assert "Invited 2 people, but too many emails are waiting to be sent. Resend these invitations later." in page
    assert "ann@example.com" in page.partition("later.")[2]
    monkeypatch.setattr(mail_queue._queue, "_limit", 0)
    invitation = _invite(company)
    assert post(company.owner.http, INVITATIONS, f"{invitation}/resend").location == INVITATIONS
    page = said(company.owner.http.get(INVITATIONS))
    assert "Invited lena@example.com, but too many emails are waiting to be sent. Resend this invitation later." in page
    assert smtp.recipients == []
    monkeypatch.undo()
    post(company.owner.http, INVITATIONS, f"{invitation}/resend")
    assert smtp.recipients == ["lena@example.com"]


def test_without_mail_the_page_says_so_before_and_after(make_app: Any) -> None:
    company = Company(make_app())
    form = said(company.owner.http.get(NEW))
    assert "Email isn’t set up, so no invitation is sent." in form
    assert "or give them the link" in form
    assert "Each person gets" not in form
    post(company.owner.http, NEW, emails="ann@example.com", role="member")
    page = said(company.owner.http.get(INVITATIONS))
    assert "Invited ann@example.com. Email isn’t set up, so nothing was sent." in page
    assert "Copy link" in page.partition("ann@example.com Member")[2], "the way that is named is there"


def test_the_list_says_who_invited_whom_as_what_until_when(company: Company) -> None:
    assert "No invitations." in said(company.owner.http.get(INVITATIONS))
    _invite(company)
    page = said(company.owner.http.get(INVITATIONS))
    assert "lena@example.com Member Invited by Owner Pending" in page
    clock.move(8 * 24 * 3600)
    factories.sign_in(company.owner.http, company.owner.user)
    page = company.owner.http.get(INVITATIONS)
    assert "Expired" in said(page)
    assert "Actions for" not in page.text


def test_the_list_says_what_people_answered_and_counts_those_who_have_not(company: Company) -> None:
    for name, act in (("ann", "accept"), ("bob", "decline"), ("cleo", "")):
        invitation = _invite(company, f"{name}@example.com").rpartition("/")[2]
        if act:
            company.person(f"{name}@example.com").send("POST", f"/invitations/{invitation}/{act}")
    page = company.owner.http.get(INVITATIONS)
    assert "Members 4 Invitations 1" in said(page)
    assert "cleo@example.com Member Invited by Owner Pending" in said(page)
    assert "bob@example.com Member Invited by Owner Declined" in said(page)
    assert "ann@example.com Member Invited by Owner Accepted" in said(page)
    assert page.text.count("Actions for") == 1
    assert "Invitations 1" in said(company.owner.http.get("/orgs/acme/members"))


def test_a_link_to_hand_over_is_new_shown_once_and_sends_no_letter(company: Company, smtp: FakeSmtp, app: Flask) -> None:
    invitation = _invite(company)
    first = re.search(r"gpi_[\w-]+", smtp.letters[0].get_content())[0]  # type: ignore[index]
    assert f'formaction="{invitation}/link"' in company.owner.http.get(INVITATIONS).text
    assert post(company.owner.http, INVITATIONS, f"{invitation}/link").location == f"{invitation}/link"
    page = company.owner.http.get(f"{invitation}/link")
    link = re.search(r"http://127\.0\.0\.1:8000/invitations/(gpi_[\w-]+)", page.text)
    assert link
    assert link[1] != first
    assert "For lena@example.com ." in said(page)
    again = company.owner.http.get(f"{invitation}/link")
    assert "gpi_" not in again.text
    assert "You’ve already seen this link." in said(again)
    assert len(smtp.letters) == 1
    assert company.stranger.http.get(f"/invitations/{first}").status_code == 410
    lena = company.person("lena@example.com")
    assert lena.http.get(f"/invitations/{link[1]}").status_code == 200
    assert owner.actions(app).count("invitation.link_created") == 1


def test_a_link_of_a_page_is_for_who_may_invite_and_for_pending_ones(company: Company) -> None:
    invitation = _invite(company, role="owner")
    for person, status in ((company.admin, 403), (company.member, 403), (company.stranger, 404)):
        assert post(person.http, "/orgs/new", f"{invitation}/link").status_code == status
        assert person.http.get(f"{invitation}/link").status_code == status
    company.owner.send("DELETE", invitation)
    assert post(company.owner.http, NEW, f"{invitation}/link").location == INVITATIONS
    assert "Nothing changed." in said(company.owner.http.get(INVITATIONS))
    assert company.owner.http.get(f"{invitation}/link").status_code == 404


def test_the_list_asks_as_much_for_fifty_as_for_three(company: Company, app: Flask) -> None:
    counts = []
    for number in (3, 47):
        emails = "\n".join(f"p{number}-{index}@example.com" for index in range(number))
        post(company.owner.http, NEW, emails=emails, role="member")
        company.owner.http.get(INVITATIONS)
        with counted(app) as statements:
            page = company.owner.http.get(INVITATIONS)
        counts.append(len(statements))
    assert page.text.count("Actions for") == 50
    assert counts[0] == counts[1]


def test_sending_again_makes_a_new_link(company: Company, smtp: FakeSmtp) -> None:
    invitation = _invite(company)
    assert f'formaction="{invitation}/resend"' in company.owner.http.get(INVITATIONS).text
    assert post(company.owner.http, INVITATIONS, f"{invitation}/resend").location == INVITATIONS
    assert "Sending the invitation to lena@example.com." in said(company.owner.http.get(INVITATIONS))
    first, second = (re.search(r"gpi_[\w-]+", letter.get_content())[0] for letter in smtp.letters)  # type: ignore[index]
    assert first != second


def test_revoking_is_asked_and_ends_the_link(company: Company, smtp: FakeSmtp, app: Flask) -> None:
    invitation = _invite(company)
    asked = said(company.owner.http.get(f"{invitation}/revoke"))
    assert "Revoke the invitation of lena@example.com" in asked
    assert asked.endswith("Keep it Revoke invitation")
    assert post(company.owner.http, f"{invitation}/revoke").location == INVITATIONS
    assert "Invitation revoked." in said(company.owner.http.get(INVITATIONS))
    token = re.search(r"gpi_[\w-]+", smtp.letters[0].get_content())
    assert token
    assert company.stranger.http.get(f"/invitations/{token[0]}").status_code == 410


def test_what_is_gone_meanwhile_changes_nothing(company: Company) -> None:
    invitation = _invite(company)
    company.owner.send("DELETE", invitation)
    assert company.owner.http.get(f"{invitation}/revoke").status_code == 404
    for act in ("resend", "revoke"):
        assert post(company.owner.http, NEW, f"{invitation}/{act}").location == INVITATIONS
        assert "Nothing changed." in said(company.owner.http.get(INVITATIONS))


def test_an_admin_leaves_an_owners_invitation_alone(company: Company, smtp: FakeSmtp) -> None:
    invitation = _invite(company, role="owner")
    assert "Actions for" not in company.admin.http.get(INVITATIONS).text
    assert company.admin.http.get(f"{invitation}/revoke").status_code == 403
    for act in ("resend", "revoke"):
        assert post(company.admin.http, NEW, f"{invitation}/{act}").status_code == 403
    assert len(smtp.letters) == 1


def test_nothing_is_sent_or_revoked_by_who_may_not_or_without_a_token(company: Company, smtp: FakeSmtp) -> None:
    invitation = _invite(company)
    for path in (NEW, f"{invitation}/resend", f"{invitation}/revoke"):
        assert company.owner.http.post(path, data={"emails": "x@example.com", "role": "member"}).status_code == 400
        for person, status in ((company.member, 403), (company.stranger, 404)):
            assert post(person.http, "/orgs/new", path, emails="x@example.com", role="member").status_code == status
    assert smtp.recipients == ["lena@example.com"]
