"""The embedded store's tables, and how a file of an older version becomes one of this version.

A record's key is its index's id times 2**40 plus a number that is never used twice, so an index's rows lie together in
each table, in the order they were written, and what belongs to a key never changes: replacing a record gives it a new
key. That is what makes the vectors in memory easy to keep up to date (see vectors).
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dar_search.errors import FeatureMissing, StoreCorrupt, StoreError, StoreTooNew
from dar_search.stores.fields import EXACT_FLOATS
from dar_search.values.dates import start

APPLICATION_ID = 0x44415253  # "DARS"
KEY_BITS = 40
# 16 KiB pages: the vectors of usual encoders (2 to 4 KB) fill them to three quarters at least; 4 KiB would hold one.
PAGE_BYTES = 16_384
# Of each connection, of which a service keeps up to sixteen; what is read often is in the system's own cache too.
CACHE_KIB = 4_096
CHECKPOINT_BYTES = 32 << 20
DATE_START = "dar_date_start"  # an SQL function: `dates.start`

Step = Callable[[sqlite3.Connection], None]

_FIRST = (
    """
    CREATE TABLE indices (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        token TEXT NOT NULL,                -- random: tells an index from a later one of the same name
        encoder TEXT NOT NULL,
        revision TEXT NOT NULL,
        dimension INTEGER NOT NULL,
        preparation TEXT NOT NULL,
        change INTEGER NOT NULL DEFAULT 0,  -- counts the transactions that wrote to the index
        numbers INTEGER NOT NULL DEFAULT 0  -- how many numbers of keys are used up
    )
    """,
    """
    CREATE TABLE records (
        key INTEGER PRIMARY KEY,
        index_id INTEGER NOT NULL,
        id TEXT NOT NULL,
        source TEXT NOT NULL,
        origin TEXT NOT NULL,
        digest TEXT NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        caption TEXT NOT NULL,
        metadata TEXT NOT NULL,             -- a JSON object
        UNIQUE (index_id, id)
    )
    """,
    "CREATE TABLE vectors (key INTEGER PRIMARY KEY, embedding BLOB NOT NULL)",  # float32, little-endian
    "CREATE TABLE thumbnails (key INTEGER PRIMARY KEY, picture BLOB NOT NULL)",
    """
    CREATE TABLE fields (
        id INTEGER PRIMARY KEY,
        index_id INTEGER NOT NULL,
        name TEXT NOT NULL,
        type TEXT NOT NULL,
        UNIQUE (index_id, name)
    )
    """,
    # The metadata again, value by value, for filters: text, a number, or 0 and 1.
    "CREATE TABLE facets (field INTEGER, value, key INTEGER, PRIMARY KEY (field, value, key)) WITHOUT ROWID",
    # Keys that are gone, by the change that removed them; the last KEPT_CHANGES changes only.
    """
    CREATE TABLE removals (
        index_id INTEGER, change INTEGER, key INTEGER, PRIMARY KEY (index_id, change, key)
    ) WITHOUT ROWID
    """,
)


def _create_tables(connection: sqlite3.Connection) -> None:
    for statement in _FIRST:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


_SECOND = (
    # Of the write that made the record; 0: no write with a version has touched the id.
    "ALTER TABLE records ADD COLUMN version INTEGER NOT NULL DEFAULT 0",
    # What was deleted, as long as it may not come back under a lower version.
    """
    CREATE TABLE graves (
        index_id INTEGER, id TEXT, version INTEGER NOT NULL, PRIMARY KEY (index_id, id)
    ) WITHOUT ROWID
    """,
    # The rows of a ledger of jobs; see ingestion.jobs.ledger.rows. change: counts the writes of a row.
    """
    CREATE TABLE ledger (
        kind TEXT NOT NULL,
        job TEXT NOT NULL,
        number INTEGER NOT NULL,
        state TEXT NOT NULL,
        indexed INTEGER NOT NULL,
        unchanged INTEGER NOT NULL,
        failed INTEGER NOT NULL,
        body BLOB NOT NULL,                 -- JSON; of items, compressed
        change INTEGER NOT NULL,
        PRIMARY KEY (kind, job, number)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX ledger_states ON ledger (kind, state, job, number)",
    "CREATE INDEX ledger_failures ON ledger (job, number) WHERE failed > 0",
)


def _add_ledger(connection: sqlite3.Connection) -> None:
    for statement in _SECOND:
        connection.execute(statement)


def _keep_long_numbers(connection: sqlite3.Connection) -> None:
    """Facets had the nearest float of a whole number: of those beyond 2**53 another number."""
    long = connection.execute(
        "SELECT DISTINCT facets.key, records.metadata FROM fields JOIN facets ON facets.field = fields.id "
        "JOIN records ON records.key = facets.key WHERE fields.type = 'number' "
        "AND (facets.value >= ? OR facets.value <= ?)",
        (EXACT_FLOATS, -EXACT_FLOATS),
    ).fetchall()
    fields = {(index, name): id for index, name, id in connection.execute("SELECT index_id, name, id FROM fields")}
    for key, metadata in long:
        for name, value in json.loads(metadata).items():
            values = value if isinstance(value, list) else [value]
            numbers = [one for one in values if isinstance(one, int | float) and abs(one) >= EXACT_FLOATS]
            rows = [(fields[key >> KEY_BITS, name], number, key) for number in numbers]
            connection.executemany(
                "DELETE FROM facets WHERE field = ? AND value = ? AND key = ?",
                [(field, float(number), key) for field, number, key in rows],
            )
            connection.executemany("INSERT OR IGNORE INTO facets (field, value, key) VALUES (?, ?, ?)", rows)


def _index_digests(connection: sqlite3.Connection) -> None:
    """For finding a picture by its content."""
    connection.execute("CREATE INDEX records_digests ON records (index_id, digest)")


#: Step n makes a file of version n out of one of version n - 1. A step that has been released is never changed.
STEPS: tuple[Step, ...] = (_create_tables, _add_ledger, _keep_long_numbers, _index_digests)


def words_table(index_id: int) -> str:
    """The full-text table of an index's captions: one each, so that BM25 counts this index's captions alone."""
    return f"words_{int(index_id)}"


def create_words(connection: sqlite3.Connection, index_id: int) -> None:
    """The words come as `words.words` cuts them; only blanks part them, and SQLite adds Porter's stemmer."""
    connection.execute(
        f"CREATE VIRTUAL TABLE {words_table(index_id)} "
        "USING fts5(words, tokenize=\"porter ascii tokenchars '''_.:,;'\")"
    )


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
    """All missing steps in one transaction: killed halfway, the file is as it was."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        _check_owner(connection, path)  # somebody else may have been here first
        check_version(connection, path, len(steps))
        for number, step in enumerate(steps[version(connection) :], version(connection) + 1):
            step(connection)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.OperationalError) and "no such module: fts5" in str(error):
            raise FeatureMissing(
                "This Python's SQLite lacks full-text search (FTS5).", "Use a Python whose SQLite has FTS5."
            ) from error
        raise
