"""Times on the wire: RFC 3339, UTC, whole seconds."""

from datetime import UTC, datetime


def from_datetime(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def from_milliseconds(milliseconds: int) -> str | None:
    return from_datetime(datetime.fromtimestamp(milliseconds / 1000, UTC))
