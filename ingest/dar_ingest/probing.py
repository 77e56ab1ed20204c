"""Asking what may never answer: a store or a ledger that takes connections and is silent."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from dar_search.answering.crews import Crew
from dar_search.errors import ModelBusy, StoreUnavailable

T = TypeVar("T")
_SECONDS = 3.0


class Probe:
    """Asks one thing, in threads of its own. name: for people."""

    def __init__(self, name: str) -> None:
        self._crew = Crew(f"probing the {name}", threads=2, waiting=2)
        self.close = self._crew.close

    def ask(self, look: Callable[[], T]) -> Callable[[], T]:
        """Begins; what is returned waits for the answer. It raises StoreUnavailable without one, and as `look` does."""
        until = time.monotonic() + _SECONDS
        silent = StoreUnavailable(f"no answer within {_SECONDS:g} s")

        def answer() -> T:
            try:
                return found.result(max(0.0, until - time.monotonic()))
            except TimeoutError:
                raise silent from None

        def refuse() -> T:
            raise silent

        try:
            found = self._crew.start(look)
        except ModelBusy:  # earlier ones have no answer yet
            return refuse
        return answer
