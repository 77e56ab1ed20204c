"""Looking at a damaged file of the embedded store: which records are whole, and what else is not.

A record is whole where its row, its vector and its thumbnail are what was written. Rows are looked for by their keys,
one by one where several cannot be read at once, so that a damaged page costs no more than what is on it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from dar_search.data import ImageRecord
from dar_search.stores.examined import Examined
from dar_search.stores.sqlite import filters, full_text, reading, sums
from dar_search.stores.sqlite.damage.tolerant import keys_of, listed_ids, tolerant
from dar_search.stores.sqlite.indices import IndexRow
from dar_search.stores.sqlite.schema import key_range

_AT_ONCE = 256


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
        # First of all: SQLite, which writes for it in memory, writes no more in a transaction that has met damage.
        self._words_problem = self._compared_words()

    def records(self) -> Iterator[list[tuple[ImageRecord, int]]]:
        """Some at once, in the order they were written, with their versions; what is not whole comes to `lost`."""
        first, last = key_range(self._row.id)[0] + 1, key_range(self._row.id)[0] + self._row.numbers
        self._ids |= listed_ids(self._connection, self._row.id)
        for start in range(first, last + 1, _AT_ONCE):
            end = min(start + _AT_ONCE, last + 1)
            seen = (keys_of(self._connection, table, start, end) for table in ("sums", "records", "vectors"))
            keys = sorted(set(filter(self._ids.__contains__, range(start, end))).union(*seen))
            found = list(tolerant(self._read, keys, self.lost.extend))
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

    def _name(self, key: int) -> str | None:
        try:
            return reading.ids(self._connection, [key])[key]
        except sqlite3.DatabaseError:
            return self._ids.get(key)

    def _problems(self) -> Iterator[str]:
        if not self.lost and self._vectors != self._row.vectors:
            yield "Some pictures are gone without a trace: ingest their sources again."
        yield from self._words_problem
        try:
            for field in filters.load_fields(self._connection, self._row).values():
                filters.check_facets(self._connection, field)
        except sqlite3.DatabaseError as error:
            yield f"What filters look at is damaged ({error}): a copy has it anew, from the metadata."

    def _compared_words(self) -> list[str]:
        try:
            full_text.compare(self._connection, self._row.id)
            full_text.check(self._connection, self._row.id, self._row.sealed_words)
        except sqlite3.DatabaseError as error:
            return [f"The full-text index of the captions is damaged ({error}): a copy has a new one."]
        return []
