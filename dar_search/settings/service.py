"""Settings of the services: what both share (DAR_SERVICE__...) and the query service's own (DAR_QUERY__...).

A service's key stands in `service.keys` under a name, which the log shows: as "sha256:<64 hex digits>", as
`{ env = "NAME" }` or `{ file = "PATH" }`, or as itself in a file that only its owner reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from dar_search.errors import SettingsError
from dar_search.settings.cluster_access import Secret

_LOOPBACK = ("localhost", "::1")


class ServiceSettings(BaseModel):
    """What both services share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: dict[str, Secret] = Field(
        default_factory=dict, description="Callers' keys by name (header X-DAR-Key); none: everybody may ask."
    )
    rate: float | None = Field(None, gt=0, le=1e6, description="Requests of one caller in a second; unset: no limit.")
    burst: int = Field(20, ge=1, le=1_000_000, description="Requests of one caller at once, before the rate holds.")
    rate_by: Literal["key", "address"] = Field("key", description="What a caller is; without a key, the address.")
    trusted_proxies: int = Field(
        0, ge=0, le=10, description="Proxies before the service, whose X-Forwarded-For is believed."
    )
    cors_origins: tuple[str, ...] = Field((), description='Origins of pages that may ask, as https://a.example; "*".')
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Names that the service answers to, health too (probes by address need it here, or a Host header); "
        "unset: on loopback its own, else all.",
    )
    json_depth: int = Field(64, ge=1, le=500, description="How deep the JSON of a request may nest.")
    json_values: int = Field(
        100_000, ge=1_000, le=100_000_000, description="How many values the JSON of a request may have."
    )
    patience_seconds: float = Field(
        20,
        gt=0,
        le=3600,
        description="How long a request's head may take, and how late its body and answer may be at 16 KiB a second.",
    )
    graceful_seconds: float = Field(30, ge=0, le=3600, description="How long running requests may take on SIGTERM.")
    admin_host: str = Field("127.0.0.1", min_length=1, description="Where the admin port (/metrics) listens.")
    log_format: Literal["json", "text"] = Field("json", description="A log line: a JSON object, or text for a person.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_dialogues: bool = Field(False, description="Write dialogues into the log. They are what people said.")
    otlp_endpoint: str | None = Field(
        None, pattern=r"^https?://", description="Traces go there (OTLP over HTTP); unset: none are made."
    )


class QuerySettings(BaseModel):
    """The query service: `dar serve`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", min_length=1, description="The address to listen on.")
    port: int = Field(8950, ge=0, le=65_535)
    admin_port: int = Field(8951, ge=0, le=65_535, description="Of /metrics; 0: none.")
    threads: int = Field(48, ge=4, le=1000, description="Requests that are read and answered at once.")
    searches: int = Field(8, ge=1, le=500, description="Searches under way at once; more wait.")
    waiting: int = Field(16, ge=0, le=500, description="Searches that wait; more are refused, or answered by text.")
    streams: int = Field(12, ge=0, le=500, description="Answers streamed at once.")
    over_limit: Literal["refuse", "text_only"] = Field(
        "refuse", description="What a search gets when too many wait: 429, or an answer without imagination."
    )
    deadline_ms: int = Field(2_000, ge=20, le=600_000, description="For an answer, where the request names none.")
    most_deadline_ms: int = Field(30_000, ge=20, le=600_000, description="The longest deadline that is granted.")
    overtime_ms: int = Field(
        5_000, ge=0, le=600_000, description="How much later an answer may come where a store or an encoder is slow."
    )
    credentials: Literal["own", "caller"] = Field(
        "own", description="Searches run with the service's credentials, or the caller's Authorization header."
    )
    served_indices: tuple[str, ...] = Field((), description='The indices that may be searched; "*": all.')
    outside_models: bool = Field(True, description="false: dialogues never leave for a language model elsewhere.")
    body_bytes: int = Field(
        16 << 20, ge=1024, le=1 << 30, description="The largest body of a request, in which a picture may be."
    )
    most_hits: int = Field(100, ge=1, le=10_000, description="The largest page.")
    most_imaginations: int = Field(16, ge=0, le=64, description="The most imaginations of each prompt.")
    search_log: Path | None = Field(
        None, description="A file for what was asked, answered and chosen; unset: nothing is kept."
    )
    search_log_dialogues: bool = Field(True, description="Whether the search log has what people said in it.")
    search_log_megabytes: int = Field(64, ge=1, le=10_000, description="Of one of its files; nine are kept.")

    def check(self) -> None:
        """Raises SettingsError for parts that do not fit each other."""
        busy = self.searches + self.waiting + self.streams
        if busy >= self.threads:
            raise SettingsError(
                f"query.searches + waiting + streams is {busy}, not below query.threads ({self.threads}).",
                "Raise query.threads: the rest of them answers what is short while all others are busy.",
            )
        if self.deadline_ms > self.most_deadline_ms:
            raise SettingsError("query.deadline_ms is above query.most_deadline_ms.", "Lower the first.")


class ClientSettings(BaseModel):
    """Asking a query service: `dar mcp`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field("http://127.0.0.1:8950", pattern=r"^https?://[^/\s@]+", description="The service's address.")
    key: Secret | None = Field(None, description="The service's key for this caller, sent as X-DAR-Key.")
    index: str | None = Field(None, min_length=1, description="Which index to ask; unset: the one that is served.")
    timeout: float = Field(60, gt=0, le=3600, description="Seconds that an answer may take.")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on this address."""
    return host in _LOOPBACK or host.startswith("127.")


def http_address(host: str, port: int) -> str:
    """Of what listens there; an address of IPv6 stands in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
