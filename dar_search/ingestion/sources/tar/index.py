"""What a tar shard holds, known before its first picture is listed: files that belong together may lie far apart.

One pass over the headers fills a temporary database, so memory does not grow with the shard. The pictures stay where
they are; so do captions and metadata, except in a packed shard, which can only be read forwards: they are copied into a
temporary file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import IO, NamedTuple, Self

from dar_search.errors import PictureError, SourceError
from dar_search.ingestion.sources.annotating import MAX_SIDECAR_BYTES
from dar_search.ingestion.sources.files import START_BYTES
from dar_search.ingestion.sources.locations import printable
from dar_search.ingestion.sources.pairing import Role, key_of_sidecar, keys_of, role_of, sidecar_key, suffix_of
from dar_search.ingestion.sources.pictures import is_taken, kind_of
from dar_search.ingestion.sources.selection import Selection
from dar_search.ingestion.sources.tar.members import MAX_NAME_BYTES, ShardFile, members, stretch

MAX_MEMBERS = 10_000_000
MAX_NAMES_BYTES = 1 << 30
MAX_COPIED_BYTES = 4 << 30
_MAX_HOPS = 16
_SIDECARS = ("caption", "metadata")
#: What webdataset's samples hold beside a picture, as pictures: 0.jpg with 0.seg.png.
_PARTS = frozenset(b"seg mask depth normal edge canny semantic instance alpha matte".split())
_NOT_PLAIN = "It is a device, a file with holes, or a link to what the shard does not have."
_TABLE = """CREATE TABLE members (
    place INTEGER PRIMARY KEY, name BLOB, path BLOB UNIQUE, role TEXT, whole BLOB, stem BLOB, first BLOB,
    start INTEGER, size INTEGER, link BLOB, flaw TEXT, message TEXT)"""
_NO_SIDECAR = "NOT EXISTS (SELECT 1 FROM members t WHERE t.role = s.role AND t.whole IN ({}))"
_UNMATCHED = f"""SELECT name FROM members s WHERE role IN ('caption', 'metadata') AND (
    EXISTS (SELECT 1 FROM members t WHERE t.whole = s.whole AND t.role = s.role AND t.path > s.path)
    OR NOT EXISTS (SELECT 1 FROM members p WHERE p.role = 'picture' AND p.whole = s.whole)
    AND NOT EXISTS (SELECT 1 FROM members p WHERE p.role = 'picture' AND p.stem = s.whole
        AND {_NO_SIDECAR.format("p.whole")})
    AND (EXISTS (SELECT 1 FROM members p WHERE p.role = 'picture' AND s.whole IN (p.whole, p.stem))
        OR NOT EXISTS (SELECT 1 FROM members p WHERE p.role = 'picture' AND p.first = s.whole
            AND {_NO_SIDECAR.format("p.whole, p.stem")}))
    ) ORDER BY place"""  # noqa: S608  # our words
_COLUMNS = "place, name, path, role, start, size, link, flaw, message"


class Member(NamedTuple):
    """A picture, or a file with annotations. flaw: a failure's code, where its bytes cannot be had."""

    place: int
    name: bytes
    path: bytes
    role: Role
    start: int
    size: int
    link: bytes | None
    flaw: str | None
    message: str | None


Skip = Callable[[str, bytes, str], None]


