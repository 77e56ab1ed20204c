"""Writing to an index of the embedded store. Each function runs inside the caller's transaction."""

from __future__ import annotations

import dataclasses
import itertools
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dar_search.ingestion.jobs.fault_points import reached
from dar_search.stores.records import Checked
from dar_search.stores.sqlite import filters, full_text, indices, reading, sums
from dar_search.stores.sqlite.filters import Field, facet
from dar_search.stores.sqlite.full_text import words_table
from dar_search.stores.sqlite.indices import IndexRow
from dar_search.stores.sqlite.reading import Row
from dar_search.stores.sqlite.schema import key_range
from dar_search.stores.sqlite.vectors import KEPT_CHANGES
from dar_search.stores.words import words


@dataclass(frozen=True, slots=True)
class _Removed:
    """How many records are gone, and the totals of their vectors' and (by field) facets' checksums."""

    count: int
    vectors: int
    facets: Counter[int]


def insert(
    connection: sqlite3.Connection, row: IndexRow, checked: Checked, versions: Mapping[str, int] | None = None
) -> None:
    """Inserts the accepted records, in place of those with the same ids.

    Args:
        versions: id -> version; what has a greater one already stays as it is. See `ports.ImageIndex.write`.
    """
    seen = _versions(connection, row.id, [record.id for record in checked.accepted])
    if versions is not None:
        checked = _only(checked, [versions[r.id] >= seen.get(r.id, 0) for r in checked.accepted])
    if not checked.accepted:
        return
    new = {r.id: versions[r.id] if versions else _above(seen.get(r.id, 0)) for r in checked.accepted}
    _keep(connection, _inserted(connection, row, checked, new))


def _inserted(connection: sqlite3.Connection, row: IndexRow, checked: Checked, new: Mapping[str, int]) -> IndexRow:
    """The index's row after the records are in, with their new versions."""
    index_id = row.id
    connection.executemany(
        "INSERT INTO fields (index_id, name, type) VALUES (?, ?, ?)",
        [(index_id, name, field_type) for name, field_type in checked.new_fields.items()],
    )
    row = dataclasses.replace(row, change=row.change + 1, fields=filters.keep_facets(connection, index_id, {}))
    fields = filters.load_fields(connection, row)
    removed = _remove(connection, row, [record.id for record in checked.accepted], fields)
    connection.executemany("DELETE FROM graves WHERE index_id = ? AND id = ?", [(index_id, id) for id in new])
    first = key_range(index_id)[0] + row.numbers + 1
    keyed = list(enumerate(checked.accepted, first))
    records = [
        Row(
            *(key, index_id, r.id, r.source, r.origin, r.digest),
            *(int(r.width), int(r.height), r.caption, metadata, new[r.id]),
        )
        for (key, r), metadata in zip(keyed, checked.metadata, strict=True)
    ]
    connection.executemany(
        f"INSERT INTO records ({', '.join(Row._fields)}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        records,
    )
    reached("mid_write")
    embeddings = checked.embeddings.astype("<f4", copy=False)
    vectors = [(key, embedding.tobytes()) for embedding, (key, _) in zip(embeddings, keyed, strict=True)]
    connection.executemany("INSERT INTO vectors (key, embedding) VALUES (?, ?)", vectors)
    pictures = {key: bytes(r.thumbnail) for key, r in keyed if r.thumbnail is not None}
    connection.executemany("INSERT INTO thumbnails (key, picture) VALUES (?, ?)", pictures.items())
    connection.executemany(
        f"INSERT INTO {words_table(index_id)} (rowid, words) VALUES (?, ?)",  # noqa: S608  # an integer
        [(key, text) for key, text in ((key, " ".join(words(r.caption))) for key, r in keyed) if text],
    )
    facets = [facet for key, record in keyed for facet in _facets(key, record.metadata, fields)]
    connection.executemany("INSERT INTO facets (field, value, key) VALUES (?, ?, ?)", facets)
    of_vectors = [sums.of_blob(*vector) for vector in vectors]
    of_pictures = {key: sums.of_blob(key, picture) for key, picture in pictures.items()}
    connection.executemany(
        "INSERT INTO sums (key, id, record, vector, thumbnail) VALUES (?, ?, ?, ?, ?)",
        [
            (one.key, sums.of_id(one.key, one.id), sums.of_row(*one), of_vector, of_pictures.get(one.key))
            for one, of_vector in zip(records, of_vectors, strict=True)
        ],
    )
    changes = _totals(facets)
    changes.subtract(removed.facets)
    return dataclasses.replace(
        row,
        numbers=row.numbers + len(keyed),
        vectors=sums.total([row.vectors, -removed.vectors, *of_vectors]),
        fields=filters.keep_facets(connection, index_id, changes),
    )


