"""Filters on metadata, the same for every store.

A filter is a conjunction of conditions on metadata fields, written as JSON:

    {"city": "Paris"}                                 equal (for a field with several values: contains)
    {"city": ["Paris", "Rome"]}                       any of
    {"year": {"gte": 2000, "lt": 2010}}               a range of numbers
    {"taken": {"gte": "2024-03-01", "lt": "2024-04"}} a range of dates (see `dates`)
    {"licence": {"exists": true}}                     has the field
    {"not": {"city": "Paris", "year": 1999}}          none of these conditions holds

or on the command line as `city=Paris`, `city!=Paris`, `year>=2000`, `taken<2024-04`, `licence` (has the field).
Fields are named as in the record's metadata. A condition on a field that a picture lacks does not hold.

Numbers are compared by their value, exactly: 7 equals 7.0, and a whole number beyond 2**53 only itself.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dar_search.errors import FilterError
from dar_search.values.dates import span

Operator = Literal["any_of", "gt", "gte", "lt", "lte", "exists"]
Scalar = str | int | float | bool
FIELD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
MAX_CONDITIONS = 64
MAX_VALUES = 65_536
"""Of all conditions of a filter together: as many as OpenSearch takes in one of them (index.max_terms_count)."""
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1
"""Whole numbers that every store keeps exactly."""
_RANGE: tuple[Operator, ...] = ("gt", "gte", "lt", "lte")
_HINT = 'Write {"city": "Paris"}, {"year": {"gte": 2000}}, {"tag": ["a", "b"]} or {"not": {...}}.'


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. `values`: the alternatives of "any_of", () for "exists", the one bound of a range: a number, or a
    string that is a date."""

    field: str
    operator: Operator
    values: tuple[Scalar, ...] = ()
    negated: bool = False


Filter = tuple[Condition, ...]


def parse_filter(raw: Mapping[str, Any] | None) -> Filter:
    """The JSON form -> conditions that all must hold. Raises FilterError."""
    if raw is None:
        return ()
    if not isinstance(raw, Mapping):
        raise FilterError(f"A filter is a JSON object, not {type(raw).__name__}.", _HINT)
    conditions: list[Condition] = []
    for name, value in raw.items():
        if name == "not":
            if not isinstance(value, Mapping) or "not" in value:
                raise FilterError('"not" takes an object of conditions, itself without "not".', _HINT)
            for inner, inner_value in value.items():
                parsed = list(_conditions(inner, inner_value, negated=True))
                if len(parsed) > 1:
                    raise FilterError(f'"not" takes one bound for "{inner}", not a range of two.', _HINT)
                conditions += parsed
        else:
            conditions += _conditions(name, value, negated=False)
    return _limited(conditions)


def parse_expressions(expressions: Iterable[str]) -> Filter:
    """The command line's form -> conditions. A value that reads as JSON number or boolean is one (a whole number of
    more than 64 bits is not: such are kept as text); quote it (`year="1999"`) to keep it a string. Repeating `=` on a
    field means any of. Raises FilterError."""
    alternatives: dict[str, list[Scalar]] = {}
    conditions: list[Condition] = []
    for expression in expressions:
        match = re.fullmatch(r"\s*([\w-]+)\s*(?:(!=|>=|<=|=|>|<)\s*(.*?))?\s*", expression, re.DOTALL)
        if not match:
            raise FilterError(f'The filter "{expression[:80]}" does not read.', "Write field=value or field>=number.")
        name, symbol, text = match.groups()
        _check_field(name)
        if symbol is None:
            conditions.append(Condition(name, "exists"))
            continue
        value = _scalar_from_text(text)
        if symbol == "=":
            alternatives.setdefault(name, []).append(value)
        elif symbol == "!=":
            conditions.append(Condition(name, "any_of", (value,), negated=True))
        else:
            operator: Operator = {">=": "gte", "<=": "lte", ">": "gt", "<": "lt"}[symbol]  # type: ignore[assignment]
            conditions.append(Condition(name, operator, (_bound(name, value),)))
    conditions += (Condition(name, "any_of", tuple(values)) for name, values in alternatives.items())
    return _limited(conditions)


def _conditions(name: str, value: Any, *, negated: bool) -> Iterable[Condition]:
    _check_field(name)
    if isinstance(value, Mapping):
        if not value:
            raise FilterError(f'The condition on "{name}" is empty.', _HINT)
        for operator, bound in value.items():
            if operator == "exists":
                if not isinstance(bound, bool):
                    raise FilterError(f'"exists" of "{name}" is true or false.', _HINT)
                yield Condition(name, "exists", (), negated=negated == bound)
            elif operator in _RANGE:
                yield Condition(name, operator, (_bound(name, bound),), negated=negated)
            else:
                raise FilterError(f'"{operator}" is no operator of a filter.', "Use gt, gte, lt, lte or exists.")
    elif isinstance(value, list | tuple):
        if not value:
            raise FilterError(f'"{name}" takes one alternative at least, not an empty list.', _HINT)
        yield Condition(name, "any_of", tuple(_scalar(name, item) for item in value), negated=negated)
    else:
        yield Condition(name, "any_of", (_scalar(name, value),), negated=negated)


def _check_field(name: Any) -> None:
    if not isinstance(name, str) or not FIELD.fullmatch(name) or name == "not":
        raise FilterError(f"{json.dumps(str(name)[:80])} is no metadata field's name.", "Letters, digits, _ and -.")


def _limited(conditions: list[Condition]) -> Filter:
    if len(conditions) > MAX_CONDITIONS:
        raise FilterError(f"A filter has at most {MAX_CONDITIONS} conditions, not {len(conditions)}.")
    values = sum(len(condition.values) for condition in conditions)
    if values > MAX_VALUES:
        raise FilterError(
            f"A filter has at most {MAX_VALUES:,} values in all, not {values:,}.",
            "Give the pictures a field for what these have in common, such as a group, and ask for that.",
        )
    return tuple(conditions)


def _scalar(name: str, value: Any) -> Scalar:
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return _number(name, value)
    raise FilterError(f'"{name}" is compared with a string, a number or a boolean.', _HINT)


def _bound(name: str, value: Any) -> Scalar:
    if isinstance(value, str) and span(value):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FilterError(
            f'A range of "{name}" takes a number or a date.',
            'Write a date as "2024-03", "2024-03-01" or "2024-03-01T10:00:00+01:00".',
        )
    return _number(name, value)


def _number(name: str, value: float) -> int | float:
    if isinstance(value, int):
        if not MIN_INTEGER <= value <= MAX_INTEGER:
            hint = "Quote it where it is kept as text; write it as a float, such as 1e20, where the field has floats."
            raise FilterError(f'"{name}" is compared with a whole number of more than 64 bits.', hint)
    elif not math.isfinite(value):
        raise FilterError(f'"{name}" is compared with a number that is not finite.', _HINT)
    return value


def _scalar_from_text(text: str) -> Scalar:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int) and MIN_INTEGER <= value <= MAX_INTEGER:
        return value
    return value if isinstance(value, float) and math.isfinite(value) else text
