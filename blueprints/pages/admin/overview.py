"""`/admin`: how the instance is, and pictures of what went on lately."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from flask import Blueprint, g
from flask_babel import format_date, format_datetime, format_decimal
from flask_babel import gettext as _

from blueprints.html import frame
from services.instance import instance_overview, moments
from services.instance.instance_overview import DAYS, KINDS, Kind
from services.tokens import signing_keys

blueprint = Blueprint("admin_overview", __name__)

HOURS = 24
WIDTH, HEIGHT = 240, 48
_GAP = 1


@dataclass(frozen=True)
class Picture:
    """One row of columns as a path for `<path d>`, in a box of WIDTH and HEIGHT, and in words."""

    title: str
    path: str
    total: str
    summary: str


@dataclass(frozen=True)
class Period:
    """Pictures of the same time side by side, and their numbers: rows of (when, numbers in the order of the pictures)."""

    id: str
    title: str
    column: str
    begin: str
    pictures: list[Picture]
    rows: list[tuple[str, list[str]]]


@blueprint.app_template_filter("number")
def number(count: int) -> str:
    """As people read it."""
    return format_decimal(count)


@blueprint.get("/admin")
def show() -> str:
    activity = instance_overview.activity(g.actor)
    overview = instance_overview.read(g.actor)
    return frame.render_admin(
        "admin/overview.html",
        "overview",
        overview=overview,
        counts=numbers(overview.counts),
        keys=[key for key in signing_keys.list_keys() if key.state != "retired"],
        periods=periods(activity, frame.zone(), moments.now()),
    )


def numbers(counts: dict[str, int]) -> dict[str, str]:
    return {name: format_decimal(count) for name, count in counts.items()}


def periods(activity: dict[Kind, dict[datetime, int]], zone: tzinfo, moment: datetime) -> list[Period]:
    """The last 24 hours and the last 30 days, the one that runs included. activity: counts by hour (instance_overview)."""
    this_hour = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    hours = [this_hour - timedelta(hours=ago) for ago in range(HOURS - 1, -1, -1)]
    today = moment.astimezone(zone).date()
    days = [today - timedelta(days=ago) for ago in range(DAYS - 1, -1, -1)]
    by_hour = {kind: [activity[kind].get(hour, 0) for hour in hours] for kind in KINDS}
    by_day = {kind: dict.fromkeys(days, 0) for kind in KINDS}
    for kind in KINDS:
        for hour, count in activity[kind].items():
            day = hour.astimezone(zone).date()
            if day in by_day[kind]:
                by_day[kind][day] += count
    hour_names = [format_datetime(hour.astimezone(zone), "d MMM, HH:mm", rebase=False) for hour in hours]
    day_names = [format_date(day, "d MMM", rebase=False) for day in days]
    return [
        _period("hours", _("Last 24 hours"), _("Hour"), hour_names, by_hour),
        _period("days", _("Last 30 days"), _("Day"), day_names, {kind: list(by_day[kind].values()) for kind in KINDS}),
    ]


def _period(id: str, title: str, column: str, names: list[str], counts: dict[Kind, list[int]]) -> Period:
    titles = {"sign_ins": _("Sign-ins"), "refreshes": _("Refreshes"), "refusals": _("Refused sign-ins")}
    pictures = [_picture(titles[kind], names, counts[kind]) for kind in KINDS]
    rows = [(name, [format_decimal(counts[kind][index]) for kind in KINDS]) for index, name in enumerate(names)]
    return Period(id, title, column, names[0], pictures, rows[::-1])


def _picture(title: str, names: list[str], counts: list[int]) -> Picture:
    total, most = format_decimal(sum(counts)), max(counts)
    if most:
        said = _("%(title)s: %(total)s, most %(most)s at %(when)s", title=title, total=total, most=format_decimal(most),
                 when=names[counts.index(most)])  # fmt: skip
    else:
        said = _("%(title)s: none", title=title)
    return Picture(title, columns(counts), total, said)


def columns(counts: list[int]) -> str:
    """A column for each count, the highest as high as the box; what is not nothing is seen."""
    most, step = max(counts) or 1, WIDTH / len(counts)
    parts = []
    for index, count in enumerate(counts):
        if count:
            height = max(1.0, round(HEIGHT * count / most, 1))
            parts.append(f"M{index * step:g} {HEIGHT}v{-height:g}h{step - _GAP:g}v{height:g}z")
    return "".join(parts)
