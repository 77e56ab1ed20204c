"""A CSV file (or one with tabs or semicolons between its values): a line names the columns, then a picture a row.

    path,caption,city,year
    cats/1.jpg,"a cat, asleep",Paris,2001

What a row may have, `rows` says; an empty value is none. A column of metadata whose values are all plain numbers holds
numbers, one of true and false holds those, and any other holds text: "007" and a column that has it stay as they are.
To know that, the file is read once before its first row is listed. Quoting is RFC 4180's. A line that cannot be read,
or has not as many values as there are columns, is a failure "bad_line", and the next line goes on.
"""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from dar_search.data import MetadataValue
from dar_search.errors import PictureError, SourceError
from dar_search.filters import MAX_INTEGER, MIN_INTEGER
from dar_search.ingestion.jobs.remarks import Remarks
from dar_search.ingestion.sources.lists.list_file import MAX_LINE_BYTES, ListFile, byte_position, read_line
from dar_search.ingestion.sources.lists.rows import Columns, Rows, check_columns
from dar_search.ingestion.sources.selection import Selection
from dar_search.ingestion.sources.source import BadItem, SourceItem, counted

_HINT = "The first line names the columns, such as path,caption; a row has a value for each."
_DELIMITERS = ",;\t"
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,18})\.[0-9]{1,18}")
_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
Read = Callable[[str], MetadataValue | None]


@dataclass(frozen=True, slots=True)
class _Record:
    """What lies between two places of the file. values: or what is wrong with the line; none for a blank line."""

    number: int
    values: list[str] | PictureError
    end: int
    lines: int


@dataclass(slots=True)
class _Lines:
    """The file's lines as text, counted."""

    file: BinaryIO
    number: int = 0
    read: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = read_line(self.file)
        if not line:
            raise StopIteration
        self.number += 1
        self.read += len(line)
        if self.read > MAX_LINE_BYTES:
            raise PictureError("bad_line", f"The row has more than {MAX_LINE_BYTES:,} bytes.", _HINT)
        try:
            return line.decode()
        except UnicodeDecodeError:
            raise PictureError("bad_line", "It is not UTF-8 text.", "Save the file as UTF-8.") from None


