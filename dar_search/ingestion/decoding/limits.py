"""What a picture may cost, and what is said of one that costs more. Light: decoder processes import it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dar_search.errors import PictureError

if TYPE_CHECKING:
    from dar_search.settings.decode import DecodeSettings

#: The table of the settings that limits come from.
TABLE = "ingest.decode"
# libjpeg holds all of a progressive JPEG's coefficients (2 to 6 bytes a pixel), at whatever fraction it decodes: it may
# have this times the pixels of a picture that is decoded whole, and costs no more memory than that.
PROGRESSIVE_SHARE = 2


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What a picture may cost. Made of the settings by `limits_of`.

    Attributes:
        max_bytes: of the file.
        max_pixels: width times height of what is decoded: of a JPEG, after it was read at a fraction of its size.
        max_jpeg_pixels: width times height of a JPEG as it is in the file: all of it is read, whatever is decoded. A
            progressive one may have `PROGRESSIVE_SHARE` times `max_pixels`.
        max_side: pixels. A long side costs no more than its pixels; 65,535 is JPEG's longest.
        seconds: wall-clock time for reading and decoding one picture.
        memory_bytes: address space that a decoder process may take beyond what it starts with.
    """

    max_bytes: int = 256 << 20
    max_pixels: int = 100_000_000
    max_jpeg_pixels: int = 500_000_000
    max_side: int = 65_535
    seconds: float = 60.0
    memory_bytes: int = 3 << 30

    def check(self, width: int, height: int, *, jpeg: bool = False, progressive: bool = False) -> None:
        """Raises PictureError side_too_long, too_many_pixels. jpeg: the size is the file's, not yet what is decoded."""
        if max(width, height) > self.max_side:
            raise PictureError(
                "side_too_long",
                f"A side has {max(width, height):,} pixels; the limit is {self.max_side:,}.",
                f"Crop it, or raise {TABLE}.max_side.",
            )
        most, setting = self.max_pixels, "max_megapixels"
        if jpeg:
            most, setting = self.max_jpeg_pixels, "max_jpeg_megapixels"
            if progressive and PROGRESSIVE_SHARE * self.max_pixels < most:
                most, setting = PROGRESSIVE_SHARE * self.max_pixels, "max_megapixels"
        if width * height > most:
            raise PictureError(
                "too_many_pixels",
                f"The {'progressive JPEG' if progressive else 'picture'} has more than {most:,} pixels "
                f"({width:,} x {height:,}).",
                f"Make it smaller, or raise {TABLE}.{setting}.",
            )

    def too_large(self, error: PictureError) -> PictureError:
        """The same, naming the setting."""
        return PictureError(error.code, error.message, f"Make it smaller, or raise {TABLE}.max_megabytes.")

    def out_of_memory(self) -> PictureError:
        return PictureError(
            "out_of_memory",
            f"Decoding needs more memory than a decoder may have ({self.memory_bytes >> 20:,} MiB).",
            f"Make the picture smaller, or raise {TABLE}.memory_megabytes.",
        )

    def timed_out(self) -> PictureError:
        return PictureError(
            "decode_timeout",
            f"Decoding took longer than {self.seconds:g} s.",
            f"Make the picture smaller, or raise {TABLE}.seconds.",
        )


DEFAULT_LIMITS = DecodeLimits()


def limits_of(settings: DecodeSettings) -> DecodeLimits:
    return DecodeLimits(
        max_bytes=int(settings.max_megabytes * (1 << 20)),
        max_pixels=int(settings.max_megapixels * 1_000_000),
        max_jpeg_pixels=int(settings.max_jpeg_megapixels * 1_000_000),
        max_side=settings.max_side,
        seconds=settings.seconds,
        memory_bytes=settings.memory_megabytes << 20,
    )
