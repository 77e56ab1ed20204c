"""A folder that img2dataset wrote, as it is: tar shards, files in folders, or Parquet files with the pictures in them.

    00000.tar  00000.parquet  00000_stats.json        output_format webdataset
    00000/000000012.jpg  .txt  .json                  output_format files
    00000.parquet with a column of pictures           output_format parquet

What could not be downloaded is skipped, and counted by the reason that is in the shard's _stats.json. A tar or Parquet
file without statistics is one that img2dataset has not finished: it is left out with a warning. The picture's URL and
the columns that were carried along are its metadata; what img2dataset notes about its own work is not.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from typing import Any

from dar_search.errors import PictureError
from dar_search.ingestion.jobs.remarks import Remarks
from dar_search.ingestion.sources.allowance import EVERYTHING, Allowance
from dar_search.ingestion.sources.annotating import MAX_SIDECAR_BYTES, parsed_json
from dar_search.ingestion.sources.files import names_in, read_file
from dar_search.ingestion.sources.folder import FolderSource
from dar_search.ingestion.sources.lists.list_file import ListFile
from dar_search.ingestion.sources.lists.parquet import BOOKKEEPING, ParquetSource
from dar_search.ingestion.sources.lists.rows import Columns
from dar_search.ingestion.sources.locations import file_uri
from dar_search.ingestion.sources.selection import Selection
from dar_search.ingestion.sources.source import BadItem, Source, SourceItem
from dar_search.ingestion.sources.tar.shards import TarSource

_STATS = re.compile(rb"(\d+)_stats\.json")
_TAR, _FOLDER, _PARQUET = b".tar", b" ", b".parquet"
_MAX_REASONS = 1_000_000


def is_img2dataset(folder: bytes, allowance: Allowance = EVERYTHING) -> bool:
    """Whether there is a shard with its statistics."""
    return bool(_form(folder, _shards(folder, allowance)))


class Img2datasetSource:
    """See the module's docstring. Raises SourceError where the first shard cannot be read."""

    def __init__(
        self,
        folder: bytes,
        selection: Selection | None = None,
        columns: Columns | None = None,
        allowance: Allowance = EVERYTHING,
    ) -> None:
        self._folder = os.path.realpath(folder)
        self._allowance = allowance
        self._shards = _shards(self._folder, allowance)
        self._form = _form(self._folder, self._shards)
        self._chosen = columns.metadata if columns is not None else None
        self._pictures = self._opened(selection, columns)

    @property
    def origin(self) -> str:
        return file_uri(self._folder)

    def items(self, after: str | None = None, remarks: Remarks | None = None) -> Iterator[SourceItem | BadItem]:
        """A cursor is that of the shards."""
        remarks = remarks or Remarks()
        if after is None:
            self._tell_unfinished(remarks)
        if not isinstance(self._pictures, ParquetSource):
            if after is None:
                self._tell_not_downloaded(remarks)
            remarks = _Quiet(remarks)
        for item in self._pictures.items(after, remarks):
            yield item if isinstance(item, BadItem) else dataclasses.replace(item, metadata=self._own(item.metadata))

    def count(self) -> Iterator[int]:
        return self._pictures.count()

    def _opened(self, selection: Selection | None, columns: Columns | None) -> Source:
        """The source of what the shards are."""
        if self._form == _TAR:
            names = b",".join(self._shards)
            return TarSource(self._path(b"{" + names + b"}.tar"), selection, self._allowance)
        if self._form == _PARQUET:
            files = [ListFile(self._path(shard + _PARQUET), self._allowance) for shard in self._shards]
            return ParquetSource(files, selection, columns, origin=self.origin)
        return FolderSource(self._folder, selection=selection, allowance=self._allowance)

    def _own(self, metadata: Any) -> dict[str, Any]:
        if self._chosen is None:
            return {name: value for name, value in metadata.items() if name not in BOOKKEEPING}
        if isinstance(self._pictures, ParquetSource):
            return dict(metadata)
        return {name: metadata[field] for name, field in self._chosen.items() if field in metadata}

    def _tell_not_downloaded(self, remarks: Remarks) -> None:
        for shard in self._shards:
            path = self._path(shard + b"_stats.json")
            try:
                counts = parsed_json(read_file(path, MAX_SIDECAR_BYTES, allowance=self._allowance))["status_dict"]
                for reason, count in counts.items():
                    for _ in range(min(int(count), _MAX_REASONS) if reason != "success" else 0):
                        remarks.skip("not_downloaded", file_uri(path), str(reason))
            except PictureError as error:
                remarks.warn(error, file_uri(path))
            except (ValueError, TypeError, KeyError, AttributeError):
                remarks.warn(PictureError("bad_metadata", "It is not what img2dataset writes."), file_uri(path))

    def _tell_unfinished(self, remarks: Remarks) -> None:
        done = {shard + self._form for shard in self._shards}
        for name in sorted(names_in(self._folder, self._allowance)):
            if self._form != _FOLDER and re.fullmatch(rb"\d+" + re.escape(self._form), name) and name not in done:
                error = PictureError("broken_shard", "It has no _stats.json: img2dataset has not finished it.")
                remarks.warn(error, file_uri(self._path(name)))

    def _path(self, name: bytes) -> bytes:
        return os.path.join(self._folder, name)  # noqa: PTH118  # bytes


class _Quiet(Remarks):
    """Passes remarks on, but for what img2dataset's own files beside the pictures would give."""

    def __init__(self, remarks: Remarks) -> None:
        super().__init__()
        self._remarks = remarks

    def skip(self, code: str, place: str, kind: str = "") -> None:
        if not re.search(r"/\d+(_stats\.json|\.parquet)$", place):
            self._remarks.skip(code, place, kind)

    def warn(self, error: PictureError, place: str, kind: str = "") -> None:
        self._remarks.warn(error, place, kind)


def _form(folder: bytes, shards: list[bytes]) -> bytes:
    """What a shard's name ends with; a space for folders, and empty where there is none of any kind."""
    for form in (_TAR, _FOLDER, _PARQUET):
        if any(os.path.exists(os.path.join(folder, shard + form.strip())) for shard in shards):  # noqa: PTH110, PTH118
            return form
    return b""


def _shards(folder: bytes, allowance: Allowance) -> list[bytes]:
    return sorted(match[1] for name in names_in(folder, allowance) if (match := _STATS.fullmatch(name)))
