"""The full-text tables of captions, one an index, so that BM25 counts the captions of this index alone.

SQLite keeps no checksums of the tables that such a table is made of. So an index is sealed when a store that wrote to
it is closed, and now and then between: the total of their rows' checksums is kept with it. One that is not sealed, as
its writer is at work or was killed, is compared with the words that went into it, as SQLite does that: this takes
longer, and misses damage to a word now and then.
"""

from __future__ import annotations

import sqlite3

from dar_search.stores.sqlite import sums

SEALED_EVERY = 64
"""Writes. Sealing takes a thousandth of a second for a thousand captions."""
_USING = "USING fts5(words, tokenize=\"porter ascii tokenchars '''_.:,;'\")"
#: The tables that a search reads, and their columns: https://www.sqlite.org/fts5.html#fts5_data_structures
_PARTS = {"data": "id, block", "idx": "segid, term, pgno", "docsize": "id, sz"}
_COPIED = ("data", "idx", "content", "docsize")
_LOST = """
    SELECT count(*) FROM temp.listed
    WHERE NOT EXISTS (SELECT 1 FROM temp.listed AS found WHERE found.term = listed.term AND found.doc = listed.doc)
"""


def words_table(index_id: int) -> str:
    """Its name."""
    return f"words_{int(index_id)}"


def create(connection: sqlite3.Connection, index_id: int) -> None:
    """The words come as `words.words` cuts them; only blanks part them, and SQLite adds Porter's stemmer."""
    connection.execute(f"CREATE VIRTUAL TABLE {words_table(index_id)} {_USING}")


def total(connection: sqlite3.Connection, index_id: int) -> int:
    """The total of the checksums of all that a search reads. Raises sqlite3.DatabaseError."""
    return sums.total(
        sums.of_values(*row)
        for part, columns in _PARTS.items()
        for row in connection.execute(f"SELECT {columns} FROM {words_table(index_id)}_{part}")  # noqa: S608
    )


def written(connection: sqlite3.Connection) -> None:
    """Has SQLite write the words that it holds back until a transaction's end."""
    connection.execute("SAVEPOINT written")
    connection.execute("RELEASE written")


def check(connection: sqlite3.Connection, index_id: int, kept: int | None) -> None:
    """Raises sqlite3.DatabaseError where the index's table, as the transaction sees it, is damaged.

    Args:
        kept: the total of its checksums; None where it is not sealed.
    """
    table = words_table(index_id)
    made = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    if made != (f"CREATE VIRTUAL TABLE {table} {_USING}",):
        raise sqlite3.DatabaseError(f"malformed full-text table {table}")
    for part in _PARTS:  # rows that are there must be found, too
        found = connection.execute(f"PRAGMA main.quick_check({table}_{part})").fetchone()
        if found != ("ok",):
            raise sqlite3.DatabaseError(f"malformed full-text table {table}: {found}")
    if kept is None:
        compare(connection, index_id)
    elif total(connection, index_id) != kept:
        raise sqlite3.DatabaseError(f"malformed full-text table {table}")


def compare(connection: sqlite3.Connection, index_id: int) -> None:
    """Compares the table with the words that went into it, on a copy in memory: SQLite writes for that.

    Raises sqlite3.DatabaseError where they differ.
    """
    table = words_table(index_id)
    connection.execute(f"CREATE VIRTUAL TABLE temp.copied {_USING}")
    try:
        for part in _COPIED:
            connection.execute(f"DELETE FROM temp.copied_{part}")  # noqa: S608  # our own names
            connection.execute(f"INSERT INTO temp.copied_{part} SELECT * FROM main.{table}_{part}")  # noqa: S608
        connection.execute("INSERT INTO temp.copied (copied) VALUES ('integrity-check')")
        # Not among what is compared: the way to each word's pictures, which a search goes.
        connection.execute("CREATE VIRTUAL TABLE temp.listed USING fts5vocab (temp, copied, row)")
        (lost,) = connection.execute(_LOST).fetchone()
        if lost:
            raise sqlite3.DatabaseError(f"malformed full-text table {table}: {lost} words lost")
    except sqlite3.IntegrityError as error:  # a row is there twice
        raise sqlite3.DatabaseError(f"malformed full-text table {table}: {error}") from None
    finally:
        for made_here in ("listed", "copied"):
            connection.execute(f"DROP TABLE IF EXISTS temp.{made_here}")
