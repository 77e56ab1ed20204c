"""TIFF: kinds that Pillow can unpack and has no entry for, and what to call those that it cannot."""

from __future__ import annotations

import io
from typing import Any

from PIL import ImageFile, TiffImagePlugin
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from dar_search.errors import PictureError

_WIDTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _STRIPS, _SAMPLES, _SUBFILE = 256, 258, 259, 262, 273, 277, 254
_TILES, _SUB_DIRECTORIES, _SAMPLE_FORMAT, _DNG_VERSION = 324, 330, 339, 50_706
_REDUCED = 1
_FORMATS = {1: "unsigned", 2: "signed", 3: "float", 5: "complex", 6: "complex float"}
_COLOURS = {
    0: "grey", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "CIELAB", 9: "ICCLAB",
    10: "ITULAB", 32_803: "camera raw", 32_844: "LogL", 32_845: "LogLuv", 34_892: "linear raw",
}  # fmt: skip
_RAW_COLOURS = (32_803, 34_892)
# JBIG and WebP: Pillow knows their numbers, and its own libtiff cannot unpack them.
_NOT_BUILT_IN = (34_661, 50_001)

# (byte order, photometric, sample formats, fill order, bits, extra samples) -> mode, how samples are packed. Pillow has
# these with the other byte order or polarity; `colours.sample_values` turns and scales them.
_MORE_KINDS = {
    (b"MM", 0, (1,), 1, (16,), ()): ("I;16B", "I;16B"),
    (b"II", 0, (1,), 1, (12,), ()): ("I;16", "I;12"),
    (b"MM", 0, (1,), 1, (12,), ()): ("I;16", "I;12"),
    (b"MM", 1, (1,), 1, (12,), ()): ("I;16", "I;12"),
    (b"II", 0, (1,), 1, (32,), ()): ("I", "I;32N"),
    (b"MM", 1, (1,), 1, (32,), ()): ("I", "I;32B"),
    (b"MM", 0, (1,), 1, (32,), ()): ("I", "I;32B"),
    (b"MM", 5, (1,), 1, (8, 8, 8, 8, 8), (0,)): ("CMYK", "CMYKX"),
}
for _key, _modes in _MORE_KINDS.items():
    TiffImagePlugin.OPEN_INFO.setdefault(_key, _modes)


def opened_tiff(data: bytes) -> ImageFile.ImageFile:
    """Its first picture. Raises PictureError unsupported_format, and whatever Pillow raises for a damaged one."""
    try:
        image = TiffImagePlugin.TiffImageFile(io.BytesIO(data))
    except (SyntaxError, KeyError, TypeError, ValueError):
        tags = _directory(data)
        if tags is not None:
            raise _unsupported(_described(tags)) from None
        raise
    if _is_raw(image.tag_v2):
        raise _unsupported("camera raw (DNG, NEF, ARW or the like), whose TIFF shows a preview")
    return image


def packed_otherwise(data: bytes) -> str:
    """What a whole TIFF is that cannot be unpacked because libtiff was built without it; empty for others."""
    tags = _directory(data)
    return _described(tags) if tags is not None and tags.get(_COMPRESSION) in _NOT_BUILT_IN else ""


def _unsupported(what: str) -> PictureError:
    return PictureError(
        "unsupported_format", f"TIFF pictures of this kind are not decoded: {what}.", "Convert it to JPEG, PNG or WebP."
    )


def _directory(data: bytes) -> Any:
    """The tags, where they can be read and the picture's bytes are all there; None: it is damaged."""
    try:
        file = io.BytesIO(data)
        header = file.read(8)
        if header[2:3] == b"\x2b" or header[3:4] == b"\x2b":
            header += file.read(8)
        tags = ImageFileDirectory_v2(header)
        file.seek(tags.next)
        tags.load(file)
        starts = tags.get(_STRIPS) or tags.get(_TILES)
        lengths = tags.get(_STRIPS + 6) or tags.get(_TILES + 1)
        whole = starts and lengths and all(at + size <= len(data) for at, size in zip(starts, lengths, strict=True))
        return tags if whole and tags.get(_WIDTH, 0) > 0 else None
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # Pillow's TIFF parser raises anything on hostile input
        return None


def _is_raw(tags: Any) -> bool:
    """Cameras' RAW files are TIFFs whose first picture is a small preview."""
    reduced = tags.get(_SUBFILE, 0)
    return _DNG_VERSION in tags or (reduced == _REDUCED and _SUB_DIRECTORIES in tags)


def _described(tags: Any) -> str:
    bits = tags.get(_BITS, (1,))
    samples = int(tags.get(_SAMPLES, 1))
    formats = tags.get(_SAMPLE_FORMAT, (1,))
    photometric = tags.get(_PHOTOMETRIC)
    if photometric in _RAW_COLOURS or _DNG_VERSION in tags:
        return "camera raw"
    colour = _COLOURS.get(photometric, f"photometric interpretation {photometric}")
    size = "/".join(str(count) for count in dict.fromkeys(bits))
    form = "/".join(_FORMATS.get(number, f"sample format {number}") for number in dict.fromkeys(formats))
    packing = TiffImagePlugin.COMPRESSION_INFO.get(tags.get(_COMPRESSION, 1), f"compression {tags.get(_COMPRESSION)}")
    return f"{colour}, {samples} {'sample' if samples == 1 else 'samples'} of {size} bits ({form}), {packing}"
