"""`python -m tests.ingest_child SOURCE STORE [BATCH]`: an ingest run in a process of its own, for tests that kill it.

Writes a line to standard output at every step of the work, and at the end the report as JSON.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dar_search.data import Failure, ImageRecord
from dar_search.errors import IndexNotFound
from dar_search.ingestion.ingest import IngestRequest, ingest
from dar_search.ingestion.jobs.remarks import Remarks
from dar_search.ingestion.sources.opening import open_source
from dar_search.ingestion.sources.source import BadItem, SourceItem
from dar_search.stores.sqlite.index import SQLiteIndex
from dar_search.stores.sqlite.store import SQLiteStore
from tests.grid_encoder import GridEncoder

INDEX = "photos"


def open_index(path: Path) -> SQLiteIndex:
    store = SQLiteStore(path)
    try:
        return store.open(INDEX, GridEncoder.provenance)
    except IndexNotFound:
        return store.create(INDEX, GridEncoder.provenance)


def say(step: str) -> None:
    """A line at once: what several threads print runs into each other."""
    os.write(sys.stdout.fileno(), f"{step}\n".encode())


class _ToldSource:
    def __init__(self, source: Any) -> None:
        self.origin = source.origin
        self.count = source.count
        self._source = source

    def items(self, after: str | None = None, remarks: Remarks | None = None) -> Iterator[SourceItem | BadItem]:
        for number, item in enumerate(self._source.items(after, remarks)):
            if number % 20 == 0:
                say("list")
            yield item


class _ToldIndex:
    def __init__(self, index: SQLiteIndex) -> None:
        self._index = index

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def write(self, records: Sequence[ImageRecord], **options: Any) -> list[tuple[str, Failure]]:
        say("write")
        refused = self._index.write(records, **options)
        say("written")
        return refused


def main() -> None:
    source, store, batch = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    encoder = GridEncoder(before_call=lambda call: say("encode"))
    index: Any = _ToldIndex(open_index(store))
    say("open")
    report = ingest(_ToldSource(open_source(source)), index, encoder, IngestRequest(prune=True, batch_size=batch))
    print(json.dumps(report.as_dict() | {"encoded": encoder.pictures}), flush=True)


if __name__ == "__main__":
    main()
