"""Checksums of what the embedded store keeps: damage to the file is found before it becomes an answer.

SQLite notices damage to a file's structure, not to its contents. So each record has a row of checksums (`sums`), each
index the total of its vectors' and of its fields', each field the total of its facets'. A row that goes missing changes
a total. Vectors are checked when they are read into memory, records whenever they are read; facets and the full-text
index when a process first uses them.

The checksums are part of the file's format.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable
from typing import Any

import orjson

_TOTAL = (1 << 63) - 1
_LOW = 0xFFFFFFFF
UNREADABLE = -2
"""In place of a checksum, or a total, of what could not be read when checksums came to the file: nothing has it."""


def of_row(*values: Any) -> int:
    """Of texts and whole numbers, 0 to 2**32 - 1; -1, which no row has, where damage left something else."""
    try:
        return zlib.crc32(orjson.dumps(values))
    except orjson.JSONEncodeError:
        return -1


def of_values(*values: Any) -> int:
    """Of bytes, texts and whole numbers. Raises sqlite3.DatabaseError where damage left something else."""
    checksum = 0
    for value in values:
        if isinstance(value, int):
            value = b"%d," % value
        elif isinstance(value, str):
            value = value.encode()
        elif not isinstance(value, bytes):
            raise sqlite3.DatabaseError("malformed row")
        checksum = zlib.crc32(value, checksum)
    return checksum


def of_id(key: int, id: Any) -> int:
    """Of a record's id; -1 where it is no text."""
    return zlib.crc32(id.encode(), key & _LOW) if isinstance(id, str) else -1


def of_blob(key: int, content: Any) -> int:
    """Of a vector or a thumbnail; -1 where it is no bytes."""
    return zlib.crc32(content, key & _LOW) if isinstance(content, bytes) else -1


def of_facet(value: Any, key: Any) -> int:
    """Of a metadata value of a record. Raises sqlite3.DatabaseError where damage left something else."""
    if not isinstance(key, int) or not isinstance(value, str | int | float):
        raise sqlite3.DatabaseError("malformed facets")
    if isinstance(value, str):
        return zlib.crc32(b"t" + value.encode(), key & _LOW)
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    return zlib.crc32((number.hex() if isinstance(number, float) else str(number)).encode(), key & _LOW)


def total(sums: Iterable[int], start: int = 0) -> int:
    """The total of checksums, as it is kept: they may come in any order, and be taken off again by their negatives."""
    return (start + sum(sums)) & _TOTAL
