"""What a file's first bytes say it is: told apart without running any parser on it."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Signature:
    """A kind of picture.

    Attributes:
        name: for people.
        supported: whether `decoding` takes it.
        pattern: what its first bytes match.
    """

    name: str
    supported: bool
    pattern: re.Pattern[bytes]


def _kind(name: str, pattern: bytes, *, supported: bool = False) -> Signature:
    return Signature(name, supported, re.compile(pattern, re.DOTALL))


_BOX = rb".{4}ftyp"
SIGNATURES = (
    _kind("JPEG", rb"\xff\xd8\xff", supported=True),
    _kind("PNG", rb"\x89PNG\r\n\x1a\n", supported=True),
    _kind("GIF", rb"GIF8[79]a", supported=True),
    _kind("WebP", rb"RIFF.{4}WEBP", supported=True),
    _kind("AVIF", _BOX + rb"avi[fs]", supported=True),
    # HEIF's general brands stand first in some AVIF files; the decoder finds out.
    _kind("AVIF", _BOX + rb"(mif1|msf1|miaf).{0,60}?avi[fs]", supported=True),
    _kind("TIFF", rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]", supported=True),
    # "BM" alone is also how a text may begin: the size of the header that follows is one of a few.
    _kind("BMP", rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", supported=True),
    _kind("HEIC", _BOX + rb"(hei[cxms]|hev[cxms]|mif1|msf1|miaf)"),
    _kind("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"),
    _kind("JPEG 2000", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    _kind("Photoshop", rb"8BPS\0"),
    _kind("icon", rb"\0\0[\x01\x02]\0[^\0]"),
    _kind("SVG", rb"\s*(<\?xml.{0,500}?)?(<!--.{0,500}?-->\s*)?(<!DOCTYPE svg.{0,500}?)?<svg[\s>]"),
    _kind("PDF", rb"%PDF-"),
    _kind("PostScript", rb"%!PS-Adobe"),
    _kind("PNM", rb"P[1-7]\s"),
    _kind("QOI", rb"qoif"),
    _kind("OpenEXR", rb"v/1\x01"),
    _kind("Radiance", rb"#\?RADIANCE"),
    _kind("DirectDraw", rb"DDS "),
)


def signature_of(data: bytes) -> Signature | None:
    """The first kind that a file's first bytes match; None if none does."""
    head = data[:2048]
    return next((signature for signature in SIGNATURES if signature.pattern.match(head)), None)


def ends_early(data: bytes) -> bool:
    """Whether a WebP or AVIF file is shorter than its outermost lengths say. (The other decoders say so themselves.)"""
    if data[:4] == b"RIFF":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    start = 0
    while data[4:8] == b"ftyp" and start + 8 <= len(data):
        size = int.from_bytes(data[start : start + 4], "big")
        if size < 8:  # 0: to the end of the file; 1: a 64-bit length, which no picture needs
            return False
        start += size
    return start > len(data)
