"""What the routes take and answer: pydantic models, from which the OpenAPI document is made."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Problem(BaseModel):
    """What is wrong. code: stable, for programs; message and hint: for people."""

    code: str
    message: str
    hint: str
    request_id: str


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class JobIn(_In):
    """A job to make. source: a folder, a list (JSONL, CSV, Parquet) or another; what ingest.sources names is read."""

    index: str = Field(min_length=1, max_length=255)
    source: str = Field(min_length=1, max_length=4096)
    options: dict[str, str | int | float | bool | list[str]] = Field(
        default={},
        description='The source\'s own, such as {"exclude": ["previews/"]}, or of a list {"field": "image_url", '
        '"caption_field": "title", "metadata_fields": ["cost=price"], "vectors": "embedding"}.',
    )
    prune: bool = Field(False, description="At the end, remove what the source brought in and no longer lists.")


class JobPath(BaseModel):
    job: str = Field(min_length=1, max_length=100)


class JobsQuery(_In):
    running: bool = False
    limit: int = Field(20, ge=1, le=1000)


class FailuresQuery(_In):
    after: str = Field("", max_length=50, pattern=r"^(\d{1,12}:\d{1,12})?$")
    limit: int = Field(100, ge=1, le=10_000)


class RetryIn(_In):
    """codes: only failures with these codes; unset: all."""

    codes: list[str] | None = Field(None, max_length=100)


class PictureIn(_In):
    """A picture to fetch by its URL."""

    url: str = Field(min_length=1, max_length=4096, pattern=r"^https?://")
    id: str = Field("", max_length=512)
    caption: str = Field("", max_length=10_000)
    metadata: dict[str, Any] = {}


class PicturesIn(_In):
    """Pictures by their URLs. (Or send multipart/form-data; see the route.)"""

    index: str = Field(min_length=1, max_length=255)
    images: list[PictureIn] = Field(min_length=1, max_length=1000)


class PicturePath(BaseModel):
    id: str = Field(min_length=1, max_length=512)


class IndexQuery(_In):
    index: str = Field(min_length=1, max_length=255)


class NotedOut(BaseModel):
    """How often, of which kinds (suffixes, fields; at most 20 and "others"), and the first three."""

    count: int
    kinds: dict[str, int]
    examples: list[str]


class JobOut(BaseModel):
    """A job. total: items of the source, where known; rate: items a second; seconds_left: an estimate.

    skipped: what the source has and was not taken, by reason; warnings: captions and metadata left out, by code.
    """

    model_config = ConfigDict(extra="allow")

    id: str
    state: Literal["running", "paused", "cancelled", "done"]
    reason: str
    index: str
    source: str
    total: int | None
    done: int
    indexed: int
    unchanged: int
    failed: int
    failures: dict[str, int]
    skipped: dict[str, NotedOut]
    warnings: dict[str, NotedOut]
    rate: float | None
    seconds_left: float | None


class JobsOut(BaseModel):
    jobs: list[JobOut]


class FailureOut(BaseModel):
    source: str
    code: str
    message: str
    place: str
    replayable: bool


class FailuresOut(BaseModel):
    """after: what to send for the next page; null: there is none."""

    failures: list[FailureOut]
    after: str | None


class RetriedOut(BaseModel):
    retried: int
    job: JobOut


class PictureOut(BaseModel):
    """A picture that is in the index, or (failure) why it is not."""

    id: str | None = None
    source: str
    width: int | None = None
    height: int | None = None
    failure: dict[str, str] | None = None


class PicturesOut(BaseModel):
    """In the order of the request."""

    indexed: int
    failed: int
    images: list[PictureOut]


class DeletedOut(BaseModel):
    deleted: int


class HealthOut(BaseModel):
    alive: bool
    version: str


class ReadyOut(BaseModel):
    ready: bool
    parts: dict[str, str]
