"""Filters as queries: which part of a field is asked for which value."""

from __future__ import annotations

from typing import Any

import pytest

from dar_search.filters import parse_filter
from dar_search.stores.opensearch.search.filters import (
    NOTHING,
    MappedField,
    fields_asked,
    filter_query,
    mapped_fields,
    metadata_mapping,
)

BIG = 1746714878034235397
PLAIN, EXACT = MappedField("number", "double"), MappedField("number", "double", "long")


def asked(raw: dict[str, Any], field: MappedField) -> Any:
    query = filter_query(parse_filter(raw), {"n": field})
    return query if query == NOTHING else query["bool"]["filter"][0]


def test_a_number_that_no_float_is_is_in_no_field_of_floats() -> None:
    assert asked({"n": BIG}, PLAIN) == NOTHING
    assert asked({"n": [BIG, 7]}, PLAIN) == {"terms": {"metadata.n": [7.0]}}


@pytest.mark.parametrize(
    ("operator", "bound"),
    [("gt", float(BIG) - 256), ("gte", float(BIG)), ("lt", float(BIG)), ("lte", float(BIG) - 256)],
)
def test_a_bound_between_two_floats_goes_to_the_one_on_its_side(operator: str, bound: float) -> None:
    between = int(float(BIG)) - 1
    assert asked({"n": {operator: between}}, PLAIN) == {"range": {"metadata.n": {operator: bound}}}


def test_a_short_number_asks_the_float_alone() -> None:
    assert asked({"n": {"gte": 2001}}, EXACT) == {"range": {"metadata.n": {"gte": 2001.0}}}
    assert asked({"n": 2001}, EXACT) == {"terms": {"metadata.n": [2001.0]}}
    assert asked({"n": BIG}, EXACT) == {"terms": {"metadata.n.long": [BIG]}}


def test_fields_read_back_as_they_are_mapped() -> None:
    mapping = metadata_mapping({"n": "number", "t": "keyword", "c": "keyword", "b": "boolean"}, ["n"], ["t", "n"])
    assert mapped_fields(mapping["properties"]) == {
        "n": EXACT,
        "t": MappedField("keyword", "keyword", "moment"),
        "c": MappedField("keyword", "keyword"),
        "b": MappedField("boolean", "boolean"),
    }


def test_what_a_search_would_send_asks_the_fields_that_such_values_have() -> None:
    filter = parse_filter(
        {"id": BIG, "taken": {"gte": "2024-03"}, "year": 2001, "city": {"exists": True}, "free": True}
    )
    assert fields_asked(filter) == {
        "id": EXACT,
        "taken": MappedField("keyword", "keyword", "moment"),
        "year": PLAIN,
        "city": MappedField("keyword", "keyword"),
        "free": MappedField("boolean", "boolean"),
    }
    assert "match_none" not in str(filter_query(filter, fields_asked(filter)))
