"""The sweeper: finds shards whose worker died, and sends work to whoever takes it. Any number may run.

A worker is taken for dead when its lease's token and beat have stood still for `lease_seconds` of this process's own
monotonic clock, while the ledger could be written to all the time. So two machines' clocks are never compared, a clock
that is set while we run changes nothing, and a ledger that takes no beats kills nobody. Being wrong costs some work
done twice, and nothing else: the lost lease is fenced off.

A message (job, shard) is a hint. It may get lost, come late or twice: while there is work that nobody took, it is sent
again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from dar_search.errors import StoreError
from dar_search.ingestion.jobs.data import HEAD, Held, Job
from dar_search.ingestion.jobs.ledger_port import Ledger
from dar_search.ingestion.jobs.said_once import SaidOnce

_LOG = logging.getLogger(__name__)
HINTS = 8


class Sweeper:
    """One sweeper.

    Args:
        send: takes a job's id and a shard's number to a worker. What it raises is logged, and tried again.
        takes: whether a job is for the workers behind `send`. Local jobs never are.
        lease_seconds: several beats of a lease.
        resend_seconds: after which a hint is sent again.
        upkeep: done at each round.
        resume_seconds: after which a job that trouble paused, and that no worker holds, is tried again.
    """

    def __init__(
        self,
        ledger: Ledger,
        send: Callable[[str, int], None],
        *,
        takes: Callable[[Job], bool] = lambda job: True,
        lease_seconds: float = 30.0,
        resend_seconds: float = 15.0,
        resume_seconds: float = 30.0,
        interval: float = 2.0,
        upkeep: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._send = send
        self._takes = takes
        self._lease_seconds = lease_seconds
        self._resend_seconds = resend_seconds
        self._resume_seconds = resume_seconds
        self._interval = interval
        self._upkeep = upkeep
        self._clock = clock
        self._watched: dict[Held, float] = {}
        self._sent: dict[tuple[str, int], float] = {}
        self._paused: dict[str, float] = {}
        self._said = SaidOnce(_LOG, "The sweeper cannot use the ledger")
        self._sending = SaidOnce(_LOG, "No message could be sent, which is tried again", foreign=True)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Sweeps in a thread of its own until `stop`."""
        self._thread = threading.Thread(target=self._run, name="dar-ingest-sweeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def sweep(self) -> list[Job]:
        """One round -> the jobs that are not done. Raises StoreError."""
        found = self._ledger.jobs(running=True, limit=None)
        jobs = [job for job in found if not job.spec.local and self._takes(job)]
        held: dict[str, list[Held]] = {job.id: [] for job in jobs}
        for one in self._ledger.held():
            if one.job in held:
                held[one.job].append(one)
        self._watch([one for ones in held.values() for one in ones])
        for job in jobs:
            if job.state == "running":
                self._offer(job, held[job.id])
            elif job.automatic and not held[job.id]:
                self._try_again(job)
        self._upkeep()
        running = {job.id for job in jobs}
        self._sent = {key: at for key, at in self._sent.items() if key[0] in running}
        self._paused = {job.id: self._paused[job.id] for job in jobs if job.id in self._paused and job.automatic}
        return jobs

    def _run(self) -> None:
        while not self._ended.wait(self._interval):
            with self._said:  # whatever it is: without a sweeper, what a dead worker held would stay there
                self._round()

    def _round(self) -> None:
        try:
            self.sweep()
        except BaseException:
            self._watched.clear()  # nobody is taken for dead who was not watched all the time
            raise

    def _watch(self, held: list[Held]) -> None:
        if held:
            try:
                self._ledger.draw()
            except StoreError:
                self._watched.clear()  # the holders cannot write either, and are not dead for that
                raise
        now = self._clock()
        self._watched = {one: self._watched.get(one, now) for one in held}
        for one, since in self._watched.items():
            if now - since >= self._lease_seconds and self.expire(one):
                _LOG.warning("Shard %d of job %s was left by its worker.", one.shard, one.job)

    def expire(self, held: Held) -> bool:
        """Frees a shard whose holder seems dead."""
        return self._ledger.expire(held)

    def _offer(self, job: Job, held: list[Held]) -> None:
        shards = self._ledger.open_shards(job.id, limit=HINTS)
        if not shards and all(one.shard != HEAD for one in held):
            shards = [HEAD]  # there is more to list, or the job is to be ended
        now = self._clock()
        for shard in shards:
            if now - self._sent.get((job.id, shard), float("-inf")) < self._resend_seconds:
                continue
            with self._sending:
                self._send(job.id, shard)
                self._sent[job.id, shard] = now
                continue
            return

    def _try_again(self, job: Job) -> None:
        now = self._clock()
        since = self._paused.setdefault(job.id, now)
        if now - since >= self._resume_seconds:
            del self._paused[job.id]
            self._ledger.resume(job.id, automatic=True)
