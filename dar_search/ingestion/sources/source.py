"""Where pictures come from. A source lists items; it never reads a picture.

A new kind of source (an object store) is a class with `origin`, `items` and `count`, and an entry in
`kinds.KINDS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from dar_search.data import Failure, Metadata
from dar_search.ingestion.jobs.remarks import Remarks


@dataclass(frozen=True, slots=True)
class SourceItem:
    """A picture that a source lists.

    Attributes:
        id: the record's id.
        key: the picture's URI; `ImageRecord.source`.
        path: the absolute path, as bytes, of the file that is the picture or has it in it; empty where `at` says it.
        start, length: the bytes of the file that are the picture; a length of 0 is the whole file.
        at: where a picture is that is in no file of its own: an http(s) URL, or another address of `outside.READERS`.
        vector: where its embedding is, if that exists already (see `vectors.reading`): the picture is not decoded.
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
    vector: str = ""


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

    def items(self, after: str | None = None, remarks: Remarks | None = None) -> Iterator[SourceItem | BadItem]:
        """Everything in it, lazily; or what comes after the item with the cursor `after`, also if that is gone now.

        What is not taken is told to `remarks` before the next item is given, so that what stands between the cursors
        of two listings is told once.

        So a listing that was interrupted goes on, in another process too. Raises SourceError where the whole cannot
        be read (any more), and for a cursor that is none of its own.
        """
        ...

    def count(self) -> Iterator[int]:
        """How many `items` will yield, counted anew: rising numbers, of which the last is the answer.

        Cheap against decoding. An iterator, so that a caller who loses interest can stop it.
        """
        ...


@runtime_checkable
class VectorSource(Source, Protocol):
    """A source whose items may bring their embeddings."""

    @property
    def brings_vectors(self) -> bool: ...

    def spread(self, count: int) -> Iterator[SourceItem]:
        """About `count` items from all over the source, cheaply."""
        ...


class SearchCluster(Protocol):
    """A cluster's client: one request, its answer's JSON. Raises StoreError."""

    def read(self, method: str, path: str, body: bytes | None = None, **params: Any) -> Any: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What else says how a source is read. Each kind looks at its own. JSON values alone: a ledger keeps them.

    Attributes:
        follow_links: whether symbolic links may lead out of a folder.
        exclude: patterns of names to leave out, as in a .gitignore file; of a list, the rows whose address fits.
        include_hidden: of a folder or tar: take hidden names and the folders of `selection.SYSTEM_FOLDERS` too.
        field: of an index: the field with the picture's URL or base64; of a list: with its path, URL or bytes.
        caption_field: of an index or a list: the field with the caption.
        metadata_fields: of an index or a list: fields that become metadata, each "FIELD" or "NAME=FIELD".
        vectors: of a Parquet list: the column with embeddings that the encoder has made already.
        source_store: of an index: the address of its store, where it is not the settings' own; no password in it.
    """

    follow_links: bool = False
    field: str = ""
    caption_field: str = ""
    metadata_fields: tuple[str, ...] = ()
    source_store: str = ""
    exclude: tuple[str, ...] = ()
    include_hidden: bool = False
    vectors: str = ""


def counted(listed: Iterator[object], step: int = 1_000) -> Iterator[int]:
    """Counts what an iterator yields, as `Source.count` reports it."""
    number = 0
    for number, _ in enumerate(listed, start=1):
        if number % step == 0:
            yield number
    yield number
