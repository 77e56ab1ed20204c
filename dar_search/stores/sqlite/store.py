"""The embedded store: `ports.Store` in one SQLite file, with no server.

The parts: schema (tables, versions), connections (threads, processes, transactions), index (one
index), writing, reading, filters, search and vectors (the exact k-NN leg).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from dar_search.data import Provenance
from dar_search.errors import IndexExists, IndexNotFound, StoreError, StoreUnavailable
from dar_search.stores.examined import Examined
from dar_search.stores.names import check_name
from dar_search.stores.provenance import check_dimension, check_provenance
from dar_search.stores.sqlite import indices, schema, writing
from dar_search.stores.sqlite.connections import Connections
from dar_search.stores.sqlite.damage.examining import Whole
from dar_search.stores.sqlite.damage.saving import copy_index, copy_rest, unfinished
from dar_search.stores.sqlite.index import SQLiteIndex
from dar_search.stores.sqlite.indices import IndexRow, index_rows
from dar_search.stores.sqlite.vectors import Vectors

_NAMED = 20


class SQLiteStore:
    """Indices in a file. The file, and its folder, are made with the first index.

    May be used from many threads; several processes may use the same file. A write is on disk when it returns.

    Args:
        path: of the file; SQLite keeps its log in two more beside it while the store is open.
        patience_s: how long a writer waits for other writers, before StoreUnavailable.
    """

    def __init__(self, path: Path, *, patience_s: float = 30.0) -> None:
        self._path = Path(os.path.abspath(path))  # noqa: PTH100  # resolve() would follow links
        self._connections = Connections(self._path, patience_s)
        self._vectors: dict[str, Vectors] = {}
        self._vectors_of: tuple[int, tuple[int, int] | None] = (0, None)
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"sqlite:{self._path}"

    def create(self, name: str, provenance: Provenance) -> SQLiteIndex:
        check_name(name)
        check_dimension(provenance)
        with self._connections.writing(create=True) as connection:
            if connection.execute("SELECT 1 FROM indices WHERE name = ?", (name,)).fetchone():
                raise IndexExists(f'There is an index "{name}" in {self.address}.', "Open it, or drop it first.")
            row = indices.add(connection, name, provenance)
        return self._index(row)

    def open(self, name: str, provenance: Provenance | None = None) -> SQLiteIndex:
        row = self._find(name)
        check_provenance(name, row.provenance, provenance)
        return self._index(row)

    def names(self) -> list[str]:
        return [row.name for row in self._rows(damaged=True)]

    def drop(self, name: str) -> None:
        row = self._find(name)
        with self._connections.writing() as connection:
            if not connection.execute("SELECT 1 FROM indices WHERE token = ?", (row.token,)).fetchone():
                raise self._not_found(name)
            writing.drop(connection, row.id)
        with self._lock:
            self._vectors.pop(row.token, None)
        # Give the room back to the disk. Where another is writing all the time, the next drop does it.
        with suppress(StoreUnavailable), self._connections.plain() as connection:
            connection.executescript("PRAGMA incremental_vacuum")  # execute() would free one page: it makes one step
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def check(self) -> Mapping[str, str]:
        """Reads the whole file: its time grows with the file's size."""
        lines = {"store": f"SQLite {sqlite3.sqlite_version}, exact search in memory", "file": str(self._path)}
        if self._connections.file() is None:
            return lines | {"file": f"{self._path} (not there yet: made with the first index)"}
        with self._connections.reading(damaged=True) as connection:
            size = self._path.stat().st_size / 1e6
            version = schema.version(connection)
            lines["file"] = f"{self._path}, {size:,.1f} MB, version {version}"
            lines["free space"] = f"{shutil.disk_usage(self._path.parent).free / 1e9:,.1f} GB"
            for row in index_rows(connection):
                (count,) = connection.execute("SELECT count(*) FROM records WHERE index_id = ?", (row.id,)).fetchone()
                memory = 4e-6 * count * row.provenance.dimension
                lines[f"index {row.name}"] = (
                    f"{count:,} pictures, {row.provenance.dimension} dimensions, {memory:,.0f} MB of memory to search, "
                    f"encoder {row.provenance.encoder}"
                )
            problems = [line for (line,) in connection.execute("PRAGMA quick_check(3)")]
            lines["integrity"] = "; ".join(problems)
        return lines

    def examine(self, name: str) -> Examined:
        """Reads all of an index. Takes time in proportion to it."""
        found = self._find(name, damaged=True)
        with self._connections.reading(damaged=True) as connection:
            row = indices.find(connection, found.id)  # as this transaction sees it: others may be writing
            if row is None or row.token != found.token:
                raise self._not_found(name)
            whole = Whole(connection, row)
            for _ in whole.records():
                pass
            return whole.examined()

    def problems(self) -> list[str]:
        """What is wrong with the file's structure, as SQLite finds, and with its tables; a line each."""
        with self._connections.reading(damaged=True) as connection:
            wrong = schema.wrong_tables(connection)
            found = [wrong] if wrong else []
            try:
                found += [line for (line,) in connection.execute(f"PRAGMA integrity_check({_NAMED})") if line != "ok"]
            except sqlite3.DatabaseError as error:  # it gives up where it cannot even look
                found.append(f"SQLite's integrity_check: {error}")
        return found

    def save_to(self, path: Path) -> list[Examined]:
        """Copies all that is whole to a new file; the first of what it gives is about the file itself, and has no name.

        The file is there once it is complete. Raises StoreError where there is something at the path already.
        """
        found: list[Examined] = []
        copied: dict[int, int] = {}
        with unfinished(path) as part:
            new = SQLiteStore(part)
            try:
                with self._connections.reading(damaged=True) as connection:
                    rows = index_rows(connection)
                    for row in rows:
                        index = new.create(row.name, row.provenance)
                        found.append(copy_index(connection, row, index))
                        copied[row.id] = new._find(row.name).id
                    with new._connections.writing(create=True) as written:
                        problems = copy_rest(connection, written, copied)
                if self._rows(damaged=True) != rows:
                    problems.append("Somebody wrote to the store while it was copied: the copy lacks that.")
                new._seal()
                with new._connections.plain() as connection:
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # all of it in the one file
            finally:
                new.close()
        return [Examined("", 0, problems=tuple(problems)), *found]

    def close(self) -> None:
        with suppress(StoreError):  # what is not sealed is checked in another way
            self._seal()
        self._connections.close()
        with self._lock:
            self._vectors.clear()

    def _seal(self) -> None:
        """Seals what this object wrote to, see `full_text`; where others write all the time, they do."""
        with self._lock:
            written = {token for token, vectors in self._vectors.items() if vectors.wrote}
        if not written:
            return
        with self._connections.plain() as connection:
            connection.execute("PRAGMA busy_timeout = 1000")
            connection.execute("BEGIN IMMEDIATE")
            schema.check_version(connection, self._path)
            for row in index_rows(connection):
                if row.token in written and row.sealed != row.change:
                    indices.seal(connection, row)
            connection.execute("COMMIT")

    def _rows(self, *, damaged: bool = False) -> list[IndexRow]:
        if self._connections.file() is None:
            return []
        with self._connections.reading(damaged=damaged) as connection:
            rows = index_rows(connection)
            if not rows and (wrong := schema.wrong_tables(connection)):
                raise sqlite3.DatabaseError(wrong)
            return rows

    def _find(self, name: str, *, damaged: bool = False) -> IndexRow:
        check_name(name)
        row = next((row for row in self._rows(damaged=damaged) if row.name == name), None)
        if row is None:
            raise self._not_found(name)
        return row

    def _not_found(self, name: str) -> IndexNotFound:
        names = self.names()
        listed = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        hint = f"There are: {listed}." if names else "There are none yet: `dar ingest` makes one."
        return IndexNotFound(f'There is no index "{name}" in {self.address}.', hint)

    def _index(self, row: IndexRow) -> SQLiteIndex:
        return SQLiteIndex(row, self._connections, lambda: self._vectors_in_memory(row))

    def _vectors_in_memory(self, row: IndexRow) -> Vectors:
        # Read anew where another file has taken this one's place, and in a forked child, whose locks may be stuck.
        now = (os.getpid(), self._connections.file())
        if self._vectors_of != now:
            self._vectors, self._vectors_of, self._lock = {}, now, threading.Lock()
        with self._lock:
            if row.token not in self._vectors:
                self._vectors[row.token] = Vectors(row.id, row.provenance.dimension)
            return self._vectors[row.token]
