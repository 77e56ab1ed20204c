"""Whether a file is gone for good, as far as this machine can tell: a disk that is not mounted hides its files too.

A path is gone where it leads to nothing, and the nearest folder above it that is there looks inhabited: it has
something in it, and is no place where disks appear. An address of another kind, such as a URL, is never looked at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from dar_search.ingestion.sources.locations import path_of

# Where disks, sticks, volumes and home folders from elsewhere appear: what lies right under these may come back.
_OF_DISKS = re.compile(rb"/|/(mnt|media|run|run/media|run/media/[^/]+|run/user/[^/]+/gvfs|Volumes|net|misc|home|Users)")
# A disk of its own, or a folder of disks: the former where something is mounted there.
_DISKS = re.compile(rb"/(mnt|media|Volumes|net|misc)/[^/]+|/run/media/[^/]+/[^/]+|/run/user/[^/]+/gvfs/[^/]+")
_MOUNTS = Path("/etc/fstab")


def is_gone(uri: str, *, said: bool = False) -> bool:
    """Whether the file: URI's file, or the shard that the URI is a part of, is certainly not there any more.

    said: somebody says so: it is enough that there is no such file here.
    """
    try:
        path = path_of(uri)
    except ValueError:
        return False
    if not _leads_nowhere(path):
        return False
    if said:
        return True
    folder = path
    while _leads_nowhere(folder) or not os.path.isdir(folder):  # noqa: PTH112  # bytes, which pathlib does not take
        folder = os.path.dirname(folder)  # noqa: PTH120
    if _OF_DISKS.fullmatch(folder) or (_DISKS.fullmatch(folder) and not os.path.ismount(folder)):
        return False
    if any(path.startswith(mount.rstrip(b"/") + b"/") for mount in _not_mounted()):
        return False
    try:
        with os.scandir(folder) as entries:
            return any(True for _ in entries)
    except OSError:
        return False


def _leads_nowhere(path: bytes) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _not_mounted() -> Iterator[bytes]:
    """The places of disks that this machine knows and does not have just now."""
    try:
        lines = _MOUNTS.read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        fields = line.split()
        if len(fields) > 1 and fields[1].startswith(b"/") and not line.lstrip().startswith(b"#"):
            place = re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), fields[1])
            if not os.path.ismount(place):
                yield place
