"""Reading a damaged file: a page that cannot be read costs no more than what is on it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def tolerant(
    read: Callable[[Sequence[int]], Sequence[T]], keys: Sequence[int], failed: Callable[[Sequence[int]], Any]
) -> Iterator[T]:
    """What can be read of the keys: all at once, or else each half, down to single keys, those that fail apart."""
    if not keys:
        return
    try:
        found = read(keys)
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        if len(keys) == 1:
            failed(keys)
            return
        half = len(keys) // 2
        yield from tolerant(read, keys[:half], failed)
        yield from tolerant(read, keys[half:], failed)
    else:
        yield from found


def keys_of(connection: sqlite3.Connection, table: str, start: int, end: int) -> Iterator[int]:
    """The keys from `start` to before `end` that a table can be seen to have."""

    def some(keys: Sequence[int]) -> list[int]:
        sql = f"SELECT key FROM {table} WHERE key BETWEEN ? AND ?"  # noqa: S608  # our own names
        return [key for (key,) in connection.execute(sql, (keys[0], keys[-1]))]

    return tolerant(some, range(start, end), lambda _: None)


def listed_ids(connection: sqlite3.Connection, index_id: int) -> Iterator[tuple[int, str]]:
    """The ids that the list of ids has, by key, from both of its ends to where it is damaged."""
    ids = "SELECT key, id FROM records INDEXED BY sqlite_autoindex_records_1 WHERE index_id = ? ORDER BY id"
    for order in ("", " DESC"):
        try:
            for key, id in connection.execute(ids + order, (index_id,)):
                if isinstance(key, int) and isinstance(id, str):
                    yield key, id
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            continue
        return
