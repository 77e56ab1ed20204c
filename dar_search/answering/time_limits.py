"""Until when an answer is of use to whoever asked.

A context variable, not an argument: it must reach every request that a search makes of a store, through the port's
methods, which know nothing of deadlines. Threads that a question starts get it with the rest of its context (see
`crews`). A store that can end a request by then does, so that nothing is asked for longer than somebody waits.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_until: ContextVar[float | None] = ContextVar("dar_until", default=None)  # on time.monotonic's clock


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """While it lasts, what is asked has so many seconds from now; fewer where a limit around it says so."""
    until = time.monotonic() + seconds
    around = _until.get()
    token = _until.set(until if around is None else min(until, around))
    try:
        yield
    finally:
        _until.reset(token)


def seconds_left() -> float | None:
    """Seconds that are left, at least 0; None: there is no limit."""
    until = _until.get()
    return None if until is None else max(0.0, until - time.monotonic())


def limited(seconds: float) -> float:
    """So many seconds, or what is left where that is less."""
    left = seconds_left()
    return seconds if left is None else min(seconds, left)
