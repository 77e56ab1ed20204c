"""Looks at what may never answer: who asks meanwhile, and what comes after one that hangs."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from dar_search.answering import probing
from dar_search.answering.probing import Probe
from dar_search.errors import StoreUnavailable


@pytest.fixture
def released() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def probe() -> Iterator[Probe]:
    one = Probe("store")
    yield one
    one.close()


class TestProbe:
    def test_all_who_ask_at_once_get_what_one_look_finds(self, probe: Probe, released: threading.Event) -> None:
        looks = []

        def look() -> str:
            looks.append(released.wait(60))
            return "there"

        answers = [probe.ask(look) for _ in range(50)]
        released.set()
        assert {answer() for answer in answers} == {"there"}
        assert looks == [True]
        assert probe.ask(lambda: "later")() == "later"

    def test_what_hangs_is_no_answer_and_the_next_look_is_a_new_one(
        self, probe: Probe, released: threading.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(probing, "PROBE_SECONDS", 0.1)
        with pytest.raises(StoreUnavailable, match="no answer within"):
            probe.ask(lambda: released.wait(60))()
        monkeypatch.setattr(probing, "PROBE_SECONDS", 60)
        probe._began -= 60  # as after a minute
        assert probe.ask(lambda: "there")() == "there"

    def test_a_looks_error_is_everybodys(self, probe: Probe) -> None:
        def look() -> None:
            raise StoreUnavailable("The cluster is away.")

        with pytest.raises(StoreUnavailable, match="away"):
            probe.ask(look)()
