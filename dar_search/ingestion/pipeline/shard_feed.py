"""Which shard comes next: one that is open, else the next one of the listing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from dar_search.errors import LeaseLost
from dar_search.ingestion.jobs.data import HEAD, Lease
from dar_search.ingestion.jobs.fault_points import reached
from dar_search.ingestion.jobs.leasing import Leases
from dar_search.ingestion.jobs.ledger_port import Ledger
from dar_search.ingestion.pipeline.listed import unpacked
from dar_search.ingestion.pipeline.listing import Lister
from dar_search.ingestion.sources.source import SourceItem


@dataclass(frozen=True, slots=True)
class ShardItem:
    """An item of a leased shard. attempts: how many workers died with it in hand."""

    position: int
    item: SourceItem
    attempts: int


class ShardFeed:
    """The shards of one job, for one worker.

    Args:
        first: a shard to look at first.
        ahead: how many shards are listed at a time, where none is open: more than one lets other workers join.
        most: how many shards this feed gives; None: until there are no more.
        proceed: asked before each shard; False ends the feed.
    """

    def __init__(
        self,
        ledger: Ledger,
        leases: Leases,
        lister: Lister,
        job: str,
        *,
        first: int = HEAD,
        ahead: int = 1,
        most: int | None = None,
        proceed: Callable[[], bool] = lambda: True,
    ) -> None:
        self._ledger = ledger
        self._leases = leases
        self._lister = lister
        self._job = job
        self._ahead = ahead
        self._left = most
        self._proceed = proceed
        self._open: deque[int] = deque([first] if first > HEAD else [])

    def next(self) -> tuple[Lease, list[ShardItem]] | None:
        """A shard's lease and its items without a result; None: nothing is open, or the job does not run (any more).

        Raises StoreError, SourceError.
        """
        while (self._left is None or self._left > 0) and self._proceed():
            lease = self._claim()
            if lease is None:
                return None
            reached("claimed")
            try:
                items = [
                    ShardItem(one.position, unpacked(one.item), one.attempts) for one in self._ledger.pending(lease)
                ]
            except LeaseLost:
                self._leases.over(lease)
                continue
            if self._left is not None:
                self._left -= 1
            return lease, items
        return None

    def stop(self) -> None:
        """Gives no more shards, from any thread."""
        self._proceed = lambda: False

    def _claim(self) -> Lease | None:
        while self._proceed():
            while self._open:
                lease = self._leases.claim(self._job, self._open.popleft())
                if lease is not None:
                    return lease
            # Those of a job that was paused or cancelled meanwhile stay open, and nobody may have them.
            if self._ledger.job(self._job).state != "running":
                return None
            self._open.extend(self._ledger.open_shards(self._job, limit=20))
            if not self._open and not self._list_more():
                return None
        return None

    def _list_more(self) -> bool:
        """Whether there may be open shards now."""
        job = self._ledger.job(self._job)
        if job.listed or job.state != "running":
            return False
        head = self._leases.claim(self._job, HEAD)
        if head is None:
            return False  # another worker lists
        try:
            for _ in range(self._ahead):
                if self._lister.list_shard(head):
                    break
        except LeaseLost:
            self._leases.over(head)
        finally:
            self._leases.release(head)
        return True
