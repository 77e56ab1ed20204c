"""One index of the embedded store: `ports.ImageIndex` on SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence

from dar_search.data import Failure, ImageRecord, Place, Provenance, SearchResult
from dar_search.errors import IndexNotFound, StoreUnavailable
from dar_search.filters import Filter
from dar_search.ports import SearchRequest
from dar_search.stores.records import by_id, check_records
from dar_search.stores.requests import check_request
from dar_search.stores.sqlite import filters, full_text, indices, reading, search, writing
from dar_search.stores.sqlite.connections import Connections
from dar_search.stores.sqlite.indices import IndexRow
from dar_search.stores.sqlite.vectors import Vectors

_IDS_AT_ONCE = 1_000
_ATTEMPTS = 100
_PLACES_AT_MOST = 1_000


class SQLiteIndex:
    """An index. Its methods may be called from any thread; after the index is dropped they raise IndexNotFound.

    Args:
        vectors: gives the vectors in memory, shared by all handles of the index in this process.
    """

    def __init__(self, row: IndexRow, connections: Connections, vectors: Callable[[], Vectors]) -> None:
        self._row = row
        self._connections = connections
        self._vectors = vectors

    @property
    def name(self) -> str:
        return self._row.name

    @property
    def provenance(self) -> Provenance:
        return self._row.provenance

    def write(
        self, records: Sequence[ImageRecord], *, versions: Sequence[int] | None = None
    ) -> list[tuple[str, Failure]]:
        """One transaction, on disk when it returns."""
        with self._connections.writing() as connection:
            row = self._before_write(connection)
            fields = filters.load_fields(connection, row)
            types = {name: field.type for name, field in fields.items()}
            checked = check_records(records, self.provenance.dimension, types)
            writing.insert(connection, row, checked, by_id(records, versions))
        return list(checked.refused)

    def delete(self, ids: Sequence[str], *, version: int | None = None) -> int:
        """One transaction, on disk when it returns."""
        with self._connections.writing() as connection:
            row = self._before_write(connection)
            return writing.delete(connection, row, ids, None if version is None else int(version))

    def get(self, ids: Sequence[str]) -> dict[str, ImageRecord]:
        with self._connections.reading() as connection:
            self._now(connection)
            return reading.records(connection, self._row.id, ids)

    def digests(self, ids: Sequence[str]) -> dict[str, str]:
        with self._connections.reading() as connection:
            self._now(connection)
            return dict(reading.by_id(connection, self._row.id, "id, digest", ids))

    def with_content(self, sha256: Sequence[str]) -> list[Place]:
        with self._connections.reading() as connection:
            self._now(connection)
            return reading.places(connection, self._row.id, sha256, _PLACES_AT_MOST)

    def ids(self, *, origin: str | None = None) -> Iterator[str]:
        """Reads a thousand at a time: what is written meanwhile may be among them, and holds nobody up."""
        page: list[str] = []
        while True:
            with self._connections.reading() as connection:
                self._now(connection)
                after = page[-1] if page else None
                page = reading.ids_after(connection, self._row.id, after, origin, _IDS_AT_ONCE)
            yield from page
            if len(page) < _IDS_AT_ONCE:
                return

    def count(self, filter: Filter = ()) -> int:
        with self._connections.reading() as connection:
            row = self._now(connection)
            selection = filters.select(connection, row, filter, self._vectors().whole)
            return filters.count(connection, self._row.id, selection)

    def refresh(self) -> None:
        """Nothing to do: a search sees all that was written before it, by any process."""

    def search(self, request: SearchRequest) -> SearchResult:
        """Sees one state of the index. The first search with a vector reads all vectors into memory."""
        check_request(request, self.provenance.dimension)
        for _ in range(_ATTEMPTS):
            with self._connections.reading() as connection:
                row, vectors = self._now(connection), self._vectors()
                snapshot = None if request.vector is None else vectors.at(connection, row.change, row.vectors)
                if request.vector is None or snapshot is not None:
                    return search.search(connection, row, snapshot, request, vectors.whole)
            # Another thread has read a later state into memory meanwhile: look at that one.
        raise StoreUnavailable(f'The file of the index "{self.name}" was replaced while in use.', "Start again.")

    def _before_write(self, connection: sqlite3.Connection) -> IndexRow:
        """The index as it is; what this process will seal is whole."""
        row, vectors = self._now(connection), self._vectors()
        if "words" not in vectors.whole:
            full_text.check(connection, row.id, row.sealed_words)
            vectors.whole.add("words")
        vectors.wrote = True
        return row

    def _now(self, connection: sqlite3.Connection) -> IndexRow:
        """The index as it is in this transaction. Raises IndexNotFound."""
        row = indices.find(connection, self._row.id)
        if row is None or row.token != self._row.token:
            raise IndexNotFound(f'The index "{self.name}" was dropped.', "Open it again, if it was made again.")
        return row
