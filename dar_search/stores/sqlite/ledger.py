"""A ledger of jobs in an SQLite file: its own, or an embedded store's."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from dar_search.errors import StoreCorrupt
from dar_search.ingestion.jobs.ledger.row_ledger import MAX_ATTEMPTS, RowLedger
from dar_search.ingestion.jobs.ledger.rows import OF_A_JOB, Change, Key, Row, Wanted
from dar_search.stores.sqlite.connections import Connections

_COLUMNS = "kind, job, number, state, indexed, unchanged, failed, body, change"


class SQLiteLedger(RowLedger):
    """See `jobs.ledger_port.Ledger`. The file is made at the first write.

    Args:
        path: of the file; any number of processes of this machine may use it.
        patience_s: how long a writer waits for other writers.
    """

    def __init__(self, path: Path, *, patience_s: float = 30.0, max_attempts: int = MAX_ATTEMPTS) -> None:
        super().__init__(SQLiteRows(path, patience_s=patience_s), max_attempts=max_attempts)


class SQLiteRows:
    """`ingestion.jobs.ledger.rows.Rows` in the file's table `ledger`. All changes of a call are made, or none."""

    def __init__(self, path: Path, *, patience_s: float = 30.0) -> None:
        self._connections = Connections(path.absolute(), patience_s)

    @property
    def address(self) -> str:
        return f"sqlite:{self._connections.path}"

    def get(self, key: Key) -> tuple[Row, int] | None:
        if self._connections.file() is None:
            return None
        with self._connections.reading() as connection:
            found = connection.execute(
                f"SELECT {_COLUMNS} FROM ledger WHERE kind = ? AND job = ? AND number = ?",  # noqa: S608  # our words
                key,
            ).fetchone()
        return None if found is None else (_row(found), found[-1])

    def put(self, changes: Sequence[Change]) -> bool:
        with self._connections.writing(create=True) as connection:
            for change in changes:
                if not _fits(connection, change):
                    connection.execute("ROLLBACK")
                    connection.execute("BEGIN")  # the block ends with a commit, of nothing
                    return False
                connection.execute(
                    f"INSERT OR REPLACE INTO ledger ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                    _values(change),
                )
        return True

    def find(self, wanted: Wanted) -> list[Row]:
        if self._connections.file() is None:
            return []
        conditions = ["kind = ?", "number > ?"]
        values: list[str | int] = [wanted.kind, wanted.after]
        if wanted.job is not None:
            conditions.append("job = ?")
            values.append(wanted.job)
        if wanted.states is not None:
            conditions.append(f"state IN ({', '.join('?' * len(wanted.states))})")
            values += wanted.states
        if wanted.failed:
            conditions.append("failed > 0")
        values.append(-1 if wanted.limit is None else wanted.limit)
        order = "job DESC, number" if wanted.newest else "job, number"
        sql = f"SELECT {_COLUMNS} FROM ledger WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT ?"  # noqa: S608
        with self._connections.reading() as connection:
            return [_row(found) for found in connection.execute(sql, values)]

    def sums(self, job: str) -> tuple[int, int, int]:
        if self._connections.file() is None:
            return 0, 0, 0
        with self._connections.reading() as connection:
            sql = "SELECT total(indexed), total(unchanged), total(failed) FROM ledger WHERE kind = 'shard' AND job = ?"
            indexed, unchanged, failed = connection.execute(sql, (job,)).fetchone()
        return int(indexed), int(unchanged), int(failed)

    def remove(self, job: str) -> None:
        kinds = ", ".join("?" * len(OF_A_JOB))
        with self._connections.writing(create=True) as connection:
            connection.execute(f"DELETE FROM ledger WHERE job = ? AND kind IN ({kinds})", (job, *OF_A_JOB))  # noqa: S608

    def close(self) -> None:
        self._connections.close()


def _fits(connection: sqlite3.Connection, change: Change) -> bool:
    found = connection.execute(
        "SELECT change FROM ledger WHERE kind = ? AND job = ? AND number = ?", change.row.key
    ).fetchone()
    return bool((found[0] if found else None) == change.expected)


def _values(change: Change) -> tuple[Any, ...]:
    row = change.row
    body = orjson.dumps(dict(row.body))
    if row.key.kind == "items":
        body = zlib.compress(body, 1)
    return (*row.key, row.state, row.indexed, row.unchanged, row.failed, body, (change.expected or 0) + 1)


def _row(found: Sequence[Any]) -> Row:
    """Raises StoreCorrupt."""
    kind, job, number, state, indexed, unchanged, failed, body, _ = found
    try:
        if kind == "items":
            body = zlib.decompress(body)
        return Row(Key(kind, job, number), state, indexed, unchanged, failed, dict(orjson.loads(body)))
    except (zlib.error, ValueError, TypeError) as error:
        raise StoreCorrupt(f'The ledger\'s row "{kind}" of the job "{job}" is damaged ({error}).', "") from error
