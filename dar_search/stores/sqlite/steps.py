"""What made each version of the embedded store's file out of the one before. A step that has been released is never
changed, and what it calls of other modules keeps what it does.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable

from dar_search.stores.fields import EXACT_FLOATS
from dar_search.stores.sqlite import full_text, sums

APPLICATION_ID = 0x44415253  # "DARS"
KEY_BITS = 40

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


_FIFTH = (
    # Checksums: see sums. Of an index: the totals of its vectors', fields' and (as of the change `sealed`) words'.
    "ALTER TABLE indices ADD COLUMN vectors INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE indices ADD COLUMN fields INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE indices ADD COLUMN words INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE indices ADD COLUMN sealed INTEGER NOT NULL DEFAULT -1",
    "ALTER TABLE indices ADD COLUMN sum INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE fields ADD COLUMN facets INTEGER NOT NULL DEFAULT 0",  # the total of its facets' checksums
    """
    CREATE TABLE sums (
        key INTEGER PRIMARY KEY,
        id INTEGER NOT NULL,
        record INTEGER NOT NULL,            -- of all columns
        vector INTEGER NOT NULL,
        thumbnail INTEGER                   -- NULL: there is none
    )
    """,
)


def _add_sums(connection: sqlite3.Connection) -> None:
    for statement in _FIFTH:
        connection.execute(statement)
    totals: dict[int, int] = {}
    kept = connection.execute(
        "SELECT records.*, embedding, picture "
        "FROM records LEFT JOIN vectors USING (key) LEFT JOIN thumbnails USING (key)"
    )
    while batch := kept.fetchmany(1_000):
        rows = []
        for *record, vector, picture in batch:
            key = record[0]
            of_vector = sums.of_blob(key, vector)
            totals[record[1]] = sums.total([of_vector], totals.get(record[1], 0))
            of_picture = None if picture is None else sums.of_blob(key, picture)
            rows.append((key, sums.of_id(key, record[2]), sums.of_row(*record), of_vector, of_picture))
        connection.executemany("INSERT INTO sums VALUES (?, ?, ?, ?, ?)", rows)
    for (field,) in connection.execute("SELECT id FROM fields").fetchall():
        facets = connection.execute("SELECT value, key FROM facets WHERE field = ?", (field,))
        facets_total = sums.total(sums.of_facet(*facet) for facet in facets)
        connection.execute("UPDATE fields SET facets = ? WHERE id = ?", (facets_total, field))
    columns = "id, name, token, encoder, revision, dimension, preparation, change, numbers"
    for row in connection.execute(f"SELECT {columns} FROM indices").fetchall():  # noqa: S608
        fields = connection.execute("SELECT id, name, type, facets FROM fields WHERE index_id = ?", row[:1])
        of_fields = sums.total(sums.of_row(*field) for field in fields)
        of_index = (totals.get(row[0], 0), of_fields, full_text.total(connection, row[0]), row[7])
        connection.execute(
            "UPDATE indices SET vectors = ?, fields = ?, words = ?, sealed = ?, sum = ? WHERE id = ?",
            (*of_index, sums.of_row(*row, *of_index), row[0]),
        )


#: Step n makes a file of version n out of one of version n - 1. A step that has been released is never changed.
STEPS: tuple[Step, ...] = (_create_tables, _add_ledger, _keep_long_numbers, _index_digests, _add_sums)
