"""The crew that asks an index. Each piece of work has a limit: then nobody waits for it, and the store ends it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from dar_search.answering.crews import Crew
from dar_search.answering.time_limits import limited, within
from dar_search.errors import StoreUnavailable

T = TypeVar("T")
_FIRST_SECONDS = 0.05
_SLOWER = 0.1  # how much of a slower search is believed


class IndexCrew:
    """Threads for work that asks a store.

    Attributes:
        typical: what a search takes, seconds. One that is slower raises it a little; one that is faster is believed at
            once, so that nothing is held back by a store that was slow and is well again.
    """

    def __init__(self, *, threads: int, waiting: int) -> None:
        self._crew = Crew("search", threads=threads, waiting=waiting)
        self.typical = _FIRST_SECONDS

    @property
    def queued(self) -> int:
        return self._crew.queued

    def start(self, work: Callable[[], T], seconds: float) -> Future[T]:
        """Begin `work`, whose requests end in so many seconds. Raises ModelBusy where the queue is full."""
        with within(seconds):
            return self._crew.start(work)

    def ask(self, work: Callable[[], T], seconds: float) -> T:
        """What `work` says. Raises as it does, ModelBusy, and StoreUnavailable where it takes longer."""
        future = self.start(work, seconds)
        try:
            return future.result(limited(seconds))
        except TimeoutError:
            future.cancel()
            raise silent_index() from None

    def took(self, seconds: float) -> None:
        """A search took so long."""
        self.typical += min(0.0, seconds - self.typical) or _SLOWER * (seconds - self.typical)

    def close(self) -> None:
        self._crew.close()


def silent_index() -> StoreUnavailable:
    return StoreUnavailable("The index did not answer in time.", "Ask again, or raise deadline_ms.")
