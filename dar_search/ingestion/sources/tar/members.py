"""Reading a tar shard, packed or not, member by member, whoever wrote it.

Nothing is written to disk, so members' names are only names. `tarfile` reads headers as long as they say they are, and
takes a damaged header for the end of the archive; so no single read is longer than a header may be, a packed shard may
not unfold without bounds, and an archive that does not end with its end mark is damaged.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Self

from dar_search.errors import PictureError
from dar_search.ingestion.sources.allowance import EVERYTHING, Allowance

MAX_NAME_BYTES = 4_096
_MAX_READ = 4 << 20
_SKIP = 1 << 20
# Zeros pack 1,000 to 1; pictures hardly at all, and their captions ten to one.
_MAX_RATIO = 200
_RATIO_SLACK = 64 << 20
_PACKINGS = {b"\x1f\x8b": "gzip", b"BZh": "bzip2"}
_UNREAD_PACKINGS = {b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
# What tarfile and the unpackers raise on damaged archives. RecursionError: a chain of long headers.
_DAMAGE = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError, RecursionError, OverflowError)


class ShardFile:
    """The bytes of a shard, unpacked, read forwards (a shard that is not packed in any order).

    Attributes:
        packing: "gzip", "bzip2", or empty.

    Raises:
        OSError: it cannot be opened; PictureError: it is not allowed, no regular file, or packed in an unread way.
    """

    def __init__(self, path: bytes, allowance: Allowance = EVERYTHING) -> None:
        self._raw: IO[bytes] = os.fdopen(allowance.opened(path), "rb")
        try:
            if not stat.S_ISREG(os.fstat(self._raw.fileno()).st_mode):
                raise PictureError("not_a_file", "The shard is not a regular file.", "Give a tar file.")
            self.packing = _packing(self._raw)
        except BaseException:
            self._raw.close()
            raise
        self._content: IO[bytes] = self._raw
        if self.packing == "gzip":
            self._content = gzip.GzipFile(fileobj=self._raw)  # type: ignore[assignment]  # has what is used of it
        elif self.packing == "bzip2":
            self._content = bz2.BZ2File(self._raw)
        self.path = path
        self._place = 0
        self.last_block = b""
        """The last header's block that was read."""

    def tell(self) -> int:
        return self._place if self.packing else self._raw.tell()

    def seek(self, place: int) -> int:
        """Only forwards where the shard is packed."""
        if not self.packing:
            return self._raw.seek(place)
        if place < self._place:
            raise tarfile.ReadError("a packed shard is read forwards only")
        while self._place < place and self._unpack(min(_SKIP, place - self._place)):
            pass
        return self._place

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MAX_READ:
            raise tarfile.ReadError("a header of more than 4 MiB")
        data = self.read_exactly(size)
        if size == tarfile.BLOCKSIZE:
            self.last_block = data
        return data

    def read_exactly(self, size: int) -> bytes:
        """As `read`, for what is not a header: a size that the caller has checked. Shorter only at the end."""
        if not self.packing:
            return self._raw.read(size)
        parts = []
        while size > 0 and (part := self._unpack(min(_SKIP, size))):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        if self.packing:
            self._content.close()
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _unpack(self, size: int) -> bytes:
        data = self._content.read(size)
        self._place += len(data)
        if self._place > _MAX_RATIO * self._raw.tell() + _RATIO_SLACK:
            raise tarfile.ReadError("it unfolds without bounds")
        return data


def members(shard: ShardFile, start: int) -> Iterator[tarfile.TarInfo]:
    """The members from a header's place on. Raises PictureError broken_shard, also where the end mark is missing."""
    try:
        shard.seek(start)
        with tarfile.TarFile(fileobj=shard, mode="r", errors="surrogateescape") as archive:  # type: ignore[arg-type]
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # or it would remember all of them
                yield member
    except _DAMAGE as error:
        raise _broken(f"{type(error).__name__}: {error}") from error
    except OSError as error:
        raise _broken(error.strerror or str(error)) from error
    if shard.last_block != bytes(tarfile.BLOCKSIZE):
        raise _broken("it ends without its end mark" if not shard.last_block else "a header is damaged")


def content(shard: ShardFile, member: tarfile.TarInfo, max_bytes: int) -> bytes:
    """A small member's bytes, while it is the current one. Raises PictureError too_large, broken_shard."""
    if member.size > max_bytes:
        raise PictureError("too_large", f"It has more than {max_bytes:,} bytes.", "Shorten it.")
    return stretch(shard, member.offset_data, member.size)


def stretch(shard: ShardFile, start: int, length: int) -> bytes:
    """Bytes of the (unpacked) shard. Raises PictureError broken_shard."""
    try:
        shard.seek(start)
        data = shard.read_exactly(length)
    except (*_DAMAGE, OSError) as error:
        raise _broken(f"{type(error).__name__}: {error}") from error
    if len(data) < length:
        raise _broken("it ends within a member")
    return data


def is_tar(path: bytes, allowance: Allowance = EVERYTHING) -> bool:
    """Whether a file is a tar, packed or not, by its name or its first header. Raises PictureError: not_allowed."""
    name = os.path.basename(path).lower()  # noqa: PTH119  # bytes
    if name.endswith((b".tar", b".tgz", b".tbz2", b".tar.gz", b".tar.bz2", b".tar.xz", b".tar.zst")):
        return True
    try:
        with os.fdopen(allowance.opened(path), "rb") as file:
            return file.read(263)[257:262] == b"ustar"
    except OSError:
        return False


def _packing(raw: IO[bytes]) -> str:
    first = raw.read(6)
    raw.seek(0)
    for magic, name in _UNREAD_PACKINGS.items():
        if first.startswith(magic):
            raise PictureError("broken_shard", f"The shard is packed with {name}.", "Unpack it, or pack it with gzip.")
    return next((name for magic, name in _PACKINGS.items() if first.startswith(magic)), "")


def _broken(reason: str) -> PictureError:
    readable = "".join(character if character.isprintable() else " " for character in reason[:200])
    return PictureError("broken_shard", f"The shard is damaged from here on: {readable}.", "Copy it again.")
