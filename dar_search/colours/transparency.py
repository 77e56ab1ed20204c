"""What a transparent picture lies on: white, unless that hides it.

A logo is drawn for a page that nobody here knows: a white one is nothing on white, a black one nothing on black. What
counts is the outline, where the picture meets what it lies on: white letters on a red badge are seen on any page.
"""

from __future__ import annotations

from PIL import Image, ImageFilter

# In the order in which they are preferred: most pictures without a background are made for white.
_GREY_LEVELS = (255, 0, 128)
# White is left where more than this share of the outline would vanish on it.
_HIDDEN_SHARE = 0.1
# Levels of luminance (of 255) by which an outline must differ from what it lies on.
_CONTRAST = 48
# Opacity (of 255) below which a neighbour counts as what the picture lies on.
_SEE_THROUGH = 128
# The picture is judged at this size: an outline is as long there as anywhere, for what it is a share of.
_JUDGED_SIDE = 512


def parted(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """A picture -> its colours without transparency, and its opacity (mode L); None: nothing shows through."""
    if not image.has_transparency_data:
        return image, None
    grey = image.mode in ("1", "L", "LA", "La")
    if image.mode == "La":
        image = image.convert("LA")
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    alpha = rgba.getchannel("A")
    return (rgba.getchannel("R") if grey else rgba.convert("RGB")), (
        alpha if alpha.getextrema() != (255, 255) else None
    )


def laid(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    """Colours (mode RGB) and opacity (mode L) -> the picture on the grey level that lets it be seen."""
    canvas = Image.new("RGB", rgb.size, (background(rgb, alpha),) * 3)
    canvas.paste(rgb, mask=alpha)
    return canvas


def background(rgb: Image.Image, alpha: Image.Image) -> int:
    """The grey level: 255, unless a tenth of the outline would vanish on it, and less does on 0 or 128.

    The same for the same picture, always. A picture of which nothing is visible lies on white.
    """
    import numpy as np  # for transparent pictures alone: a decoder starts faster without it

    small = _judged(rgb, alpha)
    opacity = small.getchannel("A")
    luminance = np.asarray(small.convert("RGB").convert("L"), np.int16)
    weights = np.asarray(opacity, np.float64)
    outline = np.where(np.asarray(opacity.filter(ImageFilter.MinFilter(3))) < _SEE_THROUGH, weights, 0.0)
    if not outline.any():
        outline = weights  # evenly translucent: all of it meets what it lies on
    if not outline.any():
        return _GREY_LEVELS[0]
    hidden = [float(outline[abs(luminance - level) < _CONTRAST].sum() / outline.sum()) for level in _GREY_LEVELS]
    return _GREY_LEVELS[0] if hidden[0] <= _HIDDEN_SHARE else _GREY_LEVELS[hidden.index(min(hidden))]


def _judged(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    """A small RGBA of it. Of a large picture every n-th pixel is looked at: a copy of the whole would cost as much."""
    for side, resample in ((4 * _JUDGED_SIDE, Image.Resampling.NEAREST), (_JUDGED_SIDE, Image.Resampling.BOX)):
        scale = side / max(rgb.size)
        if scale < 1:
            size = max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale))
            if resample == Image.Resampling.BOX:
                return _joined(rgb, alpha).resize(size, resample)
            rgb, alpha = rgb.resize(size, resample), alpha.resize(size, resample)
    return _joined(rgb, alpha)


def _joined(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    return Image.merge("RGBA", (*rgb.split(), alpha))
