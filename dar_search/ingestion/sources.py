"""Where pictures come from. A source lists items; it never reads a picture.

A new kind of source (tar shards, Parquet, an existing index) is a class with `origin`, `items` and `count`, and one
line in `open_source`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from dar_search.data import Failure, Metadata
from dar_search.errors import SourceError
from dar_search.ingestion.locations import path_of, printable


@dataclass(frozen=True, slots=True)
class SourceItem:
    """A picture that a source lists.

    Attributes:
        id: the record's id.
        key: the picture's URI; `ImageRecord.source`.
        path: the absolute path, as bytes, of the file that is the picture or has it in it; empty where `at` says it.
        start, length: the bytes of the file that are the picture; a length of 0 is the whole file.
        at: where a picture is that is in no file of its own: an http(s) URL, or another address that a reader of
            `readers.PictureReader` knows.
        caption, metadata: already checked (see `annotations`).
        place: where the source lists it, such as a line of a file; empty where the key says it.
        cursor: where the listing goes on after it: what `Source.items` takes as `after`. Text that a ledger keeps.

    A ledger keeps listed items as JSON (see `listed.py`): a new field needs a default, and to be text, a number, bytes,
    true or false, or metadata.
    """

    id: str
    key: str
    path: bytes
    caption: str = ""
    metadata: Metadata = field(default_factory=dict)
    place: str = ""
    cursor: str = ""
    start: int = 0
    length: int = 0
    at: str = ""


@dataclass(frozen=True, slots=True)
class BadItem:
    """Something that a source lists and that cannot be ingested.

    Attributes:
        failure: what is wrong with it.
        id: the record's id, or None where that cannot be known: then nothing may be pruned in this run, because
            records that seem to be gone may be behind it.
        cursor: as `SourceItem.cursor`.
    """

    failure: Failure
    id: str | None
    cursor: str = ""


class Source(Protocol):
    """A collection of pictures. Listing it twice gives the same items in the same order, if nothing changed."""

    @property
    def origin(self) -> str:
        """The URI of the whole; `ImageRecord.origin`, by which `--prune` removes."""
        ...

    def items(self, after: str | None = None) -> Iterator[SourceItem | BadItem]:
        """Everything in it, lazily; or what comes after the item with the cursor `after`, also if that is gone now.

        So a listing that was interrupted goes on, in another process too. Raises SourceError where the whole cannot
        be read (any more), and for a cursor that is none of its own.
        """
        ...

    def count(self) -> Iterator[int]:
        """How many `items` will yield, counted anew: rising numbers, of which the last is the answer.

        Cheap against decoding. An iterator, so that a caller who loses interest can stop it.
        """
        ...


def open_source(target: str | os.PathLike[str] | bytes, *, follow_links: bool = False) -> Source:
    """A folder, a JSONL file, or a file: URI of one -> its source.

    Args:
        target: a path, or a file: URI.
        follow_links: whether symbolic links may lead out of a folder.

    Raises:
        SourceError: there is no such thing, it cannot be read, or it is of a kind that is not read.
    """
    # A source module needs SourceItem from here, so it is imported late.
    from dar_search.ingestion.folder import FolderSource
    from dar_search.ingestion.jsonl import JsonlSource

    path = _path(target)
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116  # bytes, which pathlib does not take
    except OSError as error:
        raise SourceError(
            f'"{printable(path)}" cannot be read: {error.strerror}.', "Give a folder of pictures, or a JSONL file."
        ) from error
    if stat.S_ISDIR(mode):
        return FolderSource(path, follow_links=follow_links)
    if stat.S_ISREG(mode):
        return JsonlSource(path)
    raise SourceError(f'"{printable(path)}" is neither a folder nor a file.', "Give a folder, or a JSONL file.")


def _path(target: str | os.PathLike[str] | bytes) -> bytes:
    if isinstance(target, str) and "://" in target:
        try:
            return path_of(target)
        except ValueError:
            raise SourceError(
                f'"{target[:200]}" is not an address that pictures are read from.',
                "Give a folder, a JSONL file, or a file: URI of one.",
            ) from None
    path = os.fsencode(target)
    if not path or b"\0" in path:
        raise SourceError("The source has no name.", "Give a folder of pictures, or a JSONL file.")
    return os.fsencode(Path(os.fsdecode(path)).expanduser())


def counted(listed: Iterator[object], step: int = 1_000) -> Iterator[int]:
    """Counts what an iterator yields, as `Source.count` reports it."""
    number = 0
    for number, _ in enumerate(listed, start=1):
        if number % step == 0:
            yield number
    yield number
