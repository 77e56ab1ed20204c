"""Makes records out of outcomes: encodes in batches, and hands records and results to the writer."""

from __future__ import annotations

import dataclasses

import numpy as np

from dar_search.data import Failure, ImageRecord
from dar_search.errors import DarError, FeatureMissing, ModelFailed
from dar_search.fault_points import reached
from dar_search.ingestion.decoding.jobs import Decoded, Job, Outcome, Same, Ticket, Undecodable
from dar_search.ingestion.records import record_digest, record_of
from dar_search.ingestion.supply import Barrier
from dar_search.ingestion.writing import Entry, Writer
from dar_search.job_data import Settled
from dar_search.ports import Encoder, ImageIndex

REWRITE_SIZE = 256
_RESULTS_AT_ONCE = 64


class Finishing:
    """Args: origin: of the records; batch_size: pictures of one call of the encoder."""

    def __init__(self, origin: str, index: ImageIndex, encoder: Encoder, writer: Writer, batch_size: int) -> None:
        self._origin = origin
        self._index = index
        self._encoder = encoder
        self._writer = writer
        self._batch_size = batch_size
        self._decoded: list[Decoded] = []
        self._reannotated: list[Job] = []
        self._results: list[Entry] = []

    def take(self, outcome: Outcome | Barrier) -> None:
        match outcome:
            case Barrier():
                self.flush()
                self._writer.settle(outcome)
            case Undecodable(job=job, code=code, message=message):
                self._add(_failed(job, code, message))
            case Same(job=job) if job.stored_digest == record_digest(job.known_sha256, job.item):
                self._add(Entry(_ticket(job), Settled(_ticket(job).position, "unchanged")))
            case Same(job=job):
                self._reannotated.append(job)
                if len(self._reannotated) == REWRITE_SIZE:
                    self._annotate_again()
            case Decoded():
                reached("decoded")
                self._decoded.append(outcome)
                if len(self._decoded) == self._batch_size:
                    self._encode()

    def flush(self) -> None:
        """What was taken and not yet handed on."""
        if self._decoded:
            self._encode()
        if self._reannotated:
            self._annotate_again()
        self.flush_results()

    def flush_results(self) -> None:
        """Results that need no more work."""
        results, self._results = self._results, []
        self._writer.put(results)

    def _add(self, entry: Entry) -> None:
        self._results.append(entry)
        if len(self._results) >= _RESULTS_AT_ONCE:
            self.flush_results()

    def _encode(self) -> None:
        batch, self._decoded = self._decoded, []
        embeddings = self._encoder.encode_prepared(np.stack([decoded.pixels for decoded in batch]))
        reached("encoded")
        dimension = self._encoder.provenance.dimension
        if embeddings.shape != (len(batch), dimension):
            raise ModelFailed(
                f"The encoder gave an array of shape {embeddings.shape} for {len(batch)} pictures.",
                f"({len(batch)}, {dimension}) was expected.",
            )
        entries = []
        for decoded, embedding in zip(batch, embeddings, strict=True):
            if np.isfinite(embedding).all():
                entries.append(_indexed(decoded.job, record_of(decoded, embedding, self._origin)))
            else:
                message = "The encoder gave no finite numbers for the picture."
                entries.append(_failed(decoded.job, "encoding_failed", message))
        self._writer.put(entries)

    def _annotate_again(self) -> None:
        """New captions and metadata on stored embeddings: the picture is the same, so it is not encoded again."""
        jobs, self._reannotated = self._reannotated, []
        try:
            stored = self._index.get([job.item.id for job in jobs])
        except FeatureMissing as error:  # the index gives no vectors back: all else in the source still goes in
            self._writer.put([_failed(job, "refused", str(error)) for job in jobs])
            return
        entries = []
        for job in jobs:
            item = job.item
            if item.id not in stored:
                message = "Another process removed the record meanwhile. Run it again."
                entries.append(_failed(job, "record_vanished", message))
                continue
            record = dataclasses.replace(
                stored[item.id],
                source=item.key,
                origin=self._origin,
                digest=record_digest(job.known_sha256, item),
                caption=item.caption,
                metadata=item.metadata,
            )
            entries.append(_indexed(job, record))
        self._writer.put(entries)


def _indexed(job: Job, record: ImageRecord) -> Entry:
    return Entry(_ticket(job), Settled(_ticket(job).position, "indexed"), record)


def _failed(job: Job, code: str, message: str) -> Entry:
    return Entry(_ticket(job), Settled(_ticket(job).position, "failed", Failure(job.item.key, code, message)))


def _ticket(job: Job) -> Ticket:
    if job.ticket is None:
        raise DarError("A picture has no place in a ledger.", "This is a defect.")
    return job.ticket
