"""Sample values of other depths -> eight bits: scaled by the file's own depth, the right way round.

Pillow gives 12- and 16-bit greys, whole numbers and floats as they are stored; what they mean is in the TIFF's tags.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO = 0
_UNSIGNED, _SIGNED = 1, 2
# Pixels that are worked on at once: the numbers of a whole large picture would take several times its memory.
_BAND_PIXELS = 1 << 22


def eight_bits(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """A picture of any mode -> one of eight bits a sample, and its opacity (mode L) where only the values tell it."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16"):
        return _from_sixteen(image, tags)
    if image.mode in ("I", "F"):
        return _from_numbers(image, tags), None
    if image.mode == "L" and _first(tags, _SAMPLE_FORMAT, _UNSIGNED) == _SIGNED:
        return image.point([value ^ 0x80 for value in range(256)]), None
    return image, None


def _from_sixteen(image: Image.Image, tags: Mapping[int, Any]) -> tuple[Image.Image, Image.Image | None]:
    import numpy as np  # for these few pictures alone: a decoder starts faster without it

    bits = min(16, max(8, _first(tags, _BITS, 16)))
    scale = _scale(bits)[::-1] if _is_negative(tags) else _scale(bits)
    through = image.info.get("transparency")
    opacity = Image.new("L", image.size, 255) if isinstance(through, int) else None
    scaled = Image.new("L", image.size)
    for top, values in _bands(image):
        scaled.paste(Image.fromarray(scale[np.minimum(values, len(scale) - 1)]), (0, top))
        if opacity is not None:
            opacity.paste(Image.fromarray(np.where(values == through, 0, 255).astype(np.uint8)), (0, top))
    return scaled, opacity


@lru_cache(maxsize=2)
def _scale(bits: int) -> NDArray[np.uint8]:
    """(2 ** bits,) -> 0..255"""
    import numpy as np

    most = (1 << bits) - 1
    return ((np.arange(most + 1, dtype=np.uint32) * 255 + most // 2) // most).astype(np.uint8)


def _from_numbers(image: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """Numbers without a fixed range: the usual ranges as they are meant, any other from end to end."""
    import numpy as np

    unsigned = image.mode == "I" and _first(tags, _SAMPLE_FORMAT, _SIGNED) == _UNSIGNED
    bits = _first(tags, _BITS, 32)
    low, high = float("inf"), float("-inf")
    for _, values in _bands(image, unsigned):
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    low, ceiling = _range(low, high, of_floats=image.mode == "F", bits=bits)
    negative = _is_negative(tags)
    scaled = Image.new("L", image.size)
    for top, values in _bands(image, unsigned):
        floats = np.nan_to_num(values.astype(np.float64), nan=low, posinf=ceiling, neginf=low)
        levels = np.rint((floats.clip(low, ceiling) - low) * (255 / max(ceiling - low, 1e-12))).astype(np.uint8)
        scaled.paste(Image.fromarray(255 - levels if negative else levels), (0, top))
    return scaled


def _range(low: float, high: float, *, of_floats: bool, bits: int) -> tuple[float, float]:
    """What is black and what is white, for numbers from `low` to `high`."""
    if low > high:  # there is no number at all
        return 0.0, 1.0
    if low < 0:
        return low, high
    if of_floats and high <= 16:
        # Up to 1 as a rule. Highlights go a little beyond: then the brightest is white.
        return 0.0, max(1.0, high)
    if not of_floats and bits == 16:
        return 0.0, 32_767.0
    return 0.0, next((top for top in (255.0, 65_535.0) if high <= top), high)


def _is_negative(tags: Mapping[int, Any]) -> bool:
    """Whether zero is white, and Pillow has left it so: it turns eight bits and fewer, and no others."""
    return _first(tags, _PHOTOMETRIC, -1) == _WHITE_IS_ZERO


def _bands(image: Image.Image, unsigned: bool = False) -> Iterator[tuple[int, NDArray[Any]]]:
    """The picture's numbers from the top down: (the first row's number, (rows, width))."""
    import numpy as np

    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        values = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        yield top, values.view(np.uint32) if unsigned else values


def _first(tags: Mapping[int, Any], tag: int, default: int) -> int:
    value = tags.get(tag, default)
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int) else default
