"""Pictures whose last bytes are missing: what every viewer shows is decoded, what lacks much is refused.

A JPEG without its end marker has every pixel. One whose last rows are missing is decoded if no more than a tenth of
them are: libjpeg makes those grey. A progressive JPEG that breaks off keeps all rows and lacks detail. A WebP may lack
a two-hundredth of its bytes. A PNG without its last chunk has every pixel, and Pillow takes it.
"""

from __future__ import annotations

from PIL import Image, ImageChops

#: The share of a JPEG's rows that may be missing.
MAX_MISSING = 0.1
_MAX_MISSING_BYTES = 0.005
_JPEG_END = b"\xff\xd9"


def completed(data: bytes) -> bytes | None:
    """The bytes with an end where the file has none: worth another try; None: nothing to be done."""
    if data.startswith(b"\xff\xd8"):
        # Zeros are what a program that saves bit by bit reserves: libjpeg would read them as pixels.
        return data.rstrip(b"\0") + _JPEG_END
    if data[:4] == b"RIFF":
        missing = 8 + int.from_bytes(data[4:8], "little") - len(data)
        return data + bytes(missing) if 0 < missing <= max(1, _MAX_MISSING_BYTES * len(data)) else None
    return None


def missing_rows(image: Image.Image) -> float:
    """The share of a completed JPEG's rows, 0 to 1, that libjpeg filled with grey because they are not in the file."""
    filler = image.getpixel((image.width - 1, image.height - 1))
    values = filler if isinstance(filler, tuple) else (filler,)
    # All coefficients zero: 128, which is 127 where Pillow turns CMYK.
    if not all(isinstance(value, int) and value in (127, 128) for value in values):
        return 0.0
    box = ImageChops.difference(image, Image.new(image.mode, image.size, filler)).getbbox(alpha_only=False)
    return 1 - (box[3] if box else 0) / image.height
