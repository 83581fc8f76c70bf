"""`/orgs/<slug>/audit`: who did what in an organization, newest first; one event; exports of what is filtered."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, Literal
from urllib.parse import urlencode

from flask import Blueprint, g, request
from flask_babel import LazyString, format_datetime, lazy_gettext
from markupsafe import Markup
from wtforms import SelectField, StringField
from wtforms.validators import Optional, ValidationError

from blueprints import exports
from blueprints.html import audit_sentences, frame, words
from blueprints.html.forms import Form
from services.audit import audit_events, audit_names
from services.audit.audit import KNOWN_AS
from services.audit.audit_events import Filters

blueprint = Blueprint("audit_events", __name__)

PAGE = 50
ORGANIZATION_KINDS = ("people", "agents", "credentials", "connections", "apps", "organization")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_WHO_LENGTH = 200
_EXPORTS: dict[str, tuple[str, Callable[[Iterable[dict[str, Any]]], Iterator[str]]]] = {
    "csv": ("text/csv", audit_events.csv_lines),
    "jsonl": ("application/x-ndjson", audit_events.json_lines),
}


def _day_of(text: str) -> date | None:
    """A day that is still one in every time zone."""
    try:
        day = date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        return None
    return day if day and 1 < day.year < 9999 else None


def _is_a_day(_form: Form, field: StringField) -> None:
    if _day_of(field.data) is None:
        raise ValidationError(lazy_gettext("Enter a date like 2026-11-21"))  # type: ignore[arg-type]  # a lazy text


class FilterForm(Form):
    """In the address: it changes nothing, so it needs no token. Days are of the person's zone, both included."""

    class Meta(Form.Meta):
        csrf = False

    who = StringField(lazy_gettext("Who"), filters=[lambda text: words.plain(text, _WHO_LENGTH)])
    what = SelectField(lazy_gettext("What kind"), default="")
    first_day = StringField(lazy_gettext("From"), [Optional(), _is_a_day], id="first_day", name="from")
    organization = StringField(lazy_gettext("Organization"), filters=[lambda text: words.plain(text, _WHO_LENGTH)])
    last_day = StringField(lazy_gettext("To"), [Optional(), _is_a_day], id="last_day", name="to")

    @classmethod
    def of_address(cls, kinds: Iterable[str], *, is_instance: bool = False) -> "FilterForm":
        """As the address of this request says. is_instance: of the events of every organization."""
        form = cls(request.args)
        form.what.choices = choices(kinds)
        if not is_instance:
            del form.organization
        return form

    @property
    def query(self) -> dict[str, str]:
        """What is filtered, for addresses."""
        return {field.name: field.data for field in self if field.data}

    def filters(self, zone: tzinfo, find_actors: Callable[[str], tuple[str, ...]]) -> Filters:
        """Of a form that validates. find_actors: ids of those whom a text means."""
        first, last = (_day_of(field.data or "") for field in (self.first_day, self.last_day))
        return Filters(
            actors=find_actors(self.who.data) if self.who.data else None,
            kinds=audit_sentences.KINDS[self.what.data][1] if self.what.data else (),
            since=_midnight(first, zone) if first else None,
            until=_midnight(last + timedelta(days=1), zone) if last else None,
            organization=self.organization.data or None if "organization" in self else None,
        )


def choices(kinds: Iterable[str]) -> list[tuple[str, LazyString]]:
    return [("", lazy_gettext("Everything")), *((kind, audit_sentences.KINDS[kind][0]) for kind in kinds)]


@dataclass(frozen=True)
class Pages:
    """One page of events, and the addresses of the pages beside it."""

    events: list[dict[str, Any]]
    previous_href: str | None = None
    next_href: str | None = None


@blueprint.get("/orgs/<slug>/audit")
def index(slug: str) -> Any:
    return list_page(slug)


def list_page(slug: str | None) -> Any:
    """The list of an organization; without a slug, here and below, that of the instance."""
    form = _form(slug)
    filters = _filters(form, slug)
    pages = Pages([]) if filters is None else _pages(form, slug, filters)
    names = audit_names.names_of(pages.events)
    href = _href(slug)
    _say_who(form, pages.events)
    page = _render(
        "audit/list.html",
        slug,
        form=form,
        rows=rows_of(pages.events, names, href),
        places=places_of(pages.events, names, href) if slug is None else None,
        pages=pages,
        audit_href=href,
        export_query=_query_string(form.query),
    )
    return (page, 422) if filters is None else page


@blueprint.get("/orgs/<slug>/audit/<event_id>")
def detail(slug: str, event_id: str) -> str:
    return event_page(slug, event_id)


def event_page(slug: str | None, event_id: str) -> str:
    event = audit_events.get(g.actor, slug, event_id)
    names = audit_names.names_of([event])
    return _render("audit/event.html", slug, **event_values(event, names, _href(slug), frame.zone(), is_instance=slug is None))


@blueprint.get("/orgs/<slug>/audit.csv")
def as_csv(slug: str) -> Any:
    return export(slug, "csv")


@blueprint.get("/orgs/<slug>/audit.jsonl")
def as_json_lines(slug: str) -> Any:
    return export(slug, "jsonl")


