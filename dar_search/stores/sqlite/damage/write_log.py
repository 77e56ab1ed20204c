"""Whether SQLite's write-ahead log lost transactions to damage.

When nobody has a file open, SQLite takes over what a log of before holds, up to the first frame whose checksum is
wrong: that is how it leaves out what a power cut tore off. Damage amid a log looks the same, and would take back, in
silence, what was on disk. But a write reaches the disk before the next begins: where two of them, whole, come behind a
frame that is not, no power cut did it.

The format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dar_search.errors import StoreCorrupt

Words = NDArray[np.uint32]
_HEADER, _FRAME_HEADER = 32, 24
_MAGIC = 0x377F0682  # the last bit: whether checksums take words as big-endian
_WORD = 0xFFFFFFFF


def check(path: Path) -> None:
    """Raises StoreCorrupt where the log of the store at `path` lost transactions, and leaves it as it is.

    Opens the log alone, and to read: closing another of a store's files would take SQLite's locks from this process.
    """
    # Somebody may be writing: what is damage is there at the second look, too.
    if _lost(path) and _lost(path):
        raise StoreCorrupt(
            f'The log of the store "{path}" is damaged: writes that were on disk are lost.',
            f"Move {path.name}-wal away to go on without what it held, then let `dar index check` look at the rest and "
            "run `dar ingest` again; or move all three files away and restore from a copy.",
        )


def _lost(path: Path) -> bool:
    try:
        content = path.with_name(path.name + "-wal").read_bytes()
    except OSError:  # there is none, or SQLite says why it cannot be read
        return False
    if len(content) < _HEADER:
        return False
    magic, _, page_bytes, _, *salts = np.frombuffer(content, ">u4", 6).tolist()
    order = ">u4" if magic == _MAGIC | 1 else "<u4"
    if _checksum((0, 0), np.frombuffer(content, order, 6)) == _stored(content, 24):
        return _whole_behind_damage(content, order, page_bytes, salts, sound=True) > 1
    # Nothing in such a log is taken over. Each log has salts of its own, in its first frame too.
    salts = np.frombuffer(content, ">u4", 2, _HEADER + 8).tolist() if len(content) > _HEADER + 16 else []
    return any(_whole_behind_damage(content, order, 512 << size, salts, sound=False) > 1 for size in range(8))


def _whole_behind_damage(content: bytes, order: str, page_bytes: int, salts: list[int], *, sound: bool) -> int:
    """How many transactions, two at most, end in one run of whole frames behind the first that is not whole.

    sound: the log's header, before the first frame, is whole.
    """
    kept, ends = _stored(content, 24), 0
    for start in range(_HEADER, len(content) - _FRAME_HEADER - page_bytes + 1, _FRAME_HEADER + page_bytes):
        _, pages_after, *of_frame = np.frombuffer(content, ">u4", 4, start).tolist()
        found = _checksum(kept, np.frombuffer(content, order, 2, start))
        found = _checksum(found, np.frombuffer(content, order, page_bytes // 4, start + _FRAME_HEADER))
        kept = _stored(content, start + 16)
        if found != kept or of_frame != salts:  # damaged, torn off, or of a log before this one
            sound, ends = False, 0
        elif not sound:
            ends += bool(pages_after)
            if ends > 1:
                break
    return ends


def _stored(content: bytes, start: int) -> tuple[int, int]:
    first, second = np.frombuffer(content, ">u4", 2, start).tolist()
    return first, second


def _checksum(start: tuple[int, int], words: Words) -> tuple[int, int]:
    """Of 2 n words: for each pair, first += one + second, second += other + first, modulo 2**32."""
    ones, others = words[::2].astype(np.uint32), words[1::2].astype(np.uint32)
    first, second = _weights(len(ones))
    both = ones + others
    # What a pair adds, and what the start adds, each times a power of the matrix ((1, 1), (1, 2)).
    added = [(int(np.dot(row[1:, 0], ones)) + int(np.dot(row[1:, 1], both))) for row in (first, second)]
    kept = [int(row[0, 0]) * start[0] + int(row[0, 1]) * start[1] for row in (first, second)]
    return (added[0] + kept[0]) & _WORD, (added[1] + kept[1]) & _WORD


@functools.cache
def _weights(pairs: int) -> tuple[Words, Words]:
    """The rows of the matrix's powers, from the highest (of the start), then of the first pair, to the last pair's."""
    powers = [(1, 0, 0, 1)]
    for _ in range(pairs):
        a, b, c, d = powers[-1]
        powers.append(((a + c) & _WORD, (b + d) & _WORD, (a + 2 * c) & _WORD, (b + 2 * d) & _WORD))
    table = np.array(powers[::-1], np.uint32)
    return np.ascontiguousarray(table[:, :2]), np.ascontiguousarray(table[:, 2:])
