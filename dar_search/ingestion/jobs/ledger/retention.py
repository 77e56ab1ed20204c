"""Ended jobs do not stay for ever: those that are old enough are removed from the ledger, with their failures."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from dar_search.errors import DarError
from dar_search.ingestion.jobs.ledger_port import Ledger

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS = 3_600.0
_DAY = 86_400.0
_PAGE = 500


def forget_old(ledger: Ledger, days: float, now: Callable[[], float] = time.time) -> int:
    """Removes the jobs that ended more than so many days ago, by this machine's clock -> how many. 0 days: keeps all.

    Raises StoreError.
    """
    if not days:
        return 0
    before = now() - days * _DAY
    removed = 0
    while old := [job.id for job in ledger.ended_jobs(_PAGE) if job.ended is not None and job.ended < before]:
        for job in old:
            ledger.forget(job)
        removed += len(old)
    return removed


class Retention:
    """`forget_old`, now and then, where something is called all the time."""

    def __init__(self, ledger: Ledger, days: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger, self._days, self._clock = ledger, days, clock
        self._next = clock()

    def look(self) -> None:
        """What goes wrong is in the log, and tried again at the next look."""
        if self._clock() < self._next:
            return
        self._next = self._clock() + _LOOK_SECONDS
        try:
            if number := forget_old(self._ledger, self._days):
                _LOG.info("%d old jobs are removed from the ledger.", number)
        except DarError as error:
            _LOG.warning("Old jobs are not removed: %s", error.message)
