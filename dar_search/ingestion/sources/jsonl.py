"""A JSONL file: one picture a line.

    {"path": "cats/1.jpg", "caption": "a cat", "id": "c1", "metadata": {"city": "Paris"}, "year": 2001}

- "path" (or "image", or "file_name", or where there is none of them "url"): required; relative to the JSONL file's
  folder, absolute, a file: URI, or an http(s) URL. In a list from the web: a URL, relative to the list's or whole.
- "caption" (or "text"), "id" (text or a whole number): optional. Without an id it is made of the picture's URI.
- "metadata": an object; every other key of the row is metadata too. Of a field given both ways the one in "metadata"
  counts.

Blank lines are skipped. A line that names no picture is a failure "bad_line", and the rest goes on; a caption or a
field that cannot be used is a warning, and its picture goes in. A file in whose first lines there is no JSON object at
all, or none that names a picture, is refused as a whole. `.jsonl` files may be of any size: they are read line by line.
"""

from __future__ import annotations

import dataclasses
import os
import re
import weakref
from collections.abc import Iterator, Sequence
from typing import IO, Any

from dar_search.data import Failure
from dar_search.errors import PictureError, SourceError, SourceNotAllowed
from dar_search.ingestion.fetching.web_addresses import joined, refuse_login
from dar_search.ingestion.jobs.remarks import Remarks, one_line
from dar_search.ingestion.sources.allowance import EVERYTHING, Allowance
from dar_search.ingestion.sources.annotating import Annotations, Trouble, annotated, merged, parsed_json
from dar_search.ingestion.sources.files import read_start
from dar_search.ingestion.sources.locations import file_uri, path_of, printable, record_id
from dar_search.ingestion.sources.pictures import is_taken
from dar_search.ingestion.sources.selection import Selection
from dar_search.ingestion.sources.source import BadItem, SourceItem, counted
from dar_search.settings.masking import shown

PATH_KEYS = ("path", "image", "file_name")
URL_KEY = "url"
CAPTION_KEYS = ("caption", "text")
MAX_LINE_BYTES = 1 << 20
MAX_ID_BYTES = 512
LINES_TO_JUDGE_BY = 20
_ADDRESSES = '"path", "image", "file_name" or "url"'
_ARRAY = re.compile(rb"\s*\[\s*(\{.*)?", re.DOTALL)
_OTHERS = {
    b"\x1f\x8b": "It is packed with gzip: unpack it first (tar shards are read packed, from files).",
    b"PK\x03\x04": "It is a zip: unpack it, and give the folder.",
    b"PAR1": "It is a Parquet table, not JSON.",
    b"\xff\xfe": "It is UTF-16 text: save it as UTF-8.",
}
_HINT = 'A row is one line such as {"path": "a.jpg", "caption": "a cat"}.'


