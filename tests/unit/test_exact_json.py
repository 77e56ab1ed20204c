"""JSON is read as the standard library reads it, as far as orjson takes it for JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dar_search.values import exact_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES, st.booleans())
def test_every_value_is_read_with_its_digits_and_types(value: object, as_bytes: bool) -> None:
    text = json.dumps(value, ensure_ascii=False)
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        return
    assert repr(exact_json.loads(encoded if as_bytes else text)) == repr(value)


@pytest.mark.parametrize(
    "text",
    ["18446744073709551615", "18446744073709551616", "9223372036854775808", "-9223372036854775809", "1" * 300,
     '{"a": [-12345678901234567890], "b": "12345678901234567890", "c": 0.12345678901234567890}'],
)  # fmt: skip
def test_long_numbers_keep_every_digit(text: str) -> None:
    assert repr(exact_json.loads(text)) == repr(json.loads(text))


@pytest.mark.parametrize(
    "text",
    ["NaN", "Infinity", "[1,]", "", "12345678901234567890 x", "[NaN, 12345678901234567890]", '"\ud800"', "1" * 400,
     "[" * 2000 + "12345678901234567890" + "]" * 2000],
)  # fmt: skip
def test_what_is_no_json_is_refused_beside_long_numbers_too(text: str) -> None:
    with pytest.raises(ValueError):  # orjson's own words
        exact_json.loads(text)
