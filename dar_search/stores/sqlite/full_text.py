"""The full-text tables of captions, one an index, so that BM25 counts the captions of this index alone.

SQLite keeps no checksums of such a table's parts, and damage to one changes the ranking. What it has is a comparison of
the whole table with the words that went into it, which writes: here it is made on a copy in memory, so that it holds up
nobody and needs no more than to read. It takes about as long as reading as many vectors.
"""

from __future__ import annotations

import sqlite3

_USING = "USING fts5(words, tokenize=\"porter ascii tokenchars '''_.:,;'\")"
_COPIED = ("data", "idx", "content", "docsize")
_LOOKED_UP = ("data", "idx", "docsize")
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


def check(connection: sqlite3.Connection, index_id: int) -> None:
    """Raises sqlite3.DatabaseError where the table, as the transaction sees it, is damaged in any part."""
    table = words_table(index_id)
    made = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    if made != (f"CREATE VIRTUAL TABLE {table} {_USING}",):
        raise sqlite3.DatabaseError(f"malformed full-text table {table}")
    for part in _LOOKED_UP:
        found = connection.execute(f"PRAGMA main.quick_check({table}_{part})").fetchone()
        if found != ("ok",):
            raise sqlite3.DatabaseError(f"malformed full-text table {table}: {found}")
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
