"""What a record is made of: a decoded picture, its embedding, and what its source says about it."""

from __future__ import annotations

from dar_search.data import FloatArray, ImageRecord
from dar_search.ingestion.decoding.jobs import Decoded, Embedded
from dar_search.ingestion.sources.annotations import annotation_digest
from dar_search.ingestion.sources.source import SourceItem


def record_of(decoded: Decoded | Embedded, embedding: FloatArray, origin: str) -> ImageRecord:
    """embedding: (d,)."""
    item = decoded.job.item
    return ImageRecord(
        id=item.id,
        embedding=embedding,
        source=item.key,
        origin=origin,
        digest=record_digest(decoded.sha256, item),
        caption=item.caption,
        metadata=item.metadata,
        width=decoded.width,
        height=decoded.height,
        thumbnail=decoded.thumbnail,
    )


def record_digest(sha256: str, item: SourceItem) -> str:
    """Of the file's bytes and the annotations: with the same digest, a record is right already."""
    return f"{sha256}:{annotation_digest(item.caption, item.metadata)}"
