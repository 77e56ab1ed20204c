"""Ingest runs over small folders, as their tests do them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dar_search.data import ImageRecord
from dar_search.ingestion.decoding.decoders import Decoders
from dar_search.ingestion.ingest import IngestRequest, ingest
from dar_search.ingestion.jobs.report import IngestReport
from dar_search.ingestion.sources.locations import record_id
from dar_search.ingestion.sources.opening import open_source
from dar_search.stores.sqlite.index import SQLiteIndex
from tests.grid_encoder import GridEncoder
from tests.pictures import COLOURS, jpeg, scene


def picture(number: int, orientation: int = 1) -> bytes:
    """Pictures that differ."""
    colours = tuple((r, g, (b + 37 * number) % 256) for r, g, b in COLOURS)
    return jpeg(scene(colours, 96, 64), orientation)  # type: ignore[arg-type]


def fill(folder: Path, count: int) -> None:
    for number in range(count):
        (folder / f"{number:03}.jpg").write_bytes(picture(number))


def identity(path: Path) -> str:
    return record_id(path.resolve().as_uri())


def stored(index: SQLiteIndex) -> dict[str, ImageRecord]:
    return index.get(list(index.ids()))


def counts(report: IngestReport) -> tuple[int, int, int, int]:
    return report.indexed, report.unchanged, report.failed, report.removed


def run(source: Path, index: Any, encoder: GridEncoder | None = None, **options: Any) -> IngestReport:
    encoder = encoder or GridEncoder()
    decoders = Decoders(encoder.preparation, processes=1)  # enough here: a process takes a third of a second to start
    asked = {field.name for field in dataclasses.fields(IngestRequest)} & options.keys()
    request = IngestRequest(**{name: options.pop(name) for name in asked})
    return ingest(open_source(source), index, encoder, request, decoders=decoders, **options)


class Wrapped:
    """An index of which one method is another."""

    def __init__(self, index: SQLiteIndex, **methods: Callable[..., Any]) -> None:
        self._index = index
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._index, name)
