"""The worker's threads: all are there at once, or none is."""

from __future__ import annotations

import threading

import pytest

from dar_search.serving.process.worker import Lane


def test_where_a_thread_cannot_be_started_those_that_were_end(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(threading.enumerate())
    start, started = threading.Thread.start, []

    def short(thread: threading.Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", short)
    with pytest.raises(RuntimeError):
        Lane("tests", threads=4, most=8)
    for thread in started:
        thread.join(60)
    assert set(threading.enumerate()) == before
