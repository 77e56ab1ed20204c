"""Filters as OpenSearch queries, and the metadata fields that they ask.

A number is mapped as a double, which is exact for whole numbers up to 2**53. A field that gets a larger one gets a
sub-field `long` beside the double, in a new index or an old one. Whatever has no sub-field was written before: it has
no whole number beyond 2**53, or had lost it already. (Of the float 2.0**63 OpenSearch makes the long 2**63 - 1, so
these two are one number here.)

Somebody else may have mapped a field, for a dashboard say. Filters take what means the same: other kinds of numbers,
dates, text with a keyword beside it. By other types they are refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dar_search.errors import FilterError
from dar_search.filters import MAX_INTEGER, MIN_INTEGER, Condition, Filter, Scalar
from dar_search.stores.fields import EXACT_FLOATS, FieldType, check_filter, type_of
from dar_search.stores.opensearch.search.dates import MOMENT, MOMENT_FIELD, dated_script, moments
from dar_search.values.dates import DateRange, date_range, span

Body = dict[str, Any]
NOTHING: Body = {"match_none": {}}
LONG = "long"
_LONG_FIELD: Body = {"type": "long", "ignore_malformed": True}  # floats beyond 64 bits have no place in it
_NUMBERS = ("double", "long", "integer", "short", "byte", "unsigned_long", "float", "half_float", "scaled_float")
_NANOS = "date_nanos"
_DATES = ("date", _NANOS)
_TYPES: Mapping[str, FieldType] = {
    "keyword": "keyword",
    "boolean": "boolean",
    **dict.fromkeys(_NUMBERS, "number"),
    **dict.fromkeys(_DATES, "keyword"),
}
_SUB_FIELDS = {"double": (LONG, "long"), "keyword": (MOMENT, "date")}
# What a number type can hold; a bound or a value beyond is an error to the cluster.
_LIMITS: Mapping[str, tuple[float, float]] = {
    "byte": (-(2**7), 2**7 - 1),
    "short": (-(2**15), 2**15 - 1),
    "integer": (-(2**31), 2**31 - 1),
    "long": (-(2**63), 2**63 - 1),
    "unsigned_long": (0, 2**64 - 1),
    "half_float": (-65_504.0, 65_504.0),
    "float": (-3.4028234663852886e38, 3.4028234663852886e38),
}
_MOST_DATES = 1_000  # ranges in one query, of the 1,024 clauses that a server takes
_ORDER = ("gt", "gte", "lt", "lte")
_TOP = float(MAX_INTEGER + 1)
_MOST_TERMS = 65_536  # index.max_terms_count


@dataclass(frozen=True, slots=True)
class MappedField:
    """A metadata field as a mapping has it.

    Attributes:
        type: what it holds; None: what no filter can ask for.
        mapped: OpenSearch's own type.
        sub: a sub-field: of text its keyword, of keywords MOMENT, of numbers LONG; "" for none.
    """

    type: FieldType | None
    mapped: str
    sub: str = ""


FieldTypes = Mapping[str, FieldType | MappedField]
"""The metadata fields of an index; a type alone: as the project maps it."""


def mapped_fields(properties: Mapping[str, Any]) -> dict[str, MappedField]:
    """The metadata fields in a mapping's properties."""
    return {name: _mapped(field) for name, field in properties.get("metadata", {}).get("properties", {}).items()}


def metadata_types(properties: Mapping[str, Any]) -> dict[str, FieldType]:
    """What the metadata fields in a mapping's properties hold. Those of types that no filter can ask are left out."""
    fields = mapped_fields(properties)
    return {name: field.type for name, field in fields.items() if field.type is not None}


def metadata_mapping(types: Mapping[str, FieldType], long: Iterable[str] = (), dated: Iterable[str] = ()) -> Body:
    """New metadata fields, as `PUT _mapping` takes them.

    Args:
        long: number fields, new or not, that get the sub-field LONG.
        dated: of the new fields, those that get MOMENT: one that has values already would lack theirs.
    """
    fields: Body = {name: {"type": "double" if kind == "number" else kind} for name, kind in types.items()}
    fields |= {name: {"type": "double", "fields": {LONG: _LONG_FIELD}} for name in long}
    fields |= {
        name: {"type": "keyword", "fields": {MOMENT: MOMENT_FIELD}} for name in dated if types.get(name) == "keyword"
    }
    return {"properties": {"metadata": {"properties": fields}}}


