"""A folder of pictures, with its subfolders.

What counts as a picture is decided by the name's suffix (in any case), so that `notes.txt` is no failure, and a text
file called `a.jpg` is one; a file without a suffix that says anything is looked into. Which files are a picture's
caption and metadata, `pairing` says; which names are not looked at, `selection`. Whatever is there and not taken is
counted (`remarks`).

Symbolic links:
- to a file inside the folder: followed; the link's own name is the key.
- to a folder inside the folder: skipped, because its pictures are listed under their own names. So are loops.
- out of the folder: a failure "link_outside", because an unpacked archive must not pull in what lies elsewhere (a
  warning, where it is a picture's sidecar); with `follow_links=True` they are followed, and each folder is visited
  once. Where only a part of the machine may be read, one that leads out of that is a failure "not_allowed", and as what
  lies behind it may be a folder, nothing is pruned then, unless the link's name is a picture's.
- to nothing, or to itself: a failure, if the name is a picture's.

Keys are made of the folder's real path, so that one folder has one set of keys, however it was reached.
"""

from __future__ import annotations

import dataclasses
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote_from_bytes, unquote_to_bytes

from dar_search.data import Failure
from dar_search.errors import PictureError, SourceError, SourceNotAllowed
from dar_search.ingestion.jobs.remarks import Remarks
from dar_search.ingestion.sources.allowance import EVERYTHING, Allowance, not_allowed
from dar_search.ingestion.sources.files import check_resources, read_start, unreadable
from dar_search.ingestion.sources.locations import file_uri, path_of, printable, record_id
from dar_search.ingestion.sources.pairing import role_of, suffix_of
from dar_search.ingestion.sources.pictures import is_taken, kind_of
from dar_search.ingestion.sources.selection import Left, Selection
from dar_search.ingestion.sources.sidecars import Sidecars
from dar_search.ingestion.sources.source import BadItem, SourceItem, counted


@dataclass(frozen=True, slots=True)
class _Entry:
    name: bytes
    path: bytes
    is_folder: bool
    is_file: bool
    is_link: bool


@dataclass(frozen=True, slots=True)
class _Picture:
    path: bytes
    sidecars: Sidecars


@dataclass(frozen=True, slots=True)
class _Subfolder:
    path: bytes


@dataclass(frozen=True, slots=True)
class _Skipped:
    path: bytes
    code: str
    kind: str = ""


