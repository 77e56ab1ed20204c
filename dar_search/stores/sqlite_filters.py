"""Filters as SQL: conditions on an index's records. Whatever a caller wrote is a bound parameter, never SQL."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dar_search.errors import FilterError
from dar_search.filters import Condition, Filter
from dar_search.stores.fields import FieldType, check_filter
from dar_search.stores.sqlite_vectors import Keys

_ORDER = {"any_of": 0, "gt": 1, "gte": 1, "lt": 1, "lte": 1, "exists": 2}
_KNOWN_KEYS = 4_000_000  # 32 MB
_RANGES = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


@dataclass(frozen=True, slots=True)
class Field:
    """A metadata field of one index."""

    id: int
    type: FieldType


@dataclass(frozen=True, slots=True)
class Part:
    """One condition: an SQL query for the keys of records for which it holds, its negation aside."""

    sql: str
    parameters: tuple[Any, ...]
    negated: bool


Selection = tuple[Part, ...]
"""A filter: the parts that ask for something first, the ones that leave fewest records at the front."""


def load_fields(connection: sqlite3.Connection, index_id: int) -> dict[str, Field]:
    """The index's metadata fields by name."""
    rows = connection.execute("SELECT name, id, type FROM fields WHERE index_id = ?", (index_id,))
    return {name: Field(id, type) for name, id, type in rows}


def facet(value: str | float | bool) -> str | float | int:
    """A value of a field as it is kept for comparing: numbers are floats."""
    if isinstance(value, bool):
        return int(value)
    return value if isinstance(value, str) else float(value)


def select(connection: sqlite3.Connection, index_id: int, filter: Filter) -> Selection:
    """The filter in SQL. Raises FilterError."""
    if not filter:
        return ()
    fields = load_fields(connection, index_id)
    check_filter(filter, {name: field.type for name, field in fields.items()})
    most = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) - 100
    if sum(len(condition.values) for condition in filter) > most:
        raise FilterError(f"The filter has more than {most:,} values in all.", "Ask for fewer alternatives at once.")
    ordered = sorted(filter, key=lambda condition: (condition.negated, _ORDER[condition.operator]))
    return tuple(_part(condition, fields.get(condition.field)) for condition in ordered)


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
            found = np.sort(np.fromiter(itertools.chain.from_iterable(rows), np.int64))
            if sum(map(len, list(known.values()))) + len(found) > _KNOWN_KEYS:
                known.clear()
            known[part] = found
        if part.negated:
            without = found if without is None else np.union1d(without, found)
        else:
            among = found if among is None else np.intersect1d(among, found, assume_unique=True)
    return among, without


def _part(condition: Condition, field: Field | None) -> Part:
    if field is None:  # no picture has it, so the condition holds for none
        return Part("SELECT key FROM facets WHERE 0", (), condition.negated)
    sql = "SELECT DISTINCT key FROM facets WHERE field = ?"
    values = [facet(value) for value in condition.values]
    if condition.operator == "any_of":
        sql += f" AND value IN ({', '.join('?' * len(values))})"
    elif condition.operator != "exists":
        sql += f" AND value {_RANGES[condition.operator]} ?"
    return Part(sql, (field.id, *values), condition.negated)
