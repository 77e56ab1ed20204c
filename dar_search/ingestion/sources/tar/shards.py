"""Tar shards: of webdataset, or any folder that was packed.

    000017.jpg  000017.txt  000017.json      a picture, its caption, its metadata

Which files belong together is decided by their names as in a folder (see `pairing`), wherever in the shard they lie. A
folder that was packed gives the pictures, captions and metadata that the folder gives, with one difference: of a sample
`0.jpg` with `0.seg.png` the mask is counted and not listed. Of two members with one name the later counts, as for tar
itself; links are followed within the shard. Several shards are named at once as `shards-{000..009}.tar` or
`{train,test}.tar`.

Pictures are read where they lie in the shard; of one packed with gzip or bzip2 the stream up to there is unpacked in
memory. A damaged shard is one failure "broken_shard", and the next shard goes on.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote_from_bytes

from dar_search.data import Failure
from dar_search.errors import PictureError, SourceError, SourceNotAllowed
from dar_search.ingestion.jobs.remarks import Remarks
from dar_search.ingestion.sources.allowance import EVERYTHING, Allowance
from dar_search.ingestion.sources.annotating import Sidecar, from_sidecars
from dar_search.ingestion.sources.files import unreadable
from dar_search.ingestion.sources.locations import file_uri, printable, record_id
from dar_search.ingestion.sources.pairing import Role
from dar_search.ingestion.sources.selection import Selection
from dar_search.ingestion.sources.source import BadItem, SourceItem
from dar_search.ingestion.sources.tar.index import Member, TarIndex
from dar_search.ingestion.sources.tar.members import MAX_NAME_BYTES, ShardFile

PACKED = "packed:"
MAX_SHARDS = 100_000
_BRACES = re.compile(rb"\{([^{}]*)\}")
_RANGE = re.compile(rb"(\d{1,9})\.\.(\d{1,9})")


class TarSource:
    """The pictures in tar shards. See the module's docstring. Raises SourceError if there is none that can be read."""

    def __init__(self, pattern: bytes, selection: Selection | None = None, allowance: Allowance = EVERYTHING) -> None:
        self._selection = selection or Selection()
        self._allowance = allowance
        folder, name = os.path.split(os.path.abspath(pattern))  # noqa: PTH100  # bytes
        self._whole = os.path.join(os.path.realpath(folder), name)  # noqa: PTH118  # bytes
        # Where a link out of what is allowed leads, nobody is told.
        self._paths = [os.path.realpath(path) if allowance.covers(path) else path for path in expanded(self._whole)]
        problem: Exception | None = None
        for path in self._paths:
            try:
                return ShardFile(path, allowance).close()
            except (OSError, PictureError) as error:
                problem = problem or error
        if isinstance(problem, PictureError) and problem.code == "not_allowed":
            raise SourceNotAllowed(problem.message, problem.hint) from problem
        reason = problem.strerror if isinstance(problem, OSError) else str(problem)
        message = f'"{printable(self._paths[0])}" cannot be read: {reason}.'
        raise SourceError(message, "Give tar files of pictures.") from problem

    @property
    def origin(self) -> str:
        return file_uri(self._whole)

    def items(self, after: str | None = None, remarks: Remarks | None = None) -> Iterator[SourceItem | BadItem]:
        """A cursor is "SHARD:PLACE:ITEMS": the shard's number, a place in it, how many items from there on are done."""
        remarks = remarks or Remarks()
        first, place, done = _position(after)
        for number in range(first, len(self._paths)):
            yield from self._shard(number, place, done, remarks)
            place, done = 0, 0

    def count(self) -> Iterator[int]:
        total = 0
        for path in self._paths:
            try:
                with (
                    ShardFile(path, self._allowance) as shard,
                    TarIndex(shard, self._selection, _ignore, contents=False) as index,
                ):
                    total += index.count() + (index.damage is not None)
            except (OSError, PictureError):
                total += 1
            yield total

    def _shard(self, number: int, start: int, done: int, remarks: Remarks) -> Iterator[SourceItem | BadItem]:
        path = self._paths[number]
        uri = file_uri(path)

        def skip(code: str, name: bytes, kind: str) -> None:
            # With a cursor in this shard, the listing that went before has said it.
            if not start and not done:
                remarks.skip(code, f"{uri}#{quote_from_bytes(name)}", kind)

        try:
            with (
                ShardFile(path, self._allowance) as shard,
                TarIndex(shard, self._selection, skip, look=remarks.look) as index,
            ):
                for count, picture in enumerate(index.pictures(start), start=1):
                    if count > done:
                        listed = _item(path, shard.packing, index, picture, remarks)
                        yield dataclasses.replace(listed, cursor=f"{number}:{picture.place}:1")
                if index.damage is not None:
                    raise index.damage
        except PictureError as error:
            yield BadItem(Failure(uri, error.code, str(error)), None, f"{number + 1}:0:0")
        except OSError as error:
            problem = unreadable(error)
            yield BadItem(Failure(uri, problem.code, str(problem)), None, f"{number + 1}:0:0")


