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
    _kind("JPEG-LS", rb"\xff\xd8\xff\xf7"),
    _kind("JPEG", rb"\xff\xd8\xff", supported=True),
    _kind("PNG", rb"\x89PNG\r\n\x1a\n", supported=True),
    _kind("GIF", rb"GIF8[79]a", supported=True),
    _kind("WebP", rb"RIFF.{4}WEBP", supported=True),
    _kind("AVIF", _BOX + rb"avi[fs]", supported=True),
    # HEIF's general brands stand first in some AVIF files; the decoder finds out.
    _kind("AVIF", _BOX + rb"(mif1|msf1|miaf).{0,60}?avi[fs]", supported=True),
    _kind("camera raw (CR3)", _BOX + rb"crx "),
    # RAW files that are no TIFF, or that say in their first bytes that they are more than one.
    _kind("camera raw (CR2)", rb"II\x2a\0.{4}CR"),
    _kind("camera raw", rb"FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\0|FOVb|\0MRM|II\x1a\0\0\0HEAP"),
    _kind("JPEG XR", rb"II\xbc"),
    _kind("TIFF", rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]", supported=True),
    # "BM" alone is also how a text may begin: the size of the header that follows is one of a few.
    _kind("BMP", rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", supported=True),
    _kind("HEIC", _BOX + rb"(hei[cxms]|hev[cxms]|mif1|msf1|miaf)", supported=True),
    _kind("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"),
    _kind("JPEG 2000", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    _kind("Photoshop", rb"8BP[SB]\0"),
    _kind("icon", rb"\0\0[\x01\x02]\0[^\0]"),
    _kind("icon (ICNS)", rb"icns.{4}"),
    _kind(
        "SVG",
        rb"(\xef\xbb\xbf)?\s*(<\?xml.{0,500}?)?(<!--.{0,1000}?-->\s*)*(<!DOCTYPE\s+svg.{0,1000}?)?<(svg:)?svg[\s>]",
    ),
    _kind("PDF", rb"%PDF-"),
    _kind("PostScript", rb"%!PS-Adobe|\xc5\xd0\xd3\xc6"),
    _kind("PNM", rb"P[1-7]\s"),
    _kind("QOI", rb"qoif"),
    _kind("OpenEXR", rb"v/1\x01"),
    _kind("Radiance", rb"#\?(RADIANCE|RGBE)"),
    _kind("DirectDraw", rb"DDS "),
    _kind("DjVu", rb"AT&TFORM"),
    _kind("GIMP", rb"gimp xcf "),
    _kind("BPG", rb"BPG\xfb"),
    _kind("Windows metafile", rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF"),
    _kind("DICOM", rb".{128}DICM"),
    _kind("FITS", rb"SIMPLE  ="),
    _kind("PCX", rb"\x0a[\0-\x05][\0\x01][\x01\x02\x04\x08]"),
    _kind("SGI", rb"\x01\xda[\0\x01][\x01\x02]"),
    _kind("MNG", rb"[\x8a\x8b][MJ]NG\r\n\x1a\n"),
    _kind("FLIF", rb"FLIF[\x31-\x61]"),
    _kind("JBIG2", rb"\x97JB2\r\n\x1a\n"),
    _kind("KTX", rb"\xabKTX "),
    _kind("XBM", rb"\s*#define\s+\S+_width\s"),
    _kind("XPM", rb"\s*/\* XPM \*/"),
)

_TGA = _kind("TGA", b"")  # known by its end

_NOT_A_PICTURE = tuple(
    (name, hint, re.compile(pattern, re.DOTALL | re.IGNORECASE))
    for name, hint, pattern in (
        ("a pointer of Git LFS, not the picture", "Get the picture: git lfs pull.", rb"version https://git-lfs"),
        (
            "a placeholder of iCloud, not the picture",
            "Download the picture to this machine first.",
            rb"bplist00.{0,400}NSURL",
        ),
        (
            "what macOS keeps beside a file (AppleDouble), not the picture",
            "Take the file of the same name without ._ before it.",
            rb"\0\x05\x16[\x00\x07]",
        ),
        (
            "nothing but zeros: an unfinished download, or a placeholder",
            "Copy it again from where it came.",
            rb"\0{64,}\Z",
        ),
        (
            "a web page (HTML), not a picture",
            "Its address may ask for a login, or say that the picture is gone.",
            rb"(\xef\xbb\xbf)?\s*(<!--.{0,500}?-->\s*)?<(!doctype html|html|head|body|title|script)\b",
        ),
        ("XML, not a picture", "", rb"(\xef\xbb\xbf)?\s*<\?xml"),
        ("JSON, not a picture", "", rb"(\xef\xbb\xbf)?\s*[{\[]\s*(\"|\{|\[|\]|\})"),
        (
            "a video, not a picture",
            "Take a frame out of it.",
            _BOX + rb"|.{4}(moov|mdat|wide)|\x1a\x45\xdf\xa3|RIFF.{4}AVI |\0\0\x01[\xb3\xba]|FLV\x01|OggS",
        ),
        ("a sound, not a picture", "", rb"ID3|RIFF.{4}WAVE|fLaC"),
        ("a ZIP archive (or a document that is one)", "Unpack it.", rb"PK\x03\x04"),
        ("a compressed file or archive", "Unpack it.", rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd"),
        ("a tar archive", "Give it as the source: 'NAME.tar'.", rb".{257}ustar"),
        ("a text (UTF-16), not a picture", "", rb"\xff\xfe[^\0]\0|\xfe\xff\0[^\0]"),
        ("a Windows shortcut, not the picture", "Take the file that it leads to.", rb"L\0\0\0\x01\x14\x02\0"),
        ("a program, not a picture", "", rb"\x7fELF|MZ.{50}|#!"),
        ("a property list, not a picture", "", rb"bplist00"),
    )
)
_TGA_END = b"TRUEVISION-XFILE.\0"
_TEXT = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]+\Z")


def signature_of(data: bytes) -> Signature | None:
    """The first kind that a file's first bytes match; None if none does."""
    head = data[:2048]
    found = next((signature for signature in SIGNATURES if signature.pattern.match(head)), None)
    return found or (_TGA if data.endswith(_TGA_END) else None)


def what_else(data: bytes) -> tuple[str, str]:
    """What a file that is no picture is, for people, and what to do about it (may be empty)."""
    head = data[:2048]
    for name, hint, pattern in _NOT_A_PICTURE:
        if pattern.match(head):
            return name, hint
    if head.strip() and _TEXT.match(head):
        beginning = " ".join(head[:80].decode("utf-8", "replace").split())
        readable = "".join(character if character.isprintable() else " " for character in beginning)
        return f'a text that begins "{readable[:40].strip()}", not a picture', ""
    return "", ""


def ends_early(data: bytes) -> bool:
    """Whether a WebP, AVIF, HEIC or TIFF is shorter than its beginning says. (Other decoders say so themselves.)"""
    if data[:4] in (b"II*\0", b"MM\0*"):
        return len(data) < int.from_bytes(data[4:8], "little" if data[:1] == b"I" else "big") + 2
    if data[:4] == b"RIFF":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    start = 0
    while data[4:8] == b"ftyp" and start + 8 <= len(data):
        size = int.from_bytes(data[start : start + 4], "big")
        if size < 8:  # 0: to the end of the file; 1: a 64-bit length, which no picture needs
            return False
        start += size
    return start > len(data)
