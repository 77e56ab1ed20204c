"""Settings of OpenSearch clusters: how they are reached, and how indices are made there."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from dar_search.settings.cluster_access import ClusterAccess


class OpenSearchIndexSettings(BaseModel):
    """How a new index is made on an OpenSearch cluster. `ef_search` also holds for existing ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: Literal["lucene", "faiss"] = Field("lucene", description="What keeps the k-NN graph: lucene or faiss.")
    m: int = Field(16, ge=2, le=100, description="HNSW: links of a vector; more cost memory and find more.")
    ef_construction: int = Field(128, ge=2, le=4096, description="HNSW: candidates while the graph is built.")
    ef_search: int = Field(256, ge=1, le=10_000, description="HNSW: candidates of a search, at least.")
    shards: int = Field(1, ge=1, le=1024, description="Primary shards.")
    replicas: int | None = Field(None, ge=0, le=20, description="Replicas; unset: one where there is a second node.")
    analyzer: str = Field("english", pattern=r"^[a-z0-9_-]+$", description="The captions' analyzer.")


class OpenSearchSettings(ClusterAccess):
    """How to reach an OpenSearch cluster, beyond its address, and how to use it."""

    index: OpenSearchIndexSettings = OpenSearchIndexSettings()
    bulk_megabytes: float = Field(8, gt=0, le=64, description="The size of one writing request.")
    bulk_in_flight: int = Field(2, ge=1, le=32, description="Writing requests under way at once.")
    retry_seconds: float = Field(60, ge=0, description="How long writing outlasts a cluster that is not there.")
    default_pipeline: Literal["merge", "skip"] = Field(
        "merge", description="An index's own default search pipeline: joined with the project's, or skipped."
    )
