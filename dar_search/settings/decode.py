"""Settings of decoding pictures: what one may cost (DAR_INGEST__DECODE__...)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class DecodeSettings(BaseModel):
    """What a picture may cost. What costs more is a failure that names the setting."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_megabytes: float = Field(256, gt=0, le=4_096, description="The largest file.")
    max_megapixels: float = Field(
        100,
        gt=0,
        le=10_000,
        description="Pixels that a picture may have where it is decoded: a JPEG's are counted after it was read at a "
        "fraction of its size. 100 take up to 1.3 GiB while they are worked on.",
    )
    max_jpeg_megapixels: float = Field(
        500, gt=0, le=5_000, description="Pixels that a JPEG may have as it is in the file."
    )
    max_side: int = Field(65_535, ge=1, le=1_000_000, description="The longest side, in pixels.")
    seconds: float = Field(60, gt=0, le=3_600, description="What reading and decoding one picture may take.")
    memory_megabytes: int = Field(
        3_072, ge=64, le=1_000_000, description="Memory (address space) that a decoder process may take."
    )
