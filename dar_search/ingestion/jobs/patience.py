"""What a worker does when a store cannot take anything just now: it says so, keeps what it has, and tries again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from dar_search.errors import LeaseLost, StoreError
from dar_search.ingestion.jobs.ledger_port import Ledger

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
FIRST_WAIT, LONGEST_WAIT = 0.5, 15.0
ALONE_SECONDS = 30.0


class Patience:
    """None: the first error is raised. `dar ingest` has none beyond the store's own: a person is there to see it."""

    def outlast(self, use: Callable[[], T]) -> T:
        """What `use` gives, however long it takes."""
        return use()


class PausingPatience(Patience):
    """Pauses a job for as long as a store takes nothing (read-only, full, away), and lets it run on then.

    What is encoded is kept meanwhile, and its leases are: nothing is done again. Where the ledger itself is the store
    in trouble, the pause is only in the log.

    Args:
        proceed: asked all the time; once it says no, the store's error is raised.
        others_wait: whether other jobs want the worker: asked once the trouble has lasted for `alone_seconds`. Then the
            error is raised too, and the job is tried again later.
    """

    def __init__(
        self,
        ledger: Ledger,
        job: str,
        proceed: Callable[[], bool],
        *,
        first_wait: float = FIRST_WAIT,
        others_wait: Callable[[], bool] = lambda: False,
        alone_seconds: float = ALONE_SECONDS,
    ) -> None:
        self._ledger = ledger
        self._job = job
        self._proceed = proceed
        self._first_wait = first_wait
        self._others_wait = others_wait
        self._alone_seconds = alone_seconds

    def outlast(self, use: Callable[[], T]) -> T:
        wait = self._first_wait
        paused = False
        began = time.monotonic()
        while True:
            try:
                result = use()
            except LeaseLost:
                raise
            except StoreError as error:
                if not paused:
                    _LOG.warning("Job %s is paused: %s", self._job, error)
                paused = True
                self._tell(lambda error=error: self._ledger.pause(self._job, str(error), automatic=True))  # type: ignore[misc]
                if not self._waited(wait) or (self._is_long(began) and self._others_wait()):
                    raise
                wait = min(2 * wait, LONGEST_WAIT)
            else:
                if paused:
                    self._tell(lambda: self._ledger.resume(self._job, automatic=True))
                    _LOG.warning("Job %s runs again.", self._job)
                return result

    def _is_long(self, began: float) -> bool:
        return time.monotonic() - began >= self._alone_seconds

    def _waited(self, seconds: float) -> bool:
        """Whether it is worth another try."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not self._proceed():
                return False
            time.sleep(min(left, 0.2))
        return self._proceed()

    def _tell(self, change: Callable[[], object]) -> None:
        try:
            change()
        except StoreError as error:
            _LOG.warning("The ledger does not take it either: %s", error.message)
