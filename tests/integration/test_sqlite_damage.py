"""A damaged file says so, or answers as before; what is whole of it can be saved, and the rest ingested again."""

from __future__ import annotations

import dataclasses
import os
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from dar_search.errors import StoreCorrupt, StoreError
from dar_search.stores.sqlite import full_text, indices
from dar_search.stores.sqlite.indices import IndexRow
from dar_search.stores.sqlite.store import SQLiteStore
from tests.damaged_stores import PROVENANCE, SIZE, answers, records, run, sound
from tests.grid_encoder import GridEncoder
from tests.ingestion_runs import counts, fill
from tests.ingestion_runs import run as ingest
from tests.unit.test_sqlite_schema import make_older


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store."""
    store = SQLiteStore(tmp_path / "store.sqlite")
    store.create("photos", PROVENANCE).write(records())
    store.close()
    return tmp_path / "store.sqlite"


def change(path: Path, sql: str, *values: Any) -> None:
    """As damage would: past all that keeps the file's parts together."""
    connection = sqlite3.connect(path, isolation_level=None)
    assert connection.execute(sql, values).rowcount
    connection.close()


def answers_of(path: Path) -> list[Any]:
    store = SQLiteStore(path)
    try:
        return answers(store)
    finally:
        store.close()


def test_whatever_is_overwritten_a_search_says_so_or_answers_as_before(tmp_path: Path) -> None:
    seed = int(os.environ.get("DAR_TEST_SEED", random.SystemRandom().randrange(1_000_000)))
    told: list[str] = []
    outcomes = run(seed, 200, tmp_path, told.append)
    assert (told, outcomes["wrong"], outcomes["defect"]) == ([], 0, 0)
    # What cannot be told from a power cut is the last of a log's writes: its answers are those of before it.
    assert outcomes["said"] > 30, outcomes
    assert outcomes["same"] > 30, outcomes


def middle(table: str, order: str) -> str:
    return f"SELECT {order} FROM {table} ORDER BY {order} LIMIT 1 OFFSET (SELECT count(*) / 2 FROM {table})"


@pytest.mark.parametrize(
    "sql",
    [
        f"UPDATE vectors SET embedding = substr(embedding, 1, 63) || x'00' WHERE key = ({middle('vectors', 'key')})",
        f"DELETE FROM vectors WHERE key = ({middle('vectors', 'key')})",
        "UPDATE records SET caption = replace(caption, 'a', 'b')",
        "UPDATE records SET metadata = replace(metadata, 'Rome', 'Roma')",
        "UPDATE records SET id = id || '-'",
        f"DELETE FROM records WHERE key = ({middle('records', 'key')})",
        "UPDATE thumbnails SET picture = substr(picture, 1, 149) || x'00'",
        "DELETE FROM thumbnails",
        "UPDATE facets SET value = 'Paris' WHERE value = 'Rome' AND key % 7 = 0",
        "DELETE FROM facets WHERE value = 't1' AND key % 7 = 0",
        "UPDATE fields SET name = 'town' WHERE name = 'city'",
        "DELETE FROM fields WHERE name = 'city'",
        "UPDATE words_1_docsize SET sz = x'05' WHERE id % 7 = 0",
        "UPDATE words_1_data SET block = substr(block, 1, length(block) - 9) || zeroblob(9) WHERE id > 10",
        "UPDATE indices SET encoder = 'another'",
        "UPDATE indices SET change = change + 1, vectors = vectors + 1",
    ],
)
def test_what_sqlite_would_not_notice_is_said(path: Path, sql: str) -> None:
    change(path, sql)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    connection.close()
    with pytest.raises(StoreCorrupt) as raised:
        answers_of(path)
    assert str(path) in raised.value.message
    assert "dar index check" in raised.value.hint


def test_words_are_sealed_through_merges_and_replacements(path: Path) -> None:
    store = SQLiteStore(path)
    index = store.open("photos")
    for number in range(40):
        index.write([dataclasses.replace(one, caption=f"{one.caption} {number}") for one in records(number % 30, 20)])
        index.delete([one.id for one in records(number, 3)])
    answers(store)
    store.close()
    answers_of(path)
    connection = sqlite3.connect(path, isolation_level=None)
    row = indices.get(connection, 1)
    assert row.sealed == row.change
    full_text.check(connection, 1, row.words)
    full_text.compare(connection, 1)
    connection.execute("DELETE FROM words_1_idx WHERE term = (SELECT max(term) FROM words_1_idx)")
    with pytest.raises(sqlite3.DatabaseError, match="full-text"):
        full_text.check(connection, 1, row.words)
    connection.close()


