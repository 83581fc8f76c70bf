"""Reading, sealing and verifying the trail: what a page or a batch costs does not grow with the number of events."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, text

from extensions import db
from infra.ids import first_uuid7
from models import AuditEvent
from services.audit import audit_chain, audit_events
from services.audit.audit_events import Filters
from tests import costs, owner

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = {"since": "2026-03-01T00:00:00Z", "until": "2026-03-02T00:00:00Z"}
ORGANIZATIONS = [None, *(uuid.UUID(int=number) for number in range(1, 4))]
MOST_PAGES = 150


@pytest.fixture(params=["of an empty table", "fresh"])
def fill(app, request) -> Iterator[Callable[[int], None]]:
    """The owner at work. `fill(number)`: so many events, and statistics that know nothing of them, or all."""

    def make(number: int) -> None:
        _vacuum()  # what the tests before have deleted
        for step in (_analyze, _fill) if request.param == "of an empty table" else (_fill, _analyze):
            step(number)
        print(f"{number} events, statistics {request.param}")

    with owner.at_work(app):
        yield make


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("fill", ["fresh"], indirect=True)
def test_a_page_of_a_filtered_list_looks_at_few_pages_of_the_table(fill, is_long):
    fill(1_000_000 if is_long else 40_000)  # of at least 500 pages
    questions = {
        "newest": Filters(),
        "a day": Filters(**DAY),
        "before a day": Filters(until=DAY["until"]),
        "a rare action": Filters(action="agent.paused"),
        "an action that nobody did": Filters(action="agent.resumed"),
        "a rare kind of action": Filters(kinds=("agent",)),
        "what was done to somebody": Filters(targets=("nobody",)),
        "a rare action on a day": Filters(action="agent.paused", **DAY),
        "an action on a day": Filters(action="thing.done_b", **DAY),
        "nobody": Filters(actor="nobody"),
        "somebody on a day": Filters(actor="user7", **DAY),
    }
    cost = {
        f"{asked}, {organization or 'all'}": _pages(filters, organization)
        for asked, filters in questions.items()
        for organization in (None, "none", str(ORGANIZATIONS[1]))
    }
    print(*(f"{value:6} pages: {asked}" for asked, value in cost.items()), sep="\n")
    assert {asked: value for asked, value in cost.items() if value > MOST_PAGES} == {}


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_the_last_batches_of_sealing_cost_no_more_than_twice_the_first(fill, is_long):
    number = 1_000_000 if is_long else 8_000
    fill(number)
    batch_size, cost = number // 100, []
    counter = costs.PageCounter(db.session)
    assert audit_chain.seal(batch_size=batch_size, progress=lambda _total: cost.append(counter.since_last())) == number
    print(f"{batch_size} events a batch: {cost[0]} pages the first, {cost[-1]} the last")
    assert sum(cost[-10:]) <= 2 * sum(cost[:10]), cost
    _vacuum()
    _fill(3, since=number)
    with costs.captured() as seen:
        assert audit_chain.seal() == 3
    with db.engine.connect() as connection:
        few = sum(costs.pages_of(connection, *one) for one in seen)
    print(f"three more events: {few} pages")
    assert few < 100


def _pages(filters: Filters, organization: str | None) -> int:
    with costs.captured() as seen:
        next(audit_events.unscoped_stream(replace(filters, organization=organization)), None)
    with db.engine.connect() as connection:
        return sum(costs.pages_of(connection, *one) for one in seen)


def _vacuum() -> None:
    with db.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM audit_events"))


def _analyze(_number: int) -> None:
    db.session.execute(text("ANALYZE audit_events"))
    db.session.commit()


def _fill(number: int, *, since: int = 0) -> None:
    """`number` events within a year, in four chains; three have a rare action."""
    apart = timedelta(days=365) / max(number, 100)
    for start in range(since, since + number, 5000):
        rows = []
        for n in range(start, min(start + 5000, since + number)):
            at = BEGAN + n * apart
            action = "agent.paused" if n % 4 == 1 and n < 4 * 3 else f"thing.done_{'abcdefg'[n % 7]}"
            rows.append({"id": uuid.UUID(int=first_uuid7(at).int + n), "at": at, "organization_id": ORGANIZATIONS[n % 4], "action": action})
            rows[-1] |= {"actor_type": "user", "actor_id": f"user{n % 50}", "details": {}}
        db.session.execute(insert(AuditEvent), rows)
    db.session.commit()
