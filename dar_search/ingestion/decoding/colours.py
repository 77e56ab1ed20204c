"""Pictures of any mode -> RGB as a person sees them.

Sixteen bits are scaled, not clipped; transparency lies on white; a colour profile other than sRGB is applied.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageCms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_PROFILE_BYTES = 4 << 20
WHITE = (255, 255, 255)
_PROFILE_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}


def to_rgb(image: Image.Image) -> Image.Image:
    """A loaded picture of any mode Pillow has -> mode RGB, same size, on white, in sRGB."""
    profile = image.info.get("icc_profile")
    image = _eight_bits(image)
    if image.has_transparency_data:
        image = _on_white(image)
    elif image.mode not in ("RGB", "L", "CMYK"):
        image = _lab_to_rgb(image) if image.mode == "LAB" else image.convert("RGB")
    if isinstance(profile, bytes) and len(profile) <= MAX_PROFILE_BYTES:
        transform = _to_srgb(profile, image.mode)
        if transform is not None:
            return ImageCms.applyTransform(image, transform) or image
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    if not image.mode.startswith("I;16") and image.mode not in ("I", "F"):
        return image
    import numpy as np  # for these few pictures alone: a decoder starts faster without it

    values = np.asarray(image)
    return Image.fromarray(_sixteen_to_eight()[values] if image.mode.startswith("I;16") else _stretched(values))


@lru_cache(maxsize=1)
def _sixteen_to_eight() -> NDArray[np.uint8]:
    import numpy as np

    return ((np.arange(1 << 16, dtype=np.uint32) * 255 + 32_767) // 65_535).astype(np.uint8)


def _stretched(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Numbers without a fixed range -> 0..255: the usual ranges as they are meant, any other from end to end."""
    import numpy as np

    finite = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(finite.min()), float(finite.max())
    if low < 0:
        ceiling = high
    elif values.dtype.kind == "f" and high <= 1:
        low, ceiling = 0.0, 1.0
    else:
        low, ceiling = 0.0, next((top for top in (255.0, 65_535.0) if high <= top), high)
    scaled: NDArray[np.float32] = np.rint((finite - low) * (255 / max(ceiling - low, 1e-12)))
    return scaled.astype(np.uint8)


def _on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    canvas = Image.new("RGB", rgba.size, WHITE)
    canvas.paste(rgba, mask=rgba.getchannel("A"))
    return canvas


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
    return ImageCms.applyTransform(image, transform) or image.convert("RGB")


@lru_cache(maxsize=16)
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """None where there is nothing to do: the profile is sRGB, damaged, or made for another kind of picture."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if opened.profile.xcolor_space != _PROFILE_SPACES[mode] or "sRGB" in ImageCms.getProfileDescription(opened):
            return None
        return ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (OSError, ImageCms.PyCMSError):
        return None
