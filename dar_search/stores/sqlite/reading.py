"""Reading records of the embedded store by key or by id. Each function runs inside the caller's transaction.

What it reads of a record's row, thumbnail or vector is what was written, or sqlite3.DatabaseError is raised.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from dar_search.data import FloatArray, ImageRecord, Place
from dar_search.stores.records import load_metadata
from dar_search.stores.sqlite import sums

T = TypeVar("T")
_AT_ONCE = 500  # parameters of one statement: any SQLite takes 999


class Row(NamedTuple):
    """A row of the table `records`: see steps."""

    key: int
    index_id: int
    id: str
    source: str
    origin: str
    digest: str
    width: int
    height: int
    caption: str
    metadata: str
    version: int


_PREFIXED = ", ".join(f"records.{name}" for name in Row._fields)


def ids(connection: sqlite3.Connection, keys: Sequence[int]) -> dict[int, str]:
    """key -> id."""
    found = {}
    for key, checksum, id in _joined(connection, "records", "sums.id, records.id", keys):
        found[key] = _same(id, checksum, sums.of_id(key, id), "records")
    return found


def rows(connection: sqlite3.Connection, keys: Sequence[int]) -> dict[int, Row]:
    """key -> row."""
    found = {}
    for key, checksum, *values in _joined(connection, "records", f"sums.record, {_PREFIXED}", keys):
        found[key] = _same(Row(*values), checksum, sums.of_row(*values), "records")
    return found


def vectors(connection: sqlite3.Connection, keys: Sequence[int]) -> dict[int, FloatArray]:
    """key -> (d,) float32."""
    found = {}
    for key, checksum, blob in _joined(connection, "vectors", "sums.vector, embedding", keys):
        _same(blob, checksum, sums.of_blob(key, blob), "vectors")
        found[key] = np.frombuffer(blob, "<f4").astype(np.float32)
    return found


def vector_checksums(connection: sqlite3.Connection, keys: Sequence[int]) -> list[int]:
    """As they were when the vectors were written, in no order."""
    return [checksum for _, checksum in _joined(connection, "vectors", "sums.vector", keys)]


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
    found = {}
    for key, checksum, picture in _joined(connection, "thumbnails", "sums.thumbnail, picture", keys):
        if (checksum, picture) != (None, None):
            found[key] = _same(picture, checksum, sums.of_blob(key, picture), "thumbnails")
    return found


def records(connection: sqlite3.Connection, index_id: int, ids: Iterable[str]) -> dict[str, ImageRecord]:
    """id -> whole record of those that are there."""
    found = rows(connection, [key for (key,) in by_id(connection, index_id, "key", ids)])
    return {record.id: record for record in made(connection, found).values()}


def made(connection: sqlite3.Connection, rows: Mapping[int, Row]) -> dict[int, ImageRecord]:
    """key -> whole record, of rows by their keys."""
    embeddings, pictures = vectors(connection, list(rows)), thumbnails(connection, list(rows))
    return {
        key: ImageRecord(
            id=row.id,
            embedding=embeddings[key],
            source=row.source,
            origin=row.origin,
            digest=row.digest,
            caption=row.caption,
            metadata=metadata_of(row.metadata),
            width=row.width,
            height=row.height,
            thumbnail=pictures.get(key),
        )
        for key, row in rows.items()
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


def _joined(connection: sqlite3.Connection, table: str, columns: str, keys: Sequence[int]) -> Iterator[Any]:
    """(key, *columns) of these keys, in no order. Raises sqlite3.DatabaseError unless all of them have checksums."""
    found = 0
    for marks, chunk in _chunks(keys):
        sql = f"SELECT sums.key, {columns} FROM sums LEFT JOIN {table} USING (key) WHERE sums.key IN ({marks})"  # noqa: S608
        for row in connection.execute(sql, chunk):
            found += 1
            yield row
    if found != len(keys):
        raise sqlite3.DatabaseError("malformed checksums")


def _same(value: T, kept: Any, found: int, table: str) -> T:
    if kept != found:
        raise sqlite3.DatabaseError(f"malformed {table}")
    return value


def _chunks(values: Sequence[T]) -> Iterator[tuple[str, Sequence[T]]]:
    for start in range(0, len(values), _AT_ONCE):
        chunk = values[start : start + _AT_ONCE]
        yield ", ".join("?" * len(chunk)), chunk
