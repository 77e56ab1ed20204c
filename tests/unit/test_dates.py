"""Which texts are dates, and which moments they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dar_search.errors import FilterError
from dar_search.filters import parse_filter
from dar_search.values.dates import span
from tests.contract.test_dates import BOUNDS, DATES, NO_DATES


@pytest.mark.parametrize("text", [*DATES, *BOUNDS])
def test_a_span_begins_when_pythons_own_reading_says(text: str) -> None:
    first, end = span(text) or (0, 0)
    assert first < end
    try:
        read = datetime.fromisoformat(text.replace(",", "."))
    except ValueError:  # it reads no year, month or hour alone
        return
    moment = read if read.tzinfo else read.replace(tzinfo=UTC)
    assert first == (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


@pytest.mark.parametrize("text", NO_DATES)
def test_what_no_calendar_has_and_other_forms_are_no_dates(text: str) -> None:
    assert span(text) is None
    with pytest.raises(FilterError, match="a number or a date"):
        parse_filter({"taken": {"gte": text}})