def expanded(pattern: bytes) -> list[bytes]:
    """`a-{000..002}.tar` -> the three paths; `{a,b}.tar` -> two. A path without braces is itself.

    Raises SourceError for more than MAX_SHARDS of them.
    """
    braces = _BRACES.search(pattern)
    if not braces or os.path.lexists(pattern):
        return [pattern]
    found: list[bytes] = []
    for choice in _choices(braces[1]):
        found += expanded(pattern[: braces.start()] + choice + pattern[braces.end() :])
        if len(found) > MAX_SHARDS:
            raise SourceError(f"The pattern names more than {MAX_SHARDS:,} shards.", "Ingest them part by part.")
    return found


def _choices(text: bytes) -> Sequence[bytes]:
    numbers = _RANGE.fullmatch(text)
    if not numbers:
        return text.split(b",")
    first, last = int(numbers[1]), int(numbers[2])
    if last - first >= MAX_SHARDS:
        raise SourceError(f"The pattern names more than {MAX_SHARDS:,} shards.", "Ingest them part by part.")
    return [b"%0*d" % (len(numbers[1]), number) for number in range(first, last + 1)]


def _item(path: bytes, packing: str, index: TarIndex, picture: Member, remarks: Remarks) -> SourceItem | BadItem:
    name = picture.name
    key = f"{file_uri(path)}#{quote_from_bytes(name[:MAX_NAME_BYTES])}"
    identity = record_id(f"{file_uri(path)}#{quote_from_bytes(name)}")
    if picture.flaw:
        return BadItem(Failure(key, picture.flaw, f"{picture.message} Pack the file itself."), identity)
    if not picture.size:
        return BadItem(Failure(key, "empty_file", "The file is empty. Copy it again from where it came."), identity)
    found = from_sidecars(_sidecar(path, index, picture, "caption"), _sidecar(path, index, picture, "metadata"))
    found.tell(remarks, key)
    at = PACKED if packing else ""
    return SourceItem(
        identity, key, path, found.caption, found.metadata, start=picture.start, length=picture.size, at=at
    )


def _sidecar(path: bytes, index: TarIndex, picture: Member, role: Role) -> Sidecar | None:
    if (found := index.sidecar(picture, role)) is None:
        return None
    member, for_one_file = found
    content: bytes | PictureError
    try:
        content = index.content(member)
    except PictureError as error:
        content = error
    return Sidecar(content, f"{file_uri(path)}#{quote_from_bytes(member.name)}", for_one_file)


def _ignore(code: str, name: bytes, kind: str) -> None:
    """A count has no remarks."""


def _position(after: str | None) -> tuple[int, int, int]:
    try:
        shard, place, done = map(int, (after or "0:0:0").split(":"))
    except ValueError:
        raise SourceError(f'"{str(after)[:80]}" is no place in tar shards.', "List the source anew.") from None
    return shard, place, done
