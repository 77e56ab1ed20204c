"""Settings of ingestion and its service (DAR_INGEST__...)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_serializer

from dar_search.errors import SettingsError
from dar_search.settings.decode import DecodeSettings
from dar_search.settings.fetch import FetchSettings
from dar_search.settings.masking import mask

#: Pictures encoded at once, unless it is said otherwise.
BATCH_SIZE = 64
_LEDGER = r"sqlite:.+|profile:[\w.-]+|https?://[^/\s]+.*"


def _ledger_address(value: str) -> str:
    if not re.fullmatch(_LEDGER, value):
        raise ValueError("it names no ledger")
    return value


class IngestSettings(BaseModel):
    """Ingestion: `dar ingest`, `dar jobs`, and the service of `dar ingest-serve` and `dar ingest-work`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ledger: Annotated[str, AfterValidator(_ledger_address)] | None = Field(
        None,
        description="Where jobs are kept: sqlite:PATH or an OpenSearch's address, which may be another than the "
        "pictures'. Unset: beside the pictures of an embedded store, else jobs.sqlite in the data folder.",
    )
    ledger_index: str = Field(
        "dar-ledger", pattern=r"^[a-z0-9][a-z0-9._-]{0,200}$", description="The ledger's index on an OpenSearch."
    )
    broker: str | None = Field(
        None,
        pattern=r"^(redis|rediss|amqp|amqps|memory)://",
        description="Celery's broker, such as redis://host:6379/0. Unset: the workers look into the ledger themselves.",
    )
    broker_ca_file: Path | None = Field(
        None,
        description="The authorities to trust (PEM) where the broker is rediss:// or amqps://, unless the address "
        "names others (?ssl_ca_certs=PATH); unset: the system's.",
    )
    queue: str = Field("dar-ingest", pattern=r"^[\w.-]{1,100}$", description="The queue that workers listen to.")
    host: str = Field("127.0.0.1", min_length=1, description="The address to listen on.")
    port: int = Field(8960, ge=0, le=65_535)
    admin_port: int = Field(8961, ge=0, le=65_535, description="Of /metrics; 0: none.")
    threads: int = Field(16, ge=2, le=500, description="Requests that are read and answered at once.")
    uploads: int = Field(2, ge=1, le=64, description="Uploads encoded at once; more wait.")
    waiting: int = Field(6, ge=0, le=500, description="Uploads that wait, or are not so far; more are refused.")
    streams: int = Field(4, ge=0, le=500, description="Jobs followed at once (server-sent events); more are refused.")
    upload_pictures: int = Field(16, ge=1, le=1_000, description="The most pictures of one upload.")
    body_megabytes: int = Field(64, ge=1, le=2_000, description="The largest body of an upload.")
    sources: tuple[str, ...] = Field(
        (),
        description="What jobs made over HTTP may read, in the settings of the service and of each worker: folders "
        'with all below them; addresses, or beginnings up to a "/", such as https://pictures.example/ or https://; '
        'opensearch:INDEX, and clusters that an index may be in; "*": everything.',
    )
    exclude: tuple[str, ...] = Field(
        (),
        description="Names to leave out of every folder, list and tar that is ingested, as in a .gitignore file, such "
        'as "previews/" or "*.seg.png"; a job may add others.',
    )
    fetch: FetchSettings = Field(FetchSettings(), description="A table: pictures that are fetched by URL.")
    decode: DecodeSettings = Field(DecodeSettings(), description="A table: what decoding one picture may cost.")
    batch_size: int = Field(BATCH_SIZE, ge=1, le=4_096, description="Pictures encoded at once.")
    decoders: int | None = Field(None, ge=1, le=512, description="Decoder processes at once; unset: one a core.")
    load_replicas: int | None = Field(
        None,
        ge=0,
        le=20,
        description="Replicas of an index while a job loads it. Unset: they stay; 0 is quicker, and a node that is "
        "lost then takes with it what it alone had.",
    )
    beat_seconds: float = Field(5, gt=0, le=600, description="How often a worker says that it lives.")
    lease_seconds: float = Field(
        30, gt=0, le=86_400, description="After which a worker that said nothing is taken for dead."
    )
    resend_seconds: float = Field(
        15, gt=0, le=86_400, description="After which a message that nobody followed is sent again."
    )
    resume_seconds: float = Field(
        30, gt=0, le=86_400, description="After which a job that trouble paused is tried again."
    )
    keep_jobs_days: float = Field(
        90, ge=0, description="After which an ended job and its failures are removed from the ledger; 0: never."
    )
    sweep_seconds: float = Field(2, gt=0, le=600, description="How often work is looked for that nobody does.")

    @field_serializer("ledger", "broker")
    def _masked(self, value: str | None) -> str | None:
        return value and mask(value)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        addresses = ("ledger", "broker")
        return (
            (name, value and mask(value) if name in addresses else value) for name, value in super().__repr_args__()
        )

    def check(self) -> None:
        """Raises SettingsError for parts that do not fit each other."""
        busy = self.uploads + self.waiting + self.streams
        if busy >= self.threads:
            raise SettingsError(
                f"ingest.uploads + waiting + streams is {busy}, not below ingest.threads ({self.threads}).",
                "Raise ingest.threads: the rest of them answers what is short.",
            )