def export(slug: str | None, ending: Literal["csv", "jsonl"]) -> Any:
    """What is filtered, all of it; a filter that cannot be read is said on the page."""
    filters = _filters(_form(slug), slug)
    if filters is None:
        return list_page(slug)
    events = audit_events.stream(g.actor, slug, filters)
    mimetype, lines = _EXPORTS[ending]
    return exports.answer_file(lines(events), mimetype=mimetype, filename=f"audit.{ending}")


# --- what the pages show ----------------------------------------------------------------------------------------------


def event_values(
    event: dict[str, Any], names: audit_names.Names, audit_href: str, zone: tzinfo, *, is_instance: bool = False
) -> dict[str, Any]:
    """The values of audit/event.html. is_instance: it says whose organization it was in."""
    at = at_of(event["at"])
    changes = audit_sentences.changes(event)
    told_of = {KNOWN_AS} | ({"before", "after", "role"} if changes else set())
    return {
        "event": event,
        "told": audit_sentences.told(event, names, audit_href=None),
        "actor": audit_sentences.actor_name(event, names, audit_href=audit_href),
        "place": places_of([event], names, audit_href)[0] if is_instance else "",
        "moments": (_exactly(at, zone), _exactly(at, UTC)),
        "changes": changes,
        "details": sorted((words.plain(name), _shown(value)) for name, value in event["details"].items() if name not in told_of),
        "raw": json.dumps(event, indent=2),
        "audit_href": audit_href,
    }


def at_of(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def rows_of(events: list[dict[str, Any]], names: audit_names.Names, audit_href: str) -> list[tuple[audit_sentences.Told, datetime]]:
    """Each event with its moment."""
    return [(audit_sentences.told(event, names, audit_href=audit_href), at_of(event["at"])) for event in events]


def places_of(events: list[dict[str, Any]], names: audit_names.Names, audit_href: str) -> list[Markup]:
    """The organization of each event with its slug, as others of the instance may have its name, leading to all of its events; one that
    is gone by how its id begins."""
    return [_place(event["organization"], names, audit_href) if event["organization"] else Markup("") for event in events]


def _place(id: str, names: audit_names.Names, audit_href: str) -> Markup:
    slug, name = names.organizations.get(id, (id, ""))
    gone = Markup('<code class="nowrap" translate="no" dir="ltr">{}…</code>').format(id[:8])
    shown = gone if slug == id else words.untrusted(f"{words.plain(name)} ({slug})", length=words.LABEL_LENGTH)
    return Markup('<a href="{}?organization={}">{}</a>').format(audit_href, slug, shown)


def _exactly(at: datetime, zone: tzinfo) -> Markup:
    text = format_datetime(at.astimezone(zone), "d MMM y, HH:mm:ss", rebase=False)
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(), text)


def _shown(value: object) -> str:
    return words.clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


# --- the filter -------------------------------------------------------------------------------------------------------


def _form(slug: str | None) -> FilterForm:
    is_instance = slug is None
    return FilterForm.of_address(audit_sentences.KINDS if is_instance else ORGANIZATION_KINDS, is_instance=is_instance)


def _href(slug: str | None) -> str:
    return "/admin/audit" if slug is None else f"/orgs/{slug}/audit"


def _render(template: str, slug: str | None, **values: Any) -> str:
    if slug is None:
        return frame.render_admin(template, "audit", **values)
    return frame.render_organization(template, slug, "audit", **values)


def _filters(form: FilterForm, slug: str | None) -> Filters | None:
    """None for a form that cannot be read."""
    if not form.validate():
        return None
    return form.filters(frame.zone(), lambda text: audit_names.find_actors(g.actor, slug, text))


def _pages(form: FilterForm, slug: str | None, filters: Filters) -> Pages:
    newer, older = request.args.get("newer"), request.args.get("older")
    if newer is not None:
        events = audit_events.list_newer(g.actor, slug, filters, than=newer, limit=PAGE)
        has_newer, has_older, events = len(events) > PAGE, True, events[-PAGE:]
    else:
        events = audit_events.list_of(g.actor, slug, filters, after=older, limit=PAGE)
        has_newer, has_older, events = older is not None, len(events) > PAGE, events[:PAGE]
    return Pages(
        events,
        _beside(slug, form, newer=events[0]["id"]) if events and has_newer else None,
        _beside(slug, form, older=events[-1]["id"]) if events and has_older else None,
    )


def _beside(slug: str | None, form: FilterForm, **cursor: str) -> str:
    return _href(slug) + _query_string({**form.query, **cursor})


def _query_string(query: dict[str, str]) -> str:
    return f"?{urlencode(query)}" if query else ""


def _say_who(form: FilterForm, events: list[dict[str, Any]]) -> None:
    """A link filters by id; its field says the address, of somebody whose events are shown."""
    if any(event["actor"]["id"] == form.who.data for event in events):
        form.who.data = audit_names.address_of(form.who.data)


def _midnight(day: date, zone: tzinfo) -> str:
    return datetime.combine(day, time(), zone).isoformat()
