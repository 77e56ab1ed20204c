"""What a ledger is made of: small rows, each changed only by whoever saw its latest version (compare and set).

`row_ledger.RowLedger` has the rules; an adapter has only to keep rows. So the rules are the same in every ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

Kind = Literal["sequence", "job", "items", "shard", "settings"]
#: Kinds of rows that go with their job, the job's own last.
OF_A_JOB: tuple[Kind, ...] = ("items", "shard", "job")


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


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows to find, in which order.

    Attributes:
        job, states: None: of any; failed: only those with failures.
        after: numbers above it; limit: the first so many.
        newest: by job, descending, instead of ascending; by number, ascending, in both.
    """

    kind: Kind
    job: str | None = None
    states: Sequence[str] | None = None
    failed: bool = False
    after: int = -1
    limit: int | None = None
    newest: bool = False


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

    def find(self, wanted: Wanted) -> list[Row]: ...

    def sums(self, job: str) -> tuple[int, int, int]:
        """Over the job's shards: indexed, unchanged, failed."""
        ...

    def remove(self, job: str) -> None:
        """All rows of a job; the one that is the job's own goes last."""
        ...

    def close(self) -> None: ...
