"""What a cluster offers: detected once per connection, never configured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dar_search.data import ScoreFusion
from dar_search.errors import FeatureMissing, StoreForbidden
from dar_search.stores.opensearch_calls import Cluster

KNN_PLUGIN = "opensearch-knn"
HYBRID_PLUGIN = "opensearch-neural-search"
# Since 2.19 `hybrid` has `pagination_depth`, and all k-NN scores of cosinesimil are (1 + cosine) / 2.
_LOWEST = (2, 19)
_HYBRID_OFF = "plugins.neural_search.hybrid_search_disabled"


@dataclass(frozen=True, slots=True)
class Features:
    """What the cluster offers.

    Attributes:
        version: of OpenSearch, as "2.19.1".
        plugins: on every node; None where the caller may not ask.
        hybrid: the `hybrid` query with paging and the `normalization-processor` work.
    """

    version: str
    plugins: frozenset[str] | None
    hybrid: bool

    @property
    def has_knn(self) -> bool:
        """The k-NN plugin is there, or nobody knows."""
        return self.plugins is None or KNN_PLUGIN in self.plugins

    def require_knn(self) -> None:
        """Raises FeatureMissing if a node has no k-NN plugin."""
        if not self.has_knn:
            raise FeatureMissing(
                f"The cluster (OpenSearch {self.version}) lacks the k-NN plugin ({KNN_PLUGIN}).",
                "Install it on every node (bin/opensearch-plugin install), or use the distribution that has it.",
            )

    def fuses(self, fusion: ScoreFusion, shards: int) -> bool:
        """Whether the server's score fusion is this project's.

        Only min-max, and only on one shard. `pagination_depth` counts candidates per shard, so that on several
        shards the lowest score of min-max depends on how the pictures are spread; RRF ranks per shard in 2.19, and
        has weights only from 3.1. The client's fusion is the same everywhere.
        """
        return self.hybrid and fusion.method == "min_max" and shards == 1


def detect(cluster: Cluster) -> Features:
    """Asks the cluster. Raises FeatureMissing if it is no OpenSearch or one before 2.19, StoreUnavailable."""
    about = cluster.read("GET", "/").get("version", {})
    version = str(about.get("number", ""))
    if about.get("distribution") != "opensearch":
        raise FeatureMissing(
            f"The server is no OpenSearch (it says version {version or 'nothing'}).",
            "Give the address of an OpenSearch cluster; Elasticsearch has no k-NN index of this kind.",
        )
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < _LOWEST:
        raise FeatureMissing(f"The cluster is OpenSearch {version}.", "Update it to 2.19 or later.")
    plugins = _plugins(cluster)
    hybrid = HYBRID_PLUGIN in (plugins or ()) and not _hybrid_is_off(cluster)
    return Features(version, plugins, hybrid)


def _plugins(cluster: Cluster) -> frozenset[str] | None:
    try:
        nodes = cluster.read("GET", "/_nodes/plugins", filter_path="nodes.*.name,nodes.*.plugins.name")["nodes"]
    except StoreForbidden:
        return None
    return frozenset.intersection(
        *(frozenset(plugin["name"] for plugin in node.get("plugins", ())) for node in nodes.values())
    )


def _hybrid_is_off(cluster: Cluster) -> bool:
    try:
        answer: Mapping[str, Any] = cluster.read("GET", "/_cluster/settings", flat_settings="true")
    except StoreForbidden:
        return True  # not known: the client's fusion is always right
    values = {**answer.get("persistent", {}), **answer.get("transient", {})}
    return str(values.get(_HYBRID_OFF, "false")).lower() == "true"
