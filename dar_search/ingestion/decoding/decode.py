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

# Imported so that Pillow knows these formats without trying all its plugins.
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from dar_search.errors import PictureError
from dar_search.ingestion.decoding.colours import to_rgb
from dar_search.ingestion.decoding.signatures import ends_early, signature_of
from dar_search.preparation import Preparation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# An MPO (two JPEGs in one file) opens as a JPEG; of an animation the first frame counts.
FORMATS = tuple(
    plugin.format
    for plugin in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        WebPImagePlugin.WebPImageFile,
        GifImagePlugin.GifImageFile,
        AvifImagePlugin.AvifImageFile,
        TiffImagePlugin.TiffImageFile,
        BmpImagePlugin.BmpImageFile,
    )
    if plugin.format
)
DRAFT_MARGIN = 3
THUMBNAIL_SIDE = 256
_CONVERT_HINT = "Convert it to JPEG, PNG or WebP."
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
class DecodeLimits:
    """What a picture may cost.

    Attributes:
        max_bytes: of the file.
        max_pixels: width times height.
        max_side: pixels; no WebP has more.
        seconds: wall-clock time for reading and decoding one picture.
        memory_bytes: address space that a decoder process may take beyond what it starts with.
    """

    max_bytes: int = 256 << 20
    max_pixels: int = 100_000_000
    max_side: int = 16_384
    seconds: float = 60.0
    memory_bytes: int = 3 << 30


DEFAULT_LIMITS = DecodeLimits()


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
    """A picture file's content -> the picture, upright, on white, in sRGB.

    Raises:
        PictureError: not_a_picture, unsupported_format, truncated_picture, broken_picture, too_many_pixels,
            side_too_long, out_of_memory.
    """
    try:
        with _opened(data) as image:
            width, height = image.size
            _check_size(width, height, limits)
            _draft(image, preparation)
            image.load()
            orientation = _orientation(image)
            upright = image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
            rgb = to_rgb(upright)
            if orientation >= 5:
                width, height = height, width
            return DecodedPicture(preparation.fitted(rgb), thumbnail(rgb), width, height)
    except PictureError:
        raise
    except MemoryError:
        raise PictureError(
            "out_of_memory", "Decoding needs more memory than a decoder may have.", "Make the picture smaller."
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many_pixels(limits) from None
    except Exception as error:
        # Pillow's plugins raise whatever comes to hand on hostile input: struct.error, KeyError, ZeroDivisionError ...
        raise _damaged(error, data) from error


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


def _opened(data: bytes) -> ImageFile.ImageFile:
    signature = signature_of(data)
    if signature is None:
        raise PictureError("not_a_picture", "The content is not a picture.", "Check what the file is.")
    if not signature.supported:
        raise PictureError("unsupported_format", f"{signature.name} pictures are not decoded.", _CONVERT_HINT)
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise _damaged(UnidentifiedImageError("unreadable header"), data) from None


def _check_size(width: int, height: int, limits: DecodeLimits) -> None:
    if width * height > limits.max_pixels:
        raise _too_many_pixels(limits)
    if max(width, height) > limits.max_side:
        raise PictureError(
            "side_too_long", f"A side has {max(width, height):,} pixels; the limit is {limits.max_side:,}.", "Crop it."
        )


def _draft(image: ImageFile.ImageFile, preparation: Preparation) -> None:
    """Lets a JPEG decode at a fraction of its size. Does nothing for other formats, and near the encoder's size."""
    shortest, longest = min(image.size), max(image.size)
    seen = DRAFT_MARGIN * max(preparation.height, preparation.width) / shortest
    scale = max(seen, THUMBNAIL_SIDE / longest)
    if scale < 1:
        image.draft(image.mode, (math.ceil(image.width * scale), math.ceil(image.height * scale)))


def _orientation(image: Image.Image) -> int:
    """EXIF's 1..8. Damaged EXIF says nothing: the picture is good all the same."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # Pillow's EXIF parser raises anything on hostile input
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _too_many_pixels(limits: DecodeLimits) -> PictureError:
    return PictureError(
        "too_many_pixels", f"The picture has more than {limits.max_pixels:,} pixels.", "Make it smaller."
    )


def _damaged(error: Exception, data: bytes) -> PictureError:
    text = f"{type(error).__name__}: {error}"[:200]
    readable = "".join(character if character.isprintable() else " " for character in text)
    if "truncated" in text.lower() or ends_early(data):
        return PictureError("truncated_picture", f"The picture ends too early ({readable}).", "Copy it again.")
    return PictureError("broken_picture", f"The picture is damaged ({readable}).", "Copy or save it again.")
