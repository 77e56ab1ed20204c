"""Listing a job's source into its ledger, a shard at a time. Whoever holds the job's head may go on with it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

from dar_search.data import Failure
from dar_search.ingestion.jobs.data import Job, Lease, Listed
from dar_search.ingestion.jobs.fault_points import reached
from dar_search.ingestion.jobs.ledger_port import Ledger
from dar_search.ingestion.jobs.remarks import Remarks
from dar_search.ingestion.pipeline.listed import packed
from dar_search.ingestion.pipeline.pruning import Seen
from dar_search.ingestion.sources.source import BadItem, Source, SourceItem

SHARD_SIZE = 256


class Lister:
    """One job's listing, in this process.

    Args:
        on_failures: told how many items of a shard failed in being listed.

    Attributes:
        seen: the ids that the job has listed, by whoever: known after `catch_up`.
    """

    def __init__(
        self,
        ledger: Ledger,
        source: Source,
        *,
        size: int = SHARD_SIZE,
        on_failures: Callable[[int], None] | None = None,
    ) -> None:
        self.seen = Seen()
        self._asked_at: float | None = None
        self._ledger = ledger
        self._source = source
        self._size = size
        self._on_failures = on_failures or (lambda number: None)
        self._shards = 0
        self._cursor: str | None = None
        self._items: Iterator[SourceItem | BadItem] | None = None
        self._remarks = Remarks()

    @property
    def silent_since(self) -> float | None:
        """When, on the monotonic clock, the source that is asked for a shard last came upon anything; None: it is not
        asked. For any thread."""
        asked = self._asked_at
        return None if asked is None else max(asked, self._remarks.looked_at)

    def list_shard(self, head: Lease) -> bool:
        """Appends the next shard -> whether the source is listed to its end. Raises SourceError, StoreError."""
        try:
            return self._list_shard(head)
        except BaseException:
            # Whether it got into the ledger is not known here: what is there is read again.
            self.seen, self._shards, self._items = Seen(), 0, None
            raise

    def _list_shard(self, head: Lease) -> bool:
        job = self._ledger.job(head.job)
        if job.listed:
            return True
        self.catch_up(job)
        if self._items is None or job.cursor != self._cursor:
            self._remarks = Remarks()
            self._items = self._source.items(job.cursor, self._remarks)
        listed = []
        self._asked_at = time.monotonic()
        try:
            for one in itertools.islice(self._items, self._size):
                listed.append(one)
                self._remarks.look()
        finally:
            self._asked_at = None
        last = len(listed) < self._size
        self._cursor = listed[-1].cursor if listed else job.cursor
        items = [self._entry(one) for one in listed]
        reached("listed")
        number = self._ledger.append(head, items, self._cursor, last=last, remarked=self._remarks.take())
        self._shards = max(self._shards, number)
        self._on_failures(sum(item.failure is not None for item in items))
        return last

    def catch_up(self, job: Job) -> None:
        """Learns the ids that others have listed."""
        if job.shards == self._shards:
            return
        for number, ids in self._ledger.listed_ids(job.id, self._shards):
            for identity in ids:
                self._note(identity)
            self._shards = number
        self._items = None

    def _entry(self, listed: SourceItem | BadItem) -> Listed:
        is_new = self._note(listed.id)
        if isinstance(listed, BadItem) or is_new:
            return packed(listed)
        return packed(BadItem(_duplicate(listed), listed.id))

    def _note(self, identity: str | None) -> bool:
        if identity is None:
            self.seen.complete = False
            return True
        return self.seen.add(identity)


def _duplicate(item: SourceItem) -> Failure:
    return Failure(item.place or item.key, "duplicate_id", f'An earlier row has the id "{item.id}". Keep one of them.')