def check_asked(filter: Filter, fields: Mapping[str, MappedField]) -> None:
    """Whether each condition can be asked of its field. Raises FilterError."""
    for condition in filter:
        field = fields.get(condition.field)
        if field is not None and field.type is None and condition.operator != "exists":
            raise FilterError(
                f'"{condition.field}" is mapped as {field.mapped} in this index, by which no filter can ask.',
                "Ask only whether it exists, or keep the values in another field too.",
            )
    check_filter(filter, {name: field.type for name, field in fields.items() if field.type is not None})


def fields_asked(filter: Filter) -> dict[str, MappedField]:
    """The fields of a filter as an index maps them that has such values."""
    fields = {}
    for condition in filter:
        kind = type_of(condition.values[0] if condition.values else "") or "keyword"
        if kind == "number":
            long = any(map(_is_long, condition.values))
            fields[condition.field] = MappedField(kind, "double", LONG if long else "")
        else:
            fields.setdefault(condition.field, MappedField(kind, kind, MOMENT if condition.operator in _ORDER else ""))
    return fields


def lacks_long(filter: Filter, fields: Mapping[str, MappedField]) -> bool:
    """Whether a condition asks for numbers for which a field would have its sub-field, and has none."""
    return any(
        _is_long(value) and condition.field in fields and fields[condition.field] == MappedField("number", "double")
        for condition in filter
        for value in condition.values
    )


def filter_query(filter: Filter, types: FieldTypes) -> Body:
    """A filter, checked against the fields' types, -> a query without a score. An unknown field never matches."""
    required = [_condition(condition, types) for condition in filter if not condition.negated]
    refused = [_condition(condition, types) for condition in filter if condition.negated]
    if NOTHING in required:
        return NOTHING
    parts = {"filter": required, "must_not": [query for query in refused if query != NOTHING]}
    return {"bool": {name: queries for name, queries in parts.items() if queries}}


def _mapped(field: Mapping[str, Any]) -> MappedField:
    mapped, subs = str(field.get("type", "object")), field.get("fields", {})
    if mapped == "text":
        keyword = next((name for name, sub in subs.items() if sub.get("type") == "keyword"), "")
        return MappedField("keyword" if keyword else None, mapped, keyword)
    sub, sub_type = _SUB_FIELDS.get(mapped, ("", ""))
    return MappedField(_TYPES.get(mapped), mapped, sub if subs.get(sub, {}).get("type") == sub_type else "")


def _condition(condition: Condition, types: FieldTypes) -> Body:
    path = f"metadata.{condition.field}"
    found = types.get(condition.field)
    if found is None:
        return NOTHING
    if condition.operator == "exists":
        return {"exists": {"field": path}}
    field = found if isinstance(found, MappedField) else MappedField(found, "double" if found == "number" else found)
    below = f"{path}.{field.sub}" if field.sub else ""
    if field.mapped == "text":
        path = below
    if condition.operator == "any_of":
        if field.mapped in _DATES:
            return _any_date(path, condition, nanoseconds=field.mapped == _NANOS)
        if field.mapped == "double":
            return _any_double(path, below, condition.values)
        return _terms(path, [value for value in condition.values if _holds(field.mapped, value)])
    (bound,) = condition.values
    if isinstance(bound, str):
        asked = date_range(condition.operator, bound)
        if field.mapped in _DATES:
            return moments(path, asked, nanoseconds=field.mapped == _NANOS)
        return moments(below, asked) if field.sub == MOMENT else dated_script(path, asked)
    if field.mapped != "double":
        return _number_range(condition.operator, bound, path, field.mapped)
    if below and _is_long(bound):
        return _any(_long_range(condition.operator, bound, path, below))
    return _double_range(condition.operator, bound, path)


