"""The vectors in memory must always be those in the file, and a snapshot must never change."""

from __future__ import annotations

import random
import sqlite3

import numpy as np
import pytest

from dar_search.stores.sqlite import sums
from dar_search.stores.sqlite import vectors as sqlite_vectors
from dar_search.stores.sqlite.vectors import Keys, Snapshot, Vectors

INDEX, DIMENSION = 3, 8
FIRST = INDEX << 40


class File:
    """The two tables that the vectors in memory are made of, and what they should be."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.execute("CREATE TABLE vectors (key INTEGER PRIMARY KEY, embedding BLOB NOT NULL)")
        self.sums: dict[int, int] = {}
        self.connection.execute("CREATE VIEW records AS SELECT 3 AS index_id FROM vectors")
        self.connection.execute("CREATE TABLE removals (index_id INTEGER, change INTEGER, key INTEGER)")
        self.rows: dict[int, np.ndarray] = {}
        self.change = 0
        self.used = 0

    def write(self, add: np.ndarray, remove: list[int]) -> None:
        self.change += 1
        for key in remove:
            del self.rows[key], self.sums[key]
            self.connection.execute("DELETE FROM vectors WHERE key = ?", (key,))
            self.connection.execute("INSERT INTO removals VALUES (?, ?, ?)", (INDEX, self.change, key))
        for row in add:
            self.used += 1
            self.rows[FIRST + self.used] = row
            self.sums[FIRST + self.used] = sums.of_blob(FIRST + self.used, row.tobytes())
            self.connection.execute("INSERT INTO vectors VALUES (?, ?)", (FIRST + self.used, row.tobytes()))

    @property
    def total(self) -> int:
        return sums.total(self.sums.values())


def unit_rows(rng: np.random.Generator, count: int, dimension: int = DIMENSION) -> np.ndarray:
    rows = rng.standard_normal((count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def content(snapshot: Snapshot) -> dict[int, bytes]:
    pairs = [
        (key, row.tobytes()) for keys, rows in snapshot.alive() for key, row in zip(keys.tolist(), rows, strict=True)
    ]
    assert [key for key, _ in pairs] == sorted(key for key, _ in pairs)
    return dict(pairs)


def exact(rows: dict[int, np.ndarray], vector: np.ndarray, count: int) -> dict[int, float]:
    scores = {key: float(row.astype(np.float64) @ vector.astype(np.float64)) for key, row in rows.items()}
    return dict(sorted(scores.items(), key=lambda pair: -pair[1])[:count])


def assert_nearest(found: tuple[Keys, np.ndarray], expected: dict[int, float]) -> None:
    keys, scores = found
    by_key = dict(zip(keys.tolist(), scores.tolist(), strict=True))
    assert expected.keys() <= by_key.keys()
    assert all(by_key[key] == pytest.approx(score, abs=1e-9) for key, score in expected.items())


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_written_and_whenever_one_looks_memory_has_what_the_file_has(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(sqlite_vectors, "BLOCK_BYTES", 1)  # blocks as small as they get: 256 rows
    rng, choice = np.random.default_rng(seed), random.Random(seed)
    file = File()
    file.connection.execute("INSERT INTO vectors VALUES (?, ?)", (FIRST - 1, b"another index's"))
    often, seldom = Vectors(INDEX, DIMENSION), Vectors(INDEX, DIMENSION)
    kept: list[tuple[Snapshot, dict[int, bytes]]] = []
    for _ in range(40):
        file.write(
            unit_rows(rng, choice.choice([0, 1, 30, 300])),
            choice.sample(sorted(file.rows), min(len(file.rows), choice.choice([0, 1, 100, 10_000]))),
        )
        for vectors in [often] + [seldom] * (choice.random() < 0.2):
            snapshot = vectors.at(file.connection, file.change, file.total)
            assert snapshot is not None
            assert content(snapshot) == {key: row.tobytes() for key, row in sorted(file.rows.items())}
            kept.append((snapshot, content(snapshot)))
            query = unit_rows(rng, 1)[0] * np.float32(3)
            among = np.array(
                sorted(choice.sample(sorted(file.rows), len(file.rows) // choice.choice([1, 2, 20]))), np.int64
            )
            assert_nearest(snapshot.nearest(query, 12), exact(file.rows, query, 12))
            chosen = {key: file.rows[key] for key in among.tolist()}
            assert_nearest(snapshot.nearest(query, 12, among), exact(chosen, query, 12))
    assert all(content(snapshot) == then for snapshot, then in kept)


def test_who_missed_too_many_changes_reads_everything_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_vectors, "KEPT_CHANGES", 5)
    rng, file = np.random.default_rng(0), File()
    vectors = Vectors(INDEX, DIMENSION)
    file.write(unit_rows(rng, 50), [])
    assert vectors.at(file.connection, file.change, file.total) is not None
    for _ in range(10):
        file.write(unit_rows(rng, 2), [min(file.rows)])
    file.connection.execute("DELETE FROM removals WHERE change < ?", (file.change - 5,))
    snapshot = vectors.at(file.connection, file.change, file.total)
    assert snapshot is not None
    assert content(snapshot) == {key: row.tobytes() for key, row in file.rows.items()}


def test_a_transaction_that_began_before_the_latest_snapshot_gets_none() -> None:
    file = File()
    vectors = Vectors(INDEX, DIMENSION)
    file.write(unit_rows(np.random.default_rng(0), 3), [])
    file.write(unit_rows(np.random.default_rng(1), 3), [])
    assert vectors.at(file.connection, 2, file.total) is not None
    assert vectors.at(file.connection, 1, 0) is None


def test_a_failed_read_leaves_the_last_snapshot_and_a_later_read_is_right() -> None:
    rng, file = np.random.default_rng(0), File()
    vectors = Vectors(INDEX, DIMENSION)
    file.write(unit_rows(rng, 300), [])
    total = file.total
    before = vectors.at(file.connection, file.change, total)
    file.write(unit_rows(rng, 2_000), [])
    (last,) = file.connection.execute("SELECT max(key) FROM vectors").fetchone()
    file.connection.execute("UPDATE vectors SET embedding = x'00' WHERE key = ?", (last,))
    with pytest.raises(sqlite3.DatabaseError):
        vectors.at(file.connection, file.change, file.total)
    assert vectors.at(file.connection, 1, total) is before
    file.connection.execute("UPDATE vectors SET embedding = ? WHERE key = ?", (file.rows[last].tobytes(), last))
    after = vectors.at(file.connection, file.change, file.total)
    assert after is not None
    assert content(after) == {key: row.tobytes() for key, row in file.rows.items()}


@pytest.mark.parametrize("dimension", [1, 2, 3, 17, 512, 769])
def test_the_same_vector_scores_the_same_wherever_it_lies(dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    rows = unit_rows(rng, 1_003, dimension)
    rows[::7] = rows[0]
    half = len(rows) // 2
    snapshot = Snapshot(0, (rows[:half], rows[half:]), np.arange(len(rows)), np.empty(0, np.int64), 0, rows[half:])
    for scale in (1.0, 1e-30, 1e30):
        query = (unit_rows(rng, 1, dimension)[0] * scale).astype(np.float32)
        _, scores = snapshot.nearest(query, len(rows))
        assert len(set(scores[::7].tolist())) == 1
        assert np.allclose(scores, rows.astype(np.float64) @ query.astype(np.float64), rtol=1e-9, atol=1e-12 * scale)


def test_all_that_ties_with_the_last_place_is_found() -> None:
    rows = np.repeat(unit_rows(np.random.default_rng(0), 4), 25, axis=0)
    snapshot = Snapshot(0, (rows,), np.arange(100), np.array([3, 30]), 0, rows)
    keys, scores = snapshot.nearest(rows[0], 10)
    assert keys.tolist() == [key for key in range(25) if key != 3]
    assert len(set(scores.tolist())) == 1
