"""Metadata fields of indices that an older dar-search made, or whose owner mapped fields themselves."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from dar_search.data import ImageRecord, Metadata, Provenance
from dar_search.errors import FilterError
from dar_search.filters import parse_filter
from dar_search.ports import ImageIndex
from dar_search.settings import load_settings
from dar_search.stores import bodies
from dar_search.stores.opensearch.store import OpenSearchStore
from tests.contract.gallery import random_units

PROVENANCE = Provenance("encoder", "1", 24, "crop 8x8 bicubic")
BIG = 1746714878034235396


@pytest.fixture(scope="module")
def store(opensearch_url: str) -> Iterator[OpenSearchStore]:
    opened = OpenSearchStore(opensearch_url, load_settings())
    yield opened
    opened.close()


@pytest.fixture
def index(store: OpenSearchStore) -> Iterator[ImageIndex]:
    made = store.create(f"fields-{uuid.uuid4().hex[:12]}", PROVENANCE)
    yield made
    store.drop(made.name)


def map_fields(store: OpenSearchStore, index: ImageIndex, fields: dict[str, Any]) -> ImageIndex:
    """The index with these metadata fields, opened anew."""
    body = bodies.encode({"properties": {"metadata": {"properties": fields}}})
    store._cluster.send("PUT", f"/{index.name}/_mapping", body)
    return store.open(index.name)


def fields_of(store: OpenSearchStore, index: ImageIndex) -> dict[str, Any]:
    ((_, about),) = store._cluster.read("GET", f"/{index.name}/_mapping").items()
    fields: dict[str, Any] = about["mappings"]["properties"]["metadata"].get("properties", {})
    return fields


def written(index: ImageIndex, *rows: Metadata) -> ImageIndex:
    units = random_units(len(rows))
    made = [
        ImageRecord(id=f"{number}", embedding=unit, source="s", metadata=row)
        for number, (unit, row) in enumerate(zip(units, rows, strict=True))
    ]
    assert index.write(made) == []
    index.refresh()
    return index


def test_a_field_of_an_older_index_becomes_exact_with_its_first_long_number(
    store: OpenSearchStore, index: ImageIndex
) -> None:
    index = map_fields(store, index, {"n": {"type": "double"}})
    document = {"id": "old", "metadata": {"n": float(BIG)}}  # as an older version ingested BIG
    store._cluster.send("PUT", f"/{index.name}-write/_doc/old", bodies.encode(document))
    written(index, {"n": 7})
    assert set(fields_of(store, index)["n"]) == {"type"}
    assert index.count(parse_filter({"n": float(BIG)})) == 1
    assert index.count(parse_filter({"n": BIG})) == 0
    written(index, {"n": 7}, {"n": BIG}, {"n": BIG + 1})
    assert fields_of(store, index)["n"]["fields"]["long"]["type"] == "long"
    asked = ({"n": BIG}, {"n": BIG + 1}, {"n": float(BIG)}, {"n": {"gte": BIG}}, {"n": {"lt": BIG}}, {"n": 7})
    assert [index.count(parse_filter(raw)) for raw in asked] == [1, 1, 1, 2, 2, 1]


def test_another_handle_looks_again_when_asked_for_long_numbers(
    store: OpenSearchStore, index: ImageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dar_search.stores.opensearch.index._WRITE_AGE", 0.0)
    written(index, {"n": 7})
    reader = store.open(index.name)
    written(index, {"n": BIG}, {"n": BIG + 1})
    assert reader.count(parse_filter({"n": BIG})) == 1


def test_dates_of_an_older_index_are_in_ranges_too(store: OpenSearchStore, index: ImageIndex) -> None:
    index = map_fields(store, index, {"taken": {"type": "keyword"}})
    written(index, {"taken": "2024-03-01T00:30+02:00"}, {"taken": "2024-03-01"}, {"taken": ("2024-04", "never")})
    assert "fields" not in fields_of(store, index)["taken"]
    asked = ({"gte": "2024-03-01"}, {"gt": "2024-03"}, {"lt": "2024-03"})
    assert [index.count(parse_filter({"taken": raw})) for raw in asked] == [2, 1, 1]


def test_a_new_field_of_dates_is_a_date_field_beside(store: OpenSearchStore, index: ImageIndex) -> None:
    written(index, {"taken": "2024-03-01", "city": "Paris", "code": "8001"})
    fields = fields_of(store, index)
    assert fields["taken"]["fields"]["moment"]["type"] == "date"
    assert "fields" not in fields["city"]
    assert "fields" not in fields["code"]


@pytest.mark.parametrize(
    ("mapping", "values", "expected"),
    [
        ({"type": "long"}, (7, BIG, BIG + 1), [({"x": BIG}, 1), ({"x": {"gt": BIG}}, 1), ({"x": {"lte": 7.5}}, 1)]),
        ({"type": "integer"}, (7, 8), [({"x": [7, 9]}, 1), ({"x": {"gte": 7}}, 2)]),
        ({"type": "float"}, (0.5, 2), [({"x": 0.5}, 1), ({"x": {"gt": 0.5}}, 1)]),
        (
            {"type": "date"},
            ("2024-03-01", "2024-03-01T10:00:00Z", "2024-05-01"),
            [({"x": {"gte": "2024-03-01", "lt": "2024-04"}}, 2), ({"x": "2024-05-01"}, 1), ({"x": ["Paris"]}, 0)],
        ),
        (
            {"type": "text", "fields": {"raw": {"type": "keyword"}}},
            ("New York", "York", "2024-03-01"),
            [
                ({"x": "York"}, 1),
                ({"x": ["New York", "x"]}, 1),
                ({"x": {"gte": "2024"}}, 1),
                ({"not": {"x": "York"}}, 2),
            ],
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_field_that_its_owner_mapped_is_filtered_by_what_it_means(
    store: OpenSearchStore, index: ImageIndex, mapping: Any, values: tuple[Any, ...], expected: list[Any]
) -> None:
    index = map_fields(store, index, {"x": mapping})
    written(index, *({"x": value} for value in values))
    assert [index.count(parse_filter(raw)) for raw, _ in expected] == [count for _, count in expected]
    assert fields_of(store, index)["x"] == mapping


@pytest.mark.parametrize("mapping", [{"type": "text"}, {"type": "geo_point"}, {"properties": {"y": {"type": "long"}}}])
def test_a_field_that_filters_cannot_ask_is_refused_by_name_and_type(
    store: OpenSearchStore, index: ImageIndex, mapping: Any
) -> None:
    index = map_fields(store, index, {"x": mapping})
    with pytest.raises(FilterError, match=f'"x" is mapped as {mapping.get("type", "object")}'):
        index.count(parse_filter({"x": "Paris"}))
    assert index.count(parse_filter({"x": {"exists": True}})) == 0


@pytest.mark.parametrize(
    ("mapped", "asked", "found"),
    [
        ("integer", {"lt": 3_000_000_000}, 2),
        ("integer", {"gte": 3_000_000_000}, 0),
        ("integer", [5, 3_000_000_000], 1),
        ("long", {"lt": 1e30}, 2),
        ("unsigned_long", {"gte": -1}, 2),
        ("float", {"lt": 1e300}, 2),
        ("half_float", {"gt": -1e10}, 2),
    ],
)
def test_numbers_beyond_what_an_owners_field_holds_mean_all_or_none(
    store: OpenSearchStore, index: ImageIndex, mapped: str, asked: Any, found: int
) -> None:
    opened = written(map_fields(store, index, {"n": {"type": mapped}}), {"n": 5}, {"n": 7})
    assert opened.count(parse_filter({"n": asked})) == found


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"lt": "2025-01-01"}, 1),
        ({"lte": "2024-03"}, 1),
        ({"gte": "2024-03"}, 1),
        ({"gte": "1901-01-01"}, 1),
        ({"lt": "1901-01-01"}, 0),
        ({"gt": "2400-01-01"}, 0),
        (["2024-03-05", "1800-01-01"], 1),
    ],
)
def test_a_field_of_nanoseconds_is_asked_for_dates_that_it_cannot_have(
    store: OpenSearchStore, index: ImageIndex, asked: Any, found: int
) -> None:
    """date_nanos has no moment before 1970 nor after 2262, and the cluster refuses such bounds (OpenSearch 2.19.1)."""
    opened = written(map_fields(store, index, {"taken": {"type": "date_nanos"}}), {"taken": "2024-03-05"}, {})
    assert opened.count(parse_filter({"taken": asked})) == found


def test_more_dates_than_a_query_may_have_are_refused_by_name(store: OpenSearchStore, index: ImageIndex) -> None:
    opened = written(map_fields(store, index, {"taken": {"type": "date"}}), {"taken": "2024-03-05"})
    days = [
        f"{year}-{month:02}-{day:02}" for year in range(2000, 2004) for month in range(1, 13) for day in range(1, 29)
    ]
    assert opened.count(parse_filter({"taken": [*days[:999], "2024-03-05"]})) == 1
    with pytest.raises(FilterError, match='"taken" is mapped as a date'):
        opened.count(parse_filter({"taken": days}))
