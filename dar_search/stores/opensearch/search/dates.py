"""Ranges of dates over text, in OpenSearch: a keyword's order is that of its letters, not of time.

A field that brings dates when the index first sees it gets a sub-field MOMENT, which reads what `dates` reads. Of any
other field, of an older index say, a script reads the dates, of what the order of the letters leaves in the range.
Measured with k-NN over 30,000 pictures, a range that leaves 80 % of them: 74 ms by the sub-field, 293 ms by the script.
"""

from __future__ import annotations

from typing import Any

from dar_search.values.dates import DateRange, start

MOMENT = "moment"
_FRACTIONS = "".join(f"[{mark}{'S' * digits}]" for mark in ".," for digits in range(9, 0, -1))
_TIMES = [f"uuuu-MM-dd'{parting}'HH[:mm[:ss{_FRACTIONS}]]{zone}" for parting in "T " for zone in ("", "XXX", "XX", "X")]
MOMENT_FIELD = {
    "type": "date",
    "format": "||".join(["uuuu", "uuuu-MM", "uuuu-MM-dd", *_TIMES]),
    "ignore_malformed": True,
}
_BEGINNING = start("0001-01-01T00:00+18:00")
_SOURCE = """
int part(String text, int at, int length) {
  if (text.length() < at + length) { return -1; }
  int number = 0;
  for (int i = at; i < at + length; i++) {
    int digit = (int) text.charAt(i) - 48;
    if (digit < 0 || digit > 9) { return -1; }
    number = number * 10 + digit;
  }
  return number;
}
boolean has(String text, int at, String any) {
  return at < text.length() && any.indexOf(text.substring(at, at + 1)) >= 0;
}
long start(String text) {
  long none = Long.MIN_VALUE;
  int end = text.length();
  int year = part(text, 0, 4);
  if (year < 1) { return none; }
  int month = 1; int day = 1; int hour = 0; int minute = 0; int second = 0; int milli = 0; int zone = 0;
  int at = 4;
  if (at < end) {
    month = part(text, 5, 2);
    if (!has(text, 4, '-') || month < 1 || month > 12) { return none; }
    at = 7;
  }
  if (at == 7 && at < end) {
    day = part(text, 8, 2);
    if (!has(text, 7, '-') || day < 1 || day > YearMonth.of(year, month).lengthOfMonth()) { return none; }
    at = 10;
  }
  if (at == 10 && at < end) {
    hour = part(text, 11, 2);
    if (!has(text, 10, 'T ') || hour < 0 || hour > 23) { return none; }
    at = 13;
    if (has(text, at, ':')) {
      minute = part(text, 14, 2);
      if (minute < 0 || minute > 59) { return none; }
      at = 16;
      if (has(text, at, ':')) {
        second = part(text, 17, 2);
        if (second < 0 || second > 59) { return none; }
        at = 19;
        if (has(text, at, '.,')) {
          int digits = 0;
          while (digits < 10 && part(text, 20 + digits, 1) >= 0) {
            if (digits < 3) { milli = milli * 10 + part(text, 20 + digits, 1); }
            digits++;
          }
          if (digits < 1 || digits > 9) { return none; }
          for (int i = digits; i < 3; i++) { milli = milli * 10; }
          at = 20 + digits;
        }
      }
    }
    if (has(text, at, 'Z')) { at++; }
    else if (has(text, at, '+-')) {
      int sign = has(text, at, '-') ? -1 : 1;
      int hours = part(text, at + 1, 2);
      if (hours < 0) { return none; }
      at += 3;
      int minutes = 0;
      if (at < end) {
        if (has(text, at, ':')) { at++; }
        minutes = part(text, at, 2);
        if (minutes < 0 || minutes > 59) { return none; }
        at += 2;
      }
      if (hours * 60 + minutes > 1080) { return none; }
      zone = sign * (hours * 60 + minutes);
    }
  }
  if (at != end) { return none; }
  long days = LocalDate.of(year, month, day).toEpochDay();
  return ((days * 24 + hour) * 60 + minute - zone) * 60000L + second * 1000L + milli;
}
for (String text : doc[params.field]) {
  long moment = start(text);
  if (moment != Long.MIN_VALUE && moment >= params.first && moment < params.end) { return true; }
}
return false;
"""
_EVER = 2**62
_LAST_NANOS = (2**63 - 1) // 1_000_000  # milliseconds


def moments(path: str, asked: DateRange, *, nanoseconds: bool = False) -> dict[str, Any]:
    """A query for a field of dates: one of them is in the range.

    nanoseconds: the field is mapped as date_nanos, which has no moment before 1970 nor after 2262, and refuses bounds
        beyond.
    """
    bounds = {"gte": _BEGINNING if asked.first is None else asked.first, "lt": asked.end}
    if nanoseconds:
        first, end = max(asked.first or 0, 0), _LAST_NANOS if asked.end is None else min(asked.end, _LAST_NANOS)
        if first >= end:
            return {"match_none": {}}
        bounds = {"gte": first, "lt": end}
    given = {name: moment for name, moment in bounds.items() if moment is not None}
    return {"range": {path: {**given, "format": "epoch_millis"}}}


def dated_script(path: str, asked: DateRange) -> dict[str, Any]:
    """A query for the pictures one of whose dates is in the range. path: of a keyword field."""
    low, high = asked.text_limits()
    params = {
        "field": path,
        "first": -_EVER if asked.first is None else asked.first,
        "end": _EVER if asked.end is None else asked.end,
    }
    script = {"lang": "painless", "source": _SOURCE, "params": params}
    return {"bool": {"filter": [{"range": {path: {"gte": low, "lt": high}}}, {"script": {"script": script}}]}}
