"""Parquet files: a picture a row, whatever else their columns hold.

What a row may have, `rows` says. A column of bytes named "image", "jpg" or the like (or a structure with "bytes", as
datasets have it) has the pictures themselves. Whole numbers stay exact, dates and times become ISO text, decimals
numbers, lists lists; a null is no value. Columns of vectors are no metadata, unless they are named.

Row groups are read one after the other, some rows at a time, so memory does not grow with the file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dar_search.data import Failure
from dar_search.errors import PictureError, SourceError
from dar_search.ingestion.jobs.remarks import Remarks
from dar_search.ingestion.sources.lists.arrow import cell_address, opened_parquet, parquet_errors, unreadable_parquet
from dar_search.ingestion.sources.lists.arrow_rows import has_gaps, holds_bytes, left_out, python_rows
from dar_search.ingestion.sources.lists.list_file import ListFile
from dar_search.ingestion.sources.lists.rows import Columns, Rows, check_columns, identity_of
from dar_search.ingestion.sources.locations import record_id
from dar_search.ingestion.sources.selection import Selection
from dar_search.ingestion.sources.source import BadItem, SourceItem, counted

if TYPE_CHECKING:
    import pyarrow as pa

PICTURE_COLUMNS = ("image", "picture", "jpg", "jpeg", "png", "webp", "img", "bytes")
_HINT = "A row has a column path, url or image; or name it: --field."
_ROWS_AT_ONCE = 512
_PICTURES_AT_ONCE = 16
# img2dataset's columns about its own work. A row that it has no picture for says why.
BOOKKEEPING = frozenset(
    (
        *("key", "status", "error_message", "width", "height", "original_width", "original_height"),
        *("exif", "sha256", "md5", "sha512"),
    )
)


@dataclass(frozen=True, slots=True)
class RowPlace:
    """A row: the number of its file, its row group and its number in that, and its number in the file (from 0)."""

    file: int
    group: int
    row: int
    number: int


VectorOf = Callable[[RowPlace], str]


class ParquetSource:
    """The rows of Parquet files, one file after the other.

    Args:
        files: at least one; of each the same columns are taken as of the first.
        origin: of them all; of one, its own.
        vectors: the column with the pictures' embeddings; empty: none.
        vector_of: a row -> the address of its embedding, where that is in no column.

    Raises SourceError where the first is no Parquet file, or names no pictures.
    """

    def __init__(
        self,
        files: Sequence[ListFile],
        selection: Selection | None = None,
        columns: Columns | None = None,
        *,
        origin: str = "",
        vectors: str = "",
        vector_of: VectorOf | None = None,
    ) -> None:
        self._files = files
        self._selection = selection or Selection()
        self._origin = origin or files[0].origin
        self._vectors = vectors
        self._vector_of = vector_of
        with parquet_errors(files[0]), opened_parquet(files[0].path, files[0].allowance) as table:
            self._layout(table.schema_arrow, columns or Columns())
        self._rows = [Rows(file, self._selection, self._columns, "Row", _HINT) for file in files]

    @property
    def origin(self) -> str:
        return self._origin

    @property
    def brings_vectors(self) -> bool:
        return bool(self._vectors or self._vector_of)

    def items(self, after: str | None = None, remarks: Remarks | None = None) -> Iterator[SourceItem | BadItem]:
        """A cursor is "FILE:GROUP:ROW": a row group of a file, and how many of its rows are done."""
        first, group, row = _position(after)
        remarks = remarks or Remarks()
        if after is None:
            self._tell_left(remarks)
        for number in range(first, len(self._files)):
            yield from self._file(number, group, row, remarks)
            group, row = 0, 0

    def spread(self, count: int) -> Iterator[SourceItem]:
        """Some items from all over: where each of `count` equal stretches begins."""
        sizes = []
        for file in self._files:
            with parquet_errors(file), opened_parquet(file.path, file.allowance) as table:
                sizes.append([table.metadata.row_group(one).num_rows for one in range(table.num_row_groups)])
        total = sum(map(sum, sizes))
        for wanted in sorted({one * total // count for one in range(count)} if total else ()):
            for number, groups in enumerate(sizes):
                for group, size in enumerate(groups):
                    if 0 <= wanted < size:
                        item = next(self.items(f"{number}:{group}:{wanted}"), None)
                        if isinstance(item, SourceItem):
                            yield item
                    wanted -= size

    def count(self) -> Iterator[int]:
        """Rows that have no picture, or are excluded, are not counted where that takes reading them."""
        if self._selection.excludes_anything or (self._held and self._is_img2dataset):
            yield from counted(self.items())
            return
        total = 0
        for file in self._files:
            try:
                with opened_parquet(file.path, file.allowance) as table:
                    total += table.metadata.num_rows
            except (PictureError, OSError, ValueError):
                total += 1
            yield total

    def _layout(self, schema: pa.Schema, columns: Columns) -> None:
        """What each column is for."""
        names = schema.names
        if self._vectors and self._vectors not in names:
            raise SourceError(f'"{self._files[0].shown}" has no column "{self._vectors[:80]}".', "Correct --vectors.")
        held = [name for name in PICTURE_COLUMNS if name in names and holds_bytes(schema.field(name).type)]
        if columns.picture in names and holds_bytes(schema.field(columns.picture).type):
            held = [columns.picture]
        elif columns.picture:
            held = []
        self._held = held[0] if held else ""
        if self._held and self._files[0].url:
            raise SourceError("A Parquet file with pictures in it is read from files.", "Download it first.")
        if not self._held and (not self.brings_vectors or columns.picture):
            check_columns(self._files[0].shown, names, columns, _HINT)
        self._columns = dataclasses.replace(columns, picture="") if self._held else columns
        chosen = set((columns.metadata or {}).values())
        used = {self._held, self._vectors}
        self._left = {
            name: why
            for name in names
            if name not in used and (why := left_out(schema.field(name), chosen=name in chosen))
        }
        self._read = [name for name in names if name not in {*used, *self._left}]
        self._is_img2dataset = {"key", "status", "error_message"} <= set(names)

    def _file(self, number: int, first: int, done: int, remarks: Remarks) -> Iterator[SourceItem | BadItem]:
        file = self._files[number]
        try:
            with opened_parquet(file.path, file.allowance) as table:
                before = sum(table.metadata.row_group(group).num_rows for group in range(first))
                for group in range(first, table.num_row_groups):
                    for row, values in self._group(table, group, done):
                        place = RowPlace(number, group, row, before + row)
                        listed = self._item(values, place, remarks)
                        if listed is not None:
                            yield dataclasses.replace(listed, cursor=f"{number}:{group}:{row + 1}")
                    before += table.metadata.row_group(group).num_rows
                    done = 0
        except (PictureError, OSError, ValueError) as error:
            problem = unreadable_parquet(error)
            yield BadItem(Failure(file.origin, problem.code, str(problem)), None, f"{number + 1}:0:0")

    def _group(self, table: Any, group: int, done: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """(number in the group, values) of its rows after those that are done."""
        present = set(table.schema_arrow.names)
        wanted = [name for name in self._read if name in present]
        look = bool(self._held) and not self._is_img2dataset and has_gaps(table, group, self._held)
        if look:
            wanted.append(self._held)
        row = 0
        for batch in table.iter_batches(
            _PICTURES_AT_ONCE if look else _ROWS_AT_ONCE, [group], wanted, use_threads=False
        ):
            if row + batch.num_rows > done:
                for values in python_rows(batch.slice(max(0, done - row)), self._held):
                    yield max(row, done), values
                    row = max(row, done) + 1
            else:
                row += batch.num_rows

    def _item(self, row: dict[str, Any], at: RowPlace, remarks: Remarks) -> SourceItem | BadItem | None:
        file, rows = self._files[at.file], self._rows[at.file]
        place = f"{file.origin}#R{at.number + 1}"
        vector = self._vector_of(at) if self._vector_of else ""
        if self._vectors:
            vector = cell_address(file.path, at.group, at.row, self._vectors)
        failed = self._is_img2dataset and row.get("status") != "success"
        why = str(row.get("error_message") or row.get("status") or "")
        if self._is_img2dataset and self._columns.metadata is None:
            row = {name: value for name, value in row.items() if name not in BOOKKEEPING}
        if not self._held and (not vector or self._names_picture(row)):
            item = rows.item(row, at.number + 1, place, remarks)
            if item is None:
                remarks.skip("excluded", place)
            return item if item is None or isinstance(item, BadItem) else dataclasses.replace(item, vector=vector)
        there = bool(row.pop(self._held, True))
        if self._held and failed:
            remarks.skip("not_downloaded", place, why)
            return None
        identity: str | None = None
        try:
            identity = identity_of(row.pop("id", None)) or record_id(place)
            if self._held and not there:
                raise PictureError("bad_line", f'The row has no "{self._held}".', _HINT)
        except PictureError as error:
            return rows.bad(at.number + 1, place, error, identity)
        found = rows.annotations(row)
        found.tell(remarks, place)
        held = cell_address(file.path, at.group, at.row, self._held) if self._held else ""
        return SourceItem(identity, place, b"", found.caption, found.metadata, place, at=held, vector=vector)

    def _names_picture(self, row: dict[str, Any]) -> bool:
        """Whether a row with a vector has an address, and not the bare key of a shard's sample."""
        key = row.get(self._columns.picture)
        is_key = isinstance(key, str) and not set(key) & set("/.")
        return self._columns.address_of(row) and not is_key

    def _tell_left(self, remarks: Remarks) -> None:
        for name, what in self._left.items():
            error = PictureError("bad_metadata", f"The column is left out: it holds {what}.")
            remarks.warn(error, self._origin, name)


def _position(after: str | None) -> tuple[int, int, int]:
    try:
        file, group, row = map(int, (after or "0:0:0").split(":"))
    except ValueError:
        raise SourceError(f'"{str(after)[:80]}" is no place in Parquet files.', "List the source anew.") from None
    return file, group, row
