"""An index's vectors in memory, kept between searches, and the exact k-NN leg over them.

The vectors lie in blocks of float32 rows, in the order of their keys. A `Snapshot` is a view of them that never
changes: a search scans it without a lock while the next one is made. Since what belongs to a key never changes, making
the next one takes the rows with new keys and the list of removed keys, whoever wrote them.

Memory: 4 d bytes a picture.
"""

from __future__ import annotations

import itertools
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dar_search.data import FloatArray
from dar_search.stores.sqlite import sums
from dar_search.stores.sqlite.schema import key_range

Keys = NDArray[np.int64]
Scores = NDArray[np.float64]
Batch = tuple[Keys, FloatArray, int]
"""Keys, their rows, and the total of the rows' checksums."""
BLOCK_BYTES = 64 << 20
"""Of the first block at least; each further one is as large as all before it, so that there are few. What is not yet
used of a block is address space, not memory."""
KEPT_CHANGES = 1_000
"""How many changes' removals the file keeps. Who missed more loads everything again."""
_GATHER_BELOW = 0.2  # the share of rows below which copying them is cheaper than scanning all
_FETCHED = 1_024


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The vectors as of one change.

    Attributes:
        change: the index's count of changes.
        blocks: (rows, d) float32 each, C-contiguous.
        keys: (n,) of all rows, ascending.
        dead: (m,) positions of rows that are removed.
        total: of the checksums of the rows that are not removed.
        tail: the array that the last block is the beginning of: the next snapshot's rows go behind it.
        selected: what filters have selected in this state, for those who search in it again.
    """

    change: int
    blocks: tuple[FloatArray, ...]
    keys: Keys
    dead: NDArray[np.int64]
    total: int
    tail: FloatArray
    selected: dict[Any, Keys] = field(default_factory=dict)

    def nearest(
        self, vector: FloatArray, count: int, among: Keys | None = None, without: Keys | None = None
    ) -> tuple[Keys, Scores]:
        """The `count` rows of the largest inner product with `vector`, in no order, with their scores.

        May return more than `count`: all that are closer to the last one than float32 can tell. The scores are the
        inner products in float64, so that a vector has the same score wherever it lies.

        Args:
            vector: (d,), any length > 0.
            among: only these keys, ascending; None for all.
            without: but not these keys, ascending; None for none.
        """
        length = float(np.linalg.norm(vector.astype(np.float64)))
        direction = (vector.astype(np.float64) / length).astype(np.float32)
        positions = None if among is None else self.positions(among)
        dropped = None if without is None else self.positions(without)
        if positions is not None and dropped is not None:
            positions, dropped = np.setdiff1d(positions, dropped, assume_unique=True), None
        if positions is not None and len(positions) < _GATHER_BELOW * len(self.keys):
            rough = self._gathered(positions) @ direction
        else:
            rough = self._scan(direction)
            if dropped is not None:
                rough[dropped] = -np.inf
            if positions is not None:
                rough = rough[positions]
        best = _largest(rough, count, margin=_rounding(len(vector)))
        found = best if positions is None else positions[best]
        rows = self._gathered(found).astype(np.float64)
        # einsum sums each row the same way wherever it is; BLAS may not.
        return self.keys[found], np.einsum("ij,j->i", rows, vector.astype(np.float64))

    def alive(self) -> Iterator[tuple[Keys, FloatArray]]:
        """The rows that are not removed, block by block."""
        start = 0
        for block in self.blocks:
            end = start + len(block)
            dead = self.dead[(self.dead >= start) & (self.dead < end)] - start
            yield np.delete(self.keys[start:end], dead), np.delete(block, dead, axis=0)
            start = end

    def checksums(self, positions: NDArray[np.int64]) -> int:
        """Their total, of the rows there."""
        rows = self._gathered(positions).astype("<f4", copy=False)
        pairs = zip(self.keys[positions].tolist(), rows, strict=True)
        return sums.total(sums.of_blob(key, row.tobytes()) for key, row in pairs)

    def _scan(self, direction: FloatArray) -> FloatArray:
        scores = np.empty(len(self.keys), np.float32)
        start = 0
        for block in self.blocks:
            np.dot(block, direction, out=scores[start : start + len(block)])
            start += len(block)
        scores[self.dead] = -np.inf
        return scores

    def positions(self, keys: Keys) -> NDArray[np.int64]:
        """Where the keys' rows are; `keys` ascending. Those that are not here are left out."""
        positions = np.searchsorted(self.keys, keys)
        inside = positions < len(self.keys)
        positions, keys = positions[inside], keys[inside]
        found: NDArray[np.int64] = positions[self.keys[positions] == keys]
        return found

    def _gathered(self, positions: NDArray[np.int64]) -> FloatArray:
        rows = np.empty((len(positions), self.tail.shape[1]), np.float32)
        if len(positions):
            starts = np.cumsum([0] + [len(block) for block in self.blocks])
            owner = np.searchsorted(starts, positions, side="right") - 1
            for number in np.unique(owner):
                mine = owner == number
                rows[mine] = self.blocks[number][positions[mine] - starts[number]]
        return rows


def _rounding(dimension: int) -> float:
    """How far a float32 inner product of unit vectors may be from the true one; twice, for two that are compared."""
    return 2.0 * float(np.finfo(np.float32).eps) * max(8.0, float(np.sqrt(dimension)))


def _largest(scores: FloatArray, count: int, *, margin: float) -> NDArray[np.int64]:
    """Positions of the `count` largest, and of all within `margin` of the last of them; never of -inf."""
    lowest = np.float32(-np.inf)
    if len(scores) > count:
        lowest = np.partition(scores, len(scores) - count)[len(scores) - count]
    if np.isneginf(lowest):
        return np.flatnonzero(~np.isneginf(scores))
    return np.flatnonzero(scores >= lowest - np.float32(margin))


