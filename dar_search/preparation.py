"""A picture's geometry before encoding: resize and crop to what the encoder wants.

Kept apart from the models so that decoder processes can do it without loading torch. The result is bit for bit
that of the encoder's own image transform up to the conversion into floats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from PIL import Image

from dar_search.colours.rgb import to_rgb

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Fit = Literal["crop", "crop-floor", "squash", "pad", "patches", "blocks"]
Resample = Literal["nearest", "bilinear", "bicubic", "lanczos"]
# Where the whole would be resized to more pixels than this, as thin pictures would, only what the crop keeps is.
# Pillow's box gives the same up to its rounding; where the whole costs little, the result is the library's to the bit.
_MOST_PIXELS = 1 << 24
# Pixels, of the smaller picture, on each side: Lanczos's.
_FILTER_REACH = 3
# A picture of its own shape travels in a canvas: its pixels row after row, then a row whose first pixels say its size.
_CANVAS_WIDTH = 256
# The most a picture of "blocks" may be longer than wide, as its library has it (200) with room for rounding.
_MOST_LONGER = 100


@dataclass(frozen=True, slots=True)
class Preparation:
    """What `prepare` does. Picklable and cheap.

    Attributes:
        height, width: of the result, pixels.
        fit: "crop" (shortest side to size, centre crop as torchvision's), "crop-floor" (the same with the odd pixel
            where transformers leaves it), "squash" (aspect ratio ignored), "pad" (longest side to size, the rest
            filled), or at its own ratio, in a canvas of height by width whose last row says the picture's size (see
            `own_shape`): "patches" (as many whole patches as are allowed: SigLIP 2 NaFlex), "blocks" (near its own
            size, between two numbers of pixels: Qwen's vision models).
        resample: the filter, always antialiased.
        fill: grey level 0-255 of the padding.
        step: what both sides are multiples of, pixels, where a picture keeps its ratio; least, most: pixels, of all.
    """

    height: int
    width: int
    fit: Fit = "crop"
    resample: Resample = "bicubic"
    fill: int = 0
    step: int = 0
    least: int = 0
    most: int = 0

    @classmethod
    def own_ratio(
        cls, fit: Literal["patches", "blocks"], resample: Resample, *, step: int, most: int, least: int = 0
    ) -> Preparation:
        """A preparation that keeps each picture's ratio."""
        return cls(-(-most // _CANVAS_WIDTH) + 1, _CANVAS_WIDTH, fit, resample, step=step, least=least, most=most)

    @property
    def keeps_ratio(self) -> bool:
        """Whether what is prepared is a canvas, to be read with `own_shape`."""
        return self.most > 0

    @property
    def side(self) -> int:
        """Of the largest square that the encoder looks at, pixels."""
        return math.isqrt(self.most) if self.keeps_ratio else max(self.height, self.width)

    def describe(self) -> str:
        """One line that goes into an index's provenance, such as "crop 224x224 bicubic"."""
        if self.keeps_ratio:
            return f"{self.fit} {self.step} of {self.least}-{self.most} pixels {self.resample}"
        padding = f" fill {self.fill}" if self.fit == "pad" else ""
        return f"{self.fit} {self.width}x{self.height} {self.resample}{padding}"

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """An upright picture of any mode and size -> (height, width, 3) uint8, RGB."""
        import numpy as np  # only here: decoders pass the picture's bytes on, and start faster without it

        return np.asarray(self.fitted(image), dtype=np.uint8)

    def fitted(self, image: Image.Image) -> Image.Image:
        """The same as a picture of mode RGB, `width` by `height`."""
        return self.fitted_rgb(to_rgb(image))

    def fitted_rgb(self, rgb: Image.Image) -> Image.Image:
        """What `fitted` makes of a picture that `colours.rgb.to_rgb` has given."""
        resample = Image.Resampling[self.resample.upper()]
        if self.keeps_ratio:
            size = _patched_size if self.fit == "patches" else _blocked_size
            return self._canvas(_resized(rgb, *size(rgb.width, rgb.height, self), resample))
        if self.fit == "squash":
            return _resized(rgb, self.width, self.height, resample)
        if self.fit in ("crop", "crop-floor"):
            return self._cropped(rgb, resample)
        return self._padded(rgb, resample)

    def _canvas(self, image: Image.Image) -> Image.Image:
        size = b"".join(b"\xff\xff\xff" if side >> bit & 1 else b"\0\0\0" for side in image.size for bit in range(16))
        pixels = image.tobytes().ljust((self.height - 1) * self.width * 3, b"\0")
        return Image.frombytes("RGB", (self.width, self.height), pixels + size.ljust(self.width * 3, b"\0"))

    def _cropped(self, rgb: Image.Image, resample: Image.Resampling) -> Image.Image:
        # torchvision's Resize(int): the shortest side becomes `size`, the other is truncated, not rounded.
        short = max(self.height, self.width)
        if rgb.width <= rgb.height:
            width, height = short, max(short, int(short * rgb.height / rgb.width))
        else:
            width, height = max(short, int(short * rgb.width / rgb.height)), short
        # torchvision's CenterCrop rounds half to even.
        whole = int if self.fit == "crop-floor" else round
        top, left = whole((height - self.height) / 2), whole((width - self.width) / 2)
        kept = (left, top, left + self.width, top + self.height)
        if width * height <= _MOST_PIXELS:
            return _resized(rgb, width, height, resample).crop(kept)
        return _region(rgb, (width, height), kept, resample)

    def _padded(self, rgb: Image.Image, resample: Image.Resampling) -> Image.Image:
        scale = min(self.height / rgb.height, self.width / rgb.width)
        width, height = max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale))
        fitted = _resized(rgb, width, height, resample)
        canvas = Image.new("RGB", (self.width, self.height), (self.fill,) * 3)
        canvas.paste(fitted, ((self.width - width) // 2, (self.height - height) // 2))
        return canvas


def own_shape(canvas: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """What `Preparation.prepare` gave where it keeps a picture's ratio -> the picture, (height, width, 3) uint8.

    Of zeros alone, such as services try an encoder with, it is a black one of `step` by `step`.
    """
    width, height = (sum(1 << bit for bit in range(16) if canvas[-1, at + bit, 0] > 127) or step for at in (0, 16))
    return canvas[:-1].reshape(-1, 3)[: width * height].reshape(height, width, 3)


def _patched_size(width: int, height: int, wanted: Preparation) -> tuple[int, int]:
    """The size of the most whole patches at the picture's ratio, as SigLIP 2's processor finds it, by halving."""
    low, high, close = 1e-6, 100.0, 1e-5

    def sides(scale: float) -> tuple[int, int]:
        across, down = (max(1, math.ceil(side * scale / wanted.step)) for side in (width, height))
        return across * wanted.step, down * wanted.step

    while high - low >= close:
        middle = (low + high) / 2
        across, down = sides(middle)
        low, high = (middle, high) if across * down <= wanted.most else (low, middle)
    return sides(low)


def _blocked_size(width: int, height: int, wanted: Preparation) -> tuple[int, int]:
    """The picture's size in whole blocks, scaled where it has too few pixels or too many, as Qwen's processors do."""
    width, height = min(width, height * _MOST_LONGER), min(height, width * _MOST_LONGER)
    step = wanted.step
    across, down = round(width / step) * step, round(height / step) * step
    if across * down > wanted.most:
        scale = math.sqrt(width * height / wanted.most)
        across, down = (max(step, math.floor(side / scale / step) * step) for side in (width, height))
    elif across * down < wanted.least:
        scale = math.sqrt(wanted.least / (width * height))
        across, down = (math.ceil(side * scale / step) * step for side in (width, height))
    return across, down


def _region(
    image: Image.Image, size: tuple[int, int], kept: tuple[int, int, int, int], resample: Image.Resampling
) -> Image.Image:
    """What `kept` cuts out of the image at `size`, without making the rest of it."""
    across, down = image.width / size[0], image.height / size[1]
    left, top, right, bottom = kept[0] * across, kept[1] * down, kept[2] * across, kept[3] * down
    # Cut to what the filter reaches first: Pillow takes a box as 32-bit floats, which are coarse far from 0.
    reach = [_FILTER_REACH * max(1.0, scale) + 1 for scale in (across, down)]
    first = max(0, math.floor(left - reach[0])), max(0, math.floor(top - reach[1]))
    last = min(image.width, math.ceil(right + reach[0])), min(image.height, math.ceil(bottom + reach[1]))
    part = image.crop((*first, *last))
    # Across, then down, as Pillow did for every picture up to 12.1. It now begins with what costs less, which is
    # another thing for the part than for the whole; and what is cut off at 0 and 255 in between differs by the order.
    width, height = kept[2] - kept[0], kept[3] - kept[1]
    part = part.resize((width, part.height), resample, box=(left - first[0], 0, right - first[0], part.height))
    return part.resize((width, height), resample, box=(0, top - first[1], width, bottom - first[1]))


def _resized(image: Image.Image, width: int, height: int, resample: Image.Resampling) -> Image.Image:
    return image if image.size == (width, height) else image.resize((width, height), resample)
