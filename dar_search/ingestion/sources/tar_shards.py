"""Tar shards, as webdataset writes them: files that follow each other and have one stem belong together.

    000017.jpg  000017.txt  000017.json      a picture, its caption, its metadata

The stem ends at the first dot of a name (`a/0.seg.png` has the stem `a/0`). `.txt` is the caption, `.json` an object of
metadata, whose "caption" counts where there is no `.txt`. Each picture of a stem (`0.jpg`, `0.png`) is an item; one
with two suffixes, such as `0.seg.png`, only where there is no other. Names that begin with a dot are skipped. Several
shards are named at once as `shards-{000..009}.tar` or `{train,test}.tar`.

Pictures are read where they lie in the shard; of one packed with gzip or bzip2 the stream up to there is unpacked in
memory. A damaged shard is one failure "broken_shard", and the next shard goes on.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote_from_bytes

import orjson

from dar_search import exact_json
from dar_search.data import Failure, Metadata
from dar_search.errors import PictureError, SourceError
from dar_search.ingestion.sources.annotations import parse_caption, parse_metadata
from dar_search.ingestion.sources.files import unreadable
from dar_search.ingestion.sources.folder import PICTURE_SUFFIXES
from dar_search.ingestion.sources.locations import file_uri, printable, record_id
from dar_search.ingestion.sources.sidecars import MAX_SIDECAR_BYTES
from dar_search.ingestion.sources.source import BadItem, SourceItem, counted
from dar_search.ingestion.sources.tar_members import MAX_NAME_BYTES, ShardFile, content, members

PACKED = "packed:"
MAX_SHARDS = 100_000
_MAX_IN_SAMPLE = 1_000
_BRACES = re.compile(rb"\{([^{}]*)\}")
_RANGE = re.compile(rb"(\d{1,9})\.\.(\d{1,9})")


@dataclass(slots=True)
class _Sample:
    stem: bytes
    start: int
    members: int = 0
    pictures: list[tarfile.TarInfo] = field(default_factory=list)
    others: list[tarfile.TarInfo] = field(default_factory=list)
    sidecars: dict[bytes, bytes | PictureError] = field(default_factory=dict)


class TarSource:
    """The pictures in tar shards. See the module's docstring. Raises SourceError if there is none that can be read."""

    def __init__(self, pattern: bytes) -> None:
        folder, name = os.path.split(os.path.abspath(pattern))  # noqa: PTH100  # bytes
        self._whole = os.path.join(os.path.realpath(folder), name)  # noqa: PTH118  # bytes
        self._paths = [os.path.realpath(path) for path in expanded(self._whole)]
        problem: Exception | None = None
        for path in self._paths:
            try:
                return ShardFile(path).close()
            except (OSError, PictureError) as error:
                problem = problem or error
        reason = problem.strerror if isinstance(problem, OSError) else str(problem)
        raise SourceError(f'"{printable(self._paths[0])}" cannot be read: {reason}.', "Give tar files of pictures.")

    @property
    def origin(self) -> str:
        return file_uri(self._whole)

    def items(self, after: str | None = None) -> Iterator[SourceItem | BadItem]:
        """A cursor is "SHARD:PLACE:ITEMS": the shard's number, its sample's place, how many items of that are done."""
        first, place, done = _position(after)
        for number in range(first, len(self._paths)):
            yield from self._shard(number, place, done)
            place, done = 0, 0

    def count(self) -> Iterator[int]:
        return counted(self.items())

    def _shard(self, number: int, start: int, done: int) -> Iterator[SourceItem | BadItem]:
        path = self._paths[number]
        try:
            with ShardFile(path) as shard:
                for sample in _samples(shard, start):
                    for count, picture in enumerate(sample.pictures or sample.others, start=1):
                        if sample.start > start or count > done:
                            listed = _item(path, shard.packing, sample, picture)
                            yield dataclasses.replace(listed, cursor=f"{number}:{sample.start}:{count}")
        except PictureError as error:
            yield BadItem(Failure(file_uri(path), error.code, str(error)), None, f"{number + 1}:0:0")
        except OSError as error:
            problem = unreadable(error)
            yield BadItem(Failure(file_uri(path), problem.code, str(problem)), None, f"{number + 1}:0:0")


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


