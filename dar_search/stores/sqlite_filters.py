"""Filters as SQL: conditions on an index's records. Whatever a caller wrote is a bound parameter, never SQL."""

from __future__ import annotations

import itertools
import sqlite3
from dataclasses import dataclass
from typing import Any

import numpy as np

from dar_search.filters import Condition, Filter
from dar_search.stores.fields import FieldType, check_filter
from dar_search.stores.sqlite_vectors import Keys

_ORDER = {"any_of": 0, "gt": 1, "gte": 1, "lt": 1, "lte": 1, "exists": 2}
_RANGES = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


@dataclass(frozen=True, slots=True)
class Field:
    """A metadata field of one index."""

    id: int
    type: FieldType


@dataclass(frozen=True, slots=True)
class Selection:
    """An SQL query for the keys of records, and its parameters."""

    sql: str
    parameters: tuple[Any, ...]


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
    """The keys of the index's records that pass the filter. Raises FilterError."""
    fields = load_fields(connection, index_id) if filter else {}
    check_filter(filter, {name: field.type for name, field in fields.items()})
    # Start from the facets where some condition asks for one: that reads only the records that have it.
    wanted = sorted((c for c in filter if not c.negated), key=lambda c: _ORDER[c.operator])
    first, others = wanted[:1], [*wanted[1:], *(c for c in filter if c.negated)]
    if first and first[0].field in fields:
        sql, parameters = _facets_with(first[0], fields[first[0].field])
    else:
        sql, parameters = "SELECT key FROM records WHERE index_id = ?", [index_id]
        others += first
    for condition in others:
        isin = "NOT IN" if condition.negated else "IN"
        if condition.field not in fields:  # no picture has it, so the condition holds for none
            sql += f" AND key {isin} ()"
            continue
        inner, more = _facets_with(condition, fields[condition.field])
        sql += f" AND key {isin} ({inner})"
        parameters += more
    return Selection(sql, tuple(parameters))


def keys(connection: sqlite3.Connection, selection: Selection) -> Keys:
    """The selected keys, ascending."""
    rows = connection.execute(selection.sql, selection.parameters)
    return np.sort(np.fromiter(itertools.chain.from_iterable(rows), np.int64))


def _facets_with(condition: Condition, field: Field) -> tuple[str, list[Any]]:
    """The keys of records for which a condition holds, not regarding its negation."""
    sql = "SELECT DISTINCT key FROM facets WHERE field = ?"
    values = [facet(value) for value in condition.values]
    if condition.operator == "any_of":
        sql += f" AND value IN ({', '.join('?' * len(values))})"
    elif condition.operator != "exists":
        sql += f" AND value {_RANGES[condition.operator]} ?"
    return sql, [field.id, *values]
