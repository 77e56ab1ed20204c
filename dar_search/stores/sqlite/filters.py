"""Filters as SQL: conditions on an index's records. Whatever a caller wrote is a bound parameter, never SQL."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, MutableMapping, MutableSet, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dar_search.errors import FilterError
from dar_search.filters import MAX_INTEGER, MIN_INTEGER, Condition, Filter, Scalar
from dar_search.stores.fields import FieldType, check_filter
from dar_search.stores.sqlite import sums
from dar_search.stores.sqlite.indices import IndexRow
from dar_search.stores.sqlite.schema import DATE_START
from dar_search.stores.sqlite.vectors import Keys, sorted_keys
from dar_search.values.dates import date_range

_FIELDS = "SELECT id, name, type, facets FROM fields WHERE index_id = ?"
_ORDER = {"any_of": 0, "gt": 1, "gte": 1, "lt": 1, "lte": 1, "exists": 2}
_KNOWN_KEYS = 4_000_000  # 32 MB
_FEW = 500
_OTHER_VARIABLES = 100
_RANGES = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


@dataclass(frozen=True, slots=True)
class Field:
    """A metadata field of one index."""

    id: int
    type: FieldType
    facets: int  # the total of their checksums


@dataclass(frozen=True, slots=True)
class Part:
    """One condition: an SQL query for the keys of records for which it holds, its negation aside."""

    sql: str
    parameters: tuple[Any, ...]
    negated: bool


Selection = tuple[Part, ...]
"""A filter: the parts that ask for something first, the ones that leave fewest records at the front."""


def load_fields(connection: sqlite3.Connection, row: IndexRow) -> dict[str, Field]:
    """The index's metadata fields by name. Raises sqlite3.DatabaseError where they are damaged, or one is missing."""
    rows = connection.execute(_FIELDS, (row.id,)).fetchall()
    if sums.total(sums.of_row(*values) for values in rows) != row.fields:
        raise sqlite3.DatabaseError("malformed fields")
    return {name: Field(id, type, facets) for id, name, type, facets in rows}


def keep_facets(connection: sqlite3.Connection, index_id: int, changes: Mapping[int, int]) -> int:
    """Adds to the totals of fields, by their ids; the total of all fields, for the index's row."""
    for field, change in changes.items():
        (kept,) = connection.execute("SELECT facets FROM fields WHERE id = ?", (field,)).fetchone()
        connection.execute("UPDATE fields SET facets = ? WHERE id = ?", (sums.total([kept, change]), field))
    return sums.total(sums.of_row(*values) for values in connection.execute(_FIELDS, (index_id,)))


def facet(value: Scalar) -> str | float | int:
    """A value of a field as it is kept for comparing. SQLite compares its integers with its floats exactly."""
    return int(value) if isinstance(value, bool) else value


def select(connection: sqlite3.Connection, row: IndexRow, filter: Filter, whole: MutableSet[int | str]) -> Selection:
    """The filter in SQL. Raises FilterError.

    Args:
        whole: fields, by their ids, whose facets need no checking; those that are checked now come to them.
    """
    if not filter:
        return ()
    fields = load_fields(connection, row)
    for field in {fields[one.field] for one in filter if one.field in fields}:
        if field.id not in whole:
            check_facets(connection, field)
            whole.add(field.id)
    check_filter(filter, {name: field.type for name, field in fields.items()})
    ordered = sorted(filter, key=lambda condition: (condition.negated, _ORDER[condition.operator]))
    selection = tuple(_part(condition, fields.get(condition.field)) for condition in ordered)
    most = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) - _OTHER_VARIABLES
    if sum(len(part.parameters) for part in selection) > most:
        raise FilterError(
            f"The filter has more than {most:,} numbers with a fraction.", "Ask for ranges, or for fewer of them."
        )
    return selection


def check_facets(connection: sqlite3.Connection, field: Field) -> None:
    """Raises sqlite3.DatabaseError where they are damaged: their contents, or their order, which finds them."""
    total, last = 0, (False, float("-inf"), -1)
    for value, key in connection.execute("SELECT value, key FROM facets WHERE field = ?", (field.id,)):
        total += sums.of_facet(value, key)
        place = (isinstance(value, str), value, key)
        if place <= last:
            raise sqlite3.DatabaseError("malformed facets")
        last = place
    if sums.total([total]) != field.facets:
        raise sqlite3.DatabaseError("malformed facets")


