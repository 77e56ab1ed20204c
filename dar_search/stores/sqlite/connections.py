"""Connections to the embedded store's file: pooled, shared by threads, safe after a fork.

Any number of threads and processes may read and write at once. Readers see the state at their transaction's start.
Writers wait for each other: threads on a lock, processes on SQLite's own.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dar_search.errors import StoreError, StoreForbidden, StoreUnavailable
from dar_search.settings import owner_only
from dar_search.stores.sqlite import schema
from dar_search.stores.sqlite.damage import write_log
from dar_search.stores.sqlite.errors import store_errors

_KEPT_IDLE = 16


@dataclass(frozen=True, slots=True)
class _Open:
    connection: sqlite3.Connection
    file: tuple[int, int]
    wrong: str  # about its tables


class Connections:
    """The connections of one store object.

    Args:
        path: absolute.
        patience_s: how long a writer waits for the others.
    """

    def __init__(self, path: Path, patience_s: float = 30.0) -> None:
        self.path = path
        self._patience_s = patience_s
        self._closed = False
        self._abandoned: list[list[_Open]] = []
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._writer = threading.Lock()
        self._idle: list[_Open] = []
        self._looked_at: tuple[int, int] | None = None
        self._finalizer = weakref.finalize(self, _close_all, self._idle, self._process)

    def file(self) -> tuple[int, int] | None:
        """Tells the file from one that takes its place later; None where there is none."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(
                f'The store "{self.path}" cannot be reached ({error.strerror}).', "Check its path."
            ) from error
        return status.st_dev, status.st_ino

    @contextmanager
    def reading(self, *, damaged: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction that sees one state. Raises StoreError.

        Args:
            damaged: to look at what is there, even where the tables are not as they were made.
        """
        with store_errors(self.path), self._borrowed(create=False, damaged=damaged) as connection:
            connection.execute("BEGIN")
            schema.check_version(connection, self.path)
            yield connection
            connection.execute("ROLLBACK")  # as good as COMMIT, which SQLite refuses where it has met damage

    @contextmanager
    def writing(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction that is durable once the block ends, and gone if it raises.

        Args:
            create: make the file, and its folder, if there is none.

        Raises StoreError; StoreUnavailable if others write for longer than the patience.
        """
        self._notice_fork()
        if not self._writer.acquire(timeout=self._patience_s):
            raise StoreUnavailable(f'Another thread writes to "{self.path}" all the time.', "Try again later.")
        try:
            with store_errors(self.path), self._borrowed(create=create) as connection:
                connection.execute("BEGIN IMMEDIATE")
                schema.check_version(connection, self.path)
                yield connection
                connection.execute("COMMIT")
        finally:
            self._writer.release()

    @contextmanager
    def plain(self) -> Iterator[sqlite3.Connection]:
        """A connection outside any transaction, for upkeep."""
        with store_errors(self.path), self._borrowed(create=False) as connection:
            yield connection

    def close(self) -> None:
        """Later use raises StoreError. What is in use is closed when it is given back."""
        self._notice_fork()
        with self._lock:
            self._closed = True
        self._finalizer()

    @contextmanager
    def _borrowed(self, *, create: bool, damaged: bool = False) -> Iterator[sqlite3.Connection]:
        opened = self._take() or self._open(create=create)
        sound = False
        try:
            if opened.wrong and not damaged:
                raise sqlite3.DatabaseError(opened.wrong)
            yield opened.connection
            sound = True
        except sqlite3.Error:
            raise
        except BaseException:
            sound = True
            raise
        finally:
            self._give_back(opened, sound=sound)

    def _take(self) -> _Open | None:
        self._notice_fork()
        file = self.file()
        with self._lock:
            if self._closed:
                raise StoreError(f'The store "{self.path}" was closed.', "Open it again.")
            stale = [opened for opened in self._idle if opened.file != file]
            self._idle[:] = [opened for opened in self._idle if opened.file == file]
            taken = self._idle.pop() if self._idle else None
        for opened in stale:
            opened.connection.close()
        return taken

    def _give_back(self, opened: _Open, *, sound: bool) -> None:
        if opened.connection.in_transaction:
            try:
                opened.connection.execute("ROLLBACK")
            except sqlite3.Error:
                sound = False  # closing it rolls back too
        with self._lock:
            if sound and not self._closed and len(self._idle) < _KEPT_IDLE:
                self._idle.append(opened)
                return
        opened.connection.close()

    def _open(self, *, create: bool) -> _Open:
        if create:
            self._make()
        if self._looked_at != (file := self.file()):  # as long as nobody has opened it, the log is as it was left
            write_log.check(self.path)
            self._looked_at = file
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode={'rwc' if create else 'rw'}",
            uri=True,
            timeout=self._patience_s,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            schema.prepare(connection, self.path, patience_s=self._patience_s)
            wrong = schema.wrong_tables(connection)
        except BaseException:
            connection.close()
            raise
        return _Open(connection, file or (0, 0), wrong)

    def _make(self) -> None:
        """The file and its folder, where they are not there: what people said and showed is for their owner alone.
        SQLite gives the files that it keeps beside it (-wal, -shm) the same mode."""
        try:
            owner_only.make_folder(self.path.parent)
        except OSError as error:
            kind = StoreForbidden if isinstance(error, PermissionError) else StoreError
            raise kind(
                f'The folder "{self.path.parent}" cannot be made ({error.strerror}).', "Give another path."
            ) from error
        # Never by opening it: closing any descriptor of a file takes all of SQLite's locks on it from this process.
        with suppress(OSError):  # it is there, or SQLite says better what it is; some systems let only root do this
            os.mknod(os.path.realpath(self.path), 0o600)

    def _notice_fork(self) -> None:
        # A connection must not be used, nor closed, in a child of the process that opened it.
        if self._process != os.getpid():
            self._finalizer.detach()
            self._abandoned.append(self._idle)
            self._start()


def _close_all(idle: list[_Open], process: int) -> None:
    while idle and process == os.getpid():
        idle.pop().connection.close()
