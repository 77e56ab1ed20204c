"""Bounded crews of threads: what is refused, whose an error is, and that all work ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait

import pytest

from dar_search.answering.crews import Crew
from dar_search.errors import ModelBusy


@pytest.fixture
def released() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


class TestCrew:
    def test_more_than_its_threads_and_its_queue_is_refused_until_something_ends(
        self, released: threading.Event
    ) -> None:
        crew = Crew("work", threads=2, waiting=1)
        begun = threading.Barrier(3)

        def hang() -> str:
            begun.wait(60)
            released.wait(60)
            return "done"

        running = [crew.start(hang), crew.start(hang)]
        begun.wait(60)
        queued = crew.start(lambda: "after")
        with pytest.raises(ModelBusy):
            crew.start(lambda: "no")
        released.set()
        assert [one.result(60) for one in (*running, queued)] == ["done", "done", "after"]
        assert crew.start(lambda: "again").result(60) == "again"

    def test_an_error_is_the_callers_and_the_thread_goes_on(self) -> None:
        crew = Crew("work", threads=1, waiting=1)

        def fail() -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            crew.start(fail).result(60)
        assert crew.start(lambda: 1).result(60) == 1

    def test_cancelled_work_never_runs_and_gives_its_place_back(self, released: threading.Event) -> None:
        crew = Crew("work", threads=1, waiting=1)
        entered = threading.Event()

        def hang() -> None:
            entered.set()
            released.wait(60)

        first = crew.start(hang)
        assert entered.wait(60)
        ran: list[int] = []
        waiting: Future[None] = crew.start(lambda: ran.append(1))
        assert waiting.cancel()
        released.set()
        first.result(60)
        wait([crew.start(lambda: None)])
        assert ran == []

    def test_a_thousand_pieces_of_work_by_eight_callers_all_end(self) -> None:
        crew = Crew("work", threads=4, waiting=1_000)
        futures: list[Future[int]] = []

        def many(first: int) -> None:
            futures.extend([crew.start(lambda one=one: one) for one in range(first, first + 125)])

        callers = [threading.Thread(target=many, args=(125 * number,)) for number in range(8)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert sorted(one.result(60) for one in futures) == list(range(1_000))
        crew.close()

    def test_work_for_which_there_is_no_thread_is_refused_and_later_work_is_done(
        self, released: threading.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class NoThread(threading.Thread):
            """What a system without room for one more thread makes of it."""

            def start(self) -> None:
                raise RuntimeError("can't start new thread")

        crew = Crew("work", threads=2, waiting=1)
        with monkeypatch.context() as short:
            short.setattr("dar_search.answering.crews.threading.Thread", NoThread)
            for _ in range(5):  # more than it has places
                with pytest.raises(ModelBusy, match="can't start new thread"):
                    crew.start(lambda: None)
        hanging = crew.start(lambda: released.wait(60))
        with monkeypatch.context() as short:
            short.setattr("dar_search.answering.crews.threading.Thread", NoThread)
            second = crew.start(lambda: "done by the one that is there")
        released.set()
        assert hanging.result(60)
        assert second.result(60) == "done by the one that is there"
        crew.close()
