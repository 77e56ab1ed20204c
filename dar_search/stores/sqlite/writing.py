"""Writing to an index of the embedded store. Each function runs inside the caller's transaction."""

from __future__ import annotations

import dataclasses
import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dar_search.ingestion.jobs.fault_points import reached
from dar_search.stores.records import Checked
from dar_search.stores.sqlite import reading
from dar_search.stores.sqlite.filters import Field, facet, load_fields
from dar_search.stores.sqlite.schema import key_range, words_table
from dar_search.stores.sqlite.vectors import KEPT_CHANGES
from dar_search.stores.words import words


def insert(
    connection: sqlite3.Connection, index_id: int, checked: Checked, versions: Mapping[str, int] | None = None
) -> None:
    """Inserts the accepted records, in place of those with the same ids.

    Args:
        versions: id -> version; what has a greater one already stays as it is. See `ports.ImageIndex.write`.
    """
    seen = _versions(connection, index_id, [record.id for record in checked.accepted])
    if versions is not None:
        checked = _only(checked, [versions[r.id] >= seen.get(r.id, 0) for r in checked.accepted])
    if not checked.accepted:
        return
    new = {r.id: versions[r.id] if versions else _above(seen.get(r.id, 0)) for r in checked.accepted}
    connection.executemany(
        "INSERT INTO fields (index_id, name, type) VALUES (?, ?, ?)",
        [(index_id, name, field_type) for name, field_type in checked.new_fields.items()],
    )
    fields = load_fields(connection, index_id)
    change, used = connection.execute("SELECT change + 1, numbers FROM indices WHERE id = ?", (index_id,)).fetchone()
    _remove(connection, index_id, change, [record.id for record in checked.accepted], fields)
    connection.executemany("DELETE FROM graves WHERE index_id = ? AND id = ?", [(index_id, id) for id in new])
    first = key_range(index_id)[0] + used + 1
    keyed = list(enumerate(checked.accepted, first))
    connection.executemany(
        "INSERT INTO records (key, index_id, id, source, origin, digest, width, height, caption, metadata, "
        "version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                *(key, index_id, r.id, r.source, r.origin, r.digest),
                *(int(r.width), int(r.height), r.caption, metadata, new[r.id]),
            )
            for (key, r), metadata in zip(keyed, checked.metadata, strict=True)
        ],
    )
    reached("mid_write")
    embeddings = checked.embeddings.astype("<f4", copy=False)
    connection.executemany(
        "INSERT INTO vectors (key, embedding) VALUES (?, ?)",
        [(key, row.tobytes()) for row, (key, _) in zip(embeddings, keyed, strict=True)],
    )
    connection.executemany(
        "INSERT INTO thumbnails (key, picture) VALUES (?, ?)",
        [(key, bytes(r.thumbnail)) for key, r in keyed if r.thumbnail is not None],
    )
    connection.executemany(
        f"INSERT INTO {words_table(index_id)} (rowid, words) VALUES (?, ?)",  # noqa: S608  # an integer
        [(key, text) for key, text in ((key, " ".join(words(r.caption))) for key, r in keyed) if text],
    )
    connection.executemany(
        "INSERT INTO facets (field, value, key) VALUES (?, ?, ?)",
        [facet for key, record in keyed for facet in _facets(key, record.metadata, fields)],
    )
    _count_change(connection, index_id, change, used + len(keyed))


def delete(connection: sqlite3.Connection, index_id: int, ids: Sequence[str], version: int | None = None) -> int:
    """Removes records; how many were there. version: see `ports.ImageIndex.delete`."""
    seen = _versions(connection, index_id, ids)
    if version is not None:
        ids = [id for id in ids if version >= seen.get(id, 0)]
    graves = {id: version or _above(seen.get(id, 0)) for id in ids}
    connection.executemany(
        "INSERT OR REPLACE INTO graves (index_id, id, version) VALUES (?, ?, ?)",
        [(index_id, id, grave) for id, grave in graves.items() if grave],
    )
    change, used = connection.execute("SELECT change + 1, numbers FROM indices WHERE id = ?", (index_id,)).fetchone()
    removed = _remove(connection, index_id, change, ids, load_fields(connection, index_id))
    if removed:
        _count_change(connection, index_id, change, used)
    return removed


def drop(connection: sqlite3.Connection, index_id: int) -> None:
    """Removes an index and all in it."""
    keys = key_range(index_id)
    connection.execute("DELETE FROM facets WHERE field IN (SELECT id FROM fields WHERE index_id = ?)", (index_id,))
    for table in ("records", "vectors", "thumbnails"):
        connection.execute(f"DELETE FROM {table} WHERE key BETWEEN ? AND ?", keys)  # noqa: S608  # our own names
    for table in ("fields", "removals", "graves"):
        connection.execute(f"DELETE FROM {table} WHERE index_id = ?", (index_id,))  # noqa: S608
    connection.execute(f"DROP TABLE {words_table(index_id)}")
    connection.execute("DELETE FROM indices WHERE id = ?", (index_id,))


def _remove(
    connection: sqlite3.Connection, index_id: int, change: int, ids: Iterable[str], fields: Mapping[str, Field]
) -> int:
    old = reading.by_id(connection, index_id, "key, metadata", ids)
    if not old:
        return 0
    connection.executemany(
        "DELETE FROM facets WHERE field = ? AND value = ? AND key = ?",
        [facet for key, metadata in old for facet in _facets(key, reading.metadata_of(metadata), fields)],
    )
    keys = [(key,) for key, _ in old]
    connection.executemany(f"DELETE FROM {words_table(index_id)} WHERE rowid = ?", keys)  # noqa: S608
    for table in ("thumbnails", "vectors", "records"):
        connection.executemany(f"DELETE FROM {table} WHERE key = ?", keys)  # noqa: S608
    connection.executemany(
        "INSERT INTO removals (index_id, change, key) VALUES (?, ?, ?)", [(index_id, change, key) for key, _ in old]
    )
    connection.execute("DELETE FROM removals WHERE index_id = ? AND change < ?", (index_id, change - KEPT_CHANGES))
    return len(old)


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


def _count_change(connection: sqlite3.Connection, index_id: int, change: int, used: int) -> None:
    connection.execute("UPDATE indices SET change = ?, numbers = ? WHERE id = ?", (change, used, index_id))