class Vectors:
    """The latest snapshot of one index's vectors, for all threads.

    Attributes:
        whole: what else of the index this process has found whole: "words", and fields by their ids.
        wrote: whether this process has written to the index.
    """

    def __init__(self, index_id: int, dimension: int) -> None:
        self._first, self._last = key_range(index_id)
        self._index_id = index_id
        self._dimension = dimension
        self._lock = threading.Lock()
        self._first_rows = max(256, BLOCK_BYTES // (4 * dimension))
        self._latest = self._empty(-1)
        self.whole: set[int | str] = set()
        self.wrote = False

    def at(self, connection: sqlite3.Connection, change: int, total: int) -> Snapshot | None:
        """The snapshot of `change`, which is what the connection's transaction sees; None if a later one is here.

        Args:
            total: of the vectors' checksums, as the file has it.

        Raises sqlite3.DatabaseError where the vectors in the file have another: a row is damaged, or one is missing.
        """
        latest = self._latest
        if (latest.change, latest.total) == (change, total):
            return latest
        with self._lock:
            latest = self._latest
            if latest.change <= change and (latest.change, latest.total) != (change, total):
                self._latest = latest = self._read(connection, change, total)
            return latest if latest.change == change else None

    def _read(self, connection: sqlite3.Connection, change: int, total: int) -> Snapshot:
        for old in (self._latest, self._empty(-1)):  # what is in memory may be of what the file was before
            found = self._advanced(old, connection, change)
            if found.total == total:
                return found
        raise sqlite3.DatabaseError("malformed vectors")

    def _empty(self, change: int) -> Snapshot:
        nothing = np.empty(0, np.int64)
        return Snapshot(change, (), nothing, nothing, 0, np.empty((0, self._dimension), np.float32))

    def _advanced(self, old: Snapshot, connection: sqlite3.Connection, change: int) -> Snapshot:
        if old.change < change - KEPT_CHANGES:
            old = self._empty(old.change)
        removed = connection.execute(
            "SELECT key FROM removals WHERE index_id = ? AND change > ?", (self._index_id, old.change)
        )
        gone = np.setdiff1d(old.positions(sorted_keys(removed)), old.dead)
        left = sums.total([old.total, -old.checksums(gone)])
        old = replace(old, dead=np.union1d(old.dead, gone), total=left)
        if 2 * len(old.dead) > len(old.keys):
            alive = ((keys, rows, 0) for keys, rows in old.alive())  # the total is known
            old = replace(self._appended(self._empty(old.change), alive, old.change), total=left)
        after = int(old.keys[-1]) if len(old.keys) else self._first
        new = connection.execute(
            "SELECT key, embedding FROM vectors WHERE key > ? AND key <= ? ORDER BY key", (after, self._last)
        )
        return self._appended(old, _batches(new, self._dimension), change, self._room(connection, old))

    def _room(self, connection: sqlite3.Connection, old: Snapshot) -> int:
        """Rows of the first block: one scan of one block is the fastest. Counting is worth it only then."""
        if len(old.keys):
            return 0
        (count,) = connection.execute("SELECT count(*) FROM records WHERE index_id = ?", (self._index_id,)).fetchone()
        return int(count) * 9 // 8

    def _appended(self, old: Snapshot, new: Iterator[Batch], change: int, room: int = 0) -> Snapshot:
        blocks, keys, tail, total = list(old.blocks), [old.keys], old.tail, old.total
        for batch_keys, rows, checksums in new:
            total = sums.total([total, checksums])
            keys.append(batch_keys)
            while len(rows):
                used = len(blocks[-1]) if blocks else 0
                if used == len(tail):
                    held = sum(map(len, blocks))
                    rows_of_block = max(held, self._first_rows, 0 if held else room)
                    tail, used = np.empty((rows_of_block, self._dimension), np.float32), 0
                    blocks.append(tail[:0])
                taken = min(len(rows), len(tail) - used)
                tail[used : used + taken] = rows[:taken]
                blocks[-1] = tail[: used + taken]
                rows = rows[taken:]
        return Snapshot(change, tuple(blocks), np.concatenate(keys), old.dead, total, tail)


def sorted_keys(rows: Iterable[tuple[int]]) -> Keys:
    """The keys, ascending. Raises sqlite3.DatabaseError where damage left something else."""
    try:
        return np.sort(np.fromiter(itertools.chain.from_iterable(rows), np.int64))
    except (TypeError, ValueError, OverflowError):
        raise sqlite3.DatabaseError("malformed keys") from None


def _batches(rows: sqlite3.Cursor, dimension: int) -> Iterator[Batch]:
    last = -1
    while batch := rows.fetchmany(_FETCHED):
        keys, values, checksums = _decoded(batch, dimension)
        if keys[0] <= last or (np.diff(keys) <= 0).any():
            raise sqlite3.DatabaseError("malformed vectors")
        last = keys[-1]
        yield keys, values, checksums


def _decoded(batch: Sequence[tuple[int, bytes]], dimension: int) -> Batch:
    keys, embeddings = zip(*batch, strict=True)
    if any(not isinstance(one, bytes) or len(one) != 4 * dimension for one in embeddings):
        raise sqlite3.DatabaseError("malformed vectors")
    values = np.frombuffer(b"".join(embeddings), "<f4")
    checksums = sums.total(map(sums.of_blob, keys, embeddings))
    return np.array(keys, np.int64), values.reshape(-1, dimension), checksums