def test_words_that_a_killed_writer_left_unsealed_are_compared_with_the_captions(tmp_path: Path) -> None:
    left = sound(tmp_path, 16_384, killed=True)
    path = tmp_path / "left.sqlite"
    for end, content in left.files.items():
        path.with_name(path.name + end).write_bytes(content)
    assert answers_of(path) == left.states[-1]
    connection = sqlite3.connect(path, isolation_level=None)
    row = indices.get(connection, 1)
    assert row.sealed < row.change
    connection.execute("UPDATE words_1_docsize SET sz = x'07' WHERE id = (SELECT max(id) FROM words_1_docsize)")
    connection.close()
    with pytest.raises(StoreCorrupt):
        answers_of(path)


def test_damage_under_a_running_process_is_not_taken_into_its_memory(path: Path) -> None:
    store = SQLiteStore(path)
    index = store.open("photos")
    before = answers(store)
    change(path, "UPDATE vectors SET embedding = zeroblob(64) WHERE key % 3 = 0")
    assert answers(store) == before
    index.write(records(100, 5))
    with pytest.raises(StoreCorrupt):
        answers_of(path)
    assert len(answers(store)) == len(before)  # what it has read is whole, and so is what was written
    store.close()


def test_an_older_file_gets_its_checksums_with_the_upgrade(path: Path) -> None:
    before = answers_of(path)
    older = sqlite3.connect(path, isolation_level=None)
    make_older(older)
    older.close()
    assert answers_of(path) == before
    store = SQLiteStore(path)
    assert store.open("photos").write(records(0, 20, seed=5)) == []
    assert store.open("photos").delete([record.id for record in records(20, 5)]) == 5
    assert store.examine("photos").sound
    store.close()
    change(path, "UPDATE vectors SET embedding = zeroblob(64) WHERE key % 3 = 0")
    with pytest.raises(StoreCorrupt):
        answers_of(path)


class _WrittenTo(SQLiteStore):
    """A store that somebody writes to just after its indices were looked up."""

    def _rows(self, *, damaged: bool = False) -> list[IndexRow]:
        rows = super()._rows(damaged=damaged)
        other = SQLiteStore(self._path)
        assert other.open("photos").write(records(SIZE, 1)) == []
        other.close()
        return rows


def test_an_index_that_is_written_to_is_examined_without_a_false_alarm(path: Path) -> None:
    store = _WrittenTo(path)
    found = store.examine("photos")
    store.close()
    assert (found.sound, found.pictures) == (True, SIZE + 1), found


def test_a_copy_of_a_store_that_is_written_to_says_what_it_lacks(path: Path, tmp_path: Path) -> None:
    class _Copied(SQLiteStore):
        def _rows(self, *, damaged: bool = False) -> list[IndexRow]:
            other = SQLiteStore(path)
            assert other.open("photos").delete(["picture-000"]) == 1
            other.close()
            return super()._rows(damaged=damaged)

    store = _Copied(path)
    about_file, copied = store.save_to(tmp_path / "saved.sqlite")
    store.close()
    assert copied.pictures == SIZE
    assert "wrote" in about_file.problems[0]


