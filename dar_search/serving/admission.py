"""How much is answered at once: searches that run, searches that wait, open streams. More is refused at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from dar_search.errors import Overloaded


class Gate:
    """Lets `running` in at once; `waiting` more wait at the door, in no order. Safe for many threads.

    Attributes:
        inside, at_the_door: how many there are now.
    """

    def __init__(self, what: str, *, running: int, waiting: int) -> None:
        self._what, self._running, self._waiting = what, running, waiting
        self._changed = threading.Condition()
        self.inside = 0
        self.at_the_door = 0

    @contextmanager
    def entered(self, seconds: float = 0.0) -> Iterator[float]:
        """Inside while it lasts; gives the seconds that were waited.

        Raises Overloaded where too many wait already, or none left within `seconds`.
        """
        began = time.monotonic()
        with self._changed:
            if self.inside >= self._running:
                self._wait(began + seconds)
            self.inside += 1
        try:
            yield time.monotonic() - began
        finally:
            with self._changed:
                self.inside -= 1
                self._changed.notify()

    def _wait(self, until: float) -> None:
        if self.at_the_door >= self._waiting:
            raise self._full()
        self.at_the_door += 1
        try:
            while self.inside >= self._running:
                if not self._changed.wait(max(0.0, until - time.monotonic())) and self.inside >= self._running:
                    raise self._full()
        finally:
            self.at_the_door -= 1

    def _full(self) -> Overloaded:
        return Overloaded(
            f"Too many {self._what} are under way.",
            "Wait as long as Retry-After says, then ask again.",
            retry_after=1.0,
        )
