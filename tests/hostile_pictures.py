"""Hostile pictures: what arrives in a folder of uploads after somebody has tried. All made from a seed."""

from __future__ import annotations

import functools
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable

from PIL import Image, ImageCms

from tests.pictures import encoded, heic, jpeg, photograph, png

SIDE = 48


@functools.cache
def real() -> dict[str, bytes]:
    """One good picture of each format that is decoded."""
    picture = photograph(1, 64, SIDE)
    frames = [photograph(number, 64, SIDE) for number in (2, 3)]
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "jpg": jpeg(picture),
        "progressive.jpg": jpeg(picture, progressive=True),
        "exif.jpg": jpeg(picture, 6),
        "mpo": encoded(picture, "MPO", save_all=True, append_images=frames),
        "png": encoded(picture, "PNG"),
        "palette.png": encoded(picture.quantize(16), "PNG"),
        "animated.png": encoded(picture, "PNG", save_all=True, append_images=frames),
        "gif": encoded(picture.quantize(64), "GIF"),
        "animated.gif": encoded(picture, "GIF", save_all=True, append_images=frames),
        "webp": encoded(picture, "WEBP", exif=exif.tobytes()),
        "lossless.webp": encoded(picture, "WEBP", lossless=True),
        "animated.webp": encoded(picture, "WEBP", save_all=True, append_images=frames),
        "avif": encoded(picture, "AVIF"),
        "tif": encoded(picture, "TIFF"),
        "lzw.tif": encoded(picture, "TIFF", compression="tiff_lzw"),
        "jpeg.tif": encoded(picture, "TIFF", compression="jpeg"),
        "bmp": encoded(picture, "BMP"),
        "heic": heic(picture),
    }


Mutation = Callable[[bytes, random.Random], bytes]


def _truncated(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(1, len(data))]


