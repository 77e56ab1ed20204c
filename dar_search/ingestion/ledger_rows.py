"""What a ledger is made of: small rows, each changed only by whoever saw its latest version (compare and set).

`ledger.RowLedger` has the rules; an adapter has only to keep rows. So the rules are the same in every ledger.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

Kind = Literal["sequence", "job", "items", "shard", "settings"]


class Key(NamedTuple):
    """A row's name. job: the job's id (or the index, of "settings"), empty where there is none; number: the shard."""

    kind: Kind
    job: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A row.

    Attributes:
        state: of a job (its `JobState`), or of a shard: "open", "held" or "done"; a store can find rows by it.
        indexed, unchanged, failed: of a shard; a store can add them up.
        body: the rest, as JSON.
    """

    key: Key
    state: str = ""
    indexed: int = 0
    unchanged: int = 0
    failed: int = 0
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """A row to be written if its version is still `expected` (None: if it is not there)."""

    row: Row
    expected: Any


class Rows(Protocol):
    """Keeps rows. What a call has written is durable, and seen by every later call of anyone. Raises StoreError."""

    @property
    def address(self) -> str: ...

    def get(self, key: Key) -> tuple[Row, Any] | None:
        """A row and its version."""
        ...

    def put(self, changes: Sequence[Change]) -> bool:
        """Makes the changes in this order, up to the first that does not fit -> whether all did.

        An adapter may make all or none of them, and may leave the earlier ones made.
        """
        ...

    def find(
        self,
        kind: Kind,
        *,
        job: str | None = None,
        states: Sequence[str] | None = None,
        failed: bool = False,
        after: int = -1,
        limit: int | None = None,
        newest: bool = False,
    ) -> list[Row]:
        """Rows by (job, number); `newest`: by job, descending. after: numbers above it; failed: only with failures."""
        ...

    def sums(self, job: str) -> tuple[int, int, int]:
        """Over the job's shards: indexed, unchanged, failed."""
        ...

    def close(self) -> None: ...


class MemoryRows:
    """Rows in this process, and gone with it: for a run whose only lasting result is the index."""

    address = "memory"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[Key, tuple[Row, int]] = {}

    def get(self, key: Key) -> tuple[Row, int] | None:
        with self._lock:
            return self._rows.get(key)

    def put(self, changes: Sequence[Change]) -> bool:
        with self._lock:
            for change in changes:
                there = self._rows.get(change.row.key)
                if (there[1] if there else None) != change.expected:
                    return False
            for change in changes:
                self._rows[change.row.key] = (change.row, (change.expected or 0) + 1)
            return True

    def find(
        self,
        kind: Kind,
        *,
        job: str | None = None,
        states: Sequence[str] | None = None,
        failed: bool = False,
        after: int = -1,
        limit: int | None = None,
        newest: bool = False,
    ) -> list[Row]:
        found = [row for row in self._of(kind, job) if row.key.number > after]
        found = [row for row in found if (states is None or row.state in states) and (row.failed or not failed)]
        found.sort(key=lambda row: row.key, reverse=newest)
        return found[:limit]

    def sums(self, job: str) -> tuple[int, int, int]:
        rows = list(self._of("shard", job))
        return sum(r.indexed for r in rows), sum(r.unchanged for r in rows), sum(r.failed for r in rows)

    def close(self) -> None:
        """Nothing to do."""

    def _of(self, kind: Kind, job: str | None) -> Iterator[Row]:
        with self._lock:
            rows = [row for row, _ in self._rows.values()]
        return (row for row in rows if row.key.kind == kind and job in (None, row.key.job))
