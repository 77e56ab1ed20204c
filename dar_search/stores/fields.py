"""Types of metadata fields, the same in every store.

An index learns a field's type from the first value that it sees: "keyword" (a string), "number" or "boolean". A list
is a field with several values of one type; an empty list says nothing about the type. Numbers are compared as
64-bit floats; what was written comes back as it was given.

A condition of a filter holds if some value of the field satisfies it, each condition for itself: of two bounds on a
list, different values may satisfy them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from dar_search.errors import FilterError
from dar_search.filters import FIELD, Condition, Filter

FieldType = Literal["keyword", "number", "boolean"]
MAX_FIELDS = 200
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
        if not -(2**63) <= value < 2**63:
            raise ValueError("an integer has at most 64 bits")
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
        elif condition.operator != "exists" and field_type not in (None, "number"):
            raise FilterError(f'"{condition.field}" holds {_PLURAL[field_type]} ({field_type}), which have no order.')


def _check_value(condition: Condition, value: Any, field_type: FieldType | None) -> None:
    try:
        value_type = _type_of_scalar(value)
    except ValueError as error:
        raise FilterError(f'The condition on "{condition.field}" has a value that cannot be: {error}.') from None
    if field_type is not None and value_type != field_type:
        shown = repr(value) if value_type != "keyword" else f'"{value[:40]}"'
        raise FilterError(
            f'"{condition.field}" holds {_PLURAL[field_type]} ({field_type}); {shown} is {_SINGULAR[value_type]}.',
            f'Quote it ({condition.field}="{value:g}").' if field_type == "keyword" and value_type == "number" else "",
        )
