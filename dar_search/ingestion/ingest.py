"""Ingest: the pictures of a source become records of an index. `dar ingest` and the ingest service both run this.

    source ──> decoder processes ──> encoder (the calling thread) ──> writer thread ──> index
       └────── a thread that lists, looks up digests and deals out ──────┘

The queues between the stages are short, so memory does not grow with the pictures, and the slowest stage sets the
pace. A record's digest says what it was made of: a picture with the same bytes, caption and metadata is not decoded;
one with the same bytes keeps its embedding. What is written is durable, and written by id, so a run that was killed at
any moment is finished by running it again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from dar_search.data import Failure, FloatArray, ImageRecord
from dar_search.errors import ModelFailed
from dar_search.ingestion.annotations import annotation_digest
from dar_search.ingestion.decoders import Decoders
from dar_search.ingestion.decoding import DEFAULT_LIMITS, DecodeLimits
from dar_search.ingestion.jobs import Decoded, Job, Outcome, Same, Undecodable
from dar_search.ingestion.pruning import Seen, prune_gone
from dar_search.ingestion.report import IngestReport, Progress, Tally
from dar_search.ingestion.sources import BadItem, Source, SourceItem
from dar_search.ingestion.supply import Counter, Supply
from dar_search.ingestion.writing import Writer
from dar_search.ports import Encoder, ImageIndex

BATCH_SIZE = 32
REWRITE_SIZE = 256


def ingest(
    source: Source,
    index: ImageIndex,
    encoder: Encoder,
    *,
    prune: bool = False,
    progress: Callable[[Progress], None] | None = None,
    batch_size: int = BATCH_SIZE,
    limits: DecodeLimits = DEFAULT_LIMITS,
    decoders: Decoders | None = None,
) -> IngestReport:
    """Brings an index up to date with a source.

    Args:
        source: what to read; see `sources.open_source`.
        index: where to; opened with the encoder's provenance. Used from three threads.
        encoder: called from this thread only, with up to `batch_size` pictures at a time.
        prune: remove the records of this source's origin that the source no longer lists. A picture that is listed
            but cannot be decoded now keeps its record. Nothing is removed where a part of the source could not be
            read or it lists no picture at all (a disk that is not mounted looks like that); `notes` says so.
        progress: called from this thread, at most ten times a second, and at the end.
        limits: what one picture may cost; ignored where `decoders` are given.
        decoders: None: one decoder process for each core. Good for one run.

    A record that is right already keeps its origin, also if another source lists the picture too.

    Raises:
        SourceError: the source cannot be read (any more).
        StoreError: the index cannot be read or written (any more).
        ModelError: the encoder does not work.
        KeyboardInterrupt: the user stopped it.
        In each case what had been encoded is in the index, if the index still takes it.
    """
    tally = Tally(progress)
    seen = Seen()
    supply = Supply(source, index, decoders or Decoders(encoder.preparation, limits), seen, 2 * batch_size)
    counter = Counter(source, tally) if progress else None
    writer = Writer(index, tally)
    finishing = _Finishing(source.origin, index, encoder, writer, tally, batch_size)

    def on_wait() -> None:
        writer.check()
        tally.show()

    try:
        for outcome in supply.outcomes(on_wait):
            finishing.take(outcome)
            tally.show()
        finishing.flush()
    finally:
        supply.stop()
        if counter:
            counter.stop()
        writer.close()
    removed, notes = prune_gone(index, source.origin, seen) if prune else (0, ())
    if not seen.count:
        notes = ("The source lists no picture.", *notes)
    index.refresh()
    tally.show(now=True)
    return IngestReport(tally.indexed, tally.unchanged, removed, tuple(tally.failures), notes)


class _Finishing:
    """Makes records out of outcomes: encodes in batches, and hands records to the writer."""

    def __init__(
        self, origin: str, index: ImageIndex, encoder: Encoder, writer: Writer, tally: Tally, batch_size: int
    ) -> None:
        self._origin = origin
        self._index = index
        self._encoder = encoder
        self._writer = writer
        self._tally = tally
        self._batch_size = batch_size
        self._decoded: list[Decoded] = []
        self._reannotated: list[Job] = []

    def take(self, outcome: Outcome | BadItem) -> None:
        match outcome:
            case BadItem(failure=failure):
                self._tally.failures.append(failure)
            case Undecodable(job=job, code=code, message=message):
                self._tally.failures.append(Failure(job.item.key, code, message))
            case Same(job=job) if job.stored_digest == _digest(job.known_sha256, job.item):
                self._tally.unchanged += 1
            case Same(job=job):
                self._reannotated.append(job)
                if len(self._reannotated) == REWRITE_SIZE:
                    self._annotate_again()
            case Decoded():
                self._decoded.append(outcome)
                if len(self._decoded) == self._batch_size:
                    self._encode()

    def flush(self) -> None:
        """What was taken and not yet handed on."""
        if self._decoded:
            self._encode()
        if self._reannotated:
            self._annotate_again()

    def _encode(self) -> None:
        batch, self._decoded = self._decoded, []
        embeddings = self._encoder.encode_prepared(np.stack([decoded.pixels for decoded in batch]))
        dimension = self._encoder.provenance.dimension
        if embeddings.shape != (len(batch), dimension):
            raise ModelFailed(
                f"The encoder gave an array of shape {embeddings.shape} for {len(batch)} pictures.",
                f"({len(batch)}, {dimension}) was expected.",
            )
        records = []
        for decoded, embedding in zip(batch, embeddings, strict=True):
            if np.isfinite(embedding).all():
                records.append(self._record(decoded, embedding))
            else:
                message = "The encoder gave no finite numbers for the picture."
                self._tally.failures.append(Failure(decoded.job.item.key, "encoding_failed", message))
        self._writer.put(records)

    def _record(self, decoded: Decoded, embedding: FloatArray) -> ImageRecord:
        item = decoded.job.item
        return ImageRecord(
            id=item.id,
            embedding=embedding,
            source=item.key,
            origin=self._origin,
            digest=_digest(decoded.sha256, item),
            caption=item.caption,
            metadata=item.metadata,
            width=decoded.width,
            height=decoded.height,
            thumbnail=decoded.thumbnail,
        )

    def _annotate_again(self) -> None:
        """New captions and metadata on stored embeddings: the picture is the same, so it is not encoded again."""
        jobs, self._reannotated = self._reannotated, []
        stored = self._index.get([job.item.id for job in jobs])
        records = []
        for job in jobs:
            item = job.item
            if item.id not in stored:
                message = "Another process removed the record meanwhile. Run it again."
                self._tally.failures.append(Failure(item.key, "record_vanished", message))
                continue
            records.append(
                dataclasses.replace(
                    stored[item.id],
                    source=item.key,
                    origin=self._origin,
                    digest=_digest(job.known_sha256, item),
                    caption=item.caption,
                    metadata=item.metadata,
                )
            )
        self._writer.put(records)


def _digest(sha256: str, item: SourceItem) -> str:
    return f"{sha256}:{annotation_digest(item.caption, item.metadata)}"
