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

Fit = Literal["crop", "crop-floor", "squash", "pad"]
Resample = Literal["nearest", "bilinear", "bicubic", "lanczos"]
# Where the whole would be resized to more pixels than this, as thin pictures would, only what the crop keeps is.
# Pillow's box gives the same up to its rounding; where the whole costs little, the result is the library's to the bit.
_MOST_PIXELS = 1 << 24
# Pixels, of the smaller picture, on each side: Lanczos's.
_FILTER_REACH = 3


@dataclass(frozen=True, slots=True)
class Preparation:
    """What `prepare` does. Picklable and cheap.

    Attributes:
        height, width: of the result, pixels.
        fit: "crop" (shortest side to size, centre crop as torchvision's), "crop-floor" (the same with the odd pixel
            where transformers leaves it), "squash" (aspect ratio ignored), "pad" (longest side to size, the rest
            filled).
        resample: the filter, always antialiased.
        fill: grey level 0-255 of the padding.
    """

    height: int
    width: int
    fit: Fit = "crop"
    resample: Resample = "bicubic"
    fill: int = 0

    def describe(self) -> str:
        """One line that goes into an index's provenance, such as "crop 224x224 bicubic"."""
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
        if self.fit == "squash":
            return _resized(rgb, self.width, self.height, resample)
        if self.fit in ("crop", "crop-floor"):
            return self._cropped(rgb, resample)
        return self._padded(rgb, resample)

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
