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
import re
from dataclasses import dataclass
from datetime import date

_FORM = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d)(?::(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)?"
    r"(?:Z|([+-])(\d\d)(?::?(\d\d))?)?)?)?)?",
    re.ASCII,
)
_EPOCH = date(1970, 1, 1).toordinal()
_MINUTE = 60_000
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_FARTHEST = 18 * _HOUR  # from UTC, as in Java


def start(text: str) -> int | None:
    """The first moment of a date, milliseconds since 1970; None for what is no date."""
    found = _FORM.fullmatch(text)
    if not found:
        return None
    year, month, day, hour, minute, second, fraction, sign, zone_hours, zone_minutes = found.groups()
    try:
        days = date(int(year), int(month or 1), int(day or 1)).toordinal() - _EPOCH
    except ValueError:
        return None
    if hour is None:
        return days * _DAY
    if hour > "23" or (minute or "") > "59" or (second or "") > "59":
        return None
    moment = days * _DAY + int(hour) * _HOUR + int(minute or 0) * _MINUTE + int(second or 0) * 1_000
    if fraction:
        moment += int(f"{fraction:0<3}"[:3])
    if sign:
        away = int(zone_hours) * _HOUR + int(zone_minutes or 0) * _MINUTE
        if away > _FARTHEST or (zone_minutes or "") > "59":
            return None
        moment += away if sign == "-" else -away
    return moment


def span(text: str) -> tuple[int, int] | None:
    """The first moment of a date and the first one after it, milliseconds since 1970; None for what is no date."""
    begin = start(text)
    found = _FORM.fullmatch(text)
    if begin is None or not found:
        return None
    year, month, day, hour, minute, second, fraction = found.groups()[:7]
    parts = ((fraction, 1), (second, 1_000), (minute, _MINUTE), (hour, _HOUR), (day, _DAY))
    days = calendar.monthrange(int(year), int(month))[1] if month else 365 + calendar.isleap(int(year))
    return begin, begin + next((length for part, length in parts if part), days * _DAY)


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
        return date.fromordinal(moment // _DAY + _EPOCH).isoformat()
    except (ValueError, OverflowError):
        return "0" if moment < 0 else ""
