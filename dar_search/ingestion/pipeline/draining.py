"""One worker at one job: shards in, records and results out.

    ledger ──> a thread that takes shards, looks up digests and deals out ──> decoder processes
       ^                                                                            │
       └── writer thread (records into the index, then results) <── encoder (the calling thread)

The queues between the stages are short, so memory does not grow with the pictures, and the slowest stage sets the pace.
The stages run on from one shard to the next without a pause.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from dar_search.errors import LeaseLost
from dar_search.ingestion.decoding.decoders import Decoders
from dar_search.ingestion.jobs.data import HEAD
from dar_search.ingestion.jobs.fault_points import reached
from dar_search.ingestion.jobs.leasing import Leases
from dar_search.ingestion.jobs.ledger_port import Ledger
from dar_search.ingestion.jobs.patience import Patience
from dar_search.ingestion.jobs.report import Tally
from dar_search.ingestion.pipeline.finishing import Finishing
from dar_search.ingestion.pipeline.listing import Lister
from dar_search.ingestion.pipeline.moving import Moves
from dar_search.ingestion.pipeline.pruning import prune_gone
from dar_search.ingestion.pipeline.shard_feed import ShardFeed
from dar_search.ingestion.pipeline.supply import Supply
from dar_search.ingestion.pipeline.writing import Writer
from dar_search.ingestion.sources.source import Source
from dar_search.ports import Encoder, ImageIndex

MakeWriter = Callable[[ImageIndex, Ledger, Leases, Tally, Patience], Writer]


@dataclass(frozen=True, slots=True)
class Bench:
    """What a worker works with.

    Attributes:
        index: opened with the encoder's provenance. Used from three threads.
        encoder: called from the draining thread only, with up to `batch_size` pictures at a time.
        make_writer: another one is for tests.
    """

    ledger: Ledger
    leases: Leases
    index: ImageIndex
    encoder: Encoder
    batch_size: int
    make_writer: MakeWriter = Writer


@dataclass(frozen=True, slots=True)
class Drained:
    """What is left of a draining.

    Attributes:
        moves: who looked for moved pictures.
        waiting: the thread that waits for a source which does not answer, where one had to be left to it.
    """

    moves: Moves
    waiting: threading.Thread | None


def drain(
    bench: Bench,
    job: str,
    feed: ShardFeed,
    source: Source,
    decoders: Decoders,
    tally: Tally,
    patience: Patience,
    proceed: Callable[[], bool] = lambda: True,
) -> Drained:
    """Works until the feed gives no more shards, or `proceed` says no, and everything taken is recorded.

    Raises StoreError, SourceError, ModelError, KeyboardInterrupt: what was encoded by then is in the index, if the
    index still takes it. The leases stay for the caller to give back.
    """
    writer = bench.make_writer(bench.index, bench.ledger, bench.leases, tally, patience)
    moves = Moves(bench.ledger, bench.index, job, source.origin)
    finishing = Finishing(source.origin, bench.index, bench.encoder, writer, moves, bench.batch_size)
    supply = Supply(feed, bench.ledger, bench.index, decoders, 2 * bench.batch_size)

    def wait() -> None:
        finishing.flush_results()
        writer.check()
        tally.show()
        if not proceed():
            supply.ask_to_stop()

    try:
        for outcome in supply.outcomes(wait):
            finishing.take(outcome)
            tally.show()
            if not proceed():
                break
        finishing.flush()
    finally:
        left = supply.stop()
        writer.close()
    return Drained(moves, left)


def end(bench: Bench, job: str, lister: Lister, source: Source, notes: tuple[str, ...] = ()) -> bool:
    """Ends a job whose shards are all done: prunes, and makes everything visible -> whether it was for us to end.

    notes: what the draining brought up.
    """
    ledger, index = bench.ledger, bench.index
    head = bench.leases.claim(job, HEAD)
    if head is None:
        return False
    try:
        found = ledger.job(job)
        if not found.listed:
            return False
        lister.catch_up(found)
        reached("ending")
        removed = 0
        if found.spec.prune:
            removed, pruning = prune_gone(index, source.origin, lister.seen, head.version)
            notes = (*notes, *pruning)
        if not lister.seen.count:
            notes = ("The source lists no picture.", *notes)
        index.refresh()
        return ledger.finish(head, removed, notes)
    except LeaseLost:
        return False
    finally:
        bench.leases.release(head)
