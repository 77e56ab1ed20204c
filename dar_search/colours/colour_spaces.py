"""The colour space that a picture's file names -> sRGB, converted by LittleCMS.

Whether a profile is sRGB is judged by what it does to colours, never by its name: a Display P3 profile may be called
"DCI-P3 D65 Gamut with sRGB Transfer". A file without a profile may name its space in other ways; in this order:
PNG's cICP, the profile, PNG's sRGB, HEIF's and AVIF's nclx, PNG's gAMA and cHRM, EXIF's Adobe RGB (DCF: "R03").
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from PIL import Image, ImageCms

from dar_search.colours.made_profiles import coded_profile, gamma_profile, profile_of_adobe_rgb

MAX_PROFILE_BYTES = 4 << 20
_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}
# What eight-bit rounding and makers' own roundings of the same primaries make of a colour; a P3 red moves by 20.
_SAME = 3
# A profile that makes nearly one colour of all is damaged, whatever LittleCMS says.
_LEAST_RANGE = 16
_EXIF_FOLDER, _INTEROPERABILITY_FOLDER = 0x8769, 0xA005
_COLOUR_SPACE, _INTEROPERABILITY = 0xA001, 0x0001


class _Unusable(Exception):
    """A profile that is damaged, or made for another kind of picture."""


def in_srgb(image: Image.Image, source: Image.Image) -> Image.Image:
    """A picture of mode RGB, L or CMYK -> RGB in sRGB; what `source`, as it was opened, says of its colours counts."""
    for profile in _named_spaces(source):
        try:
            if image.mode == "L" and _space(profile) == _SPACES["RGB"]:
                image = image.convert("RGB")
            transform = _to_srgb(profile, image.mode)
        except _Unusable:
            continue
        if transform is not None:
            return ImageCms.applyTransform(image, transform) or image
        break
    return image if image.mode == "RGB" else image.convert("RGB")


def _named_spaces(source: Image.Image) -> Iterator[bytes]:
    """Profiles for the spaces that the file names, the one that counts most first. None where it means sRGB."""
    info = source.info
    for key in ("cicp", "icc_profile", "srgb", "nclx_profile"):
        value = info.get(key)
        if key == "icc_profile" and isinstance(value, bytes) and len(value) <= MAX_PROFILE_BYTES:
            yield value
        elif key == "srgb" and value is not None:
            return
        elif isinstance(value, Mapping):
            made = coded_profile(value.get("color_primaries"), value.get("transfer_characteristics"))
            if made is not None:
                yield made
            elif key == "cicp":
                return
    if "gamma" in info or "chromaticity" in info:
        made = gamma_profile(info.get("gamma"), info.get("chromaticity"))
        if made is not None:
            yield made
    if _is_adobe_rgb(source):
        yield profile_of_adobe_rgb()


def _is_adobe_rgb(source: Image.Image) -> bool:
    """EXIF's way to say it: colour space 2, or "uncalibrated" with the interoperability index R03."""
    if "exif" not in source.info:
        return False
    try:
        exif = source.getexif()
        folder = exif.get_ifd(_EXIF_FOLDER)
        index = exif.get_ifd(_INTEROPERABILITY_FOLDER).get(_INTEROPERABILITY, "")
        return folder.get(_COLOUR_SPACE) == 2 or (folder.get(_COLOUR_SPACE) != 1 and str(index).strip("\0 ") == "R03")
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # Pillow's EXIF parser raises anything on hostile input
        return False


def _space(profile: bytes) -> str:
    return profile[16:20].decode("latin-1")


@lru_cache(maxsize=16)
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """None where there is nothing to do, because the profile is sRGB. Raises _Unusable."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if opened.profile.xcolor_space != _SPACES[mode]:
            raise _Unusable
        transform = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (OSError, ImageCms.PyCMSError) as error:
        raise _Unusable from error
    probe = _probe(mode)
    seen = ImageCms.applyTransform(probe, transform)
    extrema: Any = seen.convert("L").getextrema() if seen else (0, 0)
    if seen is None or extrema[1] - extrema[0] < _LEAST_RANGE:
        raise _Unusable
    if mode == "CMYK":
        return transform
    before, after = probe.convert("RGB").tobytes(), seen.tobytes()
    return transform if max(abs(x - y) for x, y in zip(before, after, strict=True)) > _SAME else None


def _probe(mode: str) -> Image.Image:
    """Colours from all over the space, in a picture."""
    if mode == "L":
        return Image.frombytes("L", (256, 1), bytes(range(256)))
    steps = bytes(range(0, 256, 51)) if mode == "CMYK" else (0, 16, 32, 64, 96, 128, 192, 224, 255)
    values = [(a, b, c) for a in steps for b in steps for c in steps]
    if mode == "CMYK":
        return Image.frombytes("CMYK", (len(values), 1), b"".join(bytes((*value, 0)) for value in values))
    return Image.frombytes("RGB", (len(values), 1), b"".join(bytes(value) for value in values))
