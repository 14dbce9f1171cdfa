"""Dates as people write them, to the year or to the second, as spans of time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_DATE = re.compile(
    r"(?P<year>\d{4})(-(?P<month>\d\d)(-(?P<day>\d\d)"
    r"([T ](?P<hour>\d\d):(?P<minute>\d\d)(:(?P<second>\d\d)(\.(?P<fraction>\d{1,6}))?)?"
    r" ?(?P<zone>Z|[+-]\d\d(:?\d\d)?)?)?)?)?",
    re.IGNORECASE | re.ASCII,
)
_LASTS = {
    "fraction": timedelta(microseconds=1),
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "day": timedelta(days=1),
}


def span(text: str) -> tuple[datetime, datetime]:
    """'2024', '2024-05', '2024-05-03', '2024-05-03T10:20:00Z' -> first moment, and the first one after it.

    Both in UTC. What has no zone is UTC. A time with a fraction of a second lasts one microsecond.

    Raises:
        ValueError: not written so, or not in the calendar.
    """
    found = _DATE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"not a date: {text!r}")
    part = found.groupdict()
    start = datetime(
        int(part["year"]),
        int(part["month"] or 1),
        int(part["day"] or 1),
        int(part["hour"] or 0),
        int(part["minute"] or 0),
        int(part["second"] or 0),
        int((part["fraction"] or "").ljust(6, "0")),
        tzinfo=UTC,
    )
    shift = _offset(part["zone"])
    try:
        return start - shift, _after(start, part) - shift
    except OverflowError as error:
        raise ValueError(f"beyond the calendar: {text!r}") from error


def _after(start: datetime, part: dict[str, str | None]) -> datetime:
    finest = next((name for name in _LASTS if part[name]), None)
    if finest is not None:
        return start + _LASTS[finest]
    # From the first of a year or a month, so many days lead into the next one.
    days = 366 if part["month"] is None else 31
    later = start + timedelta(days=days)
    return later.replace(month=1, day=1) if part["month"] is None else later.replace(day=1)


def _offset(zone: str | None) -> timedelta:
    if not zone or zone in "Zz":
        return timedelta()
    digits = zone[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return -offset if zone[0] == "-" else offset