class FolderSource:
    """The pictures in a folder. See the module's docstring. Raises SourceError if it cannot be listed."""

    def __init__(
        self,
        path: bytes,
        *,
        follow_links: bool = False,
        selection: Selection | None = None,
        allowance: Allowance = EVERYTHING,
    ) -> None:
        self._root = os.path.realpath(path)
        self._follow_links = follow_links
        self._selection = selection or Selection()
        self._allowance = allowance
        try:
            os.close(allowance.opened(self._root, os.O_DIRECTORY))
        except OSError as error:
            raise self._unlistable(error) from error

    @property
    def origin(self) -> str:
        return file_uri(self._root)

    def items(self, after: str | None = None, remarks: Remarks | None = None) -> Iterator[SourceItem | BadItem]:
        """A cursor is the path below the folder. What comes before it is walked again (links lead anywhere), unread."""
        remarks = remarks or Remarks()
        place = None if after is None else _order(self._path_at(after))
        for found in self._walk(remarks.look):
            path = path_of(found.failure.source) if isinstance(found, BadItem) else found.path
            if place is not None and _order(path) <= place:
                continue
            match found:
                case _Skipped():
                    remarks.skip(found.code, file_uri(path), found.kind)
                case BadItem():
                    yield dataclasses.replace(found, cursor=self._cursor(path))
                case _Picture():
                    yield self._item(found, remarks)

    def count(self) -> Iterator[int]:
        return counted(found for found in self._walk() if not isinstance(found, _Skipped))

    def _cursor(self, path: bytes) -> str:
        # What the walk finds stands below the root as it is written: os.path.relpath would say the same, slowly.
        return quote_from_bytes(path[len(self._root.rstrip(b"/")) + 1 :])

    def _path_at(self, cursor: str) -> bytes:
        return os.path.join(self._root, unquote_to_bytes(cursor))  # noqa: PTH118  # bytes

    def _walk(self, look: Callable[[], None] = lambda: None) -> Iterator[_Picture | BadItem | _Skipped]:
        """Depth first, each folder's names in byte order. With a stack: a hostile tree is deeper than Python's.

        look: called at each step.
        """
        visited: set[tuple[int, int]] = set()
        stack = [self._listing(self._root, visited)]
        while stack:
            found = next(stack[-1], None)
            look()
            if found is None:
                stack.pop()
            elif isinstance(found, _Subfolder):
                stack.append(self._listing(found.path, visited))
            else:
                yield found

    def _listing(
        self, folder: bytes, visited: set[tuple[int, int]]
    ) -> Iterator[_Picture | BadItem | _Subfolder | _Skipped]:
        try:
            identity, listed = self._entries(folder)
        except PictureError as error:
            if folder == self._root:
                raise SourceNotAllowed(error.message, error.hint) from error
            yield BadItem(Failure(file_uri(folder), error.code, str(error)), id=None)
            return
        except OSError as error:
            check_resources(error)
            if folder == self._root:
                raise self._unlistable(error) from error
            message = f"The folder cannot be listed: {error.strerror}. Its records stay as they are."
            yield BadItem(Failure(file_uri(folder), "unreadable_folder", message), id=None)
            return
        if identity in visited:
            yield _Skipped(folder, "link")
            return
        visited.add(identity)
        left = {entry.name: reason for entry in listed if (reason := self._left_out(entry, folder))}
        files = [entry for entry in listed if entry.name not in left and not entry.is_folder]
        pictures = {entry.name for entry in files if self._is_picture(entry)}
        others = (entry.name for entry in files if entry.name not in pictures)
        sidecars = Sidecars(folder, pictures, others, self._allowance)
        del files
        for entry in listed:
            if reason := left.get(entry.name):
                yield _Skipped(entry.path, *reason)
            elif (found := self._found(entry, sidecars, entry.name in pictures)) is not None:
                yield found

    def _entries(self, folder: bytes) -> tuple[tuple[int, int], list[_Entry]]:
        """What the folder itself is, and what it has in it, by name. Raises OSError, PictureError: not_allowed."""
        descriptor = self._allowance.opened(folder, os.O_DIRECTORY)
        try:
            status = os.fstat(descriptor)
            with os.scandir(descriptor) as entries:
                listed = [_entry(folder, entry) for entry in entries]
        finally:
            os.close(descriptor)
        return (status.st_dev, status.st_ino), sorted(listed, key=lambda entry: entry.name)

    def _left_out(self, entry: _Entry, folder: bytes) -> Left | None:
        path = entry.path[len(self._root.rstrip(b"/")) + 1 :]
        return self._selection.left_out(path, os.path.basename(folder), is_folder=entry.is_folder)  # noqa: PTH119

    def _found(
        self, entry: _Entry, sidecars: Sidecars, is_picture: bool
    ) -> _Picture | BadItem | _Subfolder | _Skipped | None:
        if entry.is_link and not self._allowance.covers(entry.path):  # what is there is not looked at
            return self._link_not_allowed(entry, sidecars)
        try:
            mode = os.stat(entry.path).st_mode  # noqa: PTH116  # bytes, which pathlib does not take
        except OSError as error:
            if is_picture:
                return _bad(entry.path, unreadable(error))
            if not self._follow_links or entry.name in sidecars.used:
                return _Skipped(entry.path, "link")
            # A folder on a disk that is not mounted, perhaps: nothing that came from there may be pruned.
            message = "The link leads to nothing. Mount the disk that it leads to, or remove the link."
            return BadItem(Failure(file_uri(entry.path), "unreadable_folder", message), id=None)
        is_folder = stat.S_ISDIR(mode)
        if not is_folder and not is_picture:
            return None if entry.name in sidecars.used else _not_taken(entry, mode)
        if entry.is_link:
            inside = self._is_inside(entry.path)
            if inside and is_folder:
                return _Skipped(entry.path, "link")
            if not inside and not self._follow_links:
                return _bad(entry.path, _link_outside())
        if is_folder:
            return _Subfolder(entry.path)
        if not stat.S_ISREG(mode):
            return _bad(entry.path, PictureError("not_a_file", "The path is not a regular file."))
        return _Picture(entry.path, sidecars)

    def _link_not_allowed(self, entry: _Entry, sidecars: Sidecars) -> BadItem | _Skipped | None:
        if entry.name in sidecars.used:
            return None
        role = role_of(entry.name)
        if self._follow_links:
            error = not_allowed()
            # Not a picture's name: a folder, perhaps, whose records must stay.
            identity = record_id(file_uri(entry.path)) if role == "picture" else None
            return BadItem(Failure(file_uri(entry.path), error.code, str(error)), identity)
        return _bad(entry.path, _link_outside()) if role in ("picture", "nameless") else _Skipped(entry.path, "link")

    def _is_picture(self, entry: _Entry) -> bool:
        """By its name; where that says nothing, by how it begins. Raises OutOfResources."""
        role = role_of(entry.name)
        if role != "nameless":
            return role == "picture"
        try:
            return entry.is_file and is_taken(read_start(entry.path, self._allowance))
        except PictureError:
            return False
        except OSError as error:
            check_resources(error)
            return False

    def _item(self, picture: _Picture, remarks: Remarks) -> SourceItem:
        key = file_uri(picture.path)
        found = picture.sidecars.read(os.path.basename(picture.path), self._check_link)  # noqa: PTH119  # bytes
        found.tell(remarks, key)
        cursor = self._cursor(picture.path)
        return SourceItem(record_id(key), key, picture.path, found.caption, found.metadata, cursor=cursor)

    def _check_link(self, path: bytes) -> None:
        if os.path.islink(path) and not self._follow_links and not self._is_inside(path):  # noqa: PTH114  # bytes
            raise _link_outside()

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


def _entry(folder: bytes, found: os.DirEntry[str]) -> _Entry:
    name = os.fsencode(found.name)
    try:
        is_folder, is_file = found.is_dir(), found.is_file()
    except OSError:  # a loop of links
        is_folder = is_file = False
    return _Entry(name, os.path.join(folder, name), is_folder, is_file, found.is_symlink())  # noqa: PTH118  # bytes


def _not_taken(entry: _Entry, mode: int) -> _Skipped:
    if not stat.S_ISREG(mode):
        return _Skipped(entry.path, "special_file")
    if role_of(entry.name) in ("caption", "metadata"):
        return _Skipped(entry.path, "unmatched_sidecar", printable(suffix_of(entry.name)))
    return _Skipped(entry.path, "other_kind", kind_of(entry.name))


def _link_outside() -> PictureError:
    return PictureError(
        "link_outside", "It is a link out of the folder.", "Ingest the folder it leads to, or follow links."
    )


def _bad(path: bytes, error: PictureError) -> BadItem:
    key = file_uri(path)
    return BadItem(Failure(key, error.code, str(error)), record_id(key))
