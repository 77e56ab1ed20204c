"""SQLite's errors -> the project's, in one place."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dar_search.errors import StoreCorrupt, StoreError, StoreForbidden, StoreUnavailable

_RESTORE = (
    "`dar index check` says what is damaged and saves the rest (--save-to); or end all that uses the file, move it "
    "away with the -wal and -shm beside it, and restore it from a copy, or ingest again."
)
_WRITABLE = "The file and its folder must be writable, for searching too: SQLite keeps its log beside the file."

#: SQLite's primary result code -> error, what is wrong with the store, what to do.
ERRORS: dict[int, tuple[type[StoreError], str, str]] = {
    sqlite3.SQLITE_PERM: (StoreForbidden, "may not be used", _WRITABLE),
    sqlite3.SQLITE_BUSY: (StoreUnavailable, "is being written to by somebody else", "Try again when they are done."),
    sqlite3.SQLITE_LOCKED: (StoreUnavailable, "is being written to by somebody else", "Try again when they are done."),
    sqlite3.SQLITE_NOMEM: (StoreUnavailable, "needs more memory than there is", "Free some memory."),
    sqlite3.SQLITE_READONLY: (StoreForbidden, "cannot be written to", _WRITABLE),
    sqlite3.SQLITE_INTERRUPT: (StoreUnavailable, "was interrupted", "Try again."),
    sqlite3.SQLITE_IOERR: (
        StoreError,
        "cannot be read or written",
        "Check the disk: its space, its health, its mount.",
    ),
    sqlite3.SQLITE_CORRUPT: (StoreCorrupt, "is damaged", _RESTORE),
    sqlite3.SQLITE_FULL: (StoreError, "is on a disk that is full", "Free some space; nothing of this write is kept."),
    sqlite3.SQLITE_CANTOPEN: (StoreError, "cannot be opened", "Check that its folder exists. " + _WRITABLE),
    sqlite3.SQLITE_PROTOCOL: (StoreUnavailable, "is opened and closed by too many at once", "Try again."),
    sqlite3.SQLITE_TOOBIG: (StoreError, "cannot keep a value this large", "Make the record smaller."),
    sqlite3.SQLITE_NOLFS: (StoreError, "is larger than this file system allows", "Move it to another file system."),
    sqlite3.SQLITE_AUTH: (StoreForbidden, "may not be used", _WRITABLE),
    sqlite3.SQLITE_FORMAT: (StoreCorrupt, "is damaged", _RESTORE),
    sqlite3.SQLITE_NOTADB: (StoreCorrupt, "is no dar-search store", "Give the path of another file. " + _RESTORE),
}
_PARTS_MISSING = re.compile(
    "no such (table|column|module|tokenizer)|Could not decode to UTF-8|malformed|already exists|fts5|tokenizer|"
    "vtable constructor failed|unsupported file format"
)


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Raises a StoreError in place of an SQLite error that is about the file. A mistake in our SQL stays what it is."""
    try:
        yield
    except sqlite3.Error as error:
        known = _known(error)
        if known is None:
            raise
        kind, problem, hint = known
        if kind is StoreError and (short := _shortage()) is not None:  # which SQLite does not tell from a missing file
            raise StoreUnavailable(f'The store "{path}" {problem} ({short.strerror}).', "Try again.") from short
        raise kind(f'The store "{path}" {problem} ({error}).', hint) from error
    except UnicodeDecodeError as error:  # SQLite's own message quotes what damage left of a name
        raise StoreCorrupt(f'The store "{path}" is damaged (it holds text that is no UTF-8).', _RESTORE) from error


def _shortage() -> OSError | None:
    """Why this process can open no file just now; None where it can."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error
    return None


def _known(error: sqlite3.Error) -> tuple[type[StoreError], str, str] | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in ERRORS:
        return ERRORS[code & 0xFF]
    if isinstance(error, sqlite3.DatabaseError) and _PARTS_MISSING.search(str(error)):
        return StoreCorrupt, "lacks a part, or a part is damaged", _RESTORE
    return None
