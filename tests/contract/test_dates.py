"""Ranges over dates in text: what `dar_search.values.dates` says, alike in every store and leg."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from dar_search.data import ImageRecord
from dar_search.errors import FilterError
from dar_search.filters import Operator, parse_expressions, parse_filter
from dar_search.ports import ImageIndex, SearchRequest, Store
from dar_search.values.dates import span
from tests.contract.gallery import PROVENANCE, random_units

DATES = (
    *("2023", "2024", "2024-01", "2024-02", "2024-03", "2024-04", "2024-02-28", "2024-02-29", "2024-03-01"),
    *("2024-03-01T00:00", "2024-03-01T00:00:00", "2024-03-01T00:00:00Z", "2024-03-01 00:00:00", "2024-03-01T00"),
    *("2024-03-01T00:30+02:00", "2024-02-29T22:30:00-02:00", "2024-02-29T23:59:59.999Z", "2024-03-01T00:00:00.001"),
    *(
        "2024-03-01T10:00:00,5+0100",
        "2024-03-01 09:00:00.500000001Z",
        "2024-03-01T09:00:00.5-00:00",
        "2024-03-01T23+18",
    ),
    *("2024-02-29T06:00:00-18:00", "2024-03-01T17:59+17:59", "2024-12-31T23:59:59", "0001", "9999-12-31T23:59:59Z"),
    *("1969-12-31T23:59:59.9Z", "1970-01-01", "1850-06", "9999-12-31T23:59-18:00", "0001-01-01T00:00+18:00"),
)
NO_DATES = (
    *("2023-02-29", "2024-13", "2024-00", "2024-03-00", "2024-03-32", "2024-04-31", "1900-02-29", "0000", "0000-01-01"),
    *(
        "2024-3-1",
        "2024-03-1",
        "20240301",
        "2024/03/01",
        "2024:03:01 10:00:00",
        "24-03-01",
        "12024",
        "2024-",
        "2024-03-",
    ),
    *("2024-03-01T", "2024-03-01T24:00", "2024-03-01T10:60", "2024-03-01T10:00:60", "2024-03-01T10:00:00.", "2024Z"),
    *(
        "2024-03-01T10:00:00.1234567890",
        "2024-03-01T10:00+18:01",
        "2024-03-01T10:00-23",
        "2024-03-01T10:00+01:60",
        "2024-03-01T10:00+1",
    ),
    *("2024-03-01T10:00 +01:00", "2024-03-01Z", "2024-03-01T1", "2024-03-01t10:00", "2024-W09", " 2024", "2024 "),
    *(
        "２０２４-03-01",
        "2024-03-01\n",
        "yesterday",
        "",
        "Paris",
        "zebra",
        "2024-03-01T10:00z",
        "-2024",
        "2024-03-01T10:",
    ),
)
LISTS = (("2020-01-01", "zebra"), ("2024-03-01T00:30+02:00", "2020-01-01"), ("2024-05", "2019"), ("no", "date"))
BOUNDS = (
    *("2024", "2024-03", "2024-02-29", "2024-03-01", "2024-03-01T00", "2024-03-01T00:00Z", "2024-03-01T02:00+02:00"),
    *("2024-03-01T00:00:00.001", "2024-02-29T22:30Z", "2024-03-01 09:00:00.5", "1970", "0001", "9999", "1969-12-31"),
)


def records() -> list[ImageRecord]:
    values: list[Any] = [*DATES, *NO_DATES, *LISTS]
    rows = random_units(len(values), seed=4)
    made = [
        ImageRecord(id=f"{number:03d}", embedding=row, source="s", caption="a card", metadata={"taken": value})
        for number, (row, value) in enumerate(zip(rows, values, strict=True))
    ]
    return [*made, ImageRecord(id="without", embedding=rows[0], source="s", caption="a card")]


def holds(value: Any, operator: Operator, bound: str) -> bool:
    first, end = span(bound) or (0, 0)
    starts = [found[0] for one in (value if isinstance(value, tuple) else (value,)) if (found := span(one))]
    if operator in ("gte", "gt"):
        return any(at >= (first if operator == "gte" else end) for at in starts)
    return any(at < (first if operator == "lt" else end) for at in starts)


def expected(operator: Operator, bound: str) -> set[str]:
    return {one.id for one in records() if "taken" in one.metadata and holds(one.metadata["taken"], operator, bound)}


@pytest.fixture(scope="session", params=["dates from the start", "dates later"])
def dated(store: Store, request: pytest.FixtureRequest) -> Iterator[ImageIndex]:
    made = store.create(f"contract-dates-{uuid.uuid4().hex[:12]}", PROVENANCE)
    if request.param == "dates later":
        first = ImageRecord(id="first", embedding=random_units(1)[0], source="s", metadata={"taken": "unknown"})
        assert made.write([first]) == []
        made.delete(["first"])
    assert made.write(records()) == []
    made.refresh()
    yield made
    store.drop(made.name)


def found(index: ImageIndex, raw: dict[str, Any]) -> set[str]:
    request = SearchRequest(text="card", filter=parse_filter(raw), size=200, depth=200)
    hits = {hit.id for hit in index.search(request).hits}
    assert index.count(parse_filter(raw)) == len(hits)
    return hits


@pytest.mark.parametrize("operator", ["gt", "gte", "lt", "lte"])
def test_a_date_is_in_a_range_by_the_moment_it_begins(dated: ImageIndex, operator: Operator) -> None:
    everything = {record.id for record in records()}
    for bound in BOUNDS:
        wanted = expected(operator, bound)
        assert found(dated, {"taken": {operator: bound}}) == wanted, bound
        assert found(dated, {"not": {"taken": {operator: bound}}}) == everything - wanted, bound


def test_a_vector_search_keeps_to_a_range_of_dates(dated: ImageIndex) -> None:
    filter = parse_filter({"taken": {"gte": "2024-03", "lte": "2024-03"}})
    request = SearchRequest(vector=random_units(1)[0], filter=filter, size=200, depth=200)
    wanted = expected("gte", "2024-03") & expected("lte", "2024-03")
    assert {hit.id for hit in dated.search(request).hits} == wanted
    assert len(wanted) > 5


@pytest.mark.parametrize(
    ("expressions", "raw"),
    [
        (["taken>=2024-03-01"], {"taken": {"gte": "2024-03-01"}}),
        (["taken>2024-02", "taken<=2024-03-01"], {"taken": {"gt": "2024-02", "lte": "2024-03-01"}}),
        (['taken>="2024"'], {"taken": {"gte": "2024"}}),
        (["taken<2024-03-01 00:30:00"], {"taken": {"lt": "2024-03-01T00:30:00"}}),
    ],
)
def test_the_command_line_asks_for_dates_too(dated: ImageIndex, expressions: list[str], raw: dict[str, Any]) -> None:
    assert dated.count(parse_expressions(expressions)) == len(found(dated, raw)) > 0


def test_an_index_without_the_field_has_no_dates(index: ImageIndex) -> None:
    assert index.count(parse_filter({"taken": {"gte": "2024"}})) == 0


def test_a_year_as_a_number_asks_dates_for_quotes(dated: ImageIndex) -> None:
    with pytest.raises(FilterError, match="dates") as raised:
        dated.count(parse_expressions(["taken>=2024"]))
    assert 'taken>="2024"' in raised.value.hint


def test_a_date_is_no_bound_for_numbers(gallery: ImageIndex) -> None:
    with pytest.raises(FilterError, match="holds numbers"):
        gallery.count(parse_filter({"number": {"gte": "2024-03-01"}}))
