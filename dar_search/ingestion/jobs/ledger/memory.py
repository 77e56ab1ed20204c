"""A ledger in this process, and gone with it: for a run whose only lasting result is the index."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from dar_search.ingestion.jobs.ledger.row_ledger import RowLedger
from dar_search.ingestion.jobs.ledger.rows import OF_A_JOB, Change, Key, Kind, Row, Wanted


class MemoryLedger(RowLedger):
    """See `jobs.ledger_port.Ledger`."""

    def __init__(self) -> None:
        super().__init__(MemoryRows())


class MemoryRows:
    """`rows.Rows` in a dictionary. All changes of a call are made, or none."""

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

    def find(self, wanted: Wanted) -> list[Row]:
        found = [row for row in self._of(wanted.kind, wanted.job) if row.key.number > wanted.after]
        if wanted.states is not None:
            found = [row for row in found if row.state in wanted.states]
        if wanted.failed:
            found = [row for row in found if row.failed]
        found.sort(key=lambda row: row.key.number)
        found.sort(key=lambda row: row.key.job, reverse=wanted.newest)  # stable: by number within a job
        return found[: wanted.limit]

    def sums(self, job: str) -> tuple[int, int, int]:
        rows = list(self._of("shard", job))
        return sum(r.indexed for r in rows), sum(r.unchanged for r in rows), sum(r.failed for r in rows)

    def remove(self, job: str) -> None:
        with self._lock:
            self._rows = {key: row for key, row in self._rows.items() if key.job != job or key.kind not in OF_A_JOB}

    def close(self) -> None:
        """Nothing to do."""

    def _of(self, kind: Kind, job: str | None) -> Iterator[Row]:
        with self._lock:
            rows = [row for row, _ in self._rows.values()]
        return (row for row in rows if row.key.kind == kind and job in (None, row.key.job))
