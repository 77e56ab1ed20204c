"""The file that a list is: one of this machine, or the copy of one that was fetched from the web."""

from __future__ import annotations

import os
import weakref
from typing import IO, BinaryIO

from dar_search.errors import PictureError, SourceError, SourceNotAllowed
from dar_search.ingestion.sources.allowance import EVERYTHING, Allowance
from dar_search.ingestion.sources.locations import file_uri, printable

MAX_LINE_BYTES = 1 << 20
_MARK = b"\xef\xbb\xbf"


class ListFile:
    """Args: path: the file; or empty, with the URL that the list was fetched from and the open copy of it.

    Attributes:
        path: absolute, links followed.
        folder: where relative paths begin.
        url: where relative URLs begin; empty for a file of this machine.
        origin: the list's URI.
        shown: for people.
    """

    def __init__(
        self, path: bytes, allowance: Allowance = EVERYTHING, *, url: str = "", copy: IO[bytes] | None = None
    ) -> None:
        self.allowance = allowance if copy is None else EVERYTHING
        self.url = url
        if copy is not None:
            weakref.finalize(self, copy.close)
        self.path = os.path.realpath(path) if copy is None else b"/dev/fd/%d" % copy.fileno()
        self.folder = os.path.dirname(self.path)  # noqa: PTH120  # bytes, which pathlib does not take
        self.origin = url or file_uri(self.path)
        self.shown = url[:200] or printable(self.path)

    def opened(self) -> BinaryIO:
        """Raises SourceError, SourceNotAllowed."""
        try:
            return os.fdopen(self.allowance.opened(self.path), "rb")
        except PictureError as error:
            raise SourceNotAllowed(error.message, error.hint) from error
        except OSError as error:
            raise self.unreadable(error) from error

    def unreadable(self, error: OSError) -> SourceError:
        reason = error.strerror or str(error)
        return SourceError(f'"{self.shown}" cannot be read: {reason}.', "Check the file and its permissions.")


def read_line(file: BinaryIO) -> bytes:
    """A file's next line; of one that is too long the first MAX_LINE_BYTES + 1 bytes. Empty at the end."""
    first = file.tell() == 0
    line = file.readline(MAX_LINE_BYTES + 1)
    rest = line
    while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
        rest = file.readline(MAX_LINE_BYTES + 1)
    if first and line.startswith(_MARK):
        return line.removeprefix(_MARK) or b"\n"
    return line


def byte_position(after: str | None, what: str) -> tuple[int, int]:
    """A cursor "BYTES:LINES" -> what lies before the next line. Raises SourceError for a cursor that is none."""
    try:
        place, lines = map(int, (after or "0:0").split(":"))
    except ValueError:
        raise SourceError(f'"{str(after)[:80]}" is no place in {what}.', "List the source anew.") from None
    return place, lines
