"""The first stage: takes shards, looks up what the index has of their items, and has the rest decoded."""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence

from dar_search.errors import OutOfResources, PictureError, SourceError
from dar_search.ingestion.decoding.decoders import Decoders
from dar_search.ingestion.decoding.jobs import Embedded, Job, Outcome, Same, Ticket, Undecodable
from dar_search.ingestion.jobs.data import Lease
from dar_search.ingestion.jobs.ledger_port import Ledger
from dar_search.ingestion.jobs.report import Tally
from dar_search.ingestion.pipeline.shard_feed import ShardFeed, ShardItem
from dar_search.ingestion.sources.source import Source
from dar_search.ingestion.sources.vectors.reading import Vectors
from dar_search.ports import ImageIndex

_LOG = logging.getLogger(__name__)
STOP_SECONDS = 30.0
_CHECK_SECONDS = 0.2
_CAREFUL_GROUP = 16
# Outcomes go through the queue several at a time, where several are ready: each awakening of its reader has its price.
_AT_ONCE = 8


class Barrier:
    """Among the outcomes: what came before it is to be finished and recorded at once; then `passed` is set."""

    def __init__(self) -> None:
        self.passed = threading.Event()


class Supply:
    """Runs the first stage in a thread of its own; a bounded queue leads out of it.

    A shard whose worker has died before is worked through with care: a few items at a time, each counted in the ledger
    while it is in hand, and at the end one by one those that a worker died with, so that an item that kills is found.

    Args:
        capacity: how many outcomes may wait to be taken.
    """

    def __init__(self, feed: ShardFeed, ledger: Ledger, index: ImageIndex, decoders: Decoders, capacity: int) -> None:
        self._feed = feed
        self._ledger = ledger
        self._index = index
        self._decoders = decoders
        self._ready: queue.Queue[Sequence[Outcome | Barrier] | BaseException | None] = queue.Queue(
            max(1, capacity // _AT_ONCE)
        )
        self._stopping = threading.Event()
        self._given = 0
        self._answered = 0
        self._vectors = Vectors(decoders.allowance)
        # Decoder processes end with the thread that starts them, so they are started in this one.
        self._thread = threading.Thread(target=self._run, name="dar-ingest-supply", daemon=True)

    def outcomes(self, on_wait: Callable[[], None]) -> Iterator[Outcome | Barrier]:
        """One for each item. `on_wait` is called now and then while nothing is ready.

        Raises what went wrong in the stage: SourceError, StoreError, DarError.
        """
        self._thread.start()
        while True:
            try:
                ready = self._ready.get(timeout=_CHECK_SECONDS)
            except queue.Empty:
                on_wait()
                if self._stopping.is_set():
                    return
                continue
            if ready is None:
                return
            if isinstance(ready, BaseException):
                raise ready
            yield from ready

    def ask_to_stop(self) -> None:
        self._stopping.set()
        self._feed.stop()
        self._decoders.stop()

    def stop(self) -> threading.Thread | None:
        """Returns when the thread and the decoder processes have ended. A source that does not answer cannot be ended:
        after STOP_SECONDS its thread is left alone, and returned. What it still says is of no effect, for its leases
        are over."""
        self.ask_to_stop()
        if self._thread.ident is not None:
            self._thread.join(STOP_SECONDS)
            if self._thread.is_alive():
                _LOG.warning("A source that does not answer is left alone.")
                self._decoders.kill()
                return self._thread
        return None

    def _run(self) -> None:
        try:
            for burst in self._decoders.bursts(self._jobs()):
                self._answered += len(burst)
                for start in range(0, len(burst), _AT_ONCE):
                    self._put(burst[start : start + _AT_ONCE])
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that takes the outcomes
            self._put(error)
        else:
            self._put(None)
        finally:
            self._vectors.close()

    def _put(self, ready: Sequence[Outcome | Barrier] | BaseException | None) -> None:
        while not self._stopping.is_set():
            try:
                return self._ready.put(ready, timeout=_CHECK_SECONDS)
            except queue.Full:
                continue
        return None

    def _jobs(self) -> Iterator[Job | None]:
        while not self._stopping.is_set() and (shard := self._feed.next()) is not None:
            lease, items = shard
            stored = self._index.digests([one.item.id for one in items])
            jobs = [Job(one.item, stored.get(one.item.id, ""), Ticket(lease, one.position)) for one in items]
            if lease.losses:
                yield from self._with_care(lease, items, jobs)
            else:
                yield from self._begun(jobs)

    def _with_care(self, lease: Lease, items: Sequence[ShardItem], jobs: Sequence[Job]) -> Iterator[Job | None]:
        yield from self._settled()
        for group in _groups(items):
            if self._stopping.is_set():
                return
            self._ledger.begin(lease, [items[number].position for number in group])
            yield from self._begun([jobs[number] for number in group])
            yield from self._settled()

    def _begun(self, jobs: Sequence[Job]) -> Iterator[Job]:
        """Those to decode. What brings its embedding is an outcome at once."""
        self._given += len(jobs)
        for start in range(0, len(jobs), _AT_ONCE):
            brought = [self._embedded(job) for job in jobs[start : start + _AT_ONCE] if job.item.vector]
            if brought:
                self._answered += len(brought)
                self._put(brought)
        yield from (job for job in jobs if not job.item.vector)

    def _embedded(self, job: Job) -> Outcome:
        try:
            embedding = self._vectors.vector(job.item.vector)
            if len(embedding) != self._index.provenance.dimension:
                message = f"The vector has {len(embedding)} numbers; {self._index.provenance.dimension} were expected."
                raise PictureError("bad_vector", message)
        except PictureError as error:
            return Undecodable(job, error.code, str(error))
        digest = hashlib.sha256(embedding.tobytes()).hexdigest()
        return Same(job) if digest == job.known_sha256 else Embedded(job, digest, embedding)

    def _settled(self) -> Iterator[None]:
        """Until everything given so far has been recorded."""
        while self._answered < self._given and not self._stopping.is_set():
            yield None
        barrier = Barrier()
        self._put([barrier])
        while not barrier.passed.is_set() and not self._stopping.is_set():
            yield None


class Counter:
    """Counts a source in the background, for the tally's total."""

    def __init__(self, source: Source, tally: Tally) -> None:
        self._source = source
        self._tally = tally
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="dar-ingest-counter", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._thread.join()

    def _run(self) -> None:
        try:
            for counted in self._source.count():
                if self._stopping:
                    return
                total = counted
        except (SourceError, OutOfResources):
            return  # the first stage meets it too, and reports it
        self._tally.total = total


def _groups(items: Sequence[ShardItem]) -> list[list[int]]:
    """The places of the items to be in hand at once: those that a worker died with are alone, and come last.

    Fewest deaths first: where workers die early, one after another and for another reason, each dies with another item
    in hand, and none is blamed thrice while there is anything else to do.
    """
    new = [number for number, one in enumerate(items) if not one.attempts]
    tried = [number for number, one in enumerate(items) if one.attempts]
    tried.sort(key=lambda number: items[number].attempts)
    together = [new[start : start + _CAREFUL_GROUP] for start in range(0, len(new), _CAREFUL_GROUP)]
    return together + [[number] for number in tried]
