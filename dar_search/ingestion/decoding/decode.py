"""The bytes of a picture -> what a record and an encoder need. Runs in decoder processes; loads no model library.

Whatever is hostile about a picture ends in a PictureError here, or in the death of the process that decodes it: only
decode what you do not trust in one (see `decoders`). The codes are in `failures`.

Large JPEGs are decoded at a half, a quarter or an eighth of their size (Pillow's draft mode), but never below
`DRAFT_MARGIN` times what the encoder looks at: there the embedding stays the same to about 1e-4 (cosine), and decoding
takes a third of the time. A picture that somebody searches with goes the same way, so that it finds itself.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageFile

from dar_search.colours.rgb import to_rgb
from dar_search.errors import PictureError
from dar_search.ingestion.decoding.damage import unsound
from dar_search.ingestion.decoding.limits import DEFAULT_LIMITS, DecodeLimits
from dar_search.ingestion.decoding.opening import kind_of, opened
from dar_search.ingestion.decoding.shortfall import MAX_MISSING, completed, missing_rows
from dar_search.ingestion.decoding.signatures import Signature
from dar_search.preparation import Preparation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["DEFAULT_LIMITS", "DRAFT_MARGIN", "THUMBNAIL_SIDE", "DecodeLimits", "DecodedPicture", "decode", "thumbnail"]

DRAFT_MARGIN = 3
THUMBNAIL_SIDE = 256
_DIVISORS = (8, 4, 2, 1)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class DecodedPicture:
    """An upright picture, ready for the encoder.

    Attributes:
        fitted: as the encoder's `Preparation` makes it, mode RGB.
        thumbnail: WebP, at most THUMBNAIL_SIDE pixels a side.
        width, height: of the whole upright picture, in pixels.
    """

    fitted: Image.Image
    thumbnail: bytes
    width: int
    height: int

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 RGB of `fitted`."""
        import numpy as np  # not where pictures are decoded, in a process that has no other use for it

        return np.asarray(self.fitted)


def decode(data: bytes, preparation: Preparation, limits: DecodeLimits = DEFAULT_LIMITS) -> DecodedPicture:
    """A picture file's content -> the picture, upright, opaque, in sRGB.

    Raises:
        PictureError: not_a_picture, unsupported_format, truncated_picture, broken_picture, too_many_pixels,
            side_too_long, out_of_memory.
    """
    try:
        kind = kind_of(data)
        try:
            return _decoded(data, kind, preparation, limits)
        except (OSError, SyntaxError, ValueError) as error:
            whole = completed(data)
            if whole is None or isinstance(error, PictureError):
                raise
            return _decoded(whole, kind, preparation, limits, lacks_its_end=True)
    except PictureError:
        raise
    except MemoryError:
        raise limits.out_of_memory() from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        # Pillow's own check, of a frame that is larger than its picture.
        raise PictureError("too_many_pixels", "A frame is larger than its picture.", "Save it again.") from None
    except Exception as error:
        # Pillow's plugins raise whatever comes to hand on hostile input: struct.error, KeyError, ZeroDivisionError ...
        raise unsound(error, data, kind.name, limits) from error


def _decoded(
    data: bytes, kind: Signature, preparation: Preparation, limits: DecodeLimits, *, lacks_its_end: bool = False
) -> DecodedPicture:
    with opened(data, kind) as image:
        width, height = image.size
        if kind.name == "JPEG":
            limits.check(width, height, jpeg=True, progressive="progressive" in image.info)
            _draft(image, preparation, limits)
        limits.check(*image.size)
        image.load()
        if lacks_its_end and kind.name == "JPEG" and (missing := missing_rows(image)) > MAX_MISSING:
            raise PictureError(
                "truncated_picture", f"The picture ends too early: {missing:.0%} of it are missing.", "Copy it again."
            )
        orientation = _orientation(image)
        rgb = to_rgb(image)
        if orientation in _UPRIGHT:
            rgb = rgb.transpose(_UPRIGHT[orientation])
        if orientation >= 5:
            width, height = height, width
        return DecodedPicture(preparation.fitted_rgb(rgb), thumbnail(rgb), width, height)


def thumbnail(rgb: Image.Image) -> bytes:
    """An RGB picture -> a small WebP."""
    scale = THUMBNAIL_SIDE / max(rgb.size)
    if scale < 1:
        size = max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale))
        rgb = rgb.resize(size, Image.Resampling.BICUBIC, reducing_gap=1.0)
    file = io.BytesIO()
    # method=0 takes a third of the default's time, for a fifth more bytes. No metadata: it may say where one lives.
    rgb.save(file, "WEBP", quality=75, method=0, exif=b"", icc_profile=b"", xmp=b"")
    return file.getvalue()


def _draft(image: ImageFile.ImageFile, preparation: Preparation, limits: DecodeLimits) -> None:
    """Lets a JPEG decode at a fraction of its size: with room to spare for the encoder, or as large as is allowed.

    A picture that has too many pixels all the same is decoded at a smaller fraction, but not below what the encoder
    looks at.
    """
    shortest, longest = min(image.size), max(image.size)
    looked_at = preparation.side / shortest
    fraction = _fraction(image.size, max(DRAFT_MARGIN * looked_at, THUMBNAIL_SIDE / longest))
    smallest = _fraction(image.size, max(looked_at, THUMBNAIL_SIDE / longest))
    while fraction < smallest and image.width * image.height > limits.max_pixels * fraction**2:
        fraction *= 2
    if fraction > 1:
        image.draft(image.mode, (image.width // fraction, image.height // fraction))


def _fraction(size: tuple[int, int], scale: float) -> int:
    """The largest of libjpeg's divisors that leaves both sides at `scale` of what they are, or more."""
    if scale >= 1:
        return 1
    most = min(side // math.ceil(side * scale) for side in size)
    return next(divisor for divisor in _DIVISORS if divisor <= most)


def _orientation(image: Image.Image) -> int:
    """EXIF's 1..8. Damaged EXIF says nothing: the picture is good all the same."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # Pillow's EXIF parser raises anything on hostile input
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
