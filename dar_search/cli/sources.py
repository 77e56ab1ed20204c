"""Where a picture is, as a person reads it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit


def local_path(source: str) -> Path | None:
    """The file of a file: URI; None for anything else."""
    parts = urlsplit(source)
    return Path(unquote(parts.path)) if parts.scheme == "file" and parts.path else None


def shown_source(source: str) -> str:
    """A file: URI as a path, relative to where we are if that is shorter; anything else as it is."""
    path = local_path(source)
    if path is None:
        return source
    fragment = urlsplit(source).fragment
    here = Path.cwd()
    shown = str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
    return f"{shown}#{fragment}" if fragment else shown
