"""Jobs as a ledger keeps them. Frozen; read this before `jobs.ledger_port.Ledger`.

A `Job` brings a source into an index. Its **shards** are runs of listed items, numbered from 1; its **head** (shard 0)
is the duty of listing the source and, when all shards are done, of ending the job. Who works on one holds a `Lease`.

Order of writes: a ledger's **sequence** gives each job, each retry and each single write a number that only rises. A
lease's `version` is made of that number and its token, so of two writes to a record the one that was asked for later
wins, and of one shard's leases the later one, whoever writes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dar_search.data import Failure

JobState = Literal["running", "paused", "cancelled", "done"]
Result = Literal["indexed", "unchanged", "failed"]

HEAD = 0
"""The head's number among a job's shards."""

_TOKEN_BITS = 20


def version_of(sequence: int, token: int = 0) -> int:
    """The version of a write: at most 63 bits while the sequence stays below 2**43 (milliseconds: the year 2248)."""
    if not 0 <= token < 1 << _TOKEN_BITS or not 0 <= sequence < 1 << (63 - _TOKEN_BITS):
        raise ValueError(f"no version is made of sequence {sequence} and token {token}")
    return sequence << _TOKEN_BITS | token


MAX_EXAMPLES = 3
MAX_KINDS = 20
OTHER_KINDS = "others"


@dataclass(frozen=True, slots=True)
class Noted:
    """How often a source came upon something for one reason. Of bounded size, however often that was.

    Attributes:
        kinds: the count, by what it was (suffixes of names, fields of metadata); beyond MAX_KINDS they are "others".
        examples: the first few, each a file: URI (or another place), with what is wrong there.
    """

    count: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()

    def plus(self, later: Noted) -> Noted:
        kinds = dict(self.kinds)
        for kind, number in later.kinds.items():
            name = kind if kind in kinds or len(kinds) < MAX_KINDS else OTHER_KINDS
            kinds[name] = kinds.get(name, 0) + number
        examples = (*self.examples, *later.examples)[:MAX_EXAMPLES]
        return Noted(self.count + later.count, kinds, examples)


@dataclass(frozen=True, slots=True)
class Remarked:
    """What a source came upon besides its items, by reason (see `ingestion.jobs.remarks`).

    Attributes:
        skipped: what was there and was not taken for an item, such as a file of another kind.
        warnings: captions and metadata, or parts of them, that were left out of an item that is taken.
    """

    skipped: Mapping[str, Noted] = field(default_factory=dict)
    warnings: Mapping[str, Noted] = field(default_factory=dict)

    def plus(self, later: Remarked) -> Remarked:
        return Remarked(_added(self.skipped, later.skipped), _added(self.warnings, later.warnings))


def _added(earlier: Mapping[str, Noted], later: Mapping[str, Noted]) -> dict[str, Noted]:
    return {**earlier, **{code: earlier.get(code, Noted()).plus(noted) for code, noted in later.items()}}


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What was asked for.

    Attributes:
        index: the index's name; store: its store's address, without passwords.
        source: what `ingestion.sources.opening.open_source` takes, with `options` as its keywords.
        prune: at the end, remove the records of the source's origin that it did not list.
        moved_from: where the source was before, as somebody said: see `ingestion.pipeline.moving`.
        local: drained by the process that made it (`dar ingest`); services leave it alone.
        maker: who made it, such as "host/1234/1700000000": of a local job, the process that drains it.
    """

    index: str
    source: str
    store: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    prune: bool = False
    moved_from: tuple[str, ...] = ()
    local: bool = False
    maker: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is now.

    Attributes:
        id: text; later jobs of a ledger have greater ones.
        reason: why it is paused or cancelled; automatic: paused by trouble, and resumed by itself.
        sequence: its number in the ledger's sequence.
        listed: whether its source has been listed to the end; cursor: how far.
        shards, items: how many have been listed so far; expected: how many items there will be, where counted.
        indexed, unchanged, failed: items by result; codes: the failures by code.
        remarked: what the listing came upon so far besides its items.
        moved: records whose picture was found at a new place, and whose file was gone.
        removed, notes: of the job's end, as in `ingestion.jobs.report.IngestReport`.
        created, ended: seconds since 1970 by the clock of whoever wrote it: for people, nothing is decided by it.
    """

    id: str
    spec: JobSpec
    state: JobState
    sequence: int
    reason: str = ""
    automatic: bool = False
    listed: bool = False
    cursor: str | None = None
    shards: int = 0
    items: int = 0
    expected: int | None = None
    indexed: int = 0
    unchanged: int = 0
    failed: int = 0
    codes: Mapping[str, int] = field(default_factory=dict)
    remarked: Remarked = Remarked()
    removed: int = 0
    moved: int = 0
    notes: tuple[str, ...] = ()
    created: float = 0.0
    ended: float | None = None

    @property
    def settled(self) -> int:
        """Items with a result."""
        return self.indexed + self.unchanged + self.failed

    @property
    def total(self) -> int | None:
        """Items that there are, where that is known."""
        return self.items if self.listed else self.expected


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a shard, until somebody else has it.

    Attributes:
        token: fencing: each lease of a shard has a greater one than those before it.
        version: for all writes made under it.
        losses: how many earlier leases of the shard ended by their holder's death.
    """

    job: str
    shard: int
    token: int
    version: int
    holder: str
    losses: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """A lease as anyone sees it. `beat` rises while the holder lives."""

    job: str
    shard: int
    token: int
    beat: int
    holder: str


@dataclass(frozen=True, slots=True)
class Pending:
    """An item of a shard without a result. item: as JSON (see `pipeline.listed`); attempts: that ended in a death."""

    position: int
    item: Mapping[str, Any]
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Listed:
    """An item on its way into the ledger. failure: why it cannot be ingested: then that is its result."""

    id: str | None
    item: Mapping[str, Any]
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """An item's result. failure: where it failed."""

    position: int
    result: Result
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class JobFailure:
    """A failure of a job. place: where the listing of failures goes on after it; replayable: whether retry takes it."""

    failure: Failure
    place: str
    replayable: bool = True
