"""Reading records of the embedded store by key or by id. Each function runs inside the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from dar_search.data import FloatArray, ImageRecord, Place
from dar_search.stores.records import load_metadata

T = TypeVar("T")
_AT_ONCE = 500  # parameters of one statement: any SQLite takes 999
_COLUMNS = "key, id, source, origin, digest, width, height, caption, metadata"


def rows(connection: sqlite3.Connection, table: str, columns: str, keys: Sequence[int]) -> list[Any]:
    """The columns of the rows with these keys, in no order. `table` and `columns` are our own words."""
    found: list[Any] = []
    for marks, chunk in _chunks(keys):
        found += connection.execute(f"SELECT {columns} FROM {table} WHERE key IN ({marks})", chunk)  # noqa: S608
    return found


def by_id(
    connection: sqlite3.Connection, index_id: int, columns: str, ids: Iterable[str], *, table: str = "records"
) -> list[Any]:
    """The columns of the index's records (or graves) with these ids, in no order, each once."""
    found: list[Any] = []
    for marks, chunk in _chunks(list(dict.fromkeys(ids))):
        sql = f"SELECT {columns} FROM {table} WHERE index_id = ? AND id IN ({marks})"  # noqa: S608
        found += connection.execute(sql, (index_id, *chunk))
    return found


def places(connection: sqlite3.Connection, index_id: int, sha256: Iterable[str], most: int) -> list[Place]:
    """Of the records made of pictures with these digests, at most `most`."""
    sql = (
        "SELECT id, source, origin, digest FROM records "
        "WHERE index_id = ? AND digest >= ? || ':' AND digest < ? || ';' LIMIT ?"
    )
    found: list[Place] = []
    for one in dict.fromkeys(sha256):
        found += [Place(*row) for row in connection.execute(sql, (index_id, one, one, most - len(found)))]
    return found


def thumbnails(connection: sqlite3.Connection, keys: Sequence[int]) -> dict[int, bytes]:
    """key -> thumbnail of those that have one."""
    return dict(rows(connection, "thumbnails", "key, picture", keys))


def records(connection: sqlite3.Connection, index_id: int, ids: Iterable[str]) -> dict[str, ImageRecord]:
    """id -> whole record of those that are there."""
    found = by_id(connection, index_id, _COLUMNS, ids)
    keys = [row[0] for row in found]
    embeddings = {key: _vector(blob) for key, blob in rows(connection, "vectors", "key, embedding", keys)}
    if len(embeddings) != len(keys):
        raise sqlite3.DatabaseError("malformed vectors")
    pictures = thumbnails(connection, keys)
    return {
        id: ImageRecord(
            id=id,
            embedding=embeddings[key],
            source=source,
            origin=origin,
            digest=digest,
            caption=caption,
            metadata=metadata_of(metadata),
            width=width,
            height=height,
            thumbnail=pictures.get(key),
        )
        for key, id, source, origin, digest, width, height, caption, metadata in found
    }


def metadata_of(text: str) -> dict[str, Any]:
    """A record's metadata. Raises sqlite3.DatabaseError where the file is damaged."""
    try:
        return load_metadata(text)
    except ValueError:
        raise sqlite3.DatabaseError("malformed metadata") from None


def ids_after(
    connection: sqlite3.Connection, index_id: int, after: str | None, origin: str | None, count: int
) -> list[str]:
    """The next `count` ids of an index, or of those that `origin` brought in, ascending."""
    sql = "SELECT id FROM records WHERE index_id = ?"
    parameters: list[Any] = [index_id]
    for clause, value in ((" AND id > ?", after), (" AND origin = ?", origin)):
        if value is not None:
            sql += clause
            parameters.append(value)
    return [id for (id,) in connection.execute(f"{sql} ORDER BY id LIMIT ?", (*parameters, count))]


def _vector(blob: bytes) -> FloatArray:
    if len(blob) % 4:
        raise sqlite3.DatabaseError("malformed vectors")
    return np.frombuffer(blob, "<f4").astype(np.float32)


def _chunks(values: Sequence[T]) -> Iterator[tuple[str, Sequence[T]]]:
    for start in range(0, len(values), _AT_ONCE):
        chunk = values[start : start + _AT_ONCE]
        yield ", ".join("?" * len(chunk)), chunk
