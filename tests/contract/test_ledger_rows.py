"""What every keeper of a ledger's rows does: they are found in the order, and as many, as was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from dar_search.ingestion.jobs.ledger.rows import Change, Key, Row, Rows, Wanted


@pytest.fixture
def rows(ledger: Any) -> Rows:
    """With two jobs of three shards each."""
    kept: Rows = ledger._rows
    states = ("open", "held", "done")
    for job in ("a", "b"):
        for number, state in enumerate(states, 1):
            row = Row(Key("shard", job, number), state, failed=number - 1, body={"of": job})
            assert kept.put([Change(row, None)])
    return kept


def test_rows_come_by_job_and_number_and_the_newest_job_first_where_asked(rows: Rows) -> None:
    def found(**wanted: Any) -> list[tuple[str, int]]:
        return [(row.key.job, row.key.number) for row in rows.find(Wanted("shard", **wanted))]

    assert found() == [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("b", 3)]
    assert found(newest=True) == [("b", 1), ("b", 2), ("b", 3), ("a", 1), ("a", 2), ("a", 3)]
    assert found(newest=True, limit=4) == [("b", 1), ("b", 2), ("b", 3), ("a", 1)]
    assert found(job="b", after=1) == [("b", 2), ("b", 3)]
    assert found(states=("open", "done"), limit=3) == [("a", 1), ("a", 3), ("b", 1)]
    assert found(failed=True, newest=True) == [("b", 2), ("b", 3), ("a", 2), ("a", 3)]
    assert found(job="c") == []


def test_a_row_is_changed_only_by_who_saw_its_latest_version(rows: Rows) -> None:
    key = Key("shard", "a", 1)
    row, version = rows.get(key) or pytest.fail("not there")
    assert rows.put([Change(Row(key, "held", body=row.body), version)])
    assert not rows.put([Change(Row(key, "done", body=row.body), version)])
    assert not rows.put([Change(Row(key, "done", body=row.body), None)])
    assert rows.get(key) is not None
    assert rows.find(Wanted("shard", job="a", limit=1)) == [Row(key, "held", body={"of": "a"})]
