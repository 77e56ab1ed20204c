"""Which names of a source are looked at: not hidden ones, not what systems and programs make, not what is excluded."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from pathspec import GitIgnoreSpec

from dar_search.errors import SourceError
from dar_search.ingestion.jobs.remarks import one_line
from dar_search.ingestion.sources.locations import printable

#: Folders (in any case) that hold thumbnails, deleted files, snapshots or the like. Names with a dot are hidden anyway.
SYSTEM_FOLDERS = frozenset(
    name.lower().encode()
    for name in (
        *("@eaDir", "#recycle", "#snapshot", "@tmp", "@sharebin"),  # Synology
        *("@Recycle", "@Recently-Snapshot", "@__thumb"),  # QNAP
        *("$RECYCLE.BIN", "RECYCLER", "RECYCLED", "System Volume Information"),  # Windows
        *("lost+found", "__MACOSX", "~snapshot"),
        *("files_trashbin", "files_versions"),  # Nextcloud
        *("node_modules", "__pycache__"),
    )
)
_SYSTEM_SUFFIXES = (b".lrdata",)  # Lightroom's previews
_LIBRARIES = (b".photoslibrary", b".photolibrary", b".aplibrary", b".migratedphotolibrary")  # Apple's
_ORIGINALS = frozenset((b"originals", b"masters"))

# Each star more may multiply what a match costs by the name's length.
MAX_STARS = 4
MAX_PATTERN = 1_000
_NAMED_CLASS = re.compile(r"\[[^\]]*\[:\w+:\]")
MAX_NAME = 4_200


class Left(NamedTuple):
    """Why a name is not looked at: a code of `remarks.SKIP_CODES`, and the kind that it is counted under."""

    code: str
    kind: str = ""


class Selection:
    """Args: exclude: patterns as in a .gitignore file; include_hidden: hidden names and system folders too.

    Raises SourceError for a pattern that is none.
    """

    def __init__(self, exclude: Sequence[str] = (), *, include_hidden: bool = False) -> None:
        self._include_hidden = include_hidden
        for pattern in exclude:
            if len(pattern) > MAX_PATTERN or any(part.count("*") > MAX_STARS for part in pattern.split("/")):
                message = f'The pattern "{pattern[:80]}" has more than {MAX_STARS} stars in a name, or is too long.'
                raise SourceError(message, "Use several patterns.")
            if _NAMED_CLASS.search(pattern):
                message = f'The pattern "{one_line(pattern[:80])}" has a class by name, which would fit nothing here.'
                raise SourceError(message, "Write its characters: [a-zA-Z] for [[:alpha:]].")
        self._last: tuple[bytes, Left | None] = (b"", None)
        try:
            # "#recycle" is a name here: a list of patterns in an option has no comments.
            patterns = ["\\" + pattern if pattern.startswith("#") else pattern for pattern in exclude]
            self._excluded = GitIgnoreSpec.from_lines(patterns) if patterns else None
            parsed = {given: GitIgnoreSpec.from_lines([given]).patterns for given in patterns}
            nothing = [given for given, found in parsed.items() if all(one.include is None for one in found)]
            if nothing:
                raise ValueError(f'"{one_line(nothing[0][:80])}" fits no name.')
        except (ValueError, re.error) as error:
            raise SourceError(
                f"A pattern to exclude cannot be read: {error}", "Write it as in a .gitignore file."
            ) from None

    @property
    def excludes_anything(self) -> bool:
        return self._excluded is not None

    def left_out(self, path: bytes, parent: bytes, *, is_folder: bool) -> Left | None:
        """Whether, in a folder that is looked at, an entry is not.

        Args:
            path: below the source's root, with "/" between its parts.
            parent: the name of the folder that it is in.
        """
        name = path.rpartition(b"/")[2]
        if name.startswith(b"._"):  # macOS keeps a file's attributes there; it is never a picture
            return Left("hidden", "._*")
        if not self._include_hidden:
            if name.startswith(b".") and name != b"..":
                return Left("hidden")
            if is_folder and _is_of_a_system(name.lower(), parent.lower()):
                return Left("system_folder", printable(name))
        if self._excluded is not None and self.excludes(os.fsdecode(path) + "/" * is_folder):
            return Left("excluded")
        return None

    def left_out_below(self, path: bytes) -> Left | None:
        """The same for a file with all folders above it, as a tar names it."""
        folder = path.rpartition(b"/")[0]
        if folder != self._last[0]:
            self._last = (folder, self._folder_left_out(folder))
        return self._last[1] or self.left_out(path, folder.rpartition(b"/")[2], is_folder=False)

    def excludes(self, name: str) -> bool:
        """Whether a pattern says so. A folder's name ends with "/"."""
        return self._excluded is not None and len(name) <= MAX_NAME and self._excluded.match_file(name)

    def _folder_left_out(self, folder: bytes) -> Left | None:
        parts = folder.split(b"/") if folder else []
        for depth, part in enumerate(parts):
            above = parts[depth - 1] if depth else b""
            if part and (left := self.left_out(b"/".join(parts[: depth + 1]), above, is_folder=True)):
                return left
        return None


def _is_of_a_system(name: bytes, parent: bytes) -> bool:
    if parent.endswith(_LIBRARIES):
        return name not in _ORIGINALS
    return name in SYSTEM_FOLDERS or name.endswith(_SYSTEM_SUFFIXES)
