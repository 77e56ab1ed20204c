"""Settings of fetching pictures by their URLs (DAR_INGEST__FETCH__...)."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from dar_search.settings.cluster_access import Secret

USER_AGENT = "dar-search/0.1 (+https://github.com/dar-search/dar-search)"


class FetchSettings(BaseModel):
    """How pictures are fetched, and what one may cost.

    There is no proxy among them, and HTTPS_PROXY is not read: the connection goes to the address that was checked.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Hosts inside that may be asked: names, .example.internal, addresses, 10.1.0.0/16, each with :port "
        "if wanted. Without an entry only public addresses are. Listed hosts are yours: they are asked as fast as "
        "they answer.",
    )
    user_agent: str = Field(
        USER_AGENT, pattern=r"^[\x20-\x7e]{1,300}$", description="How the fetcher names itself; say how to reach you."
    )
    robots: bool = Field(False, description="Ask each host's robots.txt, and keep to it.")
    concurrency: int = Field(16, ge=1, le=256, description="Pictures fetched at once.")
    host_concurrency: int = Field(4, ge=1, le=64, description="Of them from one host.")
    host_spacing_seconds: float = Field(0.05, ge=0, le=60, description="Between the starts of two requests to a host.")
    seconds: float = Field(30, gt=0, le=3_600, description="What one picture may take, redirects and all.")
    connect_seconds: float = Field(5, gt=0, le=120, description="What one connection may take.")
    max_megabytes: float = Field(64, gt=0, le=2_000, description="The largest picture.")
    max_redirects: int = Field(5, ge=0, le=20)
    tries: int = Field(3, ge=1, le=10, description="For hosts that are busy or cannot be reached.")
    max_wait_seconds: float = Field(
        30, ge=0, le=3_600, description="The longest Retry-After that is waited for; a longer one is a failure."
    )
    ca_file: Path | None = Field(None, description="More authorities to trust (PEM), beside the system's.")
    authorization: dict[str, Secret] = Field(
        default_factory=dict,
        description='The Authorization header by origin ("https://pictures.internal:8443"), sent there alone.',
    )
    list_megabytes: float = Field(4_096, gt=0, description="The largest list or shard that is fetched.")
    list_seconds: float = Field(3_600, gt=0, description="What fetching a list or shard may take.")
