"""Filters: one meaning, written as JSON or on the command line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dar_search.errors import FilterError
from dar_search.filters import MAX_CONDITIONS, MAX_VALUES, Condition, parse_expressions, parse_filter


@pytest.mark.parametrize(
    ("raw", "conditions"),
    [
        (None, ()),
        ({}, ()),
        ({"city": "Paris"}, (Condition("city", "any_of", ("Paris",)),)),
        ({"city": ["Paris", "Rome"]}, (Condition("city", "any_of", ("Paris", "Rome")),)),
        ({"year": 1999}, (Condition("year", "any_of", (1999.0,)),)),
        ({"free": True}, (Condition("free", "any_of", (True,)),)),
        (
            {"year": {"gte": 2000, "lt": 2010}},
            (Condition("year", "gte", (2000.0,)), Condition("year", "lt", (2010.0,))),
        ),
        ({"licence": {"exists": True}}, (Condition("licence", "exists"),)),
        ({"licence": {"exists": False}}, (Condition("licence", "exists", (), negated=True),)),
        (
            {"not": {"city": "Paris", "year": {"gt": 5}}},
            (Condition("city", "any_of", ("Paris",), True), Condition("year", "gt", (5.0,), True)),
        ),
        ({"not": {"licence": {"exists": True}}}, (Condition("licence", "exists", (), True),)),
        ({"not": {"licence": {"exists": False}}}, (Condition("licence", "exists"),)),
        ({"city": "Paris", "not": {}}, (Condition("city", "any_of", ("Paris",)),)),
    ],
)
def test_the_json_form(raw: Any, conditions: tuple[Condition, ...]) -> None:
    assert parse_filter(raw) == conditions


@pytest.mark.parametrize(
    ("expressions", "raw"),
    [
        ([], {}),
        (["city=Paris"], {"city": "Paris"}),
        (["city = New York "], {"city": "New York"}),
        (["city=Paris", "city=Rome"], {"city": ["Paris", "Rome"]}),
        (["city!=Paris"], {"not": {"city": "Paris"}}),
        (["year>=2000", "year<2010"], {"year": {"gte": 2000, "lt": 2010}}),
        (["year>1e3"], {"year": {"gt": 1000}}),
        (["year<=2000"], {"year": {"lte": 2000}}),
        (["year=1999"], {"year": 1999}),
        (['year="1999"'], {"year": "1999"}),
        (["free=true"], {"free": True}),
        (["free=True"], {"free": "True"}),
        (["licence"], {"licence": {"exists": True}}),
        (["note=a=b"], {"note": "a=b"}),
        (["note="], {"note": ""}),
        (["note=null"], {"note": "null"}),
        (["note=[1]"], {"note": "[1]"}),
        (["note=NaN"], {"note": "NaN"}),
        (["note=" + "9" * 400], {"note": "9" * 400}),
        (["note=" + "[" * 100_000], {"note": "[" * 100_000}),
        (["my-field_2=x"], {"my-field_2": "x"}),
    ],
)
def test_the_command_lines_form_means_the_same_as_the_json_form(expressions: list[str], raw: dict[str, Any]) -> None:
    assert set(parse_expressions(expressions)) == set(parse_filter(raw))


@pytest.mark.parametrize(
    "raw",
    [
        [],
        "city=Paris",
        {"city": None},
        {"city": {}},
        {"city": []},
        {"city": [None]},
        {"city": [["Paris"]]},
        {"city": {"like": "P"}},
        {"city": {"gte": "a"}},
        {"year": {"gte": True}},
        {"year": {"gte": float("nan")}},
        {"year": float("inf")},
        {"year": 10**400},
        {"licence": {"exists": "yes"}},
        {"": "x"},
        {"a.b": "x"},
        {"a b": "x"},
        {"-a": "x"},
        {"x" * 65: "x"},
        {"ñ": "x"},
        {7: "x"},
        {"not": "Paris"},
        {"not": {"not": {"city": "Paris"}}},
        {"not": {"year": {"gte": 1, "lt": 2}}},
        {"city": ["x"] * (MAX_VALUES + 1)},
        {f"f{number}": 1 for number in range(MAX_CONDITIONS + 1)},
    ],
)
def test_what_is_no_filter_is_refused_in_one_line(raw: Any) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(raw)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "expression", ["", "=x", "a b=x", "year>abc", "year>=true", "a.b=1", "!city", "not", "city\x00=x"]
)
def test_an_expression_that_does_not_read_is_refused(expression: str) -> None:
    with pytest.raises(FilterError):
        parse_expressions([expression])


fields = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,8}", fullmatch=True).filter(lambda name: name != "not")
words = st.text(st.characters(categories=["Ll", "Lu"]), min_size=1, max_size=8)


@settings(deadline=None)
@given(fields, st.sampled_from([">", ">=", "<", "<="]), st.floats(allow_nan=False, allow_infinity=False))
def test_any_field_and_number_read_as_a_range(field: str, symbol: str, number: float) -> None:
    operator = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}[symbol]
    assert parse_expressions([f"{field}{symbol}{number!r}"]) == (Condition(field, operator, (number,)),)  # type: ignore[arg-type]


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | words,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fields | words, inner, max_size=3),
        max_leaves=12,
    )
)
def test_any_json_value_is_read_or_refused(raw: Any) -> None:
    try:
        conditions = parse_filter(raw)
    except FilterError:
        return
    for condition in conditions:
        assert (condition.operator == "exists") == (condition.values == ())
        assert all(isinstance(value, str | float | bool) for value in condition.values)
