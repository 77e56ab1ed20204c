"""A folder of pictures, with its subfolders.

What counts as a picture is decided by the name's suffix (in any case), so that `notes.txt` is no failure, and a text
file called `a.jpg` is one. Names that begin with a dot are skipped. `photo.txt` beside `photo.jpg` is its caption,
`photo.json` an object of metadata (whose "caption" counts where there is no `photo.txt`).

Symbolic links:
- to a file inside the folder: followed; the link's own name is the key.
- to a folder inside the folder: skipped, because its pictures are listed under their own names. So are loops.
- out of the folder: a failure "link_outside", because an unpacked archive must not pull in what lies elsewhere; with
  `follow_links=True` they are followed, and each folder is visited once.
- to nothing, or to itself: a failure, if the name is a picture's.

Keys are made of the folder's real path, so that one folder has one set of keys, however it was reached.
"""

from __future__ import annotations

import dataclasses
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote_from_bytes, unquote_to_bytes

from dar_search.data import Failure
from dar_search.errors import PictureError, SourceError
from dar_search.ingestion.sources.files import unreadable
from dar_search.ingestion.sources.locations import file_uri, path_of, printable, record_id
from dar_search.ingestion.sources.sidecars import Sidecars
from dar_search.ingestion.sources.source import BadItem, SourceItem, counted

# Formats that cannot be decoded are listed too: a folder of .heic files must not look empty.
PICTURE_SUFFIXES = frozenset(
    b".jpg .jpeg .jpe .jfif .mpo .png .apng .gif .webp .avif .tif .tiff .bmp .dib .heic .heif .jxl .jp2 .j2k".split()
)


@dataclass(frozen=True, slots=True)
class _Picture:
    path: bytes
    sidecars: Sidecars


@dataclass(frozen=True, slots=True)
class _Subfolder:
    path: bytes


class FolderSource:
    """The pictures in a folder. See the module's docstring. Raises SourceError if it cannot be listed."""

    def __init__(self, path: bytes, *, follow_links: bool = False) -> None:
        self._root = os.path.realpath(path)
        self._follow_links = follow_links
        try:
            os.scandir(self._root).close()
        except OSError as error:
            raise self._unlistable(error) from error

    @property
    def origin(self) -> str:
        return file_uri(self._root)

    def items(self, after: str | None = None) -> Iterator[SourceItem | BadItem]:
        """A cursor is the path below the folder. What comes before it is walked again (links lead anywhere), unread."""
        place = None if after is None else _order(self._path_at(after))
        for found in self._walk():
            path = found.path if isinstance(found, _Picture) else path_of(found.failure.source)
            if place is not None and _order(path) <= place:
                continue
            cursor = self._cursor(path)
            yield dataclasses.replace(found, cursor=cursor) if isinstance(found, BadItem) else self._item(found, cursor)

    def count(self) -> Iterator[int]:
        return counted(self._walk())

    def _cursor(self, path: bytes) -> str:
        # What the walk finds stands below the root as it is written: os.path.relpath would say the same, slowly.
        return quote_from_bytes(path[len(self._root.rstrip(b"/")) + 1 :])

    def _path_at(self, cursor: str) -> bytes:
        return os.path.join(self._root, unquote_to_bytes(cursor))  # noqa: PTH118  # bytes

    def _walk(self) -> Iterator[_Picture | BadItem]:
        """Depth first, each folder's names in byte order. With a stack: a hostile tree is deeper than Python's."""
        visited: set[tuple[int, int]] = set()
        stack = [self._listing(self._root, visited)]
        while stack:
            found = next(stack[-1], None)
            if found is None:
                stack.pop()
            elif isinstance(found, _Subfolder):
                stack.append(self._listing(found.path, visited))
            else:
                yield found

    def _listing(self, folder: bytes, visited: set[tuple[int, int]]) -> Iterator[_Picture | BadItem | _Subfolder]:
        try:
            status = os.stat(folder)  # noqa: PTH116  # bytes, which pathlib does not take
            if (status.st_dev, status.st_ino) in visited:
                return
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                listed = sorted((entry for entry in entries if entry.name[:1] != b"."), key=lambda entry: entry.name)
        except OSError as error:
            if folder == self._root:
                raise self._unlistable(error) from error
            message = f"The folder cannot be listed: {error.strerror}. Its records stay as they are."
            yield BadItem(Failure(file_uri(folder), "unreadable_folder", message), id=None)
            return
        sidecars = Sidecars(folder, (entry.name for entry in listed))
        listed.reverse()
        while listed:
            # An entry keeps what was asked about its file; it goes as soon as it has been looked at.
            found = self._found(listed.pop(), sidecars)
            if found is not None:
                yield found

    def _found(self, entry: os.DirEntry[bytes], sidecars: Sidecars) -> _Picture | BadItem | _Subfolder | None:
        named_as_picture = os.path.splitext(entry.name)[1].lower() in PICTURE_SUFFIXES  # noqa: PTH122  # bytes
        try:
            mode = entry.stat().st_mode
        except OSError as error:
            return _bad(entry.path, unreadable(error)) if named_as_picture else None
        is_folder = stat.S_ISDIR(mode)
        if not is_folder and not named_as_picture:
            return None
        if entry.is_symlink():
            inside = self._is_inside(entry.path)
            if inside and is_folder:
                return None
            if not inside and not self._follow_links:
                return _bad(entry.path, _link_outside())
        if is_folder:
            return _Subfolder(entry.path)
        if not stat.S_ISREG(mode):
            return _bad(entry.path, PictureError("not_a_file", "The path is not a regular file."))
        return _Picture(entry.path, sidecars)

    def _item(self, picture: _Picture, cursor: str) -> SourceItem | BadItem:
        key = file_uri(picture.path)
        try:
            for sidecar in picture.sidecars.of(picture.path):
                if os.path.islink(sidecar) and not self._follow_links and not self._is_inside(sidecar):  # noqa: PTH114
                    raise _link_outside()
            caption, metadata = picture.sidecars.read(picture.path)
        except PictureError as error:
            return dataclasses.replace(_bad(picture.path, error), cursor=cursor)
        return SourceItem(record_id(key), key, picture.path, caption, metadata, cursor=cursor)

    def _is_inside(self, path: bytes) -> bool:
        real = os.path.realpath(path)
        return real == self._root or real.startswith(self._root.rstrip(b"/") + b"/")

    def _unlistable(self, error: OSError) -> SourceError:
        return SourceError(
            f'The folder "{printable(self._root)}" cannot be listed: {error.strerror}.', "Check its permissions."
        )


def _order(path: bytes) -> tuple[bytes, ...]:
    """Paths in the order of the walk compare like this."""
    return tuple(path.split(b"/"))


def _link_outside() -> PictureError:
    return PictureError(
        "link_outside", "It is a link out of the folder.", "Ingest the folder it leads to, or follow links."
    )


def _bad(path: bytes, error: PictureError) -> BadItem:
    key = file_uri(path)
    return BadItem(Failure(key, error.code, str(error)), record_id(key))