def _samples(shard: ShardFile, start: int) -> Iterator[_Sample]:
    """Files that follow each other and have one stem. What came before a damage is given before it is raised."""
    sample: _Sample | None = None
    try:
        for member in members(shard, start):
            name = member.name.encode("utf-8", "surrogateescape")
            stem, suffix = _parted(name)
            if suffix is None or member.isdir():
                continue
            if sample is None or stem != sample.stem or sample.members >= _MAX_IN_SAMPLE:
                if sample is not None:
                    yield sample
                sample = _Sample(stem, member.offset)
            _add(sample, shard, member, suffix)
    except PictureError:
        if sample is not None:
            yield sample
        raise
    if sample is not None:
        yield sample


def _parted(name: bytes) -> tuple[bytes, bytes | None]:
    """A member's name -> its stem and suffix; no suffix where it is not looked at."""
    folder, _, base = name.rpartition(b"/")
    if base.startswith(b".") or b"." not in base:
        return name, None
    stem, _, suffix = base.partition(b".")
    return b"/".join((folder, stem)) if folder else stem, suffix.lower()


def _add(sample: _Sample, shard: ShardFile, member: tarfile.TarInfo, suffix: bytes) -> None:
    sample.members += 1
    if b"." + suffix in PICTURE_SUFFIXES:
        sample.pictures.append(member)
    elif b"." + suffix.rpartition(b".")[2] in PICTURE_SUFFIXES:
        sample.others.append(member)
    elif suffix in (b"txt", b"json") and _is_plain(member):
        try:
            sample.sidecars[suffix] = content(shard, member, MAX_SIDECAR_BYTES)
        except PictureError as error:
            if error.code == "broken_shard":
                raise
            sample.sidecars[suffix] = error


def _item(path: bytes, packing: str, sample: _Sample, member: tarfile.TarInfo) -> SourceItem | BadItem:
    name = member.name.encode("utf-8", "surrogateescape")
    key = f"{file_uri(path)}#{quote_from_bytes(name[:MAX_NAME_BYTES])}"
    identity = record_id(f"{file_uri(path)}#{quote_from_bytes(name)}")
    try:
        if len(name) > MAX_NAME_BYTES:
            raise PictureError("bad_member", f"Its name has more than {MAX_NAME_BYTES:,} bytes.", "Shorten it.")
        if not _is_plain(member):
            raise PictureError("bad_member", "It is a link, a device or a file with holes.", "Pack the file itself.")
        if not member.size:
            raise PictureError("empty_file", "The file is empty.", "Copy it again from where it came.")
        caption, metadata = _annotations(sample)
    except PictureError as error:
        return BadItem(Failure(key, error.code, str(error)), identity)
    at = PACKED if packing else ""
    return SourceItem(identity, key, path, caption, metadata, start=member.offset_data, length=member.size, at=at)


def _is_plain(member: tarfile.TarInfo) -> bool:
    return member.isreg() and not member.issparse() and member.size >= 0


def _annotations(sample: _Sample) -> tuple[str, Metadata]:
    raw: object = {}
    if data := _sidecar(sample, b"json"):
        try:
            raw = exact_json.loads(data)
        except orjson.JSONDecodeError as error:
            raise PictureError("bad_metadata", f"Its .json is not JSON: {error}.", "Mend it.") from None
    if not isinstance(raw, dict):
        raise PictureError("bad_metadata", "Its .json is not an object.", 'Write {"field": value}.')
    caption = raw.pop("caption", None)
    if data := _sidecar(sample, b"txt"):
        try:
            caption = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise PictureError("bad_caption", "Its .txt is not UTF-8 text.", "Save it as UTF-8.") from None
    return parse_caption(caption), parse_metadata(raw)


def _sidecar(sample: _Sample, suffix: bytes) -> bytes:
    found = sample.sidecars.get(suffix, b"")
    if isinstance(found, PictureError):
        raise PictureError(found.code, f"Its .{suffix.decode()}: {found.message}", found.hint)
    return found


def _position(after: str | None) -> tuple[int, int, int]:
    try:
        shard, place, done = map(int, (after or "0:0:0").split(":"))
    except ValueError:
        raise SourceError(f'"{str(after)[:80]}" is no place in tar shards.', "List the source anew.") from None
    return shard, place, done