class JsonlSource:
    """The rows of a JSONL file. See the module's docstring. Raises SourceError if it is no such file."""

    def __init__(
        self,
        path: bytes,
        *,
        url: str = "",
        copy: IO[bytes] | None = None,
        selection: Selection | None = None,
        allowance: Allowance = EVERYTHING,
    ) -> None:
        """path: the file; or empty, with the URL that the list was fetched from and the open copy of it."""
        self._selection = selection or Selection()
        self._allowance = allowance if copy is None else EVERYTHING
        self._url = url
        if copy is not None:
            weakref.finalize(self, copy.close)
        self._path = os.path.realpath(path) if copy is None else b"/dev/fd/%d" % copy.fileno()
        self._folder = os.path.dirname(self._path)  # noqa: PTH120  # bytes, which pathlib does not take
        self._shown = url[:200] or printable(self._path)
        self._check_is_jsonl()

    @property
    def origin(self) -> str:
        return self._url or file_uri(self._path)

    def items(self, after: str | None = None, remarks: Remarks | None = None) -> Iterator[SourceItem | BadItem]:
        """A cursor is "BYTES:LINES": how much of the file lies before the next line."""
        remarks = remarks or Remarks()
        for number, line, end in self._all_lines(*_position(after)):
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
        """(line number from 1, content, where it ends in the file) of each line.

        Of a line that is too long the content is its first MAX_LINE_BYTES + 1 bytes.
        """
        try:
            with os.fdopen(self._allowance.opened(self._path), "rb") as file:
                file.seek(start)
                for number, line in enumerate(iter(lambda: _read_line(file), b""), start=before + 1):
                    yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line, file.tell()
        except PictureError as error:
            raise SourceNotAllowed(error.message, error.hint) from error
        except OSError as error:
            raise SourceError(
                f'"{printable(self._path)}" cannot be read: {error.strerror}.', "Check the file and its permissions."
            ) from error

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
            if any(row.get(key) is not None for key in (*PATH_KEYS, URL_KEY)):
                return
            names = names or tuple(row)
        if names:
            has = f"its first rows have {_listed(names)}, and none of them {_ADDRESSES}"
            message = f'"{self._shown}" names no pictures: {has}.'
            raise SourceError(message, f"Rename the field with the pictures' addresses. {_HINT}")
        if first_error and is_taken(read_start(self._path, self._allowance)):
            hint = "Give the folder that it is in, or a list that names it."
            raise SourceError(f'"{self._shown}" is one picture, no list of pictures.', hint)
        if first_error:
            raise SourceError(f'"{self._shown}" is not a JSONL file. {first_error}', _HINT)

    def _item(self, number: int, line: bytes, remarks: Remarks) -> SourceItem | BadItem | None:
        """None: its address is excluded."""
        place = f"{self.origin}#L{number}"
        identity: str | None = None
        try:
            row = _row(line)
            names = tuple(row)
            keys = PATH_KEYS if any(row.get(key) is not None for key in PATH_KEYS) else (URL_KEY,)
            address = _one_of(row, keys)
            if address is None:
                raise PictureError("bad_line", f'The row has no "path", but {_listed(names)}.', _HINT)
            if self._selection.excludes(str(address)):
                return None
            url = self._picture_url(address)
            path = b"" if url else self._picture_path(address)
            key = url or file_uri(path)
            identity = _identity(row.pop("id", None)) or record_id(key)
            refuse_login(url)  # before it is in a record or a failure
            found = _annotations(row)
        except PictureError as error:
            return BadItem(Failure(place, error.code, f"Line {number}: {error}"), identity)
        found.tell(remarks, place)
        return SourceItem(identity, key, path, found.caption, found.metadata, place, at=url)

    def _picture_url(self, address: object) -> str:
        """The URL that a row names; empty where it names a file, which a list from the web may not."""
        if not isinstance(address, str) or not address.strip():
            return ""
        if any("\ud800" <= character <= "\udfff" for character in address):
            raise PictureError("bad_line", 'The "path" has half a character in it, which no name has.', _HINT)
        whole = joined(self._url, address.strip()) if self._url else address.strip()
        if whole[:8].lower().startswith(("http://", "https://")):
            return whole
        if self._url:
            message = f'"{shown(address)}" is not an address that a list from the web may name.'
            raise PictureError("unsupported_address", message, "Give an http(s) URL.")
        return ""

    def _picture_path(self, address: object) -> bytes:
        if not isinstance(address, str) or not address or "\0" in address:
            raise PictureError("bad_line", 'The row has no "path".', _HINT)
        if "://" in address or address[:5].lower() in ("file:", "data:") or address.startswith("opensearch:"):
            try:
                return os.path.normpath(path_of(address))
            except ValueError:
                message = f'"{shown(address)}" is not an address that pictures are read from.'
                raise PictureError("unsupported_address", message, "Give a path, or a file: URI.") from None
        return os.path.normpath(os.path.join(self._folder, os.fsencode(address)))  # noqa: PTH118  # bytes


def _position(after: str | None) -> tuple[int, int]:
    """A cursor -> (bytes, lines) before the next line."""
    try:
        place, lines = map(int, (after or "0:0").split(":"))
    except ValueError:
        raise SourceError(f'"{str(after)[:80]}" is no place in a JSONL file.', "List the source anew.") from None
    return place, lines


def _read_line(file: IO[bytes]) -> bytes:
    line = file.readline(MAX_LINE_BYTES + 1)
    rest = line
    while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
        rest = file.readline(MAX_LINE_BYTES + 1)
    return line


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
        return f"It is a table (CSV) with the columns {_listed(names)}, not JSON."
    return ""


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f'"{one_line(name[:40])}"' for name in names[:10]) + (", ..." if len(names) > 10 else "")
    return shown or "nothing"


def _annotations(row: dict[str, Any]) -> Annotations:
    """What a row without its address and id says about the picture."""
    troubles = []
    given = [key for key in CAPTION_KEYS if row.get(key) is not None]
    if len(given) > 1:
        message = f'The row has both "{given[0]}" and "{given[1]}": the first counts.'
        troubles.append(Trouble(PictureError("bad_caption", message, "Keep one of them."), given[1]))
    captions = [row.pop(key, None) for key in CAPTION_KEYS]
    fields, doubled = merged(row, row.pop("metadata", None))
    found = annotated(next((caption for caption in captions if caption is not None), None), fields)
    return dataclasses.replace(found, troubles=(*troubles, *doubled, *found.troubles))


def _one_of(row: dict[str, Any], keys: tuple[str, ...]) -> object:
    """Takes the value of the one key that the row has; None where it has none."""
    present = [key for key in keys if row.get(key) is not None]
    if len(present) > 1:
        raise PictureError("bad_line", f'The row has both "{present[0]}" and "{present[1]}".', "Keep one of them.")
    values = [row.pop(key, None) for key in keys]
    return next((value for value in values if value is not None), None)


def _identity(raw: object) -> str | None:
    if raw is None:
        return None
    identity = str(raw) if isinstance(raw, int) and not isinstance(raw, bool) else raw
    if not isinstance(identity, str) or not identity.isprintable() or not 0 < len(identity.encode()) <= MAX_ID_BYTES:
        raise PictureError(
            "bad_line", f'An "id" is text of 1 to {MAX_ID_BYTES} bytes.', "Leave it out to have one made."
        )
    return identity
