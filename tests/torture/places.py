"""Where an arena's pictures and jobs are kept: SQLite files in its folder, or indices of a cluster."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from dar_search.errors import IndexNotFound
from dar_search.ingestion.jobs.ledger_port import Ledger
from dar_search.ports import ImageIndex
from dar_search.settings import Settings, load_settings
from dar_search.stores.opensearch.cluster.connection import connect
from dar_search.stores.opensearch.ledger import OpenSearchLedger
from dar_search.stores.opensearch.store import OpenSearchStore
from dar_search.stores.sqlite.ledger import SQLiteLedger
from tests.grid_encoder import GridEncoder
from tests.ingest_child import open_index
from tests.torture.plants import CARELESS, CarelessLedger


@dataclass(frozen=True)
class Place:
    """
    Attributes:
        cluster: addresses, with commas; "" is SQLite.
        name: of the index, on a cluster; the ledger's begins with it.
        replicas: of each of two shards; 0 is one shard without.
    """

    folder: Path
    cluster: str = ""
    name: str = "photos"
    replicas: int = 0

    def index(self) -> ImageIndex:
        """Made where it is not there yet."""
        if not self.cluster:
            return open_index(self.folder / "store.db")
        store = OpenSearchStore(self.cluster, self._settings())
        try:
            return store.open(self.name, GridEncoder.provenance)
        except IndexNotFound:
            return store.create(self.name, GridEncoder.provenance)

    def ledger(self, plant: str | None = None) -> Ledger:
        if self.cluster:
            return OpenSearchLedger(self.cluster, self._settings(), f"{self.name}-ledger")
        return (CarelessLedger if plant == CARELESS else SQLiteLedger)(self.folder / "ledger.db")

    def wait_until_unlocked(self) -> None:
        """Until no thread of this process writes to the ledger: one that stops while it does keeps the lock."""
        if not self.cluster:
            with closing(sqlite3.connect(self.folder / "ledger.db", timeout=60, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")

    def remove(self) -> None:
        """What is on a cluster; a folder is the test's own to remove."""
        if self.cluster:
            client = connect(self.cluster, self._settings())
            client.indices.delete(index=f"{self.name}-*")
            client.close()

    def _settings(self) -> Settings:
        shape = {"shards": 2, "replicas": self.replicas} if self.replicas else {}
        return load_settings(opensearch={"index": shape, "retry_seconds": 240, "connect_timeout": 2, "timeout": 20})
