"""The port of what keeps jobs: the truth about them. Adapters are built on `ledger.row_ledger.RowLedger`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from dar_search.errors import JobNotFound
from dar_search.ingestion.jobs.data import Held, Job, JobFailure, JobSpec, Lease, Listed, Pending, Remarked, Settled

NOTHING_REMARKED = Remarked()


class Ledger(Protocol):
    """The truth about jobs. Its contract suite is tests/contract/test_ledger*.py.

    Every change is atomic, durable when the call returns, and safe among any number of processes and machines: none
    of their clocks counts. Raises StoreError; JobNotFound; LeaseLost where a lease is not the shard's any more.
    """

    @property
    def address(self) -> str:
        """As the user would write it, with passwords masked."""
        ...

    def draw(self) -> int:
        """The next number of the sequence: greater than all before it."""
        ...

    def create(self, spec: JobSpec) -> Job: ...

    def job(self, job: str) -> Job: ...

    def jobs(self, *, running: bool = False, limit: int | None = 100) -> list[Job]:
        """The newest first, with `running` only those that are running or paused. Without counts: `job` has them.

        limit: None: all, however many.
        """
        ...

    def ended_jobs(self, limit: int) -> list[Job]:
        """Those that are done or cancelled, the oldest first (by when they were made). Without counts."""
        ...

    def claim(self, job: str, shard: int, holder: str) -> Lease | None:
        """The lease of a shard, or None: the job does not run, or the shard is held, done or not there.

        The head can be claimed while there is something to list, or, when all is listed, when all shards are done.
        Items whose attempts are used up become failures here ("gave_up").
        """
        ...

    def open_shards(self, job: str, limit: int = 100) -> list[int]:
        """Shards that nobody holds and that are not done, by number; the head is not among them."""
        ...

    def pending(self, lease: Lease) -> list[Pending]:
        """The shard's items without a result."""
        ...

    def begin(self, lease: Lease, positions: Sequence[int]) -> None:
        """Counts an attempt at these items, so that one that kills its worker is found out."""
        ...

    def record(self, lease: Lease, settled: Sequence[Settled]) -> bool:
        """Results of items, after what they say is durable -> whether the shard is done, and the lease over."""
        ...

    def beat(self, lease: Lease) -> None:
        """The holder lives."""
        ...

    def release(self, lease: Lease) -> None:
        """Gives the shard back, unfinished. Nothing happens where the lease is lost."""
        ...

    def held(self, job: str | None = None) -> list[Held]:
        """The leases of a job, or of all."""
        ...

    def expire(self, held: Held) -> bool:
        """Frees a shard whose holder seems dead -> False if it has beaten since, or the lease has ended."""
        ...

    def append(
        self,
        head: Lease,
        items: Sequence[Listed],
        cursor: str | None,
        *,
        last: bool,
        remarked: Remarked = NOTHING_REMARKED,
    ) -> int:
        """The next shard -> its number (0: no items, no shard).

        Args:
            last: the source is listed to its end.
            remarked: what the source came upon since the cursor of the append before; added to the job's.
        """
        ...

    def listed_ids(self, job: str, after_shard: int = 0) -> Iterator[tuple[int, list[str | None]]]:
        """The ids that a job has listed, shard by shard; None where an id cannot be known."""
        ...

    def add_remarked(self, job: str, remarked: Remarked) -> None:
        """What was left out of pictures as they were written; added to the job's."""
        ...

    def expect(self, job: str, items: int) -> None:
        """How many items the job's source has."""
        ...

    def add_moved(self, job: str, records: int) -> None:
        """So many more records took another place, where their pictures are now."""
        ...

    def finish(self, head: Lease, removed: int = 0, notes: Sequence[str] = ()) -> bool:
        """The job is done -> False if there are shards to do again."""
        ...

    def pause(self, job: str, reason: str = "", *, automatic: bool = False) -> Job:
        """Nothing of it can be claimed. An automatic pause never changes one that a person asked for."""
        ...

    def hinder(self, job: str, reason: str) -> Job:
        """Says why nothing happens, where some workers cannot do a running job and others may; "": nothing hinders it.
        Nothing happens to one that is not running."""
        ...

    def resume(self, job: str, *, automatic: bool = False) -> Job:
        """Raises JobEnded for a job that is done or cancelled. An automatic one ends automatic pauses only."""
        ...

    def cancel(self, job: str, reason: str = "") -> Job:
        """For good; what is in the index stays. Raises JobEnded for one that is done."""
        ...

    def forget(self, job: str) -> None:
        """Removes all that is kept of a job; what is in the index stays. Raises JobEnded for one that is not ended."""
        ...

    def failures(self, job: str, *, after: str = "", limit: int = 100) -> list[JobFailure]: ...

    def retry(self, job: str, codes: Sequence[str] | None = None) -> int:
        """Failures become items to do again (all, or those with these codes), and the job runs again -> how many.

        What failed while the source was listed has to be listed again, by a new job.
        """
        ...

    def keep_settings(self, index: str, settings: Mapping[str, Any] | None) -> None:
        """What an index's settings were before a load changed them; None: they are put back."""
        ...

    def kept_settings(self) -> dict[str, Mapping[str, Any]]:
        """index -> its settings from before."""
        ...

    def close(self) -> None: ...


def counted_jobs(ledger: Ledger, *, running: bool = False, limit: int | None = 100) -> list[Job]:
    """As `Ledger.jobs`, with counts; a job that is forgotten meanwhile is left out. Raises StoreError."""
    found = []
    for job in ledger.jobs(running=running, limit=limit):
        with suppress(JobNotFound):
            found.append(ledger.job(job.id))
    return found
