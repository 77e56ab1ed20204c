"""What goes into the decoders and what comes out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dar_search.data import FloatArray
from dar_search.ingestion.jobs.data import Lease
from dar_search.ingestion.sources.source import SourceItem


@dataclass(frozen=True, slots=True)
class Ticket:
    """An item's place in the ledger: the lease under which it is worked on, and its position in the shard."""

    lease: Lease
    position: int


@dataclass(frozen=True, slots=True)
class Job:
    """A picture to decode.

    Attributes:
        stored_digest: `ImageRecord.digest` of the record that the index has; empty if it has none.
        ticket: where its result is recorded; None for a picture that is decoded for its own sake.
        data: the picture's bytes, where they were fetched; empty where the decoder reads a file.
    """

    item: SourceItem
    stored_digest: str = ""
    ticket: Ticket | None = None
    data: bytes = b""

    @property
    def known_sha256(self) -> str:
        """Of the bytes that the index has: a file that still has them is not decoded."""
        return self.stored_digest.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture, decoded. See `decode.DecodedPicture`; sha256: of the file's bytes, hexadecimal."""

    job: Job
    sha256: str
    pixels: NDArray[np.uint8]
    thumbnail: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Embedded:
    """A picture whose embedding was brought along; it was not looked at. sha256: of the embedding, hexadecimal."""

    job: Job
    sha256: str
    embedding: FloatArray
    thumbnail: bytes | None = None
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class Same:
    """The file still has the bytes that the index has."""

    job: Job


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A code of `failures.FAILURE_CODES`, and one line for people."""

    job: Job
    code: str
    message: str


Outcome = Decoded | Embedded | Same | Undecodable
