"""What an ingest run says about itself: while it runs, and at its end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from dar_search.data import Failure
from dar_search.ingestion.jobs.data import Remarked, Settled
from dar_search.ingestion.jobs.ledger.job_rows import remarked_fields

_REPORT_SECONDS = 0.1
_RATE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        done: items that are indexed, unchanged or failed.
        total: items in the source; None until it has been counted.
        rate: items a second over the last ten seconds.
    """

    done: int
    total: int | None
    rate: float
    indexed: int
    unchanged: int
    failed: int


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What a run did.

    Attributes:
        indexed: records written, new or changed.
        unchanged: items whose record was right already.
        removed: records pruned.
        moved: of the indexed and unchanged, those that were found at a new place: records whose file was gone.
        failures: items that are not in the index as they are now, and why. (A picture that was readable once keeps
            its old record.)
        notes: what a person should know beyond that, a sentence each.
        remarked: what was there and not taken, and the annotations that were left out.
    """

    indexed: int
    unchanged: int
    removed: int
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    moved: int = 0
    remarked: Remarked = Remarked()

    @property
    def failed(self) -> int:
        return len(self.failures)

    def as_dict(self) -> dict[str, Any]:
        """`{"indexed", "unchanged", "failed", "moved", "removed", "failures", "skipped", "warnings"}`.

        "failures" is `[{"source", "code", "message"}]`; for "skipped" and "warnings" see `job_rows.remarked_fields`.
        """
        failures = [{"source": item.source, "code": item.code, "message": item.message} for item in self.failures]
        return {
            "indexed": self.indexed,
            "unchanged": self.unchanged,
            "failed": self.failed,
            "moved": self.moved,
            "removed": self.removed,
            "failures": failures,
            **remarked_fields(self.remarked),
        }


class Tally:
    """The counts of a run under way. Each count is written by one thread only, so there is no lock.

    Args:
        progress: called now and then from the thread that calls `show`.
    """

    def __init__(self, progress: Callable[[Progress], None] | None = None) -> None:
        self.indexed = 0
        self.unchanged = 0
        self._failed = 0
        self._unlisted = 0
        self.total: int | None = None
        self._progress = progress
        self._shown_at = 0.0
        self._samples: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def add(self, settled: Iterable[Settled]) -> None:
        """Results, from the thread that records them."""
        for one in settled:
            if one.result == "indexed":
                self.indexed += 1
            elif one.result == "unchanged":
                self.unchanged += 1
            else:
                self._failed += 1

    def add_unlisted(self, number: int) -> None:
        """Items that failed in being listed, from the thread that lists them."""
        self._unlisted += number

    def show(self, *, now: bool = False) -> None:
        """Tells `progress`, unless that was just done (`now=True`: in any case)."""
        if self._progress is None:
            return
        clock = time.monotonic()
        if not now and clock - self._shown_at < _REPORT_SECONDS:
            return
        self._shown_at = clock
        failed = self._failed + self._unlisted
        done = self.indexed + self.unchanged + failed
        self._samples.append((clock, done))
        while len(self._samples) > 2 and clock - self._samples[0][0] > _RATE_SECONDS:
            self._samples.popleft()
        since, before = self._samples[0]
        rate = (done - before) / (clock - since) if clock > since else 0.0
        self._progress(Progress(done, self.total, rate, self.indexed, self.unchanged, failed))
