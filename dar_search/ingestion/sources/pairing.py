"""Which files belong together, by their names alone: the same in a folder and in a tar of it.

A picture's caption is in a .txt (or .caption), its metadata in a .json, of the same folder and named, the first that is
there counts,
1. after the whole of its name: `dog.jpg.txt`, `dog.jpg.json`, Takeout's `dog.jpg.supplemental-metadata.json`;
2. after its stem: `dog.txt`; the stem of `2021.05.01.jpg` is `2021.05.01`;
3. after its name up to the first dot, which is how webdataset tells samples apart: `b.txt` is for `b.left.jpg` and
   `b.right.jpg`, where `b` is not a picture's own stem (`IMG.txt` is for `IMG.jpg` and not for `IMG.edited.jpg`).

Names are bytes without a folder. White space and dots at a name's end do not count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Literal, NamedTuple

# Formats that cannot be decoded are listed too: a folder of .heic files must not look empty.
PICTURE_SUFFIXES = frozenset(
    b".jpg .jpeg .jpe .jfif .mpo .png .apng .gif .webp .avif .tif .tiff .bmp .dib .heic .heif .jxl .jp2 .j2k".split()
)
Role = Literal["picture", "caption", "metadata", "nameless", "other"]
_CAPTION_SUFFIXES = (b".txt", b".caption")
_SUFFIX = re.compile(rb"\.(?=[0-9]*[a-z])[a-z0-9]{1,16}")
# "IMG.jpg.supplemental-metadata(1).json", of which the long word may be cut off anywhere, is for "IMG(1).jpg".
_TAKEOUT = re.compile(rb"(.+?)(\.(?:s[a-z-]*)?)?(\(\d{1,5}\))?", re.DOTALL)
_SUPPLEMENT = b".supplemental-metadata"


class Keys(NamedTuple):
    """What a picture's sidecars may be named after."""

    whole: bytes
    stem: bytes
    first: bytes


def role_of(name: bytes) -> Role:
    """What a file is by its name. "nameless": it has no suffix that says anything, as `photo` and `a.jpg_large`."""
    suffix = suffix_of(name)
    if suffix in PICTURE_SUFFIXES:
        return "picture"
    if suffix in _CAPTION_SUFFIXES:
        return "caption"
    if suffix == b".json":
        return "metadata"
    return "other" if _SUFFIX.fullmatch(suffix) else "nameless"


def suffix_of(name: bytes) -> bytes:
    """From the last dot on, in small letters; empty where there is none."""
    return _split(name)[1].lower()


def keys_of(picture: bytes) -> Keys:
    name = picture.rstrip(b" .\t\r\n")
    stem = name if role_of(name) == "nameless" else _split(name)[0]
    return Keys(name, stem, name.partition(b".")[0] or name)


def key_of_sidecar(name: bytes) -> bytes:
    """What a picture is named, or its stem, for this file to be about it."""
    stem, suffix = _split(name)
    found = _TAKEOUT.fullmatch(stem) if suffix.lower() == b".json" else None
    if found and role_of(found[1]) == "picture" and _SUPPLEMENT.startswith(found[2] or b"."):
        before, ending = _split(found[1])
        return before + (found[3] or b"") + ending
    return stem


def sidecar_key(
    picture: bytes, has_sidecar: Callable[[bytes], bool], is_picture: Callable[[bytes], bool]
) -> bytes | None:
    """The key of the sidecar that a picture has.

    Args:
        has_sidecar: whether there is one (of the role that is asked for) with a key.
        is_picture: whether a picture of the folder has that name or stem.
    """
    keys = keys_of(picture)
    for key in (keys.whole, keys.stem):
        if has_sidecar(key):
            return key
    return keys.first if has_sidecar(keys.first) and not is_picture(keys.first) else None


def _split(name: bytes) -> tuple[bytes, bytes]:
    return os.path.splitext(name.rstrip(b" .\t\r\n"))  # noqa: PTH122  # bytes, which pathlib does not take
