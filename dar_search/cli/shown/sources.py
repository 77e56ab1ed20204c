"""Where a picture is, and what was there besides pictures, as a person reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dar_search.ingestion.jobs.data import Noted, Remarked
from dar_search.ingestion.jobs.remarks import SKIP_CODES

_KINDS_SHOWN = 8


def local_path(source: str) -> Path | None:
    """The file of a file: URI; None for anything else."""
    if not source.startswith("file:"):
        return None
    parts = urlsplit(source)
    return Path(unquote(parts.path)) if parts.path else None


def shown_source(source: str) -> str:
    """A file: URI as a path, relative to where we are if that is shorter; anything else as it is."""
    path = local_path(source)
    if path is None:
        return source
    fragment = urlsplit(source).fragment
    here = Path.cwd()
    shown = str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
    return f"{shown}#{fragment}" if fragment else shown


def remark_lines(remarked: Remarked) -> Iterator[str]:
    """A line for each reason, the most frequent first: how often, of which kinds, and an example."""
    for code, noted in _by_count(remarked.skipped.items()):
        yield f"skipped: {SKIP_CODES.get(code, code)}: {_shown(noted)} ({code})"
    for code, noted in _by_count(remarked.warnings.items()):
        yield f"warning: captions or metadata left out, the pictures are in: {_shown(noted)} ({code})"


def _by_count(named: Iterable[tuple[str, Noted]]) -> list[tuple[str, Noted]]:
    return sorted(named, key=lambda one: -one[1].count)


def _shown(noted: Noted) -> str:
    kinds = sorted(noted.kinds.items(), key=lambda one: (-one[1], one[0]))
    shown = [kind if number == 1 else f"{kind} {number:,}" for kind, number in kinds[:_KINDS_SHOWN]]
    listed = ", ".join([*shown, "..."] if len(kinds) > _KINDS_SHOWN else shown)
    example = noted.examples[0] if noted.examples else ""
    place, what = example.partition(": ")[::2]
    where = f", such as {shown_source(place)}" if place else ""
    return f"{noted.count:,}{f' ({listed})' if listed else ''}{where}{f': {what}' if what else ''}"
