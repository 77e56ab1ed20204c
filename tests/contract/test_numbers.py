"""A number comes back as it was given, and a filter finds that number and no neighbour: as Python compares them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dar_search.data import ImageRecord
from dar_search.filters import Condition, Operator, parse_expressions, parse_filter
from dar_search.ports import ImageIndex, SearchRequest, Store
from tests.contract.conftest import NewIndex
from tests.contract.gallery import PROVENANCE, random_units
from tests.contract.test_filters import passes

BIG = 1746714878034235396  # of the size of a post's id
EDGES = (
    *(0, -0.0, 1, 1.5, -2, 2001, 2001.0, 0.1, 1e-300, 5e-324),
    *(2**53 - 1, 2**53, 2**53 + 1, 2**53 + 2, float(2**53), -(2**53), -(2**53) - 1),
    *(BIG, BIG + 1, BIG - 1, float(BIG), -BIG, -BIG - 1),
    *(2**63 - 1, 2**63 - 2, 2**63 - 512, 2**63 - 513, 2**63 - 1024, -(2**63), -(2**63) + 1, -(2**63) + 600),
    # 2.0**63 itself is 2**63 - 1 to OpenSearch: see `stores.opensearch.search.filters`.
    *(-float(2**63), float(np.nextafter(2.0**63, np.inf)), float(np.nextafter(2.0**63, 0))),
    *(float(np.nextafter(-(2.0**63), -np.inf)), 1e19, -1e19, 1e20, 1.7976931348623157e308, -1e308),
)
LISTS: tuple[tuple[int | float, ...], ...] = (
    *((1, 2.5), (2001, 2001.0), (BIG, BIG + 1), (BIG, 0.5), (-BIG, BIG), (2**53, 2**53 + 1), (2**63 - 1, -5)),
    *((1e300, BIG), (-1e300, BIG), (1e19, 3), (-1e19, 2**63 - 1), (2.0**53, 2**53 + 1)),
)
VALUES = (*EDGES, *LISTS)


def records() -> list[ImageRecord]:
    rows = random_units(len(VALUES), seed=3)
    made = [
        ImageRecord(id=f"{number:03d}", embedding=row, source="s", caption="a card", metadata={"n": value, "other": 7})
        for number, (row, value) in enumerate(zip(rows, VALUES, strict=True))
    ]
    return [*made, ImageRecord(id="without", embedding=rows[0], source="s", caption="a card")]


@pytest.fixture(scope="session")
def numbers(store: Store) -> Iterator[ImageIndex]:
    made = store.create(f"contract-numbers-{uuid.uuid4().hex[:12]}", PROVENANCE)
    assert made.write(records()) == []
    made.refresh()
    yield made
    store.drop(made.name)


def test_every_number_comes_back_with_its_value_and_its_type(numbers: ImageIndex) -> None:
    found = numbers.get([record.id for record in records()])
    vector = SearchRequest(vector=random_units(1, seed=5)[0], size=200, depth=200, exact=True)
    hits = {hit.id: hit for hit in numbers.search(vector).hits}
    for record in records():
        for metadata in (found[record.id].metadata, hits[record.id].metadata):
            assert repr(sorted(metadata.items())) == repr(sorted(record.metadata.items()))


@pytest.mark.parametrize("operator", ["any_of", "gt", "gte", "lt", "lte"])
@pytest.mark.parametrize("negated", [False, True])
def test_every_number_is_compared_exactly_with_every_other(
    numbers: ImageIndex, operator: Operator, negated: bool
) -> None:
    wrong = []
    for bound in EDGES:
        condition = Condition("n", operator, (bound,), negated)
        expected = sum(passes(record, condition) for record in records())
        if (found := numbers.count((condition,))) != expected:
            wrong.append((bound, found, expected))
    assert wrong == []


def test_both_legs_find_the_one_picture_with_a_long_number(numbers: ImageIndex) -> None:
    filter = parse_filter({"n": BIG - 1})
    wanted = {record.id for record in records() if passes(record, filter[0])}
    assert len(wanted) == 1
    for asked in ({"text": "card"}, {"vector": random_units(1, seed=5)[0]}):
        assert {hit.id for hit in numbers.search(SearchRequest(**asked, filter=filter)).hits} == wanted  # type: ignore[arg-type]


def test_long_and_short_numbers_are_alternatives_of_one_condition(numbers: ImageIndex) -> None:
    (condition,) = parse_filter({"n": [2001, 0.1, BIG, -(2**53) - 1, 1e19, 2**63 - 1]})
    assert numbers.count((condition,)) == sum(passes(record, condition) for record in records()) == 16


@pytest.mark.parametrize("text", [str(BIG), str(-BIG), str(2**63 - 1)])
def test_the_command_line_asks_for_every_digit(numbers: ImageIndex, text: str) -> None:
    (condition,) = parse_expressions([f"n={text}"])
    assert condition.values == (int(text),)
    assert numbers.count((condition,)) == sum(passes(record, condition) for record in records()) > 0


def test_a_field_of_floats_takes_long_numbers_later_and_the_other_way_round(new_index: NewIndex) -> None:
    rows = random_units(4)
    index = new_index()
    for number, value in enumerate([0.5, BIG, 1e19, BIG + 1]):
        record = ImageRecord(id=str(number), embedding=rows[number], source="s", metadata={"n": value})
        assert index.write([record]) == []
    index.refresh()
    expected: list[tuple[dict[str, Any], int]] = [
        ({"n": BIG}, 1),
        ({"n": BIG + 2}, 0),
        ({"n": {"gt": BIG}}, 2),
        ({"n": {"gte": BIG}}, 3),
        ({"n": {"lte": BIG}}, 2),
        ({"n": {"lt": BIG}}, 1),
        ({"not": {"n": BIG}}, 3),
        ({"n": 1e19}, 1),
        ({"n": 0.5}, 1),
    ]
    assert [index.count(parse_filter(raw)) for raw, _ in expected] == [count for _, count in expected]


def test_a_long_number_that_is_replaced_or_deleted_is_found_no_more(index: ImageIndex) -> None:
    (row,) = random_units(1)
    index.write([ImageRecord(id="a", embedding=row, source="s", metadata={"n": BIG, "many": (BIG, 2**53 + 1)})])
    index.write([ImageRecord(id="a", embedding=row, source="s", metadata={"n": BIG + 1})])
    index.refresh()
    asked = ({"n": BIG}, {"n": BIG + 1}, {"many": 2**53 + 1}, {"many": {"exists": True}})
    assert [index.count(parse_filter(raw)) for raw in asked] == [0, 1, 0, 0]
    index.delete(["a"])
    index.refresh()
    assert index.count(parse_filter({"n": {"exists": True}})) == 0


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**64, 10**30, float("nan"), float("inf")])
def test_a_number_that_no_store_keeps_exactly_is_refused_by_name(index: ImageIndex, value: float) -> None:
    record = ImageRecord(id="a", embedding=random_units(1)[0], source="s", metadata={"n": value})
    ((_, failure),) = index.write([record])
    assert failure.code == "metadata_value"
    assert '"n"' in failure.message


@pytest.mark.parametrize("value", [True, "1746714878034235396", "007", "2001"])
def test_a_truth_or_digits_in_quotes_is_no_number(index: ImageIndex, value: Any) -> None:
    index.write([ImageRecord(id="a", embedding=random_units(1)[0], source="s", metadata={"n": value})])
    index.refresh()
    assert repr(index.get(["a"])["a"].metadata["n"]) == repr(value)
    assert index.count(parse_filter({"n": value})) == 1
