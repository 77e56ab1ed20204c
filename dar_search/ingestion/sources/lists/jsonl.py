"""A JSONL file: one picture a line.

    {"path": "cats/1.jpg", "caption": "a cat", "id": "c1", "metadata": {"city": "Paris"}, "year": 2001}

What a row may have, `rows` says. Blank lines are skipped. A line that names no picture is a failure "bad_line", and
the rest goes on; a caption or a field that cannot be used is a warning, and its picture goes in. A file in whose first
lines there is no JSON object at all, or none that names a picture, is refused as a whole. `.jsonl` files may be of any
size: they are read line by line.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from dar_search.errors import PictureError, SourceError
from dar_search.ingestion.jobs.remarks import Remarks
from dar_search.ingestion.sources.annotating import parsed_json
from dar_search.ingestion.sources.files import read_start
from dar_search.ingestion.sources.lists.list_file import MAX_LINE_BYTES, ListFile, byte_position, read_line
from dar_search.ingestion.sources.lists.rows import Columns, Rows, listed
from dar_search.ingestion.sources.pictures import is_taken
from dar_search.ingestion.sources.selection import Selection
from dar_search.ingestion.sources.source import BadItem, SourceItem, counted

LINES_TO_JUDGE_BY = 20
_ARRAY = re.compile(rb"\s*\[\s*(\{.*)?", re.DOTALL)
_OTHERS = {
    b"\x1f\x8b": "It is packed with gzip: unpack it first (tar shards are read packed, from files).",
    b"PK\x03\x04": "It is a zip: unpack it, and give the folder.",
    b"\xff\xfe": "It is UTF-16 text: save it as UTF-8.",
}
_HINT = 'A row is one line such as {"path": "a.jpg", "caption": "a cat"}.'


class JsonlSource:
    """The rows of a JSONL file. See the module's docstring. Raises SourceError if it is no such file."""

    def __init__(self, file: ListFile, selection: Selection | None = None, columns: Columns | None = None) -> None:
        self._file = file
        self._selection = selection or Selection()
        self._columns = columns or Columns()
        self._rows = Rows(file, self._selection, self._columns, "Line", _HINT)
        self._check_is_jsonl()

    @property
    def origin(self) -> str:
        return self._file.origin

    def items(self, after: str | None = None, remarks: Remarks | None = None) -> Iterator[SourceItem | BadItem]:
        """A cursor is "BYTES:LINES": how much of the file lies before the next line."""
        remarks = remarks or Remarks()
        for number, line, end in self._all_lines(*byte_position(after, "a JSONL file")):
            if not line.strip():
                remarks.skip("blank_line", f"{self.origin}#L{number}")
            elif (item := self._item(number, line, remarks)) is None:
                remarks.skip("excluded", f"{self.origin}#L{number}")
            else:
                yield dataclasses.replace(item, cursor=f"{end}:{number}")

    def count(self) -> Iterator[int]:
        if not self._selection.excludes_anything:
            return counted(self._lines())
        return counted(self.items())

    def _lines(self) -> Iterator[tuple[int, bytes, int]]:
        return (line for line in self._all_lines() if line[1].strip())

    def _all_lines(self, start: int = 0, before: int = 0) -> Iterator[tuple[int, bytes, int]]:
        """(line number from 1, content, where it ends in the file) of each line; see `read_line`."""
        with self._file.opened() as file:
            try:
                file.seek(start)
                for number, line in enumerate(iter(lambda: read_line(file), b""), start=before + 1):
                    yield number, line, file.tell()
            except OSError as error:
                raise self._file.unreadable(error) from error

    def _check_is_jsonl(self) -> None:
        first_error = None
        names: tuple[str, ...] = ()
        for (number, line, _), judged in zip(self._lines(), range(LINES_TO_JUDGE_BY), strict=False):
            if not judged and _ARRAY.fullmatch(line):  # of a pretty one, some line or other would be a row
                first_error = f"Line {number}: {_instead(line)}"
                break
            try:
                row = _row(line)
            except PictureError as error:
                first_error = first_error or f"Line {number}: {_instead(line) or error.message}"
                continue
            if self._columns.address_of(row):
                return
            names = names or tuple(row)
        if names:
            has = f"its first rows have {listed(names)}, and none of them {self._columns.addresses}"
            message = f'"{self._file.shown}" names no pictures: {has}.'
            raise SourceError(message, f"Name the field with the pictures' addresses: --field. {_HINT}")
        if first_error and is_taken(read_start(self._file.path, self._file.allowance)):
            hint = "Give the folder that it is in, or a list that names it."
            raise SourceError(f'"{self._file.shown}" is one picture, no list of pictures.', hint)
        if first_error:
            raise SourceError(f'"{self._file.shown}" is not a JSONL file. {first_error}', _HINT)

    def _item(self, number: int, line: bytes, remarks: Remarks) -> SourceItem | BadItem | None:
        """None: its address is excluded."""
        place = f"{self.origin}#L{number}"
        try:
            row = _row(line)
        except PictureError as error:
            return self._rows.bad(number, place, error)
        return self._rows.item(row, number, place, remarks)


def _row(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        raise PictureError("bad_line", f"The line has more than {MAX_LINE_BYTES:,} bytes.", _HINT)
    try:
        row = parsed_json(line)
    except ValueError as error:
        raise PictureError("bad_line", f"It is not JSON ({str(error)[:200]}).", _HINT) from None
    if not isinstance(row, dict):
        raise PictureError("bad_line", "It is not a JSON object.", _HINT)
    return row


def _instead(line: bytes) -> str:
    """What a list that is no JSONL seems to be; empty where that is not known."""
    if line[257:262] == b"ustar":
        return "It is a tar: shards are read from files; download it first."
    start = line.lstrip()
    for magic, what in _OTHERS.items():
        if line.startswith(magic):
            return what
    if _ARRAY.fullmatch(line):
        return "It begins a JSON array, as `jq -c '.[]' FILE` makes a JSONL file of."
    columns = start.decode("utf-8", "replace").rstrip("\r\n").split("\t" if b"\t" in start else ",")
    if len(columns) > 1 and all(re.fullmatch(r'[\w" .-]{1,64}', column) for column in columns):
        names = [column.strip(' "') for column in columns]
        return f"It is a table (CSV) with the columns {listed(names)}, not JSON: name it .csv."
    return ""
