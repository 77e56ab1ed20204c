"""A ledger in this process."""

from __future__ import annotations

from dar_search.ingestion.ledger import RowLedger
from dar_search.ingestion.ledger_rows import MemoryRows


class MemoryLedger(RowLedger):
    """`ports.Ledger` for a run whose only lasting result is the index. Gone with the process."""

    def __init__(self) -> None:
        super().__init__(MemoryRows())
