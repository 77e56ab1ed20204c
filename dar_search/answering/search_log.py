"""The search log, by option: what was asked, answered and chosen. `dar evaluate --search-log` reads it.

One JSON object a line, appended only:

    {"kind": "search", "id": ..., "time": ..., "index": ..., "conversation": ..., "round": 2, "dialogue": {...},
     "imagined": true, "took_ms": 41.2, "legs": {"knn": {"status": "ok", "took_ms": 6.1}, ...}, "first": 1,
     "hits": ["id", ...]}
    {"kind": "choice", "search": ..., "hit": ..., "time": ...}

It holds what people said, so it is off unless asked for, readable by its owner alone, and can leave the dialogues out.
Threads and processes may share one file: each line is written whole under a lock, and a file that is full is renamed
to FILE.1, FILE.2, ... under the same lock. A line that a crash tore is closed before the next one. Logging never fails
an answer: what could not be written is counted, and said once in the program's own log.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import orjson

from dar_search.data import Dialogue, Leg
from dar_search.errors import RequestError, SourceError
from dar_search.method.dialogues import as_json
from dar_search.settings import owner_only

FORMAT = 1
MAX_ID_BYTES = 512
#: Of a line that is read: far above what is written.
MAX_LINE_BYTES = 8 << 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoggedSearch:
    """What is kept of one answer; of a stream, the last one.

    Attributes:
        id: that a choice names: the request's.
        conversation: the same over the rounds of a conversation, where the caller says so; else empty.
        imagined: whether imagined pictures were in the answer.
        took_ms: from the question to the answer.
        first: the first hit's rank, over pages.
        hits: ids by rank.
    """

    id: str
    index: str
    dialogue: Dialogue
    legs: Mapping[str, Leg]
    hits: Sequence[str]
    first: int = 1
    imagined: bool = False
    took_ms: float = 0.0
    conversation: str = ""


class SearchLog:
    """Appends to one file. Safe for many threads, and for many processes that each have one. See the module."""

    def __init__(self, path: Path, *, max_bytes: int = 64 << 20, keep: int = 8, dialogues: bool = True) -> None:
        """
        Args:
            max_bytes: of a file, before it is renamed; the files together are at most keep + 1 times as large.
            keep: renamed files that are kept.
            dialogues: whether to write what was said; without, only how many turns there were.

        Raises SourceError where the file cannot be opened.
        """
        self._path, self._max_bytes, self._keep, self._dialogues = path, max_bytes, max(1, keep), dialogues
        self._lock = threading.Lock()
        self._failures = 0
        try:
            owner_only.make_folder(path.parent)
            with self._locked():
                self._open().close()
        except OSError as error:
            raise SourceError(f"The search log {path} cannot be written: {error.strerror}.", "Check it.") from error

    @property
    def failures(self) -> int:
        """Lines that could not be written."""
        return self._failures

    def search(self, search: LoggedSearch) -> None:
        row: dict[str, Any] = {
            "kind": "search",
            "format": FORMAT,
            "id": search.id,
            "time": _now(),
            "index": search.index,
            "conversation": search.conversation,
            "round": search.dialogue.round,
            "imagined": search.imagined,
            "took_ms": round(search.took_ms, 3),
            "legs": {
                name: {"status": leg.status, "took_ms": round(leg.took_ms, 3)}
                | ({"reason": leg.reason} if leg.reason else {})
                for name, leg in search.legs.items()
            },
            "first": search.first,
            "hits": list(search.hits),
        }
        if self._dialogues:
            row["dialogue"] = as_json(search.dialogue)
        self._append(row)

    def choice(self, search_id: str, hit_id: str) -> None:
        """A hit of an earlier search was chosen. Raises RequestError for what is no id."""
        for name, value in (("search", search_id), ("hit", hit_id)):
            if not value or len(value.encode(errors="replace")) > MAX_ID_BYTES:
                raise RequestError(f"A choice's {name} is an id of 1 to {MAX_ID_BYTES} bytes.")
        self._append({"kind": "choice", "format": FORMAT, "search": search_id, "hit": hit_id, "time": _now()})

    def _append(self, row: Mapping[str, Any]) -> None:
        try:
            line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
            with self._lock, self._locked():
                self._write(line)
        except (OSError, TypeError) as error:  # TypeError: a lone surrogate, which JSON cannot hold
            self._failures += 1
            if self._failures == 1:
                _log.warning("The search log %s cannot be written: %s", self._path, error)

    def _write(self, line: bytes) -> None:
        with self._open() as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0 or size + len(line) <= self._max_bytes:
                if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                    line = b"\n" + line
                file.write(line)
                return
        self._rotate()
        with self._open() as file:
            file.write(line)

    def _open(self) -> IO[bytes]:
        # Opened for each line, under the lock: another process may have renamed the file meanwhile.
        return owner_only.open_new(self._path, "a+b")

    def _rotate(self) -> None:
        for number in range(self._keep - 1, 0, -1):
            older = _numbered(self._path, number)
            if older.exists():
                older.replace(_numbered(self._path, number + 1))
        self._path.replace(_numbered(self._path, 1))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # A lock of its own: one on the log itself would go away with the renamed file.
        lock = owner_only.opener(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def log_files(path: Path) -> list[Path]:
    """The log's files, oldest first, the renamed ones before the one that is written now. Raises SourceError."""
    found = [
        (int(match[1]), other)
        for other in path.parent.glob(f"{path.name}.*")
        if (match := re.fullmatch(rf"{re.escape(path.name)}\.(\d{{1,6}})", other.name))
    ]
    files = [other for _, other in sorted(found, reverse=True)] + ([path] if path.exists() else [])
    if not files:
        raise SourceError(f"There is no search log {path}.", "Name the file that the service's setting names.")
    return files


def read_rows(path: Path) -> Iterator[dict[str, Any] | None]:
    """The rows of one file; None for a line that is none (torn by a crash, or not ours). Raises SourceError."""
    try:
        with path.open("rb") as file:
            while line := file.readline(MAX_LINE_BYTES):
                yield _row(line)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = orjson.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and row.get("format") == FORMAT else None


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
