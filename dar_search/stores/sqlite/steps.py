"""What made each version of the embedded store's file out of the one before. A step that has been released is never
changed, and what it calls of other modules keeps what it does.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dar_search.stores.fields import EXACT_FLOATS
from dar_search.stores.sqlite import full_text, sums
from dar_search.stores.sqlite.damage.tolerant import keys_of, listed_ids, tolerant

APPLICATION_ID = 0x44415253  # "DARS"
KEY_BITS = 40
_AT_ONCE = 256

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


_SUMMED = {
    "records": "key, index_id, id, source, origin, digest, width, height, caption, metadata, version",
    "vectors": "key, embedding",
    "thumbnails": "key, picture",
}


def _add_sums(connection: sqlite3.Connection) -> None:
    """What is damaged gets checksums that nothing has, so that it is found, and the rest of the file can be used."""
    for statement in _FIFTH:
        connection.execute(statement)
    columns = "id, name, token, encoder, revision, dimension, preparation, change, numbers"
    with _reader(connection) as kept:
        for row in kept.execute(f"SELECT {columns} FROM indices").fetchall():  # noqa: S608
            of_vectors = _add_records_sums(connection, kept, row[0], row[-1])
            of_words = _words_total(kept, row[0])
            sealed = -1 if of_words == sums.UNREADABLE else row[7]
            of_index = (of_vectors, _add_fields_sums(connection, kept, row[0]), of_words, sealed)
            connection.execute(
                "UPDATE indices SET vectors = ?, fields = ?, words = ?, sealed = ?, sum = ? WHERE id = ?",
                (*of_index, sums.of_row(*row, *of_index), row[0]),
            )


@contextmanager
def _reader(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Another connection to the file: SQLite writes nothing more in a transaction that has met damage."""
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    if not path:  # in memory
        yield connection
        return
    kept = sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        kept.execute("PRAGMA temp_store = MEMORY")
        yield kept
    finally:
        kept.close()


def _add_records_sums(connection: sqlite3.Connection, kept: sqlite3.Connection, index_id: int, numbers: int) -> int:
    """The total of an index's vectors'."""
    first, last = (index_id << KEY_BITS) + 1, (index_id << KEY_BITS) + numbers
    listed, total = {key for key, _ in listed_ids(kept, index_id)}, 0
    for start in range(first, last + 1, _AT_ONCE):
        end = min(start + _AT_ONCE, last + 1)
        seen = (keys_of(kept, table, start, end) for table in ("records", "vectors"))
        keys = sorted(listed.intersection(range(start, end)).union(*seen))
        rows = [(key, *of_key) for key, *of_key in zip(keys, *_sums_of(kept, keys), strict=True)]
        connection.executemany("INSERT INTO sums (key, id, record, vector, thumbnail) VALUES (?, ?, ?, ?, ?)", rows)
        total = sums.total([of_vector for _, _, _, of_vector, _ in rows], total)
    return total


def _sums_of(kept: sqlite3.Connection, keys: Sequence[int]) -> Iterator[list[int | None]]:
    """Of the keys' ids, records, vectors and thumbnails."""
    lost = dict.fromkeys(keys, (sums.UNREADABLE, sums.UNREADABLE))
    records = lost | {
        key: (sums.of_id(key, row[1]), sums.of_row(key, *row)) for key, *row in _read(kept, "records", keys)
    }
    yield [records[key][0] for key in keys]
    yield [records[key][1] for key in keys]
    vectors = {key: sums.of_blob(key, vector) for key, vector in _read(kept, "vectors", keys)}
    yield [vectors.get(key, sums.UNREADABLE) for key in keys]
    unread: list[int] = []
    pictures = {key: sums.of_blob(key, picture) for key, picture in _read(kept, "thumbnails", keys, unread)}
    yield [pictures.get(key, sums.UNREADABLE if key in unread else None) for key in keys]


def _read(
    kept: sqlite3.Connection, table: str, keys: Sequence[int], unread: list[int] | None = None
) -> Iterator[tuple[Any, ...]]:
    """The rows that can be read; the keys of those that cannot come to `unread`."""

    def some(keys: Sequence[int]) -> list[tuple[Any, ...]]:
        sql = f"SELECT {_SUMMED[table]} FROM {table} WHERE key BETWEEN ? AND ?"  # noqa: S608  # our own names
        return kept.execute(sql, (keys[0], keys[-1])).fetchall()

    wanted = set(keys)
    found = tolerant(some, keys, (unread if unread is not None else []).extend)
    return (row for row in found if row[0] in wanted)


def _words_total(kept: sqlite3.Connection, index_id: int) -> int:
    try:
        full_text.compare(kept, index_id)
        return full_text.total(kept, index_id)
    except sqlite3.DatabaseError:
        return sums.UNREADABLE


def _add_fields_sums(connection: sqlite3.Connection, kept: sqlite3.Connection, index_id: int) -> int:
    """The total of an index's fields'."""
    try:
        fields = kept.execute("SELECT id, name, type FROM fields WHERE index_id = ?", (index_id,)).fetchall()
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return sums.UNREADABLE
    totals = {field[0]: _facets_total(kept, field[0]) for field in fields}
    connection.executemany("UPDATE fields SET facets = ? WHERE id = ?", [(one, id) for id, one in totals.items()])
    return sums.total(sums.of_row(*field, totals[field[0]]) for field in fields)


def _facets_total(kept: sqlite3.Connection, field: int) -> int:
    try:
        facets = kept.execute("SELECT value, key FROM facets WHERE field = ?", (field,))
        return sums.total(sums.of_facet(*facet) for facet in facets)
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return sums.UNREADABLE


#: Step n makes a file of version n out of one of version n - 1. A step that has been released is never changed.
STEPS: tuple[Step, ...] = (_create_tables, _add_ledger, _keep_long_numbers, _index_digests, _add_sums)