def _flipped(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.choice((1, 4, 64))):
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _header_flipped(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.randrange(1, 6)):
        changed[dice.randrange(8, min(len(changed), 160))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
    return bytes(changed)


def _stretch_repeated(data: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(data))
    end = min(len(data), start + dice.randrange(1, 400))
    return data[:end] + data[start:end] * dice.randrange(2, 50) + data[end:]


def _stretch_removed(data: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(8, len(data))
    return data[:start] + data[min(len(data), start + dice.randrange(1, 400)) :]


def _spliced(data: bytes, dice: random.Random) -> bytes:
    other = dice.choice(sorted(real().values()))
    return data[: dice.randrange(8, len(data))] + other[dice.randrange(len(other)) :]


def _zeroed(data: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(8, len(data))
    end = min(len(data), start + dice.randrange(1, 1_000))
    return data[:start] + bytes([dice.choice((0, 0xFF))]) * (end - start) + data[end:]


MUTATIONS: tuple[Mutation, ...] = (
    _truncated, _flipped, _header_flipped, _stretch_repeated, _stretch_removed, _spliced, _zeroed,
)  # fmt: skip


def mutated(seed: int, count: int) -> dict[str, bytes]:
    """Names -> contents: each format by each mutation in turn, until there are so many."""
    dice = random.Random(seed)
    found: dict[str, bytes] = {}
    while len(found) < count:
        for mutation in MUTATIONS:
            for name, data in real().items():
                if len(found) < count:
                    found[f"{len(found):04}{mutation.__name__}.{name}"] = mutation(data, dice)
    return found


def crafted() -> dict[str, bytes]:
    """Names -> contents of files that somebody has made with a purpose: bombs, lies, and other formats in disguise."""
    plain = photograph(1, 64, SIDE)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.jpg", bytes(1 << 20))
    good = real()
    return {
        "bomb.png": png(16_000, 16_000),
        "just-too-many.png": png(10_001, 10_000),
        "long.png": png(70_000, 1),
        "all-bits.png": _png_of(0xFFFFFFFF, 0xFFFFFFFF, b""),
        "no-size.png": _png_of(0, 0, b""),
        "zip-bomb-in-text.png": _with_chunk(good["png"], b"zTXt", b"a\0\0" + zlib.compress(bytes(64 << 20), 9)),
        "zip-bomb-in-profile.png": _with_chunk(good["png"], b"iCCP", b"a\0\0" + zlib.compress(bytes(64 << 20), 9)),
        "many-texts.png": _with_chunk(good["png"], b"tEXt", b"k\0" + b"v" * 100, 20_000),
        "chunk-of-gigabytes.png": good["png"][:33] + struct.pack(">I", 0x7FFFFFFF) + b"tEXt" + bytes(100),
        "bomb.tif": _tiff(50_000, 50_000),
        "loop.tif": _tiff(8, 8, next_directory=8),
        "strips.tif": _tiff(8, 8, strips=0x00FFFFFF),
        "bomb.webp": _webp(16_383, 16_383),
        "bomb.gif": _gif(65_535, 65_535, 1),
        "frames.gif": _gif(16, 16, 20_000),
        "frames-beyond-the-screen.gif": _gif(16, 16, 3, frame=(60_000, 60_000)),
        "bomb.bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 60, 0, 0, 54, 40, 65_000, 65_000, 1, 24, 0, 0, 0, 0, 0, 0),
        "upside-down.bmp": b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 60, 0, 0, 54, 40, 2, -(1 << 31), 1, 24, 0, 0, 0, 0, 0, 0),
        "bomb.jpg": good["jpg"].replace(struct.pack(">HH", SIDE, 64), b"\xff\xff\xff\xff", 1),
        "many-scans.jpg": _many_scans(good["progressive.jpg"]),
        "profile-cut.jpg": encoded(plain, "JPEG", icc_profile=profile[: len(profile) // 2]),
        "profile-of-nothing.jpg": encoded(plain, "JPEG", icc_profile=b"\0" * 200),
        "profile-of-lab.jpg": encoded(plain, "JPEG", icc_profile=lab),
        "profile-nested.png": encoded(plain, "PNG", icc_profile=profile[:128] + profile + profile),
        "profile-huge.webp": encoded(plain, "WEBP", icc_profile=profile + bytes(1 << 20)),
        "grey-with-profile.jpg": encoded(plain.convert("L"), "JPEG", icc_profile=profile),
        "cmyk-with-profile.jpg": encoded(plain.convert("CMYK"), "JPEG", icc_profile=profile),
        "exif-of-rubbish.jpg": encoded(plain, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 600),
        "zip.jpg": archive.getvalue(),
        "pdf.jpg": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n",
        "page.jpg": b"<!DOCTYPE html><html><script>alert(1)</script></html>",
        "drawing.jpg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "entities.svg.png": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><svg>&b;</svg>',
        "postscript.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
        "photoshop.jpg": b"8BPS\0\x01" + bytes(100),
        "icon.jpg": b"\0\0\1\0\1\0" + bytes(100),
        "program.jpg": b"\x7fELF" + bytes(1_000),
        "script.png": b"#!/bin/sh\nrm -rf /\n",
        "zeros.jpg": bytes(100_000),
        "one-byte.jpg": b"\xff",
        "two-in-one.jpg": good["jpg"] + archive.getvalue(),
        "gif-and-script.gif": b"GIF89a/*" + bytes(20) + b"*/=1;alert(1)",
        "phone.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99),
        "bomb.heic": heic(photograph(1, 64, 64)).replace(struct.pack(">II", 64, 64), b"\0\0\x75\x30" * 2),
        "avif-of-nothing.avif": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(200),
        "avif-of-gigabytes.avif": good["avif"][:16] + b"\xff\xff\xff\xff" + good["avif"][20:],
    }  # fmt: skip


def _png_of(width: int, height: int, data: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + data


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _with_chunk(picture: bytes, kind: bytes, data: bytes, times: int = 1) -> bytes:
    return picture[:33] + _chunk(kind, data) * times + picture[33:]


def _tiff(width: int, height: int, *, next_directory: int = 0, strips: int = 1) -> bytes:
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, strips, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, strips, 64),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + directory + struct.pack("<I", next_directory) + bytes(64)


def _webp(width: int, height: int) -> bytes:
    size = (width - 1) | (height - 1) << 14
    data = b"\x2f" + struct.pack("<I", size) + bytes(60)
    chunk = b"VP8L" + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def _gif(width: int, height: int, frames: int, frame: tuple[int, int] | None = None) -> bytes:
    inner = struct.pack("<HHHH", 0, 0, *(frame or (width, height)))
    one = b"," + inner + b"\0" + b"\x02\x02\x44\x01\0"
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6) + one * frames + b";"


def _many_scans(progressive: bytes) -> bytes:
    """A progressive JPEG whose last scan comes ten thousand times: each is a pass over the whole picture."""
    start = progressive.rindex(b"\xff\xda")
    return progressive[:start] + progressive[start:-2] * 10_000 + progressive[-2:]
