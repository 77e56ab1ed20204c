"""Picture files for tests: a scene whose way up can be seen, and every awkward way to store it."""

from __future__ import annotations

import functools
import io
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image, ImageCms

Colour = tuple[int, int, int]
Quadrants = tuple[Colour, Colour, Colour, Colour]
"""Top left, top right, bottom left, bottom right."""

COLOURS: Quadrants = ((220, 30, 40), (40, 190, 70), (30, 60, 210), (230, 210, 40))
GREYS: Quadrants = ((20, 20, 20), (90, 90, 90), (160, 160, 160), (240, 240, 240))
WIDTH, HEIGHT = 200, 120
ORIENTATION = 0x0112

# How the stored pixels come from the upright ones: the inverse of what EXIF asks a viewer to do.
STORED: Mapping[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@dataclass(frozen=True)
class Good:
    """A file that must be found: upright, of this size, with these colours in its quadrants."""

    quadrants: Quadrants = COLOURS
    width: int = WIDTH
    height: int = HEIGHT


@dataclass(frozen=True)
class Bad:
    """A file that must be a failure with this code."""

    code: str


def scene(quadrants: Quadrants = COLOURS, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Four plain quadrants, RGB."""
    image = Image.new("RGB", (width, height))
    for number, colour in enumerate(quadrants):
        left, top = (number % 2) * (width // 2), (number // 2) * (height // 2)
        image.paste(colour, (left, top, left + width // 2, top + height // 2))
    return image


def photograph(seed: int, width: int = 640, height: int = 480) -> Image.Image:
    """A procedural picture with the spectrum of a photograph: soft shapes, edges, texture and grain."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3), np.float32)
    for cell in (320, 128, 48, 16, 6):
        noise = random.integers(0, 256, (max(2, height // cell), max(2, width // cell), 3), dtype=np.uint8)
        layer = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        pixels += np.asarray(layer, np.float32) * (cell**0.5)
    pixels *= 255 / pixels.max()
    for _ in range(12):
        left, top = random.integers(0, width), random.integers(0, height)
        right, bottom = left + random.integers(8, width // 3), top + random.integers(8, height // 3)
        pixels[top:bottom, left:right] = 0.4 * pixels[top:bottom, left:right] + 0.6 * random.integers(0, 256, 3)
    pixels += random.normal(0, 4, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, orientation: int = 1, **options: object) -> bytes:
    """Encoded, with an EXIF orientation; the pixels are stored so that a viewer that obeys it shows `image`."""
    exif = Image.Exif()
    if orientation != 1:
        exif[ORIENTATION] = orientation
        image = image.transpose(STORED[orientation])
    return encoded(image, "JPEG", exif=exif.tobytes(), **{"quality": 92, **options})


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def heic(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, **{"quality": 95, **options})
    return file.getvalue()


def png(width: int, height: int, *, bits: int = 1) -> bytes:
    """A black greyscale PNG of any size, made without holding its pixels."""
    row = b"\0" * (1 + (width * bits + 7) // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def sixteen_bits() -> Image.Image:
    """The grey scene at 16 bits: levels that clipping to 255 would make all white."""
    return Image.fromarray(np.asarray(scene(GREYS).convert("L")).astype(np.uint16) * 257)


def see_through() -> Image.Image:
    """The scene with its bottom right quadrant transparent (and black beneath)."""
    image = scene((*COLOURS[:3], (0, 0, 0))).convert("RGBA")
    image.paste((0, 0, 0, 0), (WIDTH // 2, HEIGHT // 2, WIDTH, HEIGHT))
    return image


@functools.cache
def awkward_pictures() -> dict[bytes, tuple[bytes, Good | Bad]]:
    """Names -> contents and what must become of them. Names are bytes: one is no text."""
    picture = scene()
    on_white = Good((*COLOURS[:3], (255, 255, 255)))
    palette = picture.quantize(8)
    frames = [picture.rotate(180), picture.rotate(90)]
    lab = ImageCms.profileToProfile(
        picture, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    good = {
        b"plain.jpg": jpeg(picture),
        b"PLAIN.JPEG": jpeg(picture),
        b"progressive.jpg": jpeg(picture, progressive=True),
        b"big.jpg": (jpeg(scene(width=3000, height=1800)), Good(width=3000, height=1800)),
        b"cmyk.jpg": encoded(picture.convert("CMYK"), "JPEG", quality=95),
        b"grey.jpg": (encoded(scene(GREYS).convert("L"), "JPEG"), Good(GREYS)),
        b"two.mpo": encoded(picture, "MPO", save_all=True, append_images=frames),
        b"plain.png": encoded(picture, "PNG"),
        b"palette.png": encoded(palette, "PNG"),
        b"sixteen.png": (encoded(sixteen_bits(), "PNG"), Good(GREYS)),
        b"alpha.png": (encoded(see_through(), "PNG"), on_white),
        b"grey-alpha.png": (encoded(scene(GREYS).convert("LA"), "PNG"), Good(GREYS)),
        b"animated.png": encoded(picture, "PNG", save_all=True, append_images=frames),
        b"animated.gif": encoded(picture, "GIF", save_all=True, append_images=frames),
        b"plain.webp": encoded(picture, "WEBP", quality=95),
        b"alpha.webp": (encoded(see_through(), "WEBP", lossless=True), on_white),
        b"animated.webp": encoded(picture, "WEBP", save_all=True, append_images=frames, quality=95),
        b"plain.avif": encoded(picture, "AVIF", quality=90),
        b"IMG_0001.HEIC": heic(picture),
        b"plain.tiff": encoded(picture, "TIFF"),
        b"packed.tif": encoded(picture, "TIFF", compression="tiff_lzw"),
        b"cmyk.tif": encoded(picture.convert("CMYK"), "TIFF"),
        b"lab.tif": encoded(lab, "TIFF"),
        b"sixteen.tif": (encoded(sixteen_bits(), "TIFF"), Good(GREYS)),
        b"float.tif": (
            encoded(Image.fromarray(np.asarray(scene(GREYS).convert("L"), np.float32) / 255), "TIFF"),
            Good(GREYS),
        ),
        b"rotated.tif": encoded(picture.transpose(STORED[6]), "TIFF", tiffinfo={ORIENTATION: 6}),
        b"plain.bmp": encoded(picture, "BMP"),
        b"really-a.png.jpg": encoded(picture, "PNG"),
        b"with spaces.jpg": jpeg(picture),
        "имя файла.png".encode(): encoded(picture, "PNG"),
        "写真.jpg".encode(): jpeg(picture),
        "🐈‍⬛.webp".encode(): encoded(picture, "WEBP", quality=95),
        b"no text \xff\xe9.jpg": jpeg(picture),
        b"100%25?#&.jpg": jpeg(picture),
        b"two\nlines.jpg": jpeg(picture),
    }
    for orientation in STORED:
        good[b"exif-%d.jpg" % orientation] = jpeg(picture, orientation)
    for name, format in ((b"exif.png", "PNG"), (b"exif.webp", "WEBP"), (b"exif.avif", "AVIF")):
        exif = Image.Exif()
        exif[ORIENTATION] = 8
        good[name] = encoded(picture.transpose(STORED[8]), format, exif=exif.tobytes(), quality=95)
    bad = {
        b"truncated.jpg": (jpeg(photograph(1))[:9_000], "truncated_picture"),
        b"truncated.png": (encoded(photograph(2, 64, 64), "PNG")[:5_000], "truncated_picture"),
        b"truncated.webp": (encoded(photograph(3, 64, 64), "WEBP")[:700], "truncated_picture"),
        b"truncated.avif": (encoded(photograph(3, 64, 64), "AVIF")[:700], "truncated_picture"),
        b"truncated.gif": (encoded(photograph(3, 64, 64).quantize(64), "GIF")[:1500], "truncated_picture"),
        b"header-only.jpg": (jpeg(picture)[:60], "truncated_picture"),
        b"garbage.png": (b"\x89PNG\r\n\x1a\n" + bytes(200), "broken_picture"),
        b"empty.jpg": (b"", "empty_file"),
        b"text.jpg": (b"This is a text, whatever its name says.\n", "not_a_picture"),
        b"bomb.png": (png(16_000, 16_000), "too_many_pixels"),
        b"long-side.png": (png(70_000, 4), "side_too_long"),
        b"phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "broken_picture"),
        b"new.jxl": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "unsupported_format"),
        b"drawing.svg.png": (b'<?xml version="1.0"?>\n<svg xmlns="x"></svg>', "unsupported_format"),
    }
    found = {name: value if isinstance(value, tuple) else (value, Good()) for name, value in good.items()}
    return {**found, **{name: (content, Bad(code)) for name, (content, code) in bad.items()}}


def write_awkward_folder(folder: Path) -> dict[bytes, Good | Bad]:
    """Fills a folder -> paths relative to it, and what must become of each; others are to be left out."""
    expected: dict[bytes, Good | Bad] = {}
    for name, (content, outcome) in awkward_pictures().items():
        _write(folder, name, content)
        expected[name] = outcome
    _write(folder, b"deep/er/plain.jpg", jpeg(scene()))
    _write(folder, b"unreadable.jpg", jpeg(scene()))
    (folder / "unreadable.jpg").chmod(0)
    _write(folder, b".hidden.jpg", jpeg(scene()))
    _write(folder, b".hidden/plain.jpg", jpeg(scene()))
    _write(folder, b"notes.txt", b"No picture has this name.")
    (folder / "deep" / "loop").symlink_to("..")
    (folder / "self.jpg").symlink_to("self.jpg")
    (folder / "dangling.jpg").symlink_to("nothing.jpg")
    (folder / "link.jpg").symlink_to("plain.jpg")
    os.mkfifo(folder / "pipe.jpg")
    return expected | {
        b"deep/er/plain.jpg": Good(),
        b"link.jpg": Good(),
        b"unreadable.jpg": Bad("unreadable_file"),
        b"self.jpg": Bad("symlink_loop"),
        b"dangling.jpg": Bad("file_missing"),
        b"pipe.jpg": Bad("not_a_file"),
    }


def _write(folder: Path, name: bytes, content: bytes) -> None:
    path = folder / os.fsdecode(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def quadrants_of(image: Image.Image) -> Quadrants:
    """The mean colour of the middle of each quadrant."""
    pixels = np.asarray(image.convert("RGB"), np.float32)
    height, width = pixels.shape[:2]
    means = []
    for top in (0, height // 2):
        for left in (0, width // 2):
            part = pixels[top + height // 8 : top + 3 * height // 8, left + width // 8 : left + 3 * width // 8]
            means.append(tuple(int(value) for value in part.mean(axis=(0, 1)).round()))
    return tuple(means)  # type: ignore[return-value]
