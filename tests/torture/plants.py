"""Three faults to plant, each a mistake somebody could make: the tests that kill workers must find each of them."""

from __future__ import annotations

from collections.abc import Sequence

from dar_search.data import Failure
from dar_search.ingestion.jobs.data import Held, Lease
from dar_search.ingestion.jobs.ledger.rows import Row
from dar_search.ingestion.jobs.sweeping import Sweeper
from dar_search.ingestion.pipeline.writing import Entry, Writer
from dar_search.stores.sqlite.ledger import SQLiteLedger

EARLY, CARELESS, PATIENT = "completion before the write", "no lease check", "no expiry"
PLANTS = (EARLY, CARELESS, PATIENT)


class EarlyWriter(Writer):
    """Says that items are done, and then writes them."""

    def settle_all(self, entries: Sequence[Entry]) -> None:
        self.record(entries, {})
        self.write_all([entry for entry in entries if entry.record is not None])


class CarelessWriter(Writer):
    """Writes whatever it was once given, with no version."""

    def write(self, entries: Sequence[Entry]) -> dict[str, Failure]:
        records = [entry.record for entry in entries if entry.record is not None]
        return dict(self._index.write(records)) if records else {}


class CarelessLedger(SQLiteLedger):
    """Takes every lease for the one that holds."""

    def _is_held(self, row: Row, lease: Lease) -> bool:
        return True


class PatientSweeper(Sweeper):
    """Takes nobody for dead."""

    def expire(self, held: Held) -> bool:
        return False
