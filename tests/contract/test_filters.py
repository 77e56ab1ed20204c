"""Every filter must mean in each store, in each leg and in `count`, what plain Python says that it means."""

from __future__ import annotations

from typing import Any

import pytest

from dar_search.data import ImageRecord
from dar_search.errors import FilterError
from dar_search.filters import MAX_VALUES, Condition, Filter, parse_expressions, parse_filter
from dar_search.ports import ImageIndex, SearchRequest
from tests.contract.gallery import SIZE, gallery_records, random_units

COMPARE = {
    "gt": lambda value, bound: value > bound,
    "gte": lambda value, bound: value >= bound,
    "lt": lambda value, bound: value < bound,
    "lte": lambda value, bound: value <= bound,
}


def passes(record: ImageRecord, condition: Condition) -> bool:
    """Whether a condition holds for a record: `dar_search.filters` in plain Python."""
    value = record.metadata.get(condition.field, ())
    values = value if isinstance(value, tuple) else (value,)
    if condition.operator == "exists":
        holds = bool(values)
    elif condition.operator == "any_of":
        holds = any(value in condition.values for value in values)
    else:
        holds = any(COMPARE[condition.operator](value, condition.values[0]) for value in values)
    return holds != condition.negated


def expected(filter: Filter) -> set[str]:
    return {record.id for record in gallery_records() if all(passes(record, condition) for condition in filter)}


FILTERS: list[dict[str, Any]] = [
    {"number": 7},
    {"number": 7.0},
    {"number": 7.5},
    {"half": 3.5},
    {"number": [1, 2, 3, 1000]},
    {"number": {"gte": 100}},
    {"number": {"gt": 100}},
    {"number": {"lte": 100}},
    {"number": {"lt": 100}},
    {"number": {"gte": 50, "lt": 60}},
    {"number": {"gt": 1e300}},
    {"even": True},
    {"even": False},
    {"even": [True, False]},
    {"city": "Paris"},
    {"city": "paris"},
    {"city": "PARIS"},
    {"city": "São Paulo"},
    {"city": ["Paris", "Rome"]},
    {"city": "Paris' OR '1'='1"},
    {"city": "*"},
    {"city": ""},
    {"city": {"exists": True}},
    {"city": {"exists": False}},
    {"tags": "first"},
    {"tags": "tag 2"},
    {"tags": ["tag 1", "tag 2"]},
    {"readings": 7},
    {"readings": 107.5},
    {"readings": {"gte": 300}},
    {"readings": {"gt": 110, "lt": 90}},  # different values of a list may satisfy the two
    {"checks": False},
    {"checks": {"exists": True}},
    {"not": {"city": "Paris"}},
    {"not": {"city": ["Paris", "Rome"]}},
    {"not": {"number": {"gte": 10}}},
    {"not": {"readings": {"lt": 100}}},
    {"not": {"tags": "first"}},
    {"not": {"even": True}},
    {"not": {"city": {"exists": True}}},
    {"not": {"city": {"exists": False}}},
    {"not": {"city": "Paris", "even": True}},
    {"nowhere": "x"},
    {"nowhere": 5},
    {"nowhere": {"gt": 5}},
    {"nowhere": {"exists": True}},
    {"nowhere": {"exists": False}},
    {"not": {"nowhere": "x"}},
    {"not": {"nowhere": {"lt": 5}}},
    {"city": "Paris", "even": True, "number": {"lt": 100}},
    {"city": "Paris", "not": {"number": {"lt": 100}}},
    {"tags": "first", "not": {"tags": "tag 2"}},
    {"number": list(range(1000))},
]


@pytest.mark.parametrize("raw", FILTERS, ids=lambda raw: ascii(raw)[:60])
def test_a_filter_holds_for_the_same_pictures_in_every_leg(gallery: ImageIndex, raw: dict[str, Any]) -> None:
    filter = parse_filter(raw)
    wanted = expected(filter)
    assert gallery.count(filter) == len(wanted)
    vector = SearchRequest(vector=random_units(1, seed=5)[0], filter=filter, size=SIZE, depth=SIZE, exact=True)
    assert {hit.id for hit in gallery.search(vector).hits} == wanted
    text = SearchRequest(text="dog cat boat bicycle umbrella pizza horse train", filter=filter, size=SIZE, depth=SIZE)
    captioned = {record.id for record in gallery_records() if record.caption}
    assert {hit.id for hit in gallery.search(text).hits} == wanted & captioned


