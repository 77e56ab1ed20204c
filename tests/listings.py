"""What sources list, as their tests look at it."""

import os
from pathlib import Path
from typing import Any

from dar_search.ingestion.failures import FAILURE_CODES
from dar_search.ingestion.jobs.data import Remarked
from dar_search.ingestion.jobs.remarks import SKIP_CODES, Remarks
from dar_search.ingestion.sources.opening import open_source
from dar_search.ingestion.sources.source import BadItem, SourceItem


def items(target: str | Path, **options: Any) -> list[SourceItem]:
    listed = list(open_source(target, **options).items())
    assert all(isinstance(item, SourceItem) for item in listed), listed
    return [item for item in listed if isinstance(item, SourceItem)]


def names(target: Path, **options: Any) -> list[str]:
    return [os.fsdecode(os.path.relpath(item.path, os.fsencode(target))) for item in items(target, **options)]


def remarked(target: str | Path, **options: Any) -> Remarked:
    """What a listing comes upon besides its items."""
    remarks = Remarks()
    for _ in open_source(target, **options).items(None, remarks):
        pass
    found = remarks.take()
    assert SKIP_CODES.keys() >= found.skipped.keys()
    assert FAILURE_CODES.keys() >= found.warnings.keys()
    return found


def skipped(target: str | Path, **options: Any) -> dict[str, int]:
    return {code: noted.count for code, noted in remarked(target, **options).skipped.items()}


def warnings(target: str | Path, **options: Any) -> list[tuple[str, str]]:
    """(code, field) of each, of at most 20 fields."""
    found = remarked(target, **options).warnings
    return sorted((code, kind) for code, noted in found.items() for kind in noted.kinds or [""])


def failures(target: str | Path) -> list[tuple[str, str]]:
    bad = [item for item in open_source(target).items() if isinstance(item, BadItem)]
    assert all(item.failure.code in FAILURE_CODES for item in bad)
    return [(item.failure.source, item.failure.code) for item in bad]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def jsonl(folder: Path, *lines: str | bytes) -> Path:
    path = folder / "list.jsonl"
    path.write_bytes(b"\n".join(line.encode() if isinstance(line, str) else line for line in lines))
    return path