def _any_date(path: str, condition: Condition, *, nanoseconds: bool) -> Body:
    """A text that is no date is in no field of dates. Raises FilterError for more dates than a query may have."""
    spans = [found for value in condition.values if isinstance(value, str) and (found := span(value))]
    if len(spans) > _MOST_DATES:
        raise FilterError(
            f'"{condition.field}" is mapped as a date in this index: at most {_MOST_DATES:,} dates at once.',
            "Ask for a range of dates, or for fewer.",
        )
    return _any([moments(path, DateRange(*found), nanoseconds=nanoseconds) for found in spans])


def _holds(mapped: str, value: Scalar) -> bool:
    """Whether a field of this type can have the value at all."""
    low, high = _LIMITS.get(mapped, (-math.inf, math.inf))
    return isinstance(value, str | bool) or low <= value <= high


def _number_range(operator: str, bound: float, path: str, mapped: str) -> Body:
    """A bound beyond what the type holds is beyond all that is there."""
    if _holds(mapped, bound):
        return {"range": {path: {operator: bound}}}
    all_of_them = (operator in ("lt", "lte")) == (bound > 0)
    return {"exists": {"field": path}} if all_of_them else NOTHING


def _any_double(path: str, long: str, values: Sequence[Scalar]) -> Body:
    numbers = [value for value in values if not isinstance(value, str)]
    if not long:
        return _terms(path, _floats(numbers))
    near = [value for value in numbers if not _is_long(value)]
    far = [value for value in numbers if _is_long(value)]
    within = [min(int(value), MAX_INTEGER) for value in far if MIN_INTEGER <= value <= _TOP]
    beyond = [value for value in far if not MIN_INTEGER <= value <= _TOP]
    exact = [_terms(path, _floats(near)), _terms(long, within), _terms(path, beyond)]
    return _any([*exact, _without(long, _terms(path, _floats(far)))])


def _long_range(operator: str, bound: float, path: str, long: str) -> list[Body]:
    up = operator in ("gt", "gte")
    queries = [_without(long, _double_range(operator, bound, path))]
    if MIN_INTEGER <= bound <= _TOP:
        queries.append({"range": {long: {operator: min(int(bound), MAX_INTEGER)}}})
    elif up == (bound < 0):
        queries.append({"exists": {"field": long}})
    # A list may have numbers of 64 bits and larger floats.
    limit = _TOP if up else float(MIN_INTEGER)
    beyond = bound > limit if up else bound < limit
    queries.append({"range": {path: {operator: bound} if beyond else {"gt" if up else "lt": limit}}})
    return queries


def _double_range(operator: str, bound: float, path: str) -> Body:
    # The nearest float could lie on the bound's other side.
    nearest = float(bound)
    if operator in ("gt", "lte") and nearest > bound:
        nearest = math.nextafter(nearest, -math.inf)
    elif operator in ("gte", "lt") and nearest < bound:
        nearest = math.nextafter(nearest, math.inf)
    if nearest == 0:
        nearest = -0.0 if operator in ("gte", "lt") else 0.0
    return {"range": {path: {operator: nearest}}}


def _floats(values: Iterable[float]) -> list[Scalar]:
    """Those that are floats. Lucene tells -0.0 from 0.0; nobody else does."""
    floats: list[Scalar] = [float(value) for value in values if float(value) == value]
    return [zero for value in floats for zero in ((0.0, -0.0) if value == 0 else (value,))]


def _is_long(value: Scalar) -> bool:
    return isinstance(value, int | float) and abs(value) >= EXACT_FLOATS


def _without(field: str, query: Body) -> Body:
    return NOTHING if query == NOTHING else {"bool": {"filter": [query], "must_not": [{"exists": {"field": field}}]}}


def _terms(path: str, values: Sequence[Scalar]) -> Body:
    starts = range(0, len(values), _MOST_TERMS)
    return _any([{"terms": {path: list(values[start : start + _MOST_TERMS])}} for start in starts])


def _any(queries: Sequence[Body]) -> Body:
    queries = [query for query in queries if query != NOTHING]
    if len(queries) > 1:
        return {"bool": {"should": queries, "minimum_should_match": 1}}
    return queries[0] if queries else NOTHING
