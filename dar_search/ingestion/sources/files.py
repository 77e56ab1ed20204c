"""Reading one file that may be anything: a pipe, a device, too large, gone."""

from __future__ import annotations

import errno
import os
import stat

from dar_search.errors import OutOfResources, PictureError
from dar_search.ingestion.sources.allowance import EVERYTHING, Allowance

START_BYTES = 128


def read_file(
    path: bytes, max_bytes: int, *, start: int = 0, length: int = 0, allowance: Allowance = EVERYTHING
) -> bytes:
    """The bytes of a regular file of 1 to `max_bytes` bytes; or, with a length, the stretch of it from `start`.

    Raises:
        PictureError: not_allowed, file_missing, unreadable_file, symlink_loop, not_a_file, empty_file, too_large.
        OutOfResources: no file can be opened just now.
    """
    try:
        descriptor = allowance.opened(path)
        try:
            _check(os.fstat(descriptor), max_bytes, length)
            data = _read_stretch(descriptor, start, length) if length else _read_all(descriptor, max_bytes)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unreadable(error) from error
    if not data:
        raise PictureError("empty_file", "The file is empty.", "Copy it again from where it came.")
    return data


def read_start(path: bytes, allowance: Allowance = EVERYTHING) -> bytes:
    """A file's first bytes, enough to tell its kind. Raises OSError, PictureError: not_allowed."""
    descriptor = allowance.opened(path)
    try:
        return os.read(descriptor, START_BYTES)
    finally:
        os.close(descriptor)


def names_in(folder: bytes, allowance: Allowance = EVERYTHING) -> list[bytes]:
    """What a folder holds; nothing where there is none that may be listed."""
    try:
        descriptor = allowance.opened(folder, os.O_DIRECTORY)
    except (OSError, PictureError):
        return []
    try:
        with os.scandir(descriptor) as entries:
            return [os.fsencode(entry.name) for entry in entries]
    finally:
        os.close(descriptor)


def unreadable(error: OSError) -> PictureError:
    """What an operating system's error about a file means for the failure list.

    Raises OutOfResources for one that says nothing about the file.
    """
    check_resources(error)
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
        return PictureError("file_missing", "There is no such file.", "Check the path.")
    if error.errno == errno.ELOOP:
        return PictureError("symlink_loop", "The symbolic link leads to itself.", "Remove the link.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return PictureError("unreadable_file", "No permission to read the file.", "Make it readable for this user.")
    return PictureError("unreadable_file", f"The file cannot be read: {error.strerror}.", "Check the disk.")


def check_resources(error: OSError) -> None:
    """Raises OutOfResources where any other file would have met the error too."""
    if (short := OutOfResources.of(error)) is not None:
        raise short from error


def _check(status: os.stat_result, max_bytes: int, length: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise PictureError("not_a_file", "The path is not a regular file.", "Give the path of a picture.")
    size = length or status.st_size
    if size > max_bytes:
        raise PictureError("too_large", f"The file has {size:,} bytes; the limit is {max_bytes:,}.", "Make it smaller.")


def _read_all(descriptor: int, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    left = max_bytes + 1
    while left > 0 and (part := os.read(descriptor, min(left, 1 << 22))):
        parts.append(part)
        left -= len(part)
    if left <= 0:
        raise PictureError("too_large", f"The file grew beyond the limit of {max_bytes:,} bytes.", "Make it smaller.")
    return b"".join(parts)


def _read_stretch(descriptor: int, start: int, length: int) -> bytes:
    parts: list[bytes] = []
    left = length
    while left > 0 and (part := os.pread(descriptor, min(left, 1 << 22), start + length - left)):
        parts.append(part)
        left -= len(part)
    if left > 0:
        raise PictureError("truncated_picture", "The file ends within the picture.", "Copy the file again.")
    return b"".join(parts)
