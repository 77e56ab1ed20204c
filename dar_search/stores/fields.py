"""Types of metadata fields, the same in every store.

An index learns a field's type from the first value that it sees: "keyword" (a string), "number" or "boolean". A list
is a field with several values of one type; an empty list says nothing about the type. A number is a whole number of at
most 64 bits or a 64-bit float; a field may have both, and they are compared by their value, exactly. Of strings those
that are dates have an order (see `dates`). What was written comes back as it was given.

A condition of a filter holds if some value of the field satisfies it, each condition for itself: of two bounds on a
list, different values may satisfy them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from dar_search.errors import FilterError
from dar_search.filters import FIELD, MAX_INTEGER, MIN_INTEGER, Condition, Filter, Scalar
from dar_search.values.dates import span

FieldType = Literal["keyword", "number", "boolean"]
MAX_FIELDS = 200
EXACT_FLOATS = 2**53
"""Up to here every whole number is a 64-bit float."""
MAX_KEYWORD_BYTES = 32_766
"""What Lucene takes as one term."""
_PLURAL: dict[FieldType, str] = {"keyword": "strings", "number": "numbers", "boolean": "booleans"}
_SINGULAR: dict[FieldType, str] = {"keyword": "a string", "number": "a number", "boolean": "a boolean"}


def is_field_name(name: object) -> bool:
    """Letters, digits, _ and -, at most 64; "not" is the filters' own word."""
    return isinstance(name, str) and FIELD.fullmatch(name) is not None and name != "not"


def describe(field_type: FieldType) -> str:
    """ "a string", "a number" or "a boolean", for messages."""
    return _SINGULAR[field_type]


def type_of(value: Any) -> FieldType | None:
    """The type of a metadata value; None for an empty list. Raises ValueError, one line, for what cannot be kept."""
    if isinstance(value, list | tuple):
        types = {_type_of_scalar(item) for item in value}
        if len(types) > 1:
            raise ValueError("a list has values of one type")
        return types.pop() if types else None
    return _type_of_scalar(value)


def _type_of_scalar(value: Any) -> FieldType:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        if not MIN_INTEGER <= value <= MAX_INTEGER:
            raise ValueError("a whole number has at most 64 bits; as text it may have more")
        return "number"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a number is finite")
        return "number"
    if isinstance(value, str):
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise ValueError("a string is text that UTF-8 can hold") from None
        if size > MAX_KEYWORD_BYTES:
            raise ValueError(f"a string has at most {MAX_KEYWORD_BYTES:,} bytes")
        return "keyword"
    raise ValueError(f"a value is a string, a number, a boolean or a list of one of them, not {type(value).__name__}")


def check_filter(filter: Filter, fields: Mapping[str, FieldType]) -> None:
    """Whether each condition can be asked of its field. `fields`: the index's fields and their types.

    A field that the index does not know is fine: the condition does not hold. Raises FilterError.
    """
    for condition in filter:
        field_type = fields.get(condition.field)
        if condition.operator == "any_of":
            for value in condition.values:
                _check_value(condition, value, field_type)
        elif condition.operator != "exists":
            _check_bound(condition.field, condition.values[0], field_type)


def _check_bound(name: str, bound: Scalar, field_type: FieldType | None) -> None:
    bound_type = _type_of_value(name, bound)
    if bound_type == "boolean" or (isinstance(bound, str) and not span(bound)):
        raise FilterError(f'A range of "{name}" takes a number or a date.', 'Write a date as "2024-03-01".')
    if field_type == "boolean":
        raise FilterError(f'"{name}" holds {_PLURAL[field_type]} ({field_type}), which have no order.')
    if field_type == "number" and bound_type != field_type:
        raise FilterError(
            f'"{name}" holds {_PLURAL[field_type]} ({field_type}); "{bound}" is a date.',
            "Dates are compared where they are kept as text.",
        )
    if field_type == "keyword" and bound_type != field_type:
        raise FilterError(
            f'"{name}" holds {_PLURAL[field_type]} ({field_type}), of which only dates have an order; {bound!r} is '
            f"{_SINGULAR[bound_type]}.",
            f'Quote a year ({name}>="2024"); numbers have an order where they are kept as numbers.',
        )


def _check_value(condition: Condition, value: Scalar, field_type: FieldType | None) -> None:
    value_type = _type_of_value(condition.field, value)
    if field_type is not None and value_type != field_type:
        shown = f'"{value[:40]}"' if isinstance(value, str) else repr(value)
        raise FilterError(
            f'"{condition.field}" holds {_PLURAL[field_type]} ({field_type}); {shown} is {_SINGULAR[value_type]}.',
            f'Quote it ({condition.field}="{value!r}").' if field_type == "keyword" and value_type == "number" else "",
        )


def _type_of_value(name: str, value: Scalar) -> FieldType:
    try:
        return _type_of_scalar(value)
    except ValueError as error:
        raise FilterError(f'The condition on "{name}" has a value that cannot be: {error}.') from None
