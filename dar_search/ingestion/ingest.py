"""Ingest: the pictures of a source become records of an index, by a job that this process drains. `dar ingest` is this.

A record's digest says what it was made of: a picture with the same bytes, caption and metadata is not decoded; one with
the same bytes keeps its embedding. What is written is durable, and written by id, so a run that was killed at any
moment is finished by running it again.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from dar_search.data import Failure
from dar_search.errors import DarError, StoreError
from dar_search.ingestion.decoding.decoders import Decoders
from dar_search.ingestion.decoding.limits import DEFAULT_LIMITS, DecodeLimits
from dar_search.ingestion.jobs.data import JobSpec
from dar_search.ingestion.jobs.leasing import Leases
from dar_search.ingestion.jobs.ledger.memory import MemoryLedger
from dar_search.ingestion.jobs.ledger_port import Ledger
from dar_search.ingestion.jobs.patience import Patience
from dar_search.ingestion.jobs.report import IngestReport, Progress, Tally
from dar_search.ingestion.pipeline.agreement import check_vectors
from dar_search.ingestion.pipeline.draining import Bench, drain, end
from dar_search.ingestion.pipeline.listing import Lister
from dar_search.ingestion.pipeline.shard_feed import ShardFeed
from dar_search.ingestion.pipeline.supply import Counter
from dar_search.ingestion.sources.outside import Outside
from dar_search.ingestion.sources.source import Source
from dar_search.ports import Encoder, ImageIndex
from dar_search.settings.ingest import BATCH_SIZE


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """What is asked of one run.

    Attributes:
        prune: remove the records of this source's origin that the source no longer lists. A picture that is listed
            but cannot be decoded now keeps its record. Nothing is removed where a part of the source could not be
            read or it lists no picture at all (a disk that is not mounted looks like that); the report's notes say so.
        moved_from: paths or file: URIs where the source was before, where that cannot be known from here: a disk that
            is mounted elsewhere now, another machine.
        batch_size: pictures that the encoder gets at a time.
        limits: what one picture may cost.
        processes: decoder processes; None: one for each core.
        outside: where pictures come from that are in no file; None: the web, with the default settings.
        store: the store's address, for the ledger.
        agreement: what `check_vectors` said, where that was asked before the index was made; None: it is asked here.
    """

    prune: bool = False
    moved_from: tuple[str, ...] = ()
    batch_size: int = BATCH_SIZE
    limits: DecodeLimits = DEFAULT_LIMITS
    processes: int | None = None
    outside: Outside | None = None
    store: str = ""
    agreement: tuple[str, ...] | None = None


def ingest(
    source: Source,
    index: ImageIndex,
    encoder: Encoder,
    request: IngestRequest | None = None,
    *,
    decoders: Decoders | None = None,
    ledger: Ledger | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> IngestReport:
    """Brings an index up to date with a source.

    Args:
        source: what to read; see `sources.opening.open_source`.
        index: where to; opened with the encoder's provenance. Used from three threads.
        encoder: called from this thread only.
        decoders: good for one run; None: those that the request asks for.
        ledger: keeps the job, where others see it; None: in memory. Jobs of this source and index that an earlier run
            left there are closed.
        progress: called from this thread, at most ten times a second, and at the end.

    A record that is right already keeps its origin, also if another source lists the picture too.

    A picture that is found at a new place, and whose old file is gone (see `absence`), is not encoded again: its record
    moves to the new place's id. Records that another machine may have made stay: those of an origin for which the
    ledger has no job, unless the store is a file of this machine.

    Raises:
        SourceError: the source cannot be read (any more).
        StoreError: the index or the ledger cannot be read or written (any more).
        ModelError: the encoder does not work.
        EncoderMismatch: the vectors that the source brings are not the encoder's (see `agreement`).
        KeyboardInterrupt: the user stopped it.
        In each case what had been encoded is in the index, if the index still takes it.
    """
    request = request or IngestRequest()
    ledger = ledger or MemoryLedger()
    decoders = decoders or decoders_of(encoder, request)
    agreement = request.agreement
    if agreement is None:
        agreement = check_vectors(source, encoder, decoders_of(encoder, request))
    job = _job(ledger, source, index, request)
    tally = Tally(progress)
    leases = Leases(ledger, name=f"{this_process()}/")
    counter = Counter(source, tally) if progress else None
    bench = Bench(ledger, leases, index, encoder, request.batch_size)
    try:
        lister = Lister(ledger, source, on_failures=tally.add_unlisted)
        feed = ShardFeed(ledger, leases, lister, job)
        notes = drain(bench, job, feed, source, decoders, tally, Patience()).moves.notes()
        end(bench, job, lister, source, (*agreement, *notes))
    except BaseException as error:
        _close(ledger, job, error)
        raise
    finally:
        if counter:
            counter.stop()
        leases.close()
    tally.show(now=True)
    return _report(ledger, job)


def decoders_of(encoder: Encoder, request: IngestRequest) -> Decoders:
    """Those that a request asks for."""
    return Decoders(encoder.preparation, request.limits, processes=request.processes, outside=request.outside)


def _job(ledger: Ledger, source: Source, index: ImageIndex, request: IngestRequest) -> str:
    """A new job in the ledger, in the place of those of this source that died."""
    spec = JobSpec(
        index.name,
        source.origin,
        request.store,
        prune=request.prune,
        moved_from=request.moved_from,
        local=True,
        maker=this_process(),
    )
    close_left_behind(ledger, spec)
    return ledger.create(spec).id


def _report(ledger: Ledger, job: str) -> IngestReport:
    found = ledger.job(job)
    failures = all_failures(ledger, job)
    return IngestReport(
        found.indexed, found.unchanged, found.removed, failures, found.notes, found.moved, found.remarked
    )


def all_failures(ledger: Ledger, job: str) -> tuple[Failure, ...]:
    """A job's failures, in the order in which the source lists the items."""
    failures: list[Failure] = []
    place = ""
    while page := ledger.failures(job, after=place, limit=1_000):
        failures += [one.failure for one in page]
        place = page[-1].place
    return tuple(failures)


def this_process() -> str:
    """A name that no other process has: its machine, number and start."""
    return _process_name(os.getpid())


def close_left_behind(ledger: Ledger, spec: JobSpec) -> None:
    """Cancels the local jobs for the same source and index whose process, on this machine, is gone."""
    for job in ledger.jobs(running=True, limit=None):
        same = (job.spec.index, job.spec.source, job.spec.store) == (spec.index, spec.source, spec.store)
        if same and job.spec.local and _is_gone(job.spec.maker):
            ledger.cancel(job.id, "Its process was ended before it was done. A later run has taken over.")


def _process_name(pid: int) -> str:
    return f"{socket.gethostname()}/{pid}/{psutil.Process(pid).create_time():.0f}"


def _is_gone(maker: str) -> bool:
    host, pid = maker.rpartition("/")[0].rpartition("/")[::2]
    if host != socket.gethostname():
        return False
    try:
        return _process_name(int(pid)) != maker
    except (psutil.Error, ValueError):
        return True


def _close(ledger: Ledger, job: str, error: BaseException) -> None:
    reason = str(error) if isinstance(error, DarError) else f"It was stopped ({type(error).__name__})."
    try:
        ledger.cancel(job, reason)
    except StoreError:
        return  # the error that is on its way says more
