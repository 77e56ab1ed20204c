"""Copying what is whole of a damaged file of the embedded store to a new one."""

from __future__ import annotations

import dataclasses
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dar_search.errors import StoreError, StoreForbidden
from dar_search.settings import owner_only
from dar_search.stores.examined import Examined
from dar_search.stores.sqlite.damage.examining import Whole
from dar_search.stores.sqlite.index import SQLiteIndex
from dar_search.stores.sqlite.indices import IndexRow


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """A place for a new file beside `path`, whose name it takes once the block ends; gone if the block raises.

    Raises StoreError where there is something at the path: a file, or a log of one, which SQLite would take for its.
    """
    _check_free(path)
    try:
        owner_only.make_folder(path.parent)
        with tempfile.TemporaryDirectory(prefix=f"{path.name}.", suffix=".part", dir=path.parent) as folder:
            part = Path(folder) / path.name
            yield part
            _check_free(path)
            part.rename(path)
    except OSError as error:
        kind = StoreForbidden if isinstance(error, PermissionError) else StoreError
        raise kind(f'The file "{path}" cannot be made ({error.strerror}).', "Give another path.") from error


def _check_free(path: Path) -> None:
    for place in (path, *logs_of(path)):
        if place.exists():
            raise StoreError(f'There is something at "{place}" already.', "Give the path of a new file.")


def logs_of(path: Path) -> list[Path]:
    """What SQLite keeps beside a file while it is open, and after its user was killed."""
    return [path.with_name(path.name + end) for end in ("-wal", "-shm")]


def copy_index(damaged: sqlite3.Connection, row: IndexRow, index: SQLiteIndex) -> Examined:
    """Writes an index's whole records to a new, empty one. Raises StoreError where the new one cannot take them."""
    whole, refused = Whole(damaged, row), []
    for found in whole.records():
        failed = index.write([record for record, _ in found], versions=[version for _, version in found])
        refused += [id for id, _ in failed]
    found_whole = whole.examined()
    lost = tuple(sorted({*found_whole.lost, *refused}))
    return dataclasses.replace(found_whole, pictures=found_whole.pictures - len(refused), lost=lost)


def copy_rest(damaged: sqlite3.Connection, new: sqlite3.Connection, copied: Mapping[int, int]) -> list[str]:
    """Copies what was deleted and the jobs, as far as they can be read; a line for each that cannot all be.

    Args:
        new: in a transaction that writes.
        copied: the indices' ids in the old file -> in the new one.
    """
    problems = []
    try:
        for index, id, version in damaged.execute("SELECT index_id, id, version FROM graves"):
            if index in copied:
                grave = (copied[index], id, version)
                new.execute("INSERT OR IGNORE INTO graves (index_id, id, version) VALUES (?, ?, ?)", grave)
    except sqlite3.DatabaseError as error:
        problems.append(f"What was deleted is not all remembered ({error}).")
    try:
        for row in damaged.execute("SELECT * FROM ledger"):
            new.execute("INSERT OR IGNORE INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    except sqlite3.DatabaseError as error:
        problems.append(f"Not all jobs could be read ({error}).")
    return problems
