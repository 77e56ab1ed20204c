"""Dates and times in text, as filters compare them: the form of ISO 8601 with hyphens, colons and four digits a year.

    2024    2024-03    2024-03-01    2024-03-01T10    2024-03-01 10:30    2024-03-01T10:30:00.25+01:00

The part from the hour on is parted by a T or a blank and may end in Z, +01:00, +0100 or +01; without, it is UTC. A
date is a span: 2024-03 is all of that March, 10:30 that whole minute. A picture's date counts as its first moment:

    gte: not before the bound begins    gt: after it has ended    lt: before it begins    lte: not after it has ended

so `taken>=2024-03 taken<=2024-03` are the pictures of that month. OpenSearch's own date fields mean the same. Moments
are compared to the millisecond. Text of any other form, and what no calendar has (2023-02-29), is in no range.
"""

from __future__ import annotations

import calendar
import functools
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_FORM = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d)(?::(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)?"
    r"(?:Z|([+-])(\d\d)(?::?(\d\d))?)?)?)?)?",
    re.ASCII,
)
_FIRST = (1, 1, 1, 0, 0, 0)
_FARTHEST_ZONE = (23, 59)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_DAY = 86_400_000
_LENGTHS = {3: _DAY, 4: 3_600_000, 5: 60_000, 6: 1_000}  # by how many parts are given


@functools.lru_cache(maxsize=1 << 14)
def span(text: str) -> tuple[int, int] | None:
    """The first moment of a date and the first one after it, milliseconds since 1970; None for what is no date."""
    found = _FORM.fullmatch(text)
    if not found:
        return None
    parts = [int(part) for part in found.groups()[:6] if part is not None]
    fraction, sign, zone_hours, zone_minutes = found.groups()[6:]
    year, month, day, hour, minute, second = (*parts, *_FIRST[len(parts) :])
    away = int(zone_hours or 0), int(zone_minutes or 0)
    if away > _FARTHEST_ZONE or away[1] > _FARTHEST_ZONE[1]:
        return None
    try:
        written = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    offset = timedelta(hours=away[0], minutes=away[1]) * (-1 if sign == "-" else 1)
    begin = (written - _EPOCH - offset) // _MILLISECOND + int(f"{fraction or '':0<3}"[:3])
    if len(parts) < 3:  # a year, or a month of it
        days = calendar.monthrange(year, month)[1] if len(parts) > 1 else 365 + calendar.isleap(year)
        return begin, begin + days * _DAY
    return begin, begin + (1 if fraction else _LENGTHS[len(parts)])


def start(text: str) -> int | None:
    """The first moment of a date, milliseconds since 1970; None for what is no date."""
    found = span(text)
    return found[0] if found else None


@dataclass(frozen=True, slots=True)
class DateRange:
    """A range's bound as moments: first <= a picture's date < end. None: no limit on that side."""

    first: int | None = None
    end: int | None = None

    def text_limits(self) -> tuple[str, str]:
        """Between which texts (the second left out), by their bytes, all dates in this range are, and others.

        Text has the local time, which is less than a day from UTC.
        """
        low = "0" if self.first is None else _day(self.first - _DAY)
        high = ":" if self.end is None else _day(self.end + 2 * _DAY)
        return low, high or ":"


def date_range(operator: str, bound: str) -> DateRange:
    """What a condition (gt, gte, lt, lte) on dates asks for. Raises ValueError where the bound is no date."""
    found = span(bound)
    if found is None:
        raise ValueError(f"{bound!r} is no date")
    begin, end = found
    if operator in ("gt", "gte"):
        return DateRange(first=begin if operator == "gte" else end)
    return DateRange(end=begin if operator == "lt" else end)


def _day(moment: int) -> str:
    """A moment's day as text; "0" before the first year, "" after the last."""
    try:
        return (_EPOCH + timedelta(milliseconds=moment)).date().isoformat()
    except OverflowError:
        return "0" if moment < 0 else ""
