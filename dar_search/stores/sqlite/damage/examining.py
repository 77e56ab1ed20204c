"""Looking at a damaged file of the embedded store: which records are whole, and what else is not.

A record is whole where its row, its vector and its thumbnail are what was written. Rows are looked for by their keys,
one by one where several cannot be read at once, so that a damaged page costs no more than what is on it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from dar_search.data import ImageRecord
from dar_search.stores.examined import Examined
from dar_search.stores.sqlite import filters, full_text, reading, sums
from dar_search.stores.sqlite.indices import IndexRow
from dar_search.stores.sqlite.schema import key_range

T = TypeVar("T")
_AT_ONCE = 256
_IDS = "SELECT key, id FROM records INDEXED BY sqlite_autoindex_records_1 WHERE index_id = ? ORDER BY id"


class Whole:
    """The whole records of an index, and what is lost of it.

    Args:
        connection: in a transaction.
    """

    def __init__(self, connection: sqlite3.Connection, row: IndexRow) -> None:
        self._connection, self._row = connection, row
        self.lost: list[int] = []
        self.count = 0
        self._vectors = 0
        self._ids: dict[int, str] = {}

    def records(self) -> Iterator[list[tuple[ImageRecord, int]]]:
        """Some at once, in the order they were written, with their versions; what is not whole comes to `lost`."""
        first, last = key_range(self._row.id)[0] + 1, key_range(self._row.id)[0] + self._row.numbers
        self._ids |= self._listed()
        for start in range(first, last + 1, _AT_ONCE):
            end = min(start + _AT_ONCE, last + 1)
            keys = sorted(set().union(*(self._keys(table, start, end) for table in ("sums", "records", "vectors"))))
            keys = sorted({*keys, *(key for key in range(start, end) if key in self._ids)})
            found = list(_tolerant(self._read, keys, self.lost.extend))
            self.count += len(found)
            if found:
                yield found

    def examined(self) -> Examined:
        """What is known once all records have been read."""
        names = [id for id in map(self._name, self.lost) if id is not None]
        return Examined(
            self._row.name, self.count, tuple(sorted(names)), len(self.lost) - len(names), tuple(self._problems())
        )

    def _read(self, keys: Sequence[int]) -> list[tuple[ImageRecord, int]]:
        rows = reading.rows(self._connection, keys)
        made = reading.made(self._connection, rows)
        self._vectors = sums.total(reading.vector_checksums(self._connection, keys), self._vectors)
        return [(made[key], rows[key].version) for key in sorted(rows)]

    def _keys(self, table: str, start: int, end: int) -> Iterator[int]:
        def some(keys: Sequence[int]) -> list[int]:
            sql = f"SELECT key FROM {table} WHERE key BETWEEN ? AND ?"  # noqa: S608  # our own names
            return [key for (key,) in self._connection.execute(sql, (keys[0], keys[-1]))]

        return _tolerant(some, range(start, end), lambda _: None)

    def _listed(self) -> Iterator[tuple[int, str]]:
        """The ids that the list of ids has, by key, from both of its ends to where it is damaged."""
        for order in ("", " DESC"):
            try:
                for key, id in self._connection.execute(_IDS + order, (self._row.id,)):
                    if isinstance(key, int) and isinstance(id, str):
                        yield key, id
            except sqlite3.DatabaseError:
                continue
            return

    def _name(self, key: int) -> str | None:
        try:
            return reading.ids(self._connection, [key])[key]
        except sqlite3.DatabaseError:
            return self._ids.get(key)

    def _problems(self) -> Iterator[str]:
        if not self.lost and self._vectors != self._row.vectors:
            yield "Some pictures are gone without a trace: ingest their sources again."
        try:
            full_text.check(self._connection, self._row.id, self._row.sealed_words)
            full_text.compare(self._connection, self._row.id)
        except sqlite3.DatabaseError as error:
            yield f"The full-text index of the captions is damaged ({error}): a copy has a new one."
        try:
            for field in filters.load_fields(self._connection, self._row).values():
                filters.check_facets(self._connection, field)
        except sqlite3.DatabaseError as error:
            yield f"What filters look at is damaged ({error}): a copy has it anew, from the metadata."


def _tolerant(
    read: Callable[[Sequence[int]], Sequence[T]], keys: Sequence[int], failed: Callable[[Sequence[int]], Any]
) -> Iterator[T]:
    """What can be read of the keys: all at once, or else each half, down to single keys, those that fail apart."""
    if not keys:
        return
    try:
        found = read(keys)
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        if len(keys) == 1:
            failed(keys)
            return
        half = len(keys) // 2
        yield from _tolerant(read, keys[:half], failed)
        yield from _tolerant(read, keys[half:], failed)
    else:
        yield from found