def delete(connection: sqlite3.Connection, row: IndexRow, ids: Sequence[str], version: int | None = None) -> int:
    """Removes records; how many were there. version: see `ports.ImageIndex.delete`."""
    index_id = row.id
    seen = _versions(connection, index_id, ids)
    if version is not None:
        ids = [id for id in ids if version >= seen.get(id, 0)]
    graves = {id: version or _above(seen.get(id, 0)) for id in ids}
    connection.executemany(
        "INSERT OR REPLACE INTO graves (index_id, id, version) VALUES (?, ?, ?)",
        [(index_id, id, grave) for id, grave in graves.items() if grave],
    )
    row = dataclasses.replace(row, change=row.change + 1)
    removed = _remove(connection, row, ids, filters.load_fields(connection, row))
    if removed.count:
        changes = Counter[int]()
        changes.subtract(removed.facets)
        left, fields = sums.total([row.vectors, -removed.vectors]), filters.keep_facets(connection, index_id, changes)
        _keep(connection, dataclasses.replace(row, vectors=left, fields=fields))
    return removed.count


def drop(connection: sqlite3.Connection, index_id: int) -> None:
    """Removes an index and all in it."""
    keys = key_range(index_id)
    connection.execute("DELETE FROM facets WHERE field IN (SELECT id FROM fields WHERE index_id = ?)", (index_id,))
    for table in ("records", "vectors", "thumbnails", "sums"):
        connection.execute(f"DELETE FROM {table} WHERE key BETWEEN ? AND ?", keys)  # noqa: S608  # our own names
    for table in ("fields", "removals", "graves"):
        connection.execute(f"DELETE FROM {table} WHERE index_id = ?", (index_id,))  # noqa: S608
    connection.execute(f"DROP TABLE {words_table(index_id)}")
    connection.execute("DELETE FROM indices WHERE id = ?", (index_id,))


def _remove(connection: sqlite3.Connection, row: IndexRow, ids: Iterable[str], fields: Mapping[str, Field]) -> _Removed:
    keys = [key for (key,) in reading.by_id(connection, row.id, "key", ids)]
    old = reading.rows(connection, keys).values()
    facets = [facet for one in old for facet in _facets(one.key, reading.metadata_of(one.metadata), fields)]
    removed = _Removed(len(keys), sums.total(reading.vector_checksums(connection, keys)), _totals(facets))
    connection.executemany("DELETE FROM facets WHERE field = ? AND value = ? AND key = ?", facets)
    of_keys = [(key,) for key in keys]
    connection.executemany(f"DELETE FROM {words_table(row.id)} WHERE rowid = ?", of_keys)  # noqa: S608
    for table in ("thumbnails", "vectors", "records", "sums"):
        connection.executemany(f"DELETE FROM {table} WHERE key = ?", of_keys)  # noqa: S608
    connection.executemany(
        "INSERT INTO removals (index_id, change, key) VALUES (?, ?, ?)", [(row.id, row.change, key) for key in keys]
    )
    connection.execute("DELETE FROM removals WHERE index_id = ? AND change < ?", (row.id, row.change - KEPT_CHANGES))
    return removed


def _keep(connection: sqlite3.Connection, row: IndexRow) -> None:
    if row.change - row.sealed >= full_text.SEALED_EVERY:
        indices.seal(connection, row)
    else:
        indices.keep(connection, row)


def _totals(facets: Iterable[tuple[int, Any, int]]) -> Counter[int]:
    """The totals of facets' checksums, by field."""
    totals = Counter[int]()
    for field, value, key in facets:
        totals[field] += sums.of_facet(value, key)
    return totals


def _versions(connection: sqlite3.Connection, index_id: int, ids: Sequence[str]) -> dict[str, int]:
    """The versions that the index has seen of these ids, in records and graves; 0 or nothing: none."""
    found = dict(reading.by_id(connection, index_id, "id, version", ids))
    found.update(reading.by_id(connection, index_id, "id, version", ids, table="graves"))
    return found


def _above(version: int) -> int:
    # A write without a version goes in, and what was on its way with the version before it does not come after it.
    return version + 1 if version else 0


def _only(checked: Checked, kept: Sequence[bool]) -> Checked:
    if all(kept):
        return checked
    return dataclasses.replace(
        checked,
        accepted=tuple(itertools.compress(checked.accepted, kept)),
        embeddings=checked.embeddings[list(kept)],
        metadata=tuple(itertools.compress(checked.metadata, kept)),
    )


def _facets(key: int, metadata: Mapping[str, Any], fields: Mapping[str, Field]) -> Iterator[tuple[int, Any, int]]:
    for name, value in metadata.items():
        values = value if isinstance(value, list | tuple) else (value,)
        for kept in {facet(item) for item in values}:
            yield fields[name].id, kept, key
