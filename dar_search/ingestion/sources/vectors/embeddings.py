"""A folder of embeddings as clip-retrieval writes it, and LAION published them.

    img_emb/img_emb_0.npy       metadata/metadata_0.parquet       (and text_emb, which is not read)

Row n of the one is what row n of the other is about. A picture is named by its "url", or by its "image_path" where that
is a path and no bare key; one that is named by neither is named by its row.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from dar_search.errors import PictureError, SourceError, SourceNotAllowed
from dar_search.ingestion.jobs.remarks import Remarks
from dar_search.ingestion.sources.allowance import EVERYTHING, Allowance
from dar_search.ingestion.sources.files import names_in, unreadable
from dar_search.ingestion.sources.lists.arrow import opened_parquet, parquet_errors
from dar_search.ingestion.sources.lists.list_file import ListFile
from dar_search.ingestion.sources.lists.parquet import ParquetSource, RowPlace
from dar_search.ingestion.sources.lists.rows import Columns
from dar_search.ingestion.sources.locations import file_uri, printable
from dar_search.ingestion.sources.selection import Selection
from dar_search.ingestion.sources.source import BadItem, SourceItem
from dar_search.ingestion.sources.vectors.reading import NumpyRows, row_address

ARRAYS, TABLES = b"img_emb", b"metadata"
_ARRAY = re.compile(rb"img_emb_(\d+)\.npy")
_TABLE = re.compile(rb"metadata_(\d+)\.parquet")


def is_embeddings(folder: bytes, allowance: Allowance = EVERYTHING) -> bool:
    return bool(_parts(os.path.join(folder, ARRAYS), _ARRAY, allowance))  # noqa: PTH118  # bytes


class EmbeddingsSource:
    """See the module's docstring. Raises SourceError where parts lack their other half."""

    brings_vectors = True

    def __init__(
        self,
        folder: bytes,
        selection: Selection | None = None,
        columns: Columns | None = None,
        allowance: Allowance = EVERYTHING,
    ) -> None:
        self._folder = os.path.realpath(folder)
        arrays = _parts(os.path.join(self._folder, ARRAYS), _ARRAY, allowance)  # noqa: PTH118
        tables = _parts(os.path.join(self._folder, TABLES), _TABLE, allowance)  # noqa: PTH118
        if arrays.keys() != tables.keys():
            alone = sorted(arrays.keys() ^ tables.keys())[:10]
            message = f'"{printable(self._folder)}" has not both halves of part {", ".join(map(str, alone))}.'
            raise SourceError(message, "Each img_emb/img_emb_N.npy needs its metadata/metadata_N.parquet.")
        self._arrays = [arrays[number] for number in sorted(arrays)]
        files = [ListFile(tables[number], allowance) for number in sorted(tables)]
        self._compare(files, allowance)
        self._rows = ParquetSource(
            files,
            selection,
            _addressed(files[0], columns or Columns()),
            origin=file_uri(self._folder),
            vector_of=self._vector_of,
        )

    @property
    def origin(self) -> str:
        return self._rows.origin

    def items(self, after: str | None = None, remarks: Remarks | None = None) -> Iterator[SourceItem | BadItem]:
        """A cursor is the tables'."""
        return self._rows.items(after, remarks)

    def spread(self, count: int) -> Iterator[SourceItem]:
        return self._rows.spread(count)

    def count(self) -> Iterator[int]:
        return self._rows.count()

    def _vector_of(self, place: RowPlace) -> str:
        return row_address(self._arrays[place.file], place.number)

    def _compare(self, files: list[ListFile], allowance: Allowance) -> None:
        """Raises SourceError where a table has not as many rows as its array: which vector is whose is not known."""
        for array, file in zip(self._arrays, files, strict=True):
            try:
                rows = NumpyRows(array, allowance)
            except OSError as error:
                raise SourceError(f'"{printable(array)}": {unreadable(error)}') from error
            except PictureError as error:
                kind = SourceNotAllowed if error.code == "not_allowed" else SourceError
                raise kind(f'"{printable(array)}": {error.message}', error.hint) from error
            rows.close()
            with parquet_errors(file), opened_parquet(file.path, allowance) as table:
                count = table.metadata.num_rows
            if rows.shape[0] != count:
                message = f'"{printable(array)}" has {rows.shape[0]:,} vectors, and its table {count:,} rows.'
                raise SourceError(message, "Which vector is whose cannot be known. Copy both again.")


def _parts(folder: bytes, name: re.Pattern[bytes], allowance: Allowance) -> dict[int, bytes]:
    """The files of a folder by their numbers."""
    found = {int(match[1]): one for one in names_in(folder, allowance) if (match := name.fullmatch(one))}
    return {number: os.path.join(folder, one) for number, one in found.items()}  # noqa: PTH118


def _addressed(file: ListFile, columns: Columns) -> Columns:
    """The columns, with the one that names the pictures."""
    if columns.picture:
        return columns
    with parquet_errors(file), opened_parquet(file.path, file.allowance) as table:
        names = set(table.schema_arrow.names)
    picture = next((name for name in ("url", "image_path") if name in names), "")
    return Columns(picture, columns.caption, columns.metadata)
