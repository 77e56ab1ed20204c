"""A file of an older version is upgraded, a newer one and another program's are left as they are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dar_search.data import ImageRecord, Provenance
from dar_search.errors import IndexNotFound, StoreCorrupt, StoreError, StoreTooNew
from dar_search.filters import parse_filter
from dar_search.stores.sqlite import schema
from dar_search.stores.sqlite.store import SQLiteStore
from tests.contract.gallery import random_units

PROVENANCE = Provenance("e", "r", 8, "p")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with one record."""
    store = SQLiteStore(tmp_path / "store.db")
    store.create("photos", PROVENANCE).write([ImageRecord("a", random_units(1, 8)[0], "s", caption="a dog")])
    store.close()
    return tmp_path / "store.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(path, isolation_level=None)
    yield opened
    opened.close()


def add_colour(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE records ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey'")


def fail_halfway(connection: sqlite3.Connection) -> None:
    connection.execute("DROP TABLE thumbnails")
    raise ValueError("power cut")


def make_older(connection: sqlite3.Connection) -> None:
    """Of a file of the fifth version, which brought checksums, one of the fourth."""
    connection.execute("DROP TABLE sums")
    connection.execute("ALTER TABLE fields DROP COLUMN facets")
    for column in ("vectors", "fields", "words", "sealed", "sum"):
        connection.execute(f"ALTER TABLE indices DROP COLUMN {column}")
    connection.execute("PRAGMA user_version = 4")


def test_a_new_file_has_this_version_and_the_owners_mark(connection: sqlite3.Connection) -> None:
    assert schema.version(connection) == len(schema.STEPS)
    assert connection.execute("PRAGMA application_id").fetchone() == (schema.APPLICATION_ID,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA page_size").fetchone() == (schema.PAGE_BYTES,)


def test_an_older_file_is_upgraded_step_by_step_with_all_that_is_in_it(
    path: Path, connection: sqlite3.Connection
) -> None:
    def paint(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE records SET colour = 'red' WHERE colour = 'grey'")

    steps = (*schema.STEPS, add_colour, paint)
    schema.prepare(connection, path, steps)
    assert schema.version(connection) == len(steps)
    assert connection.execute("SELECT id, caption, colour FROM records").fetchall() == [("a", "a dog", "red")]
    schema.prepare(connection, path, steps)  # once is enough
    assert schema.version(connection) == len(steps)


def test_an_upgrade_that_fails_leaves_the_file_as_it_was(path: Path, connection: sqlite3.Connection) -> None:
    with pytest.raises(ValueError, match="power cut"):
        schema.prepare(connection, path, (*schema.STEPS, fail_halfway))
    assert schema.version(connection) == len(schema.STEPS)
    connection.close()
    assert SQLiteStore(path).open("photos").get(["a"])["a"].caption == "a dog"


def test_a_newer_file_is_refused_and_not_touched(path: Path, connection: sqlite3.Connection) -> None:
    newer = len(schema.STEPS) + 1
    connection.execute(f"PRAGMA user_version = {newer}")
    connection.close()
    before = path.read_bytes()
    store = SQLiteStore(path)
    for use in (store.names, lambda: store.open("photos"), lambda: store.create("new", PROVENANCE), store.check):
        with pytest.raises(StoreTooNew) as error:
            use()
        assert str(newer) in error.value.message
        assert error.value.hint
    assert path.read_bytes() == before


def test_an_open_store_notices_that_another_process_has_upgraded_the_file(
    path: Path, connection: sqlite3.Connection
) -> None:
    index = SQLiteStore(path).open("photos")
    schema.prepare(connection, path, (*schema.STEPS, add_colour))
    for use in (index.count, lambda: index.write([])):
        with pytest.raises(StoreTooNew):
            use()


def test_a_file_that_becomes_a_store_while_it_is_looked_at_is_a_store(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    class Overtaken(sqlite3.Connection):
        """Whose file somebody else makes a store of after the first look at it."""

        overtaken = False

        def execute(self, *args: Any) -> sqlite3.Cursor:
            cursor = super().execute(*args)
            if not self.overtaken:
                self.overtaken = True
                row = cursor.fetchone()
                cursor.close()
                store = SQLiteStore(path)
                store.create("photos", PROVENANCE)
                store.close()
                return super().execute("SELECT ?", row)
            return cursor

    late = sqlite3.connect(path, isolation_level=None, factory=Overtaken)
    schema.prepare(late, path)
    assert schema.version(late) == len(schema.STEPS)
    late.close()
    store = SQLiteStore(path)
    assert store.names() == ["photos"]
    store.close()


def test_another_programs_database_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE songs (title TEXT)")
    other.close()
    before = path.read_bytes()
    for use in (SQLiteStore(path).names, lambda: SQLiteStore(path).create("photos", PROVENANCE)):
        with pytest.raises(StoreCorrupt) as error:
            use()
        assert str(path) in error.value.message
        assert error.value.hint
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.db"]


@pytest.mark.parametrize(
    "content", [b"hello, this is no database" * 100, b"\x89PNG\r\n\x1a\n", b"SQLite format 3\x00 but cut off"]
)
def test_a_file_that_is_no_database_is_refused_and_not_touched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    with pytest.raises(StoreCorrupt) as error:
        SQLiteStore(path).names()
    assert error.value.hint
    assert path.read_bytes() == content


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch()
    store = SQLiteStore(path)
    assert store.names() == []
    assert store.create("photos", PROVENANCE).count() == 0


def test_nothing_is_made_before_the_first_index(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "new folder" / "deeper" / "store ü?#%.db")
    assert store.names() == []
    assert "not there yet" in store.check()["file"]
    with pytest.raises(IndexNotFound, match="dar ingest"):
        store.open("photos")
    assert list(tmp_path.iterdir()) == []
    store.create("photos", PROVENANCE)
    assert (tmp_path / "new folder" / "deeper" / "store ü?#%.db").is_file()
    assert store.names() == ["photos"]


def test_a_folder_in_place_of_the_file_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "store.db"):
        with pytest.raises(StoreError) as error:
            SQLiteStore(path).create("photos", PROVENANCE)
        assert str(path) in error.value.message or str(path.parent) in error.value.message
        assert error.value.hint


def test_long_numbers_of_the_second_version_are_compared_exactly_after_the_upgrade(tmp_path: Path) -> None:
    long = 1746714878034235397
    rows = [
        {"n": long},
        {"n": long + 1},
        {"n": float(long)},
        {"n": (2**53 + 1, 2.0**53)},
        {"n": -long, "c": "Paris"},
    ]
    records = [
        ImageRecord(str(number), embedding, "s", metadata=row)
        for number, (embedding, row) in enumerate(zip(random_units(len(rows), 8), rows, strict=True))
    ]
    path = tmp_path / "store.db"
    store = SQLiteStore(path)
    store.create("other", PROVENANCE).write([ImageRecord("x", random_units(1, 8)[0], "s", metadata={"n": long})])
    store.create("photos", PROVENANCE).write(records)
    store.close()
    older = sqlite3.connect(path, isolation_level=None)
    facets = older.execute("SELECT field, value, key FROM facets").fetchall()
    older.execute("DELETE FROM facets")
    nearest = {(field, float(value) if isinstance(value, int) else value, key) for field, value, key in facets}
    older.executemany("INSERT INTO facets VALUES (?, ?, ?)", nearest)
    make_older(older)
    older.execute("DROP INDEX records_digests")
    older.execute("PRAGMA user_version = 2")
    older.close()
    index = SQLiteStore(path).open("photos")
    asked = [long, long + 1, float(long), 2**53, 2**53 + 1, -long, -long - 1]
    assert [index.count(parse_filter({"n": number})) for number in asked] == [1, 1, 1, 1, 1, 1, 0]
    assert index.count(parse_filter({"c": "Paris"})) == 1
    index.write([ImageRecord("0", records[0].embedding, "s", metadata={"n": 1})])
    assert index.delete(["1", "2", "3", "4"]) == 4
    left = sqlite3.connect(path).execute(
        "SELECT facets.value FROM facets JOIN fields ON fields.id = facets.field JOIN indices ON indices.id = index_id "
        "WHERE indices.name = 'photos'"
    )
    assert left.fetchall() == [(1,)]
