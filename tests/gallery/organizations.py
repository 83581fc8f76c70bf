"""Organizations, their members, invitations and settings."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from blueprints.html import invitation_cards, words
from blueprints.html.forms import DeleteForm
from blueprints.html.invitation_cards import Card
from blueprints.html.leafing import Pager
from blueprints.pages.organizations.invitations import InviteForm
from blueprints.pages.organizations.members import RoleForm
from blueprints.pages.organizations.orgs import OrganizationForm
from blueprints.pages.organizations.settings import Limits
from infra import clock
from services.organizations.invitations import InvitationRow
from services.organizations.members import Person
from services.organizations.organizations import Contents, OrganizationRow
from services.organizations.received_invitations import ReceivedInvitation, Waiting
from services.pagination.numbered_pages import NumberedPage
from tests.gallery.page import ID, OTHER_ID, Page, account_page, organization_page, profile

LINK = "https://id.northwind.dev/invitations/gpi_Zk3uQ7wVn0bT5xH2mYc9LrPsD4aJfE6gKoIiUtWvNyM"
ALONE = Pager(None, None, "")


def pages(name: str | None) -> list[Page]:
    return [*_organizations(name), *_members(name), *_invitations(name), *_settings(name)]


def _organizations(name: str | None) -> list[Page]:
    moment = clock.now()
    rows = [
        OrganizationRow(OTHER_ID, "northwind", name if name is not None else "Northwind", "owner", {}, moment, member_count=14),
        OrganizationRow(UUID(int=4), "fjord-labs", name if name is not None else "Fjord Labs", "admin", {}, moment, member_count=3),
        OrganizationRow(ID, "maya-kovac", name if name is not None else "Maya Kovač", "member", {}, moment, member_count=1),
    ]
    gone = OrganizationRow(UUID(int=5), "pilot", name if name is not None else "Pilot", "owner", {}, moment, moment - timedelta(days=2), 4)
    mine = replace(gone, id=UUID(int=6), slug="trial", name=name if name is not None else "Trial", role="member")
    wrong = OrganizationForm(data={"name": name if name is not None else "", "slug": "northwind"})
    wrong.name.errors, wrong.slug.errors = ["Enter a name"], ["northwind is taken. Try another"]
    return [
        account_page("orgs", "organizations/list.html", "orgs", name, organizations=rows, deleted=[gone, mine], card=Card()),
        _with_deleted(account_page("account-organization-deleted", "account/apps.html", "apps", name, apps=[]), (gone, mine)),
        account_page("orgs-none", "organizations/list.html", "orgs", name, organizations=[], deleted=[], card=Card()),
        account_page(
            "orgs-invited", "organizations/list.html", "orgs", name, organizations=rows, deleted=[], card=card(name, 2, all_of_them=True)
        ),
        account_page("orgs-none-invited", "organizations/list.html", "orgs", name, organizations=[], deleted=[], card=card(name, 1)),
        account_page("orgs-fifty", "organizations/list.html", "orgs", name, organizations=rows * 17, deleted=[], card=Card()),
        account_page("org-new", "organizations/new.html", "orgs", name, form=OrganizationForm()),
        account_page("org-new-wrong", "organizations/new.html", "orgs", name, form=wrong),
    ]


def card(name: str | None, count: int, *, all_of_them: bool = False) -> Card:
    """What waits for the person: `count` invitations, two of them to organizations of one name."""
    names = ["Fjord Labs", "Northwind", "Northwind", "Harbor Collective for Open Water", "Pilot", "Trial", "Atelier"]
    found = [
        ReceivedInvitation(
            UUID(int=20 + number),
            UUID(int=40 + number),
            f"org-{number}",
            names[number] if name is None else name,
            ("member", "admin", "owner")[number % 3],
            ("maya@northwind.dev", "maya@fjord.example")[number % 2] if name is None else name,
            "Tom Halvorsen" if name is None else name,
            clock.now() + timedelta(days=number + 1),
        )
        for number in range(count)
    ]
    waiting = Waiting(found, has_more=all_of_them and count > invitation_cards.ROWS)
    return invitation_cards.card_of(waiting, profile(name), [], rows=None if all_of_them else invitation_cards.ROWS)


def _with_deleted(page: Page, deleted: tuple[OrganizationRow, ...]) -> Page:
    """As somebody sees it whose organizations these are."""
    return replace(page, values={**page.values, "frame": replace(page.values["frame"], deleted=deleted, has_more=True)})


def _form(name: str | None) -> OrganizationForm:
    form = OrganizationForm(data={"name": name if name is not None else "Northwind", "slug": "northwind"})
    form.slug.description = (
        "Links and CLI profiles that use northwind stop working when you change it. Nobody else can take it, and you can change it five"
        " times in 30 days."
    )
    return form


def _person(number: int, name: str | None, own: str, role: str, *, reader: str = "owner", stays: str = "", off: bool = False) -> Person:
    shown, email = (name, name) if name is not None else (own, own.split()[0].lower() + "@northwind.dev")
    joined = clock.now() - timedelta(days=9 * number, hours=number)
    user_id = ID if number == 1 else UUID(int=number)
    return Person(
        user_id, email, shown, role, joined, off, stays, number == 1, reader == "owner" or (reader == "admin" and role != "owner")
    )


def _people(name: str | None, reader: str = "owner", stays: str = "") -> list[Person]:
    return [
        _person(1, name, "Maya Kovač", reader, reader=reader, stays=stays),
        _person(2, name, "Tom Halvorsen", "owner", reader=reader, off=bool(stays)),
        _person(3, name, "Ines Rocha", "admin", reader=reader),
        _person(4, name, "Daniel Okafor", "member", reader=reader),
        _person(5, name, "Lena Brandt", "member", reader=reader),
    ]


def _list(name: str | None, people: list[Person], total: int = 0, **more: object) -> dict[str, object]:
    page = NumberedPage(people, 1, total or len(people))
    text = {"page": page, "pager": ALONE, "text": "", "wanted_role": "", "member_count": page.total, "invitation_count": 2}
    return {**text, **more}


def _members(name: str | None) -> list[Page]:
    leafing = Pager("/orgs/northwind/members", "/orgs/northwind/members?page=3", "Showing 50 of 130")
    found = {"text": name if name is not None else "nobody", "wanted_role": "admin"}
    lena = _person(5, name, "Lena Brandt", "member")
    tom = _person(2, name, "Tom Halvorsen", "owner", off=True)
    last = _person(1, name, "Maya Kovač", "owner", stays="last_owner")
    founder = "Created the organization"
    invited = words.filled("Invited by %(name)s", name=words.untrusted("Tom Halvorsen" if name is None else name))
    pages = {
        "members": ("owner", _list(name, _people(name))),
        "members-last-owner": ("owner", _list(name, _people(name, stays="last_owner"))),
        "members-admin": ("admin", _list(name, _people(name, "admin"))),
        "members-member": ("member", _list(name, _people(name, "member"), invitation_count=None)),
        "members-one": ("owner", _list(name, _people(name, stays="personal")[:1], invitation_count=0)),
        "members-fifty": ("owner", _list(name, _people(name) * 10, 130, pager=leafing)),
        "members-nothing": ("owner", _list(name, [], **found)),
    }
    role = RoleForm(data={"role": "member"})
    role.offer("member", "owner")
    wrong = RoleForm(data={"role": ""})
    wrong.offer("admin", "admin")
    wrong.role.errors = ["Choose a role"]
    return [
        *(organization_page(key, "members/list.html", "members", name, role=who, **values) for key, (who, values) in pages.items()),
        organization_page(
            "member", "members/member.html", "members", name, person=lena, how=invited, tells_activity=True, last_active=clock.now()
        ),
        organization_page("member-off", "members/member.html", "members", name, person=tom, how="", tells_activity=True, last_active=None),
        organization_page(
            "member-self",
            "members/member.html",
            "members",
            name,
            role="member",
            person=_person(1, name, "Maya Kovač", "member"),
            how="Imported by an operator",
            tells_activity=False,
            last_active=None,
        ),
        organization_page(
            "member-last-owner", "members/member.html", "members", name, person=last, how=founder, tells_activity=True, last_active=None
        ),
        organization_page("member-role", "members/role.html", "members", name, person=lena, form=role),
        organization_page("member-role-wrong", "members/role.html", "members", name, role="admin", person=lena, form=wrong),
        organization_page("member-role-last-owner", "members/role.html", "members", name, person=last, form=role),
        organization_page("member-remove", "members/remove.html", "members", name, person=lena),
        organization_page(
            "member-remove-personal", "members/remove.html", "members", name, person=_person(2, name, "Tom", "owner", stays="personal")
        ),
        organization_page("leave", "organizations/leave.html", "settings", name, role="member", person=lena),
        organization_page("leave-last-owner", "organizations/leave.html", "settings", name, person=last),
    ]


def _invitation(number: int, name: str | None, role: str, days: int, answer: str = "") -> InvitationRow:
    email, inviter = (name, name) if name is not None else (f"person{number}@contractor.example", "Tom Halvorsen")
    moment = clock.now()
    return InvitationRow(UUID(int=number), email, role, inviter, moment - timedelta(days=7), moment + timedelta(days=days), answer)


def _invitations(name: str | None) -> list[Page]:
    rows = [
        _invitation(1, name, "member", 6),
        _invitation(2, name, "owner", 3),
        _invitation(3, name, "admin", -1),
        _invitation(4, name, "member", 5, "declined"),
        _invitation(5, name, "member", 5, "accepted"),
    ]
    form, wrong = (
        InviteForm(data={"role": "member"}),
        InviteForm(data={"role": "member", "emails": name if name is not None else "lena@\nx"}),
    )
    wrong.emails.errors = [f"Line {number}: enter an email address like name@example.com" for number in (1, 2)]

    def listed(key: str, found: list[InvitationRow], pager: Pager = ALONE, role: str = "owner") -> Page:
        pending = sum(row.state == "pending" for row in found)
        values = {"page": NumberedPage(found, 1, len(found)), "pager": pager, "member_count": 14, "invitation_count": pending}
        return organization_page(key, "invitations/list.html", "members", name, role=role, **values)

    return [
        listed("invitations", rows),
        listed("invitations-admin", rows, role="admin"),
        listed("invitations-none", []),
        listed("invitations-fifty", rows * 10, Pager(None, "/orgs/northwind/invitations?page=2", "Showing 50 of 51")),
        organization_page("invite", "invitations/new.html", "members", name, form=form, sends_mail=True),
        organization_page("invite-wrong", "invitations/new.html", "members", name, form=wrong, sends_mail=False),
        organization_page("invitation-link", "invitations/link.html", "members", name, invitation=rows[0], url=LINK),
        organization_page("invitation-link-seen", "invitations/link.html", "members", name, invitation=rows[0], url=None),
        organization_page("invitation-revoke", "invitations/revoke.html", "members", name, invitation=rows[0]),
    ]


def _settings(name: str | None) -> list[Page]:
    form, wrong = _form(name), _form(name)
    typed, mistyped = DeleteForm.asking_for("northwind"), DeleteForm.asking_for("northwind")
    wrong.slug.errors = ["Use lower case letters, numbers and hyphens, 3 to 40 characters"]
    mistyped.typed.data = "north"
    mistyped.typed.errors = ["That doesn’t match. Type northwind"]
    here = {"form": form, "is_personal": False, "limits": Limits("7 days", "30 minutes", "30 days", "90 days", "7 days", "365 days")}
    ending = {"contents": Contents(14, 3, 5, 9), "is_personal": False}
    return [
        organization_page("settings", "organizations/settings.html", "settings", name, **here),
        organization_page("settings-wrong", "organizations/settings.html", "settings", name, **{**here, "form": wrong}),
        organization_page("settings-personal", "organizations/settings.html", "settings", name, **{**here, "is_personal": True}),
        organization_page("settings-member", "organizations/settings.html", "settings", name, role="member", **here),
        organization_page("org-delete", "organizations/delete.html", "settings", name, form=typed, **ending),
        organization_page("org-delete-wrong", "organizations/delete.html", "settings", name, form=mistyped, **ending),
        organization_page(
            "org-delete-personal", "organizations/delete.html", "settings", name, form=typed, **{**ending, "is_personal": True}
        ),
    ]
