"""What the soak (tests/torture/soak) takes for wrong: it would pass for ever if that were nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.torture.soak.asking import Answer, judged
from tests.torture.soak.faults import FAULTS
from tests.torture.soak.footprints import Footprint, grown
from tests.torture.soak.report import print_summary

REST = Footprint(megabytes=1000.0, threads=40, files=20, pooled=10, processes=3)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"megabytes": 1131.0}, "query: megabytes 1000 -> 1131"),
        ({"threads": 44}, "query: threads 40 -> 44"),
        ({"files": 27}, "query: files 20 -> 27"),
        ({"pooled": 35}, "query: pooled 10 -> 35"),
        ({"processes": 4}, "query: processes 3 -> 4"),
    ],
)
def test_what_a_part_keeps_is_found(change: dict[str, Any], found: str) -> None:
    assert grown({"query": REST}, {"query": replace(REST, **change)}) == [found]


def test_what_is_as_before_or_a_little_more_is_not() -> None:
    assert grown({"query": REST}, {"query": REST}) == []
    assert grown({"query": REST}, {"query": Footprint(1129.0, 43, 26, 34, 3)}) == []


def test_a_part_that_is_not_there_is_found() -> None:
    assert grown({"query": REST}, {}) == ["query is not there"]


@pytest.mark.parametrize(
    ("status", "calm", "breaking", "right"),
    [
        (200, True, False, True),
        (503, True, False, False),
        (503, False, False, True),
        (429, False, False, True),
        (400, False, False, False),
        (500, False, True, False),
        (502, False, True, False),
        (0, False, False, False),
        (0, False, True, True),
    ],
)
def test_an_answer_is_right_or_wrong(status: int, calm: bool, breaking: bool, right: bool) -> None:
    assert judged(Answer(status, ""), calm=calm, breaking=breaking) is right


def test_the_faults_are_of_all_points() -> None:
    assert {fault.point for fault in FAULTS.values()} == {8, 9, 10, 11}


def test_the_exit_status_says_whether_something_did_not_hold(capsys: pytest.CaptureFixture[str]) -> None:
    health = {"asked": 3, "p50": 0.01, "max": 0.02}
    phase: dict[str, Any] = {
        "phase": "warm-up",
        "at": "00:00:00",
        "answers": {"200": 5},
        "wrong": {},
        "health": {"query": health, "ingest": health},
        "footprints": {"query": {"megabytes": 1.0, "threads": 1, "files": 1, "pooled": 1, "processes": 1}},
        "problems": [],
    }
    assert print_summary([phase]) == 0
    assert print_summary([phase, phase | {"problems": ["query: threads 1 -> 90"]}]) == 1
    assert "query: threads 1 -> 90" in capsys.readouterr().out
