"""Asking what may never answer: a store or a ledger that takes connections and is silent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from dar_search.answering.crews import Crew
from dar_search.errors import ModelBusy, StoreUnavailable

T = TypeVar("T")
#: How long an answer is waited for.
PROBE_SECONDS = 3.0


class Probe:
    """Asks one thing, in threads of its own; whoever asks while a look is under way gets what that one finds.

    name: of what is asked, for people.
    """

    def __init__(self, name: str) -> None:
        self._crew = Crew(f"probing the {name}", threads=2, waiting=0)  # a second: the first may hang for ever
        self._lock = threading.Lock()
        self._found: Future[Any] | None = None
        self._began = 0.0
        self.close = self._crew.close

    def ask(self, look: Callable[[], T]) -> Callable[[], T]:
        """Begins; what is returned waits for the answer. It raises StoreUnavailable without one, and as `look` does.

        look: the same at each call, and for nobody in particular.
        """
        until = time.monotonic() + PROBE_SECONDS
        silent = StoreUnavailable(f"no answer within {PROBE_SECONDS:g} s")

        def answer() -> T:
            try:
                value: T = found.result(max(0.0, until - time.monotonic()))
            except TimeoutError:
                raise silent from None
            return value

        def refuse() -> T:
            raise silent

        try:
            found = self._under_way(look)
        except ModelBusy:  # earlier ones have no answer yet
            return refuse
        return answer

    def _under_way(self, look: Callable[[], Any]) -> Future[Any]:
        """The look that is under way, or a new one where there is none, or none that can still be hoped for."""
        with self._lock:
            now = time.monotonic()
            if self._found is None or self._found.done() or now > self._began + PROBE_SECONDS:
                self._found, self._began = self._crew.start(look), now
            return self._found
