"""A few pictures at once, searchable when the call returns: for people and programs that upload them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dar_search.data import Failure, ImageRecord
from dar_search.errors import DarError, ModelFailed, PictureError
from dar_search.ingestion.decoding.decoder_handle import COMMAND
from dar_search.ingestion.decoding.decoders import Decoders
from dar_search.ingestion.decoding.jobs import Decoded, Job, Outcome, Undecodable
from dar_search.ingestion.decoding.limits import DEFAULT_LIMITS, DecodeLimits
from dar_search.ingestion.decoding.standing import StandingDecoders
from dar_search.ingestion.jobs.data import version_of
from dar_search.ingestion.jobs.ledger_port import Ledger
from dar_search.ingestion.pipeline.records import record_of
from dar_search.ingestion.sources.annotations import parse_caption, parse_metadata
from dar_search.ingestion.sources.locations import record_id
from dar_search.ingestion.sources.source import SourceItem
from dar_search.ports import Encoder, ImageIndex

ORIGIN = "urn:dar:upload"
MAX_ID_BYTES = 512


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture that somebody sends: its bytes, or a URL to fetch it from.

    Attributes:
        id: the record's id; empty: made of the URL, or of the bytes (the same picture twice is one record).
        metadata: as JSON, not yet checked.
    """

    data: bytes = b""
    url: str = ""
    id: str = ""
    caption: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


class Uploads:
    """Decodes, encodes and writes uploads. Safe to use from several threads; close it at the end.

    Args:
        fetch: a URL -> its bytes; raises PictureError.
        at_once: calls that encode at the same time; others wait.
        command: what decoder processes are; another one is for tests.
    """

    def __init__(
        self,
        ledger: Ledger,
        encoder: Encoder,
        fetch: Callable[[str], bytes],
        *,
        at_once: int = 2,
        processes: int = 1,
        limits: DecodeLimits = DEFAULT_LIMITS,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._ledger = ledger
        self._encoder = encoder
        self._fetch = fetch
        self._places = threading.BoundedSemaphore(at_once)
        preparation = encoder.preparation
        self._decoding = StandingDecoders(lambda: Decoders(preparation, limits, processes=processes, command=command))

    def put(self, index: ImageIndex, uploads: Sequence[Upload]) -> list[ImageRecord | Failure]:
        """Each upload's record as it is in the index now and found by searches, or why it is not, in their order.

        Raises StoreError, ModelError, ResourceError: then nothing is known of any of them, and sending them again is
        harmless.
        """
        version = version_of(self._ledger.draw())
        results: list[ImageRecord | Failure | None] = [None] * len(uploads)
        jobs: dict[int, Future[Outcome]] = {}
        for place, upload in enumerate(uploads):
            try:
                jobs[place] = self._decoding.submit(self._job(upload))
            except PictureError as error:
                results[place] = Failure(upload.url or upload.id or f"upload {place + 1}", error.code, str(error))
        decoded: list[tuple[int, Decoded]] = []
        for place, future in jobs.items():
            match future.result():
                case Decoded() as outcome:
                    decoded.append((place, outcome))
                case Undecodable(job=job, code=code, message=message):
                    results[place] = Failure(job.item.key, code, message)
                case other:
                    raise ModelFailed(f"A decoder answered {type(other).__name__}.", "This is a defect.")
        if decoded:
            for place, result in self._written(index, decoded, version):
                results[place] = result
        return [result for result in results if result is not None]

    def delete(self, index: ImageIndex, id: str) -> int:
        """Removes a record -> how many were there. What was asked for before this does not bring it back."""
        removed = index.delete([id], version=version_of(self._ledger.draw()))
        index.refresh()
        return removed

    def trouble(self) -> DarError | None:
        """Why no upload can be decoded just now; None where nothing is known to be wrong."""
        return self._decoding.trouble()

    def close(self) -> None:
        self._decoding.close()

    def _job(self, upload: Upload) -> Job:
        """Raises PictureError."""
        caption, metadata = parse_caption(upload.caption), parse_metadata(upload.metadata)
        if len(upload.id.encode("utf-8", "replace")) > MAX_ID_BYTES or not (upload.id + "x").isprintable():
            raise PictureError("bad_line", f"An id is printable text of at most {MAX_ID_BYTES} bytes.", "Shorten it.")
        data = upload.data or (self._fetch(upload.url) if upload.url else b"")
        if not data:
            raise PictureError("empty_file", "The picture has no bytes.", "Send a file, or a URL.")
        key = upload.url or f"urn:sha256:{hashlib.sha256(data).hexdigest()}"
        return Job(SourceItem(upload.id or record_id(key), key, b"", caption, metadata), data=data)

    def _written(
        self, index: ImageIndex, decoded: Sequence[tuple[int, Decoded]], version: int
    ) -> Iterator[tuple[int, ImageRecord | Failure]]:
        with self._places:
            embeddings = self._encoder.encode_prepared(np.stack([one.pixels for _, one in decoded]))
        records = [record_of(one, embedding, ORIGIN) for (_, one), embedding in zip(decoded, embeddings, strict=True)]
        refused = dict(index.write(records, versions=[version] * len(records)))
        index.refresh()
        for (place, _), record in zip(decoded, records, strict=True):
            yield place, refused.get(record.id, record)