@pytest.mark.parametrize(
    ("expressions", "raw"),
    [
        (["city=Paris"], {"city": "Paris"}),
        (["city=Paris", "city=Rome"], {"city": ["Paris", "Rome"]}),
        (["city!=Paris"], {"not": {"city": "Paris"}}),
        (["number>=10", "number<20"], {"number": {"gte": 10, "lt": 20}}),
        (["even=true"], {"even": True}),
        (["city"], {"city": {"exists": True}}),
    ],
)
def test_the_command_lines_form_means_the_same(
    gallery: ImageIndex, expressions: list[str], raw: dict[str, Any]
) -> None:
    assert gallery.count(parse_expressions(expressions)) == len(expected(parse_filter(raw))) > 0


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        ({"city": 5}, ["city", "keyword", "number"]),
        ({"city": True}, ["city", "keyword", "boolean"]),
        ({"city": {"gt": 5}}, ["city", "keyword"]),
        ({"city": ["Paris", 5]}, ["city", "keyword", "number"]),
        ({"number": "5"}, ["number", "string"]),
        ({"number": True}, ["number", "boolean"]),
        ({"even": "true"}, ["even", "boolean", "string"]),
        ({"even": 1}, ["even", "boolean", "number"]),
        ({"even": {"lt": 1}}, ["even", "boolean"]),
        ({"tags": 1}, ["tags", "keyword", "number"]),
        ({"not": {"number": "5"}}, ["number", "string"]),
        ({"city": "\ud800"}, ["city"]),
    ],
    ids=ascii,
)
def test_a_condition_of_another_type_than_the_field_is_an_error_that_names_it(
    gallery: ImageIndex, raw: dict[str, Any], named: list[str]
) -> None:
    filter = parse_filter(raw)
    requests = [
        lambda: gallery.count(filter),
        lambda: gallery.search(SearchRequest(vector=random_units(1)[0], filter=filter)),
        lambda: gallery.search(SearchRequest(text="dog", filter=filter)),
    ]
    for request in requests:
        with pytest.raises(FilterError) as error:
            request()
        assert all(part in error.value.message for part in named)


def test_the_largest_filter_works(gallery: ImageIndex) -> None:
    conditions = {f"nowhere-{n}": [f"{n}-{m}" for m in range(100)] for n in range(62)}
    filter = parse_filter({"city": [f"city {n}" for n in range(999)] + ["Rome"], "not": conditions | {"even": True}})
    assert len(filter) == 64
    assert gallery.count(filter) == len(expected(filter)) > 0


ODD = (
    "a",
    "",
    "\0",
    "a\0b",
    '"quoted"',
    "\\",
    "é",
    "e\u0301",
    "😀",
    "1",
    "true",
    "null",
    "\u2028",
    "[1]",
    "\x7f",
    " a ",
)


def test_thousands_of_values_are_alternatives_one_by_one(index: ImageIndex) -> None:
    rows = random_units(len(ODD) + 1)
    numbers = (
        7,
        2**53 + 1,
        -(2**63),
        2**63 - 1,
        0.1,
        1e300,
        0.5,
        -0.0,
        1e16,
        2.5,
        5e-324,
        12,
        13,
        14,
        15,
        0.30000000000000004,
    )
    written = [
        ImageRecord(id=f"{at:02d}", embedding=row, source="s", caption="a dog", metadata={"odd": text, "n": number})
        for at, (row, text, number) in enumerate(zip(rows, ODD, numbers, strict=False))
    ]
    assert index.write(written) == []
    index.refresh()
    for name, values in (("odd", ODD), ("n", numbers)):
        for at in (0, 7, 15):
            left_out = {values[at]}
            others = [value for value in values if value not in left_out]
            made_up = [f"made up {n}" if name == "odd" else 10**12 + n for n in range(MAX_VALUES - len(others))]
            filter = parse_filter({name: [*made_up, *others]})
            wanted = {record.id for record in written if record.metadata[name] not in left_out}
            assert len(wanted) == 15
            assert index.count(filter) == 15
            assert index.count(parse_filter({"not": {name: [*made_up, *others]}})) == 1
            for asked in ({"vector": rows[0]}, {"text": "dog"}, {"vector": rows[0], "text": "dog"}):
                found = index.search(SearchRequest(**asked, filter=filter, size=50))  # type: ignore[arg-type]
                assert {hit.id for hit in found.hits} == wanted


def test_as_many_values_as_a_filter_takes_may_have_fractions(gallery: ImageIndex) -> None:
    halves = [number + 0.5 for number in range(30_000)]
    assert gallery.count(parse_filter({"half": halves})) == SIZE // 2


def test_one_value_too_many_says_what_to_do() -> None:
    for form in ({"owner": ["x"] * (MAX_VALUES + 1)}, {"owner": ["x"] * MAX_VALUES, "city": "Paris"}):
        with pytest.raises(FilterError, match="65,536 values") as raised:
            parse_filter(form)
        assert "group" in raised.value.hint
    with pytest.raises(FilterError, match="65,536 values"):
        parse_expressions(["owner=x"] * (MAX_VALUES + 1))
