"""A picture's record as an OpenSearch document, and back.

What is deleted leaves a document behind, a **grave**: it holds the id and the version of the delete, so that a write
that was asked for earlier does not bring the picture back, however late it comes. (OpenSearch itself forgets the
version of what it deleted after `index.gc_deletes`, a minute.) A grave has no field but `dar_deleted`: no search finds
it.

Vectors travel as JSON arrays of the shortest decimals that read back as the same float32. Measured for d = 512:
orjson on the NumPy row 30 us and 6.3 KB, orjson on `tolist()` 39 us and 10.8 KB, the json module 500 us.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from dar_search.data import FloatArray, ImageRecord, Metadata
from dar_search.stores.bodies import DELETED, EMPTY_FIELDS, encode
from dar_search.stores.opensearch.cluster.forms import DOCUMENTS, Source


def index_action(record: ImageRecord, embedding: FloatArray, metadata: str, version: int | None = None) -> bytes:
    """The two lines of a bulk request that insert or replace a record.

    Args:
        embedding: (d,) float32, the record's.
        metadata: the record's metadata as a JSON object.
        version: the cluster refuses it (409) where it has seen a greater one for the id.
    """
    source = encode(document(record, embedding, metadata))
    return b'{"index":{"_id":%b%b}}\n%b\n' % (orjson.dumps(record.id), _versioned(version), source)


def grave_action(id: str, version: int | None, milliseconds: int) -> bytes:
    """The two lines of a bulk request that put a grave in a record's place, past the index's own ingest pipeline.

    Args:
        milliseconds: since 1970, for people: nothing is decided by it.
    """
    lines = b'{"index":{"_id":%b,"pipeline":"_none"%b}}\n{"%b":%d}\n'
    return lines % (orjson.dumps(id), _versioned(version), DELETED.encode(), milliseconds)


def is_grave(source: Mapping[str, Any]) -> bool:
    """Whether a document's `_source`, or a part of it with `dar_deleted`, is that of a grave."""
    return DELETED in source


def _versioned(version: int | None) -> bytes:
    return b"" if version is None else b',"version":%d,"version_type":"external_gte"' % version


def document(record: ImageRecord, embedding: FloatArray, metadata: str) -> dict[str, Any]:
    """A record -> its `_source`; what is empty is left out. The vector stays a NumPy array.

    A field with an empty list has no type, and the mapping takes no field without one: its name is kept apart.
    """
    fields: dict[str, Any] = {
        "id": record.id,
        "source": record.source,
        "origin": record.origin,
        "digest": record.digest,
        "caption": record.caption,
        "width": record.width,
        "height": record.height,
    }
    fields = {name: value for name, value in fields.items() if value}
    fields["vector"] = embedding
    empty = [name for name, value in record.metadata.items() if isinstance(value, list | tuple) and not value]
    if empty:
        fields[EMPTY_FIELDS] = empty
        fields["metadata"] = {name: value for name, value in record.metadata.items() if name not in empty}
    elif record.metadata:
        fields["metadata"] = orjson.Fragment(metadata)
    if record.thumbnail is not None:
        fields["thumbnail"] = base64.b64encode(record.thumbnail).decode("ascii")
    return fields


def record(id: str, source: Source, dimension: int) -> ImageRecord:
    """A document's whole `_source` -> the record. Raises StoreCorrupt for what is no vector of the index's."""
    return ImageRecord(
        id=id,
        embedding=embedding(source, dimension),
        source=source.get("source", ""),
        origin=source.get("origin", ""),
        digest=source.get("digest", ""),
        caption=source.get("caption", ""),
        metadata=metadata(source),
        width=source.get("width", 0),
        height=source.get("height", 0),
        thumbnail=thumbnail(source),
    )


def embedding(source: Source, dimension: int) -> FloatArray:
    """The document's vector, (dimension,) float32, bit for bit as it was written. Raises StoreCorrupt."""
    with np.errstate(over="ignore"):
        vector = np.array(source.get("vector", ()), dtype=np.float32)
    if vector.shape != (dimension,) or not np.isfinite(vector).all():
        raise DOCUMENTS.wrong(f"a vector of {vector.size} numbers, not {dimension} finite ones")
    return vector


def metadata(source: Source) -> Metadata:
    """The document's metadata, as it was given."""
    fields = {name: tuple(v) if isinstance(v, list) else v for name, v in source.get("metadata", {}).items()}
    return fields | dict.fromkeys(source.get("metadata_empty", ()), ())


def thumbnail(source: Source) -> bytes | None:
    """The document's thumbnail, decoded. Raises StoreCorrupt."""
    text = source.get("thumbnail")
    try:
        return None if text is None else base64.b64decode(text)
    except ValueError as error:
        raise DOCUMENTS.wrong(f"a thumbnail that is no base64: {error}") from None


def possible_ids(ids: Sequence[str]) -> Iterator[str]:
    """The ids without repetition; none that no record can have, which OpenSearch would refuse."""
    for id in dict.fromkeys(ids):
        try:
            if id and len(id.encode()) <= 512:
                yield id
        except UnicodeEncodeError:
            continue
