"""What an error of a decoder means for the file: that it ends early, is damaged, or is whole and of another kind."""

from __future__ import annotations

import re
import struct

from dar_search.errors import PictureError
from dar_search.ingestion.decoding.limits import DecodeLimits
from dar_search.ingestion.decoding.opening import CONVERT_HINT
from dar_search.ingestion.decoding.signatures import ends_early
from dar_search.ingestion.decoding.tiffs import packed_otherwise

# How decoders say that they understand the file, and have nothing to decode it with.
_NOT_DECODED = re.compile(r"unsupported|not supported|unknown pixel mode|cannot handle|not implemented|no codec", re.I)
# libavif refuses longer sides, whatever the limits are.
_AVIF_MAX_SIDE = 32_768
# Start of frame: what of JPEG libjpeg decodes, all with eight bits.
_DECODED_FRAMES = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive", 0xC9: "arithmetic", 0xCA: "arithmetic"}
_OTHER_FRAMES = {0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical lossless"}


def unsound(error: Exception, data: bytes, kind: str, limits: DecodeLimits) -> PictureError:
    """The failure that an error of the decoder of `kind` stands for."""
    text = f"{type(error).__name__}: {error}"[:200]
    readable = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    if "truncated" in text.lower() or ends_early(data):
        return PictureError("truncated_picture", f"The picture ends too early ({readable}).", "Copy it again.")
    if kind == "AVIF" and (side := _avif_side(data)) > _AVIF_MAX_SIDE:
        return PictureError(
            "side_too_long",
            f"A side has {side:,} pixels; AVIF is decoded up to {min(_AVIF_MAX_SIDE, limits.max_side):,}.",
            CONVERT_HINT,
        )
    special = _jpeg_frame(data) if kind == "JPEG" else packed_otherwise(data) if kind == "TIFF" else ""
    if special or _NOT_DECODED.search(text):
        return PictureError(
            "unsupported_format",
            f"{kind} pictures of this kind are not decoded ({special or readable}).",
            CONVERT_HINT,
        )
    return PictureError("broken_picture", f"The picture is damaged ({readable}).", "Copy or save it again.")


def _avif_side(data: bytes) -> int:
    """The longest that an item of the file is said to have."""
    head = data[: 1 << 16]
    places = (found.end() + 4 for found in re.finditer(b"ispe", head))
    return max((max(struct.unpack_from(">II", head, at)) for at in places if at + 8 <= len(head)), default=0)


def _jpeg_frame(data: bytes) -> str:
    """What a JPEG is that libjpeg does not decode; empty for others."""
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _OTHER_FRAMES:
            return f"{_OTHER_FRAMES[marker]} JPEG"
        if marker in _DECODED_FRAMES:
            precision, components = data[at + 4], data[at + 9]
            if precision != 8:
                return f"JPEG of {precision} bits a sample" if 1 < precision <= 16 else ""
            return f"JPEG of {components} components" if components not in (1, 3, 4) else ""
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return ""
