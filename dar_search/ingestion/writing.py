"""Writing records in a thread of its own, so that the encoder need not wait for the disk or the network."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence

from dar_search.data import ImageRecord
from dar_search.ingestion.report import Tally
from dar_search.ports import ImageIndex

MAX_WAITING_BATCHES = 8
MAX_WRITE = 512


class Writer:
    """Writes batches of records in the order in which they were put; joins what waits into larger writes.

    A record that the index refuses is a failure in the tally. An error of the index itself (StoreUnavailable, ...)
    ends the writing, and is raised by the next `put`, `check` or `close`.
    """

    def __init__(self, index: ImageIndex, tally: Tally) -> None:
        self._index = index
        self._tally = tally
        self._batches: queue.Queue[Sequence[ImageRecord] | None] = queue.Queue(MAX_WAITING_BATCHES)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="dar-ingest-writer", daemon=True)
        self._thread.start()

    def put(self, records: Sequence[ImageRecord]) -> None:
        """Waits while too much is waiting to be written."""
        self.check()
        if records:
            self._batches.put(records)

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Returns when everything put has been written."""
        self._batches.put(None)
        self._thread.join()
        self.check()

    def _run(self) -> None:
        while (records := self._waiting()) is not None:
            if self._error is not None:
                continue  # nothing is written after an error, but nobody who puts may be left waiting
            try:
                refused = self._index.write(records)
            except BaseException as error:  # noqa: BLE001  # raised again in the thread that put
                self._error = error
            else:
                self._tally.failures.extend(failure for _, failure in refused)
                self._tally.indexed += len(records) - len(refused)

    def _waiting(self) -> list[ImageRecord] | None:
        """All batches that wait, up to MAX_WRITE records; None after the last."""
        batch = self._batches.get()
        if batch is None:
            return None
        records = list(batch)
        while len(records) < MAX_WRITE:
            try:
                batch = self._batches.get_nowait()
            except queue.Empty:
                break
            if batch is None:
                self._batches.put(None)
                break
            records.extend(batch)
        return records