@pytest.mark.parametrize(("table", "whole"), [("records", False), ("thumbnails", False), ("facets", True)])
def test_an_older_file_with_a_damaged_page_is_upgraded_and_saved_around_it(
    path: Path, tmp_path: Path, table: str, whole: bool
) -> None:
    older = sqlite3.connect(path, isolation_level=None)
    before = SQLiteStore(path).open("photos").get([record.id for record in records()])
    make_older(older)
    (size,) = older.execute("PRAGMA page_size").fetchone()
    # Records, thumbnails: a leaf of several.
    pages = older.execute(
        "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY pageno", (table,)
    ).fetchall()
    older.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    older.close()
    with path.open("r+b") as file:
        file.seek((pages[len(pages) // 2][0] - 1) * size)
        file.write(b"\xff" * 64)
    store = SQLiteStore(path)
    assert store.problems()
    found = store.examine("photos")
    assert not found.sound
    assert found.pictures + len(found.lost) == SIZE
    assert (found.pictures == SIZE) == whole
    with pytest.raises(StoreCorrupt):
        answers(store)
    _, copied = store.save_to(tmp_path / "saved.sqlite")
    store.close()
    assert copied.lost == found.lost
    saved = SQLiteStore(tmp_path / "saved.sqlite")
    assert saved.examine("photos").sound
    after = saved.open("photos").get(list(before))
    assert before.keys() - after.keys() == set(found.lost)
    assert all(one.embedding.tobytes() == before[id].embedding.tobytes() for id, one in after.items())
    saved.close()


def test_tables_that_somebody_changed_are_said_and_saved_from(path: Path, tmp_path: Path) -> None:
    before = answers_of(path)
    changed = sqlite3.connect(path, isolation_level=None)
    changed.execute("ALTER TABLE records ADD COLUMN stars INTEGER")
    changed.close()
    with pytest.raises(StoreCorrupt, match="records"):
        answers_of(path)
    store = SQLiteStore(path)
    assert "records" in store.problems()[0]
    assert store.names() == ["photos"]
    assert store.examine("photos").sound
    _, copied = store.save_to(tmp_path / "saved.sqlite")
    store.close()
    assert copied.pictures == SIZE
    assert answers_of(tmp_path / "saved.sqlite") == before


def test_a_log_that_lost_writes_is_said_and_left_as_it_is(tmp_path: Path) -> None:
    left = sound(tmp_path, 16_384, killed=True)
    path = tmp_path / "damaged.sqlite"
    log = bytearray(left.files["-wal"])
    log[len(log) // 3] ^= 1
    for end, content in {**left.files, "-wal": log}.items():
        path.with_name(path.name + end).write_bytes(content)
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match="log") as raised:
            answers_of(path)
        assert "-wal" in raised.value.hint
        assert path.with_name(path.name + "-wal").read_bytes() == log


def test_a_log_that_is_cut_off_or_whole_is_taken_over(tmp_path: Path) -> None:
    left = sound(tmp_path, 16_384, killed=True)
    for cut, state in ((0, -1), (1, -2)):
        path = tmp_path / f"cut-{cut}.sqlite"
        for end, content in left.files.items():
            path.with_name(path.name + end).write_bytes(content[: len(content) - cut * (end == "-wal")])
        assert answers_of(path) == left.states[state]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM words_1_docsize WHERE id % 7 = 0",
        "DELETE FROM facets WHERE value = 't1' AND key % 7 = 0",
    ],
)
def test_an_index_that_can_be_made_again_costs_no_picture(path: Path, tmp_path: Path, sql: str) -> None:
    before = answers_of(path)
    change(path, sql)
    store = SQLiteStore(path)
    (problem,) = store.examine("photos").problems
    assert "copy" in problem
    _, saved = store.save_to(tmp_path / "saved.sqlite")
    store.close()
    assert (saved.pictures, saved.lost, saved.unnamed) == (len(records()), (), 0)
    assert answers_of(tmp_path / "saved.sqlite") == before


def test_what_is_whole_is_saved_and_an_ingest_encodes_the_rest_alone(tmp_path: Path) -> None:
    pictures, path, saved = tmp_path / "pictures", tmp_path / "store.sqlite", tmp_path / "saved.sqlite"
    pictures.mkdir()
    fill(pictures, 12)
    store = SQLiteStore(path)
    index = store.create("photos", GridEncoder.provenance)
    assert counts(ingest(pictures, index)) == (12, 0, 0, 0)
    before = index.get(list(index.ids()))
    store.close()
    change(path, "UPDATE vectors SET embedding = zeroblob(192) WHERE key % 8 = 0")
    change(path, "UPDATE records SET digest = 'x' WHERE key % 8 = 3")
    store = SQLiteStore(path)
    found = store.examine("photos")
    assert (found.pictures, found.unnamed, len(found.lost)) == (9, 0, 3)
    about_file, copied = store.save_to(saved)
    assert (about_file.problems, copied) == ((), found)
    with pytest.raises(StoreError, match="already"):
        store.save_to(saved)
    store.close()
    new = SQLiteStore(saved)
    index, encoder = new.open("photos"), GridEncoder()
    assert set(before) - set(index.ids()) == set(found.lost)
    assert counts(ingest(pictures, index, encoder)) == (3, 9, 0, 0)
    assert encoder.pictures == 3
    assert new.examine("photos").sound
    after = index.get(list(index.ids()))
    assert after.keys() == before.keys()
    assert all(one.embedding.tobytes() == before[id].embedding.tobytes() for id, one in after.items())
    new.close()
