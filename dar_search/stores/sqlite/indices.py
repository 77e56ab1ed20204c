"""The rows of the table `indices`: what the file says about each index. In the caller's transaction."""

from __future__ import annotations

import dataclasses
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dar_search.data import Provenance
from dar_search.stores.sqlite import full_text, sums

_COLUMNS = "id, name, token, encoder, revision, dimension, preparation, change, numbers, vectors, fields, words, sealed"


@dataclass(frozen=True, slots=True)
class IndexRow:
    """What the file says about an index.

    Attributes:
        token: random, tells it from a later index of the same name.
        change: counts the transactions that wrote to it.
        numbers: how many numbers of keys are used up.
        vectors: the total of its vectors' checksums.
        fields: the total of its fields' checksums.
        words: the total of the checksums of its full-text table, as of the change `sealed`.
    """

    id: int
    name: str
    token: str
    provenance: Provenance
    change: int = 0
    numbers: int = 0
    vectors: int = 0
    fields: int = 0
    words: int = 0
    sealed: int = -1

    @property
    def sealed_words(self) -> int | None:
        """The total of the full-text table as it is; None where it was written to since."""
        return self.words if self.sealed == self.change else None

    def values(self) -> tuple[Any, ...]:
        """Of all columns but the checksum."""
        known = (self.id, self.name, self.token, *dataclasses.astuple(self.provenance))
        return (*known, self.change, self.numbers, self.vectors, self.fields, self.words, self.sealed)


def index_rows(connection: sqlite3.Connection) -> list[IndexRow]:
    """The file's indices, by name. Raises sqlite3.DatabaseError where they are damaged, or one is missing."""
    rows = [_row(values) for values in connection.execute(f"SELECT {_COLUMNS}, sum FROM indices ORDER BY name")]  # noqa: S608
    # An index is made and dropped with its full-text table: what SQLite lists there and not here is lost.
    (tables,) = connection.execute(
        "SELECT count(*) FROM sqlite_master WHERE name GLOB 'words_[0-9]*' AND sql LIKE 'CREATE VIRTUAL TABLE%'"
    ).fetchone()
    if len(rows) != tables:
        raise sqlite3.DatabaseError("malformed list of indices")
    return rows


def find(connection: sqlite3.Connection, index_id: int) -> IndexRow | None:
    """The index as it is in this transaction. Raises sqlite3.DatabaseError where its row is damaged."""
    values = connection.execute(f"SELECT {_COLUMNS}, sum FROM indices WHERE id = ?", (index_id,)).fetchone()  # noqa: S608
    if values is None:
        index_rows(connection)
        return None
    return _row(values)


def get(connection: sqlite3.Connection, index_id: int) -> IndexRow:
    """The same of an index that is known to be there."""
    row = find(connection, index_id)
    if row is None:
        raise sqlite3.DatabaseError("malformed list of indices")
    return row


def add(connection: sqlite3.Connection, name: str, provenance: Provenance) -> IndexRow:
    """A new, empty index."""
    token = secrets.token_hex(16)
    added = connection.execute(
        "INSERT INTO indices (name, token, encoder, revision, dimension, preparation) VALUES (?, ?, ?, ?, ?, ?)",
        (name, token, *dataclasses.astuple(provenance)),
    )
    provenance = dataclasses.replace(provenance, dimension=int(provenance.dimension))
    row = IndexRow(int(added.lastrowid or 0), name, token, provenance)
    full_text.create(connection, row.id)
    return seal(connection, row)


def seal(connection: sqlite3.Connection, row: IndexRow) -> IndexRow:
    """Writes what changes of an index, with the total of its full-text table's checksums: see `full_text`."""
    full_text.written(connection)
    row = dataclasses.replace(row, sealed=row.change, words=full_text.total(connection, row.id))
    keep(connection, row)
    return row


def keep(connection: sqlite3.Connection, row: IndexRow) -> None:
    """Writes what changes of an index."""
    connection.execute(
        "UPDATE indices SET change = ?, numbers = ?, vectors = ?, fields = ?, words = ?, sealed = ?, sum = ? "
        "WHERE id = ?",
        (*row.values()[-6:], sums.of_row(*row.values()), row.id),
    )


def _row(found: Sequence[Any]) -> IndexRow:
    *values, checksum = found
    if sums.of_row(*values) != checksum:
        raise sqlite3.DatabaseError("malformed list of indices")
    id, name, token, encoder, revision, dimension, preparation, *state = values
    return IndexRow(id, name, token, Provenance(encoder, revision, dimension, preparation), *state)
