"""Writing records, and then their results, in a thread of its own: the encoder waits for neither disk nor network."""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dar_search.data import Failure, ImageRecord
from dar_search.errors import LeaseLost, PictureError
from dar_search.ingestion.decoding.jobs import Ticket
from dar_search.ingestion.jobs.data import Lease, Settled
from dar_search.ingestion.jobs.fault_points import reached
from dar_search.ingestion.jobs.leasing import Leases
from dar_search.ingestion.jobs.ledger_port import Ledger
from dar_search.ingestion.jobs.patience import Patience
from dar_search.ingestion.jobs.remarks import Remarks
from dar_search.ingestion.jobs.report import Tally
from dar_search.ingestion.pipeline.supply import Barrier
from dar_search.ports import ImageIndex

MAX_WAITING_BATCHES = 8
MAX_WRITE = 512
# A write has its price, however small it is (a request, waiting for the disk, the ledger's row): so many batches are
# waited for, and so long. A record in writes of 64 costs an OpenSearch's cores a fifth more than in writes of 512.
_JOINED_BATCHES = 4
_LINGER_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Entry:
    """An item with its result.

    Attributes:
        record: to be written first, where there is one.
        left: ids of the picture's records of before, to be removed after that: their files are gone.
    """

    ticket: Ticket
    settled: Settled
    record: ImageRecord | None = None
    left: tuple[str, ...] = ()


class Writer:
    """Writes batches of records in the order in which they were put; joins those that come within half a second.

    A result goes into the ledger once its record is durable in the index. A record that the index refuses is a failure.
    What is held by another worker by now is left alone. An error of the index or the ledger (StoreUnavailable, ...),
    where the patience is at its end, ends the writing, and is raised by the next `put`, `check` or `close`.
    """

    def __init__(self, index: ImageIndex, ledger: Ledger, leases: Leases, tally: Tally, patience: Patience) -> None:
        self._index = index
        self._ledger = ledger
        self._leases = leases
        self._tally = tally
        self._patience = patience
        self._batches: queue.Queue[Sequence[Entry] | Barrier | None] = queue.Queue(MAX_WAITING_BATCHES)
        self._kept: Barrier | None = None
        self._ending = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="dar-ingest-writer", daemon=True)
        self._thread.start()

    def put(self, entries: Sequence[Entry]) -> None:
        """Waits while too much is waiting to be written."""
        self.check()
        if entries:
            self._batches.put(entries)

    def settle(self, barrier: Barrier) -> None:
        """The barrier is passed when all that was put before it is recorded."""
        self._batches.put(barrier)

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Returns when everything put has been written."""
        self._batches.put(None)
        self._thread.join()
        self.check()

    def _run(self) -> None:
        while not self._ending:
            entries = self._waiting()
            # Nothing is written after an error, but nobody who puts may be left waiting.
            if entries and self._error is None:
                try:
                    self.settle_all(entries)
                except BaseException as error:  # noqa: BLE001  # raised again in the thread that put
                    self._error = error
            if self._kept is not None:
                self._kept.passed.set()
                self._kept = None

    def _waiting(self) -> list[Entry]:
        """A few batches, or those of half a second, and what else is there by then.

        No more than MAX_WRITE entries, and none after a barrier or the end, which are noted.
        """
        entries: list[Entry] = []
        joined = 0
        batch = self._batches.get()
        deadline = time.monotonic() + _LINGER_SECONDS
        while True:
            if batch is None:
                self._ending = True
            elif isinstance(batch, Barrier):
                self._kept = batch
            else:
                entries.extend(batch)
                joined += 1
            if self._ending or self._kept is not None or len(entries) >= MAX_WRITE:
                return entries
            left = deadline - time.monotonic() if joined < _JOINED_BATCHES else 0.0
            try:
                batch = self._batches.get(timeout=max(0.0, left))
            except queue.Empty:
                return entries

    def settle_all(self, entries: Sequence[Entry]) -> None:
        """Makes entries durable: first the records, then the results."""
        refused = self.write([entry for entry in entries if entry.record is not None])
        self.remove_left([one for one in entries if one.left and not (one.record and one.record.id in refused)])
        self.record(entries, refused)

    def write(self, entries: Sequence[Entry]) -> dict[str, Failure]:
        """Writes the records whose lease still holds -> those that the index refused, by id."""
        return self.write_all([entry for entry in entries if self._leases.holds(entry.ticket.lease)])

    def write_all(self, entries: Sequence[Entry]) -> dict[str, Failure]:
        """Writes the entries' records -> those that the index refused, by id."""
        waiting = {entry.record.id: (entry.record, entry.ticket.lease) for entry in entries if entry.record is not None}
        given_up: dict[str, Failure] = {}
        while waiting:
            records = [record for record, _ in waiting.values()]
            versions = [lease.version for _, lease in waiting.values()]
            refused = self._patience.outlast(lambda: self._index.write(records, versions=versions))  # noqa: B023
            reached("written")
            mended = {id: (*waiting[id], failure) for id, failure in refused if _would_go_in(waiting[id][0], failure)}
            given_up |= {id: failure for id, failure in refused if id not in mended}
            waiting = self._lessened(mended)
        return given_up

    def _lessened(
        self, refused: Mapping[str, tuple[ImageRecord, Lease, Failure]]
    ) -> dict[str, tuple[ImageRecord, Lease]]:
        """Records without the metadata for which they were refused: it is warned of, and costs no picture."""
        again = {}
        remarks: dict[str, Remarks] = defaultdict(Remarks)
        for id, (record, lease, failure) in refused.items():
            kept = {name: value for name, value in record.metadata.items() if name not in failure.fields}
            again[id] = (dataclasses.replace(record, metadata=kept), lease)
            for name in failure.fields:
                remarks[lease.job].warn(PictureError(failure.code, failure.message), record.source, name)
        for job, remarked in [(job, told.take()) for job, told in remarks.items()]:
            self._patience.outlast(lambda: self._ledger.add_remarked(job, remarked))  # noqa: B023
        return again

    def remove_left(self, entries: Sequence[Entry]) -> None:
        """Removes what pictures left at their old places, whose new records are durable by now."""
        by_lease: dict[Lease, list[str]] = defaultdict(list)
        for entry in entries:
            by_lease[entry.ticket.lease].extend(entry.left)
        for lease, ids in by_lease.items():
            if not self._leases.holds(lease):
                continue
            moved = self._patience.outlast(lambda: self._index.delete(ids, version=lease.version))  # noqa: B023
            if moved:
                self._patience.outlast(lambda: self._ledger.add_moved(lease.job, moved))  # noqa: B023

    def record(self, entries: Sequence[Entry], refused: dict[str, Failure]) -> None:
        """Records the results, by lease."""
        by_lease: dict[Lease, list[Settled]] = defaultdict(list)
        for entry in entries:
            settled = entry.settled
            if entry.record is not None and entry.record.id in refused:
                settled = Settled(settled.position, "failed", refused[entry.record.id])
            by_lease[entry.ticket.lease].append(settled)
        for lease, settled_ones in by_lease.items():
            if not self._leases.holds(lease):
                continue
            try:
                done = self._patience.outlast(lambda: self._ledger.record(lease, settled_ones))  # noqa: B023  # at once
            except LeaseLost:
                self._leases.over(lease)
                continue
            if done:
                self._leases.over(lease)
            self._tally.add(settled_ones)
            reached("recorded")


def _would_go_in(record: ImageRecord, failure: Failure) -> bool:
    """Whether it is a part of the record's metadata that is refused."""
    return not record.metadata.keys().isdisjoint(failure.fields)
