"""Makes records out of outcomes: encodes in batches, and hands records and results to the writer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from dar_search.data import Failure, FloatArray, ImageRecord
from dar_search.errors import DarError, FeatureMissing, ModelFailed
from dar_search.ingestion.decoding.jobs import Decoded, Embedded, Job, Outcome, Same, Ticket, Undecodable
from dar_search.ingestion.jobs.data import Settled
from dar_search.ingestion.jobs.fault_points import reached
from dar_search.ingestion.pipeline.moving import Moves
from dar_search.ingestion.pipeline.records import record_digest, record_of
from dar_search.ingestion.pipeline.supply import Barrier
from dar_search.ingestion.pipeline.writing import Entry, Writer
from dar_search.ports import Encoder, ImageIndex

REWRITE_SIZE = 256
_RESULTS_AT_ONCE = 64


class Finishing:
    """Args: origin: of the records; batch_size: pictures of one call of the encoder."""

    def __init__(
        self, origin: str, index: ImageIndex, encoder: Encoder, writer: Writer, moves: Moves, batch_size: int
    ) -> None:
        self._origin = origin
        self._index = index
        self._encoder = encoder
        self._writer = writer
        self._moves = moves
        self._batch_size = batch_size
        self._decoded: list[Decoded | Embedded] = []
        self._same: list[Job] = []
        self._results: list[Entry] = []

    def take(self, outcome: Outcome | Barrier) -> None:
        match outcome:
            case Barrier():
                self.flush()
                self._writer.settle(outcome)
            case Undecodable(job=job, code=code, message=message):
                self._add(_failed(job, code, message))
            case Same(job=job):
                self._same.append(job)
                if len(self._same) == REWRITE_SIZE:
                    self._keep()
            case Decoded() | Embedded():
                reached("decoded")
                self._decoded.append(outcome)
                if len(self._decoded) == self._batch_size:
                    self._encode()

    def flush(self) -> None:
        """What was taken and not yet handed on."""
        if self._decoded:
            self._encode()
        self.flush_results()

    def flush_results(self) -> None:
        """Results that need no encoder."""
        if self._same:
            self._keep()
        results, self._results = self._results, []
        self._writer.put(results)

    def _add(self, entry: Entry) -> None:
        self._results.append(entry)
        if len(self._results) >= _RESULTS_AT_ONCE:
            self.flush_results()

    def _encode(self) -> None:
        batch, self._decoded = self._decoded, []
        found = self._moves.found([(decoded.job, decoded.sha256) for decoded in batch])
        stored = self._stored([one.left[0] for one in found if one.left])
        known = [stored[one.left[0]].embedding if one.left and one.left[0] in stored else None for one in found]
        known = [one.embedding if isinstance(one, Embedded) else had for one, had in zip(batch, known, strict=True)]
        new = [one for one, had in zip(batch, known, strict=True) if had is None and isinstance(one, Decoded)]
        encoded = iter(self._encoded(new))
        entries = []
        for decoded, embedding, moved in zip(batch, known, found, strict=True):
            embedding = next(encoded) if embedding is None else embedding
            if np.isfinite(embedding).all():
                entries.append(_indexed(decoded.job, record_of(decoded, embedding, self._origin), moved.left))
            else:
                message = "The encoder gave no finite numbers for the picture."
                entries.append(_failed(decoded.job, "encoding_failed", message))
        self._writer.put(entries)

    def _stored(self, ids: Sequence[str]) -> Mapping[str, ImageRecord]:
        """Those that are there; none where the index gives no vectors back."""
        try:
            return self._index.get(ids) if ids else {}
        except FeatureMissing:
            return {}

    def _encoded(self, batch: Sequence[Decoded]) -> FloatArray:
        """n pictures -> (n, d)."""
        dimension = self._encoder.provenance.dimension
        if not batch:
            return np.empty((0, dimension), np.float32)
        embeddings = self._encoder.encode_prepared(np.stack([decoded.pixels for decoded in batch]))
        reached("encoded")
        if embeddings.shape != (len(batch), dimension):
            raise ModelFailed(
                f"The encoder gave an array of shape {embeddings.shape} for {len(batch)} pictures.",
                f"({len(batch)}, {dimension}) was expected.",
            )
        return embeddings

    def _keep(self) -> None:
        """Pictures that the index has: they are not encoded again. Their captions, metadata or places may be new."""
        jobs, self._same = self._same, []
        found = self._moves.found([(job, job.known_sha256) for job in jobs])
        rewritten: list[tuple[Job, tuple[str, ...]]] = []
        for job, moved in zip(jobs, found, strict=True):
            if moved.misplaced or job.stored_digest != record_digest(job.known_sha256, job.item):
                rewritten.append((job, moved.left))
            else:
                settled = Settled(_ticket(job).position, "unchanged")
                self._add(Entry(_ticket(job), settled, left=moved.left))
        if rewritten:
            self._annotate_again(rewritten)

    def _annotate_again(self, rewritten: Sequence[tuple[Job, tuple[str, ...]]]) -> None:
        """New captions, metadata and places on stored embeddings."""
        try:
            stored = self._index.get([job.item.id for job, _ in rewritten])
        except FeatureMissing as error:  # the index gives no vectors back: all else in the source still goes in
            self._writer.put([_failed(job, "refused", str(error)) for job, _ in rewritten])
            return
        entries = []
        for job, left in rewritten:
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
            entries.append(_indexed(job, record, left))
        self._writer.put(entries)


def _indexed(job: Job, record: ImageRecord, left: tuple[str, ...] = ()) -> Entry:
    return Entry(_ticket(job), Settled(_ticket(job).position, "indexed"), record, left)


def _failed(job: Job, code: str, message: str) -> Entry:
    return Entry(_ticket(job), Settled(_ticket(job).position, "failed", Failure(job.item.key, code, message)))


def _ticket(job: Job) -> Ticket:
    if job.ticket is None:
        raise DarError("A picture has no place in a ledger.", "This is a defect.")
    return job.ticket
