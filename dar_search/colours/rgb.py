"""A loaded picture of any mode -> RGB as a person sees it.

Sample values are scaled by the file's own depth and polarity (`sample_values`), colours come from the colour space that
the file names (`colour_spaces`), and what is transparent lies on what lets it be seen (`transparency`).
"""

from __future__ import annotations

from PIL import Image, ImageCms

from dar_search.colours.colour_spaces import in_srgb
from dar_search.colours.sample_values import eight_bits
from dar_search.colours.transparency import laid, parted


def to_rgb(image: Image.Image) -> Image.Image:
    """A loaded picture of any mode Pillow has -> mode RGB, same size, opaque, in sRGB.

    What the file says of itself is taken from `image.info`, its EXIF and its TIFF tags: give the picture as it was
    opened, where it was.
    """
    if image.mode == "RGB" and not image.info:
        return image
    values, alpha = eight_bits(image)
    if alpha is None:
        values, alpha = parted(values)
    if values.mode == "LAB":
        return _lab_to_rgb(values)
    if values.mode == "1":
        values = values.convert("L")
    elif values.mode not in ("RGB", "L", "CMYK"):
        values = values.convert("RGB")
    rgb = in_srgb(values, image)
    return rgb if alpha is None else laid(rgb, alpha)


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
    return ImageCms.applyTransform(image, transform) or image.convert("RGB")