class TarIndex:
    """The index of one shard, made when it is opened. Close it, or use it as a context.

    Args:
        skip: told of each member that is not taken: a code of `remarks.SKIP_CODES`, its name, and its kind.
        contents: whether `content` will be asked for.
        look: called at each member.

    Raises SourceError where the temporary folder takes no more.

    Attributes:
        damage: why the shard could not be read to its end; None if it could.
    """

    def __init__(
        self,
        shard: ShardFile,
        selection: Selection,
        skip: Skip,
        *,
        contents: bool = True,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        self._shard = shard
        self._selection = selection
        self._skip = skip
        self._look = look
        self._copy: IO[bytes] | None = None
        self._rows = sqlite3.connect("", isolation_level=None, check_same_thread=False)  # a file that nobody sees
        self._copied = 0
        self.damage: PictureError | None = None
        try:
            if contents and shard.packing:
                self._copy = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the index
            self._rows.execute("PRAGMA journal_mode = OFF")
            self._rows.execute(_TABLE)
            self._rows.execute("BEGIN")
            self._fill()
            self._settle()
            self._rows.execute("COMMIT")
            if self._copy is not None:
                self._copy.flush()
        except (sqlite3.Error, OSError) as error:  # what goes wrong in reading the shard is `damage`
            self.close()
            raise SourceError(
                f'What "{printable(shard.path)}" holds could not be kept in the temporary folder: {error}.',
                "Make room there, or name another with TMPDIR.",
            ) from error
        except BaseException:
            self.close()
            raise

    def pictures(self, start: int = 0) -> Iterator[Member]:
        """Those from a place in the shard on, in its order."""
        found = self._rows.cursor()
        sql = f"SELECT {_COLUMNS} FROM members WHERE role = 'picture' AND place >= ? ORDER BY place"  # noqa: S608
        for row in found.execute(sql, (start,)):
            yield self._followed(Member(*row))

    def count(self) -> int:
        return int(self._rows.execute("SELECT count(*) FROM members WHERE role = 'picture'").fetchone()[0])

    def sidecar(self, picture: Member, role: Role) -> tuple[Member, bool] | None:
        """A picture's caption or metadata -> it, and whether it is named after the whole of the picture's name."""
        folder, base = _parted(picture.path)
        key = sidecar_key(
            base,
            lambda key: self._has("role = ? AND whole = ?", role, folder + key),
            lambda key: self._has("role = 'picture' AND (whole = ?1 OR stem = ?1)", folder + key),
        )
        if key is None:
            return None
        sql = f"SELECT {_COLUMNS} FROM members WHERE role = ? AND whole = ? ORDER BY path DESC LIMIT 1"  # noqa: S608
        row = self._rows.execute(sql, (role, folder + key)).fetchone()
        return self._followed(Member(*row)), key == keys_of(base).whole

    def content(self, sidecar: Member) -> bytes:
        """Its bytes. Raises PictureError."""
        if sidecar.flaw:
            raise PictureError(sidecar.flaw, sidecar.message or "")
        if self._copy is None:
            return stretch(self._shard, sidecar.start, sidecar.size)
        return os.pread(self._copy.fileno(), sidecar.size, sidecar.start)

    def close(self) -> None:
        self._rows.close()
        if self._copy is not None:
            with contextlib.suppress(OSError):  # what it could not write is not needed any more
                self._copy.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fill(self) -> None:
        try:
            left = MAX_NAMES_BYTES
            for number, member in enumerate(members(self._shard, 0)):
                self._look()
                left -= len(member.name)
                if number >= MAX_MEMBERS or left < 0:
                    message = f"The shard has more than {MAX_MEMBERS:,} members, or names of {MAX_NAMES_BYTES:,} bytes."
                    raise PictureError("broken_shard", message, "Split it.")
                if not member.isdir():
                    self._add(member)
        except PictureError as error:
            self.damage = error

    def _add(self, member: tarfile.TarInfo) -> None:
        name = _bounded(member.name.encode("utf-8", "surrogateescape"))
        path = _canonical(name)
        link = _target(member, path)
        role = role_of(_parted(path)[1])
        if left := self._selection.left_out_below(path):
            if role == "picture":  # a link that is not left out may lead to it
                place = (member.offset_data, member.size, link, *_flaw(member, name, link))
                self._put(member.offset, name, path, "out", (None, None, None, *place))
            return self._skip(left.code, name, left.kind)
        if role == "nameless" and self._begins_as_a_picture(member):
            role = "picture"
        if role != "picture" and role not in _SIDECARS:
            special = link is None and not member.isreg()
            return self._skip(*_not_taken(name, "special_file" if special else "link" if link else "other_kind"))
        start, flaw, message = member.offset_data, *_flaw(member, name, link)
        if role != "picture" and not flaw and link is None:
            start, flaw, message = self._kept(member)
        row = (*_keys(path, role), start, member.size, link, flaw, message)
        if earlier := self._rows.execute("SELECT name FROM members WHERE path = ?", (path,)).fetchone():
            self._skip("replaced_member", earlier[0], "")
        self._put(member.offset, name, path, "part" if role == "picture" and _is_part(path) else role, row)
        return None

    def _put(self, place: int, name: bytes, path: bytes, role: str, rest: tuple[object, ...]) -> None:
        values = (place, name, path, role, *rest)
        self._rows.execute("INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    def _begins_as_a_picture(self, member: tarfile.TarInfo) -> bool:
        if not _is_plain(member) or not member.size:
            return False
        return is_taken(stretch(self._shard, member.offset_data, min(member.size, START_BYTES)))

    def _kept(self, member: tarfile.TarInfo) -> tuple[int, str | None, str | None]:
        """Where a sidecar's content will be read, or why not."""
        if member.size > MAX_SIDECAR_BYTES:
            return 0, "too_large", f"It has more than {MAX_SIDECAR_BYTES:,} bytes."
        if self._copy is None:
            return member.offset_data, None, None
        start = self._copied
        if start + member.size > MAX_COPIED_BYTES:
            return 0, "too_large", f"The shard's captions and metadata have more than {MAX_COPIED_BYTES:,} bytes."
        self._copied += self._copy.write(stretch(self._shard, member.offset_data, member.size))
        return start, None, None

    def _settle(self) -> None:
        """What can be said only when all members are known."""
        for column in ("whole", "stem", "first"):
            self._rows.execute(f"CREATE INDEX by_{column} ON members ({column}, role)")
        self._rows.execute(
            """UPDATE members AS s SET role = 'left' WHERE role = 'part' AND EXISTS (
                SELECT 1 FROM members p WHERE p.role = 'picture' AND p.stem = s.first)"""
        )
        self._rows.execute("UPDATE members SET role = 'picture' WHERE role = 'part'")
        for (name,) in self._rows.execute("SELECT name FROM members WHERE role = 'left' ORDER BY place"):
            self._skip("sample_part", name, "")
        for (name,) in self._rows.execute(_UNMATCHED):
            self._skip("unmatched_sidecar", name, printable(suffix_of(name)))

    def _followed(self, member: Member) -> Member:
        """Where a link leads within the shard."""
        found = member
        for _ in range(_MAX_HOPS):
            if found.link is None:
                return member._replace(start=found.start, size=found.size, flaw=found.flaw, message=found.message)
            row = self._rows.execute(f"SELECT {_COLUMNS} FROM members WHERE path = ?", (found.link,)).fetchone()  # noqa: S608
            if row is None:
                break
            found = Member(*row)
            if (found.role in _SIDECARS) != (member.role in _SIDECARS):
                break
        return member._replace(flaw="bad_member", message=_NOT_PLAIN)

    def _has(self, condition: str, *values: object) -> bool:
        sql = f"SELECT 1 FROM members WHERE {condition} LIMIT 1"  # noqa: S608  # our words
        return self._rows.execute(sql, values).fetchone() is not None


def _keys(path: bytes, role: Role) -> tuple[bytes, bytes | None, bytes | None]:
    folder, base = _parted(path)
    if role != "picture":
        return folder + key_of_sidecar(base), None, None
    keys = keys_of(base)
    return folder + keys.whole, folder + keys.stem, folder + keys.first


def _is_plain(member: tarfile.TarInfo) -> bool:
    return member.isreg() and not member.issparse() and member.size >= 0


def _is_part(path: bytes) -> bool:
    inner = _parted(path)[1].split(b".")[1:-1]
    return bool(inner) and b".".join(inner).lower() in _PARTS


def _flaw(member: tarfile.TarInfo, name: bytes, link: bytes | None) -> tuple[str | None, str | None]:
    if len(name) > MAX_NAME_BYTES:
        return "bad_member", f"Its name has more than {MAX_NAME_BYTES:,} bytes."
    if link is None and not _is_plain(member):
        return "bad_member", _NOT_PLAIN
    return None, None


def _bounded(name: bytes) -> bytes:
    """A longer name is not kept whole; two of them stay apart."""
    if len(name) <= MAX_NAME_BYTES:
        return name
    suffix = suffix_of(name)[:32]
    return name[:MAX_NAME_BYTES] + hashlib.blake2b(name, digest_size=16).hexdigest().encode() + suffix


def _canonical(path: bytes) -> bytes:
    """Without what makes no difference: "./a//b" is "a/b". ".." stays: it is only a name."""
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    return (b"/" if path.startswith(b"/") else b"") + b"/".join(parts)


def _parted(path: bytes) -> tuple[bytes, bytes]:
    """The folder with its "/", and the name in it."""
    folder, slash, base = path.rpartition(b"/")
    return folder + slash, base


def _target(member: tarfile.TarInfo, path: bytes) -> bytes | None:
    """The canonical path that a link leads to; None where it is no link."""
    target = member.linkname.encode("utf-8", "surrogateescape")
    if member.islnk():
        return _canonical(target)
    if not member.issym():
        return None
    whole = target if target.startswith(b"/") else os.path.join(os.path.dirname(path), target)  # noqa: PTH118, PTH120
    return _canonical(os.path.normpath(whole))


def _not_taken(name: bytes, code: str) -> tuple[str, bytes, str]:
    return code, name, kind_of(_parted(name)[1]) if code == "other_kind" else ""