class DelimitedSource:
    """The rows of a CSV file. See the module's docstring. Raises SourceError if it is no such file."""

    def __init__(self, file: ListFile, selection: Selection | None = None, columns: Columns | None = None) -> None:
        self._file = file
        self._selection = selection or Selection()
        self._columns = columns or Columns()
        self._rows = Rows(file, self._selection, self._columns, "Line", _HINT)
        self._delimiter = self._most_used()
        self._names, self._start = self._header()
        self._readers: list[Read] | None = None

    @property
    def origin(self) -> str:
        return self._file.origin

    def items(self, after: str | None = None, remarks: Remarks | None = None) -> Iterator[SourceItem | BadItem]:
        """A cursor is "BYTES:LINES": how much of the file lies before the next row."""
        remarks = remarks or Remarks()
        start = byte_position(after, "a CSV file")
        if not any(start):
            start = self._start
            self._tell_nameless(remarks)
        for record in self._records(*start):
            place = f"{self.origin}#L{record.number}"
            if record.values == []:
                remarks.skip("blank_line", place)
            elif (item := self._item(record, place, remarks)) is None:
                remarks.skip("excluded", place)
            else:
                yield dataclasses.replace(item, cursor=f"{record.end}:{record.lines}")

    def count(self) -> Iterator[int]:
        if self._selection.excludes_anything:
            return counted(self.items())
        return counted(record for record in self._records(*self._start) if record.values != [])

    def _item(self, record: _Record, place: str, remarks: Remarks) -> SourceItem | BadItem | None:
        try:
            values = self._checked(record)
        except PictureError as error:
            return self._rows.bad(record.number, place, error)
        if self._readers is None:
            self._readers = self._column_readers()
        row = {
            name: read(value)
            for name, read, value in zip(self._names, self._readers, values, strict=True)
            if name and value != ""
        }
        if not self._columns.address_of(row):
            missing = PictureError("bad_line", f"The row has no {self._columns.addresses}.", _HINT)
            return self._rows.bad(record.number, place, missing)
        return self._rows.item(row, record.number, place, remarks)

    def _checked(self, record: _Record) -> list[str]:
        if isinstance(record.values, PictureError):
            raise record.values
        if len(record.values) != len(self._names):
            message = f"The row has {len(record.values)} values, and the table {len(self._names)} columns."
            raise PictureError("bad_line", message, _HINT)
        return record.values

    def _records(self, start: int, before: int) -> Iterator[_Record]:
        with self._file.opened() as file:
            try:
                file.seek(start)
                while (record := self._next(file, start, before)) is not None:
                    yield record
                    start, before = record.end, record.lines
            except OSError as error:
                raise self._file.unreadable(error) from error

    def _next(self, file: BinaryIO, start: int, before: int) -> _Record | None:
        """The record at a place of the file. After a line that cannot be read, the next line begins one."""
        lines = _Lines(file, before)
        values: list[str] | PictureError
        try:
            values = next(csv.reader(lines, delimiter=self._delimiter, strict=True))
        except StopIteration:
            return None
        except (csv.Error, PictureError) as error:
            wrong = isinstance(error, PictureError)
            values = error if wrong else PictureError("bad_line", f"It is not CSV ({error}).", _HINT)  # type: ignore[assignment]
            file.seek(start)
            read_line(file)
            lines.number = before + 1
        if isinstance(values, list) and not "".join(values).strip() and len(values) < 2:
            values = []
        return _Record(before + 1, values, file.tell(), lines.number)

    def _most_used(self) -> str:
        """What stands between the values of the first line."""
        with self._file.opened() as file:
            line = re.sub(r'"[^"]*"', "", read_line(file).decode("utf-8", "replace"))
        return max(_DELIMITERS, key=line.count)

    def _header(self) -> tuple[list[str], tuple[int, int]]:
        """The columns' names, and where the rows begin. A column without a name has an empty one."""
        first = next((record for record in self._records(0, 0) if record.values != []), None)
        if first is None:
            return [], (0, 0)
        if isinstance(first.values, PictureError):
            raise SourceError(f'"{self._file.shown}" is not a CSV file. {first.values.message}', _HINT)
        names = [name.strip() for name in first.values]
        check_columns(self._file.shown, [name for name in names if name], self._columns, _HINT)
        return names, (first.end, first.lines)

    def _column_readers(self) -> list[Read]:
        """How each column's values are read: by all the values that it has."""
        seen: list[set[Read]] = [set() for _ in self._names]
        for record in self._records(*self._start):
            if isinstance(record.values, list) and len(record.values) == len(self._names):
                for kinds, value in zip(seen, record.values, strict=True):
                    if value != "" and _text not in kinds:
                        kinds.add(_reader(value))
        is_text = self._columns.as_text
        readers = [kinds.pop() if len(kinds) == 1 else _text for kinds in seen]
        return [_text if name in is_text else read for name, read in zip(self._names, readers, strict=True)]

    def _tell_nameless(self, remarks: Remarks) -> None:
        for number, name in enumerate(self._names, start=1):
            if not name:
                error = PictureError("bad_metadata", f"Column {number} has no name, and is left out.", _HINT)
                remarks.warn(error, f"{self.origin}#L1")


def _text(value: str) -> str:
    return value


def _truth(value: str) -> bool:
    return _TRUTH[value]


def _number(value: str) -> int | float:
    return float(value) if "." in value else int(value)


def _reader(value: str) -> Read:
    if value in _TRUTH:
        return _truth
    if _DECIMAL.fullmatch(value) or (_WHOLE.fullmatch(value) and MIN_INTEGER <= int(value) <= MAX_INTEGER):
        return _number
    return _text