def clauses(selection: Selection, column: str) -> tuple[str, list[Any]]:
    """The selection as conditions on a column of keys, each behind an AND, and their parameters."""
    sql = "".join(f" AND {column} {'NOT IN' if part.negated else 'IN'} ({part.sql})" for part in selection)
    return sql, [parameter for part in selection for parameter in part.parameters]


def count(connection: sqlite3.Connection, index_id: int, selection: Selection) -> int:
    """How many records of the index are selected."""
    # Start from the facets where some condition asks for one: that reads only the records that have it.
    if selection and not selection[0].negated:
        first, *others = selection
        sql, parameters = f"SELECT count(*) FROM ({first.sql}) WHERE 1", list(first.parameters)  # noqa: S608
    else:
        others = list(selection)
        sql, parameters = "SELECT count(*) FROM records WHERE index_id = ?", [index_id]
    more, values = clauses(tuple(others), "key")
    return int(connection.execute(sql + more, (*parameters, *values)).fetchone()[0])


def keys(
    connection: sqlite3.Connection, selection: Selection, known: MutableMapping[Part, Keys]
) -> tuple[Keys | None, Keys | None]:
    """The keys among which the selected ones are, and those that are not selected, ascending; None for no limit.

    Args:
        known: what parts have selected before in this state of the index: the next turn or page asks the same.
    """
    among: Keys | None = None
    without: Keys | None = None
    for part in selection:
        found = known.get(part)
        if found is None:
            rows = connection.execute(part.sql, part.parameters)
            found = sorted_keys(rows)
            if sum(_weight(*pair) for pair in list(known.items())) + _weight(part, found) > _KNOWN_KEYS:
                known.clear()
            known[part] = found
        if part.negated:
            without = found if without is None else np.union1d(without, found)
        else:
            among = found if among is None else np.intersect1d(among, found, assume_unique=True)
    return among, without


def _weight(part: Part, found: Keys) -> int:
    """What is kept of a part, in keys' 8 bytes: thousands of alternatives are larger than what they select."""
    return len(found) + sum(len(one) if isinstance(one, str) else 1 for one in part.parameters) // 8


def _part(condition: Condition, field: Field | None) -> Part:
    if field is None:  # no picture has it, so the condition holds for none
        return Part("SELECT key FROM facets WHERE 0", (), condition.negated)
    sql, limit, values = "SELECT DISTINCT key FROM facets WHERE field = ?", "", ()
    if condition.operator == "any_of":
        limit, values = _any_of([facet(value) for value in condition.values])
    elif condition.operator != "exists":
        (bound,) = condition.values
        limit, values = _dated(condition.operator, bound) if isinstance(bound, str) else _ranged(condition)
    return Part(sql + limit, (field.id, *values), condition.negated)


def _any_of(values: Sequence[str | float | int]) -> tuple[str, tuple[Any, ...]]:
    """Thousands of values travel as one JSON array: a statement takes but so many parameters."""
    if len(values) <= _FEW:
        return f" AND value IN ({', '.join('?' * len(values))})", tuple(values)
    # What SQLite reads back from JSON exactly; of a number with a fraction its last digit may differ.
    listed: list[str | int] = []
    others: list[str | float] = []
    for value in values:
        if isinstance(value, float) and value.is_integer() and MIN_INTEGER <= value <= MAX_INTEGER:
            listed.append(int(value))
        elif isinstance(value, float) or (isinstance(value, str) and "\0" in value):
            others.append(value)
        else:
            listed.append(value)
    marks = f" OR value IN ({', '.join('?' * len(others))})" if others else ""
    array = json.dumps(listed, ensure_ascii=False)
    return f" AND (value IN (SELECT value FROM json_each(?)){marks})", (array, *others)  # noqa: S608


def _ranged(condition: Condition) -> tuple[str, tuple[Any, ...]]:
    return f" AND value {_RANGES[condition.operator]} ?", condition.values


def _dated(operator: str, bound: str) -> tuple[str, tuple[Any, ...]]:
    """The field's text in its own order first: no more of it is read as dates than may be in the range."""
    asked = date_range(operator, bound)
    limit = "" if asked.first is None else f" AND {DATE_START}(value) >= ?"
    limit += "" if asked.end is None else f" AND {DATE_START}(value) < ?"
    moments = (moment for moment in (asked.first, asked.end) if moment is not None)
    return f" AND value >= ? AND value < ?{limit}", (*asked.text_limits(), *moments)
