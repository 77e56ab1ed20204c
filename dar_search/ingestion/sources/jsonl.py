"""A JSONL file: one picture a line.

    {"path": "cats/1.jpg", "caption": "a cat", "id": "c1", "metadata": {"city": "Paris"}, "year": 2001}

- "path" (or "image", or "file_name", or where there is none of them "url"): required; relative to the JSONL file's
  folder, absolute, a file: URI, or an http(s) URL. In a list from the web: a URL, relative to the list's or whole.
- "caption" (or "text"), "id" (text or a whole number): optional. Without an id it is made of the picture's URI.
- "metadata": an object; every other key of the row is metadata too. A field given both ways is an error.

Blank lines are skipped. A line that is no such row is a failure "bad_line" that names it, and the rest goes on; a
file in whose first lines there is no JSON object at all is refused as a whole. `.jsonl` files may be of any size:
they are read line by line.
"""

from __future__ import annotations

import dataclasses
import os
import weakref
from collections.abc import Iterator
from typing import IO, Any
from urllib.parse import urljoin

import orjson

from dar_search import exact_json
from dar_search.data import Failure
from dar_search.errors import PictureError, SourceError
from dar_search.ingestion.sources.annotations import parse_caption, parse_metadata
from dar_search.ingestion.sources.locations import file_uri, path_of, printable, record_id
from dar_search.ingestion.sources.source import BadItem, SourceItem, counted

PATH_KEYS = ("path", "image", "file_name")
URL_KEY = "url"
CAPTION_KEYS = ("caption", "text")
MAX_LINE_BYTES = 1 << 20
MAX_ID_BYTES = 512
LINES_TO_JUDGE_BY = 20
_HINT = 'A row is one line such as {"path": "a.jpg", "caption": "a cat"}.'


class JsonlSource:
    """The rows of a JSONL file. See the module's docstring. Raises SourceError if it is no such file."""

    def __init__(self, path: bytes, *, url: str = "", copy: IO[bytes] | None = None) -> None:
        """path: the file; or empty, with the URL that the list was fetched from and the open copy of it."""
        self._url = url
        if copy is not None:
            weakref.finalize(self, copy.close)
        self._path = os.path.realpath(path) if copy is None else b"/dev/fd/%d" % copy.fileno()
        self._folder = os.path.dirname(self._path)  # noqa: PTH120  # bytes, which pathlib does not take
        self._check_is_jsonl()

    @property
    def origin(self) -> str:
        return self._url or file_uri(self._path)

    def items(self, after: str | None = None) -> Iterator[SourceItem | BadItem]:
        """A cursor is "BYTES:LINES": how much of the file lies before the next line."""
        for number, line, end in self._lines(*_position(after)):
            yield dataclasses.replace(self._item(number, line), cursor=f"{end}:{number}")

    def count(self) -> Iterator[int]:
        return counted(self._lines())

    def _lines(self, start: int = 0, before: int = 0) -> Iterator[tuple[int, bytes, int]]:
        """(line number from 1, content, where it ends in the file) of each line that is not blank.

        Of a line that is too long the content is its first MAX_LINE_BYTES + 1 bytes.
        """
        try:
            with open(self._path, "rb") as file:  # noqa: PTH123  # bytes
                file.seek(start)
                for number, line in enumerate(iter(lambda: _read_line(file), b""), start=before + 1):
                    content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                    if content.strip():
                        yield number, content, file.tell()
        except OSError as error:
            raise SourceError(
                f'"{printable(self._path)}" cannot be read: {error.strerror}.', "Check the file and its permissions."
            ) from error

    def _check_is_jsonl(self) -> None:
        first_error = None
        for (number, line, _), _ in zip(self._lines(), range(LINES_TO_JUDGE_BY), strict=False):
            try:
                _row(line)
            except PictureError as error:
                first_error = first_error or f"Line {number}: {error.message}"
            else:
                return
        if first_error:
            raise SourceError(f'"{printable(self._path)}" is not a JSONL file. {first_error}', _HINT)

    def _item(self, number: int, line: bytes) -> SourceItem | BadItem:
        place = f"{self.origin}#L{number}"
        identity: str | None = None
        try:
            row = _row(line)
            keys = PATH_KEYS if any(row.get(key) is not None for key in PATH_KEYS) else (URL_KEY,)
            address = _one_of(row, keys)
            url = self._picture_url(address)
            path = b"" if url else self._picture_path(address)
            key = url or file_uri(path)
            identity = _identity(row.pop("id", None)) or record_id(key)
            caption = parse_caption(_one_of(row, CAPTION_KEYS))
            return SourceItem(identity, key, path, caption, parse_metadata(_merged(row)), place, at=url)
        except PictureError as error:
            return BadItem(Failure(place, error.code, f"Line {number}: {error}"), identity)

    def _picture_url(self, address: object) -> str:
        """The URL that a row names; empty where it names a file, which a list from the web may not."""
        if not isinstance(address, str) or not address.strip():
            return ""
        whole = urljoin(self._url, address.strip()) if self._url else address.strip()
        if whole[:8].lower().startswith(("http://", "https://")):
            return whole
        if self._url:
            message = f'"{address[:200]}" is not an address that a list from the web may name.'
            raise PictureError("unsupported_address", message, "Give an http(s) URL.")
        return ""

    def _picture_path(self, address: object) -> bytes:
        if not isinstance(address, str) or not address or "\0" in address:
            raise PictureError("bad_line", 'The row has no "path".', _HINT)
        if "://" in address or address.startswith("file:"):
            try:
                return os.path.normpath(path_of(address))
            except ValueError:
                message = f'"{address[:200]}" is not an address that pictures are read from.'
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
        row = exact_json.loads(line)
    except orjson.JSONDecodeError as error:
        raise PictureError("bad_line", f"It is not JSON ({error}).", _HINT) from None
    if not isinstance(row, dict):
        raise PictureError("bad_line", "It is not a JSON object.", _HINT)
    return row


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


def _merged(row: dict[str, Any]) -> dict[str, Any]:
    metadata = row.pop("metadata", None)
    if metadata is None:
        return row
    if not isinstance(metadata, dict):
        raise PictureError("bad_line", '"metadata" is not an object.', 'Write {"field": value}.')
    both = sorted(metadata.keys() & row.keys())
    if both:
        raise PictureError("bad_line", f'"{both[0][:80]}" is given twice: in "metadata" and beside it.', "Keep one.")
    return {**row, **metadata}
