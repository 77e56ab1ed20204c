"""The embedded store's tables, and how a file of an older version becomes one of this version.

A record's key is its index's id times 2**40 plus a number that is never used twice, so an index's rows lie together in
each table, in the order they were written, and what belongs to a key never changes: replacing a record gives it a new
key. That is what makes the vectors in memory easy to keep up to date (see vectors).
"""

from __future__ import annotations

import functools
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from dar_search.errors import FeatureMissing, StoreCorrupt, StoreError, StoreTooNew
from dar_search.stores.sqlite.steps import APPLICATION_ID, KEY_BITS, STEPS, Step
from dar_search.values.dates import start

# 16 KiB pages: the vectors of usual encoders (2 to 4 KB) fill them to three quarters at least; 4 KiB would hold one.
PAGE_BYTES = 16_384
# Of each connection, of which a service keeps up to sixteen; what is read often is in the system's own cache too.
CACHE_KIB = 4_096
CHECKPOINT_BYTES = 32 << 20
_TABLES = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
DATE_START = "dar_date_start"  # an SQL function: `dates.start`


def key_range(index_id: int) -> tuple[int, int]:
    """The first and last key that an index's records can have."""
    return index_id << KEY_BITS, ((index_id + 1) << KEY_BITS) - 1


def version(connection: sqlite3.Connection) -> int:
    """The version of the file's schema; 0 for a new file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def prepare(
    connection: sqlite3.Connection, path: Path, steps: Sequence[Step] = STEPS, *, patience_s: float = 30.0
) -> None:
    """Makes a connection ready: checks whose file it is, creates or upgrades its tables, sets what a connection has.

    Raises StoreTooNew, StoreCorrupt for another program's file, FeatureMissing, StoreError; sqlite3.Error.
    """
    new = _check_owner(connection, path)
    check_version(connection, path, len(steps))
    if new:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    _use_log(connection, path, patience_s)
    connection.create_function(DATE_START, 1, start, deterministic=True)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute("PRAGMA secure_delete = FAST")
    page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_BYTES // page_bytes}")
    connection.execute(f"PRAGMA journal_size_limit = {2 * CHECKPOINT_BYTES}")
    if version(connection) < len(steps):
        _upgrade(connection, path, steps)


def check_version(connection: sqlite3.Connection, path: Path, newest: int = len(STEPS)) -> None:
    """Raises StoreTooNew. Asked in each transaction: another process may have upgraded the file."""
    found = version(connection)
    if found > newest:
        raise StoreTooNew(
            f'The store "{path}" has version {found}; this dar-search knows versions up to {newest}.',
            "Upgrade dar-search, or use another store.",
        )


def _check_owner(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is new. Raises StoreCorrupt for another program's file."""
    # The tables first: they come with our id, in one transaction, so whoever sees them of a store sees its id after.
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    if owner == APPLICATION_ID:
        return False
    if owner == 0 and tables == 0:
        return True
    raise StoreCorrupt(
        f'The file "{path}" is another program\'s SQLite database, not a dar-search store.',
        "Give the path of another file; one that does not exist yet is made.",
    )


def wrong_tables(connection: sqlite3.Connection) -> str:
    """What tables are not those that the steps make, for the error; "" where all are: SQLite takes what it finds."""
    others = sorted({name for name, _ in _tables() - set(connection.execute(_TABLES))})
    return f"malformed tables: {', '.join(others)}" if others else ""


@functools.cache
def _tables() -> set[tuple[str, str]]:
    made = sqlite3.connect(":memory:")
    try:
        for step in STEPS:
            step(made)
        return set(made.execute(_TABLES))
    finally:
        made.close()


def _use_log(connection: sqlite3.Connection, path: Path, patience_s: float) -> None:
    # Switching to WAL does not wait for others who are doing the same, so the waiting is here.
    deadline = time.monotonic() + patience_s
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise StoreError(
                f'The store "{path}" is where SQLite cannot keep its write-ahead log.',
                "Put it on a local disk: network file systems lack what the log needs.",
            )
        return


def _upgrade(connection: sqlite3.Connection, path: Path, steps: Sequence[Step]) -> None:
    """Each missing step in a transaction of its own: killed halfway, the file is as the step before made it."""
    try:
        while version(connection) < len(steps):
            connection.execute("BEGIN IMMEDIATE")
            _check_owner(connection, path)  # somebody else may have been here first
            check_version(connection, path, len(steps))
            if (made := version(connection)) < len(steps):
                steps[made](connection)
                connection.execute(f"PRAGMA user_version = {made + 1}")
            connection.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.OperationalError) and "no such module: fts5" in str(error):
            raise FeatureMissing(
                "This Python's SQLite lacks full-text search (FTS5).", "Use a Python whose SQLite has FTS5."
            ) from error
        raise
