"""What a cluster offers: detected once per connection, never configured."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dar_search.data import ScoreFusion
from dar_search.errors import FeatureMissing, StoreForbidden
from dar_search.stores.opensearch.cluster.calls import Cluster
from dar_search.stores.opensearch.cluster.forms import NODES, ROOT, Node

KNN_PLUGIN = "opensearch-knn"
HYBRID_PLUGIN = "opensearch-neural-search"
NO_FAISS_ATTRIBUTE, NO_FAISS = "knn_native_libraries", "none"  # as the local node says of itself (node.attr)
# Since 2.19 `hybrid` has `pagination_depth`, and all k-NN scores of cosinesimil are (1 + cosine) / 2.
_LOWEST = (2, 19)
_HYBRID_OFF = "plugins.neural_search.hybrid_search_disabled"
_NODES_PATH = f"nodes.*.name,nodes.*.plugins.name,nodes.*.attributes,nodes.*.settings.{_HYBRID_OFF}"


@dataclass(frozen=True, slots=True)
class Features:
    """What the cluster offers.

    Attributes:
        version: of OpenSearch, as "2.19.1".
        plugins: on every node; None where the caller may not ask.
        hybrid: the `hybrid` query with paging and the `normalization-processor` work.
        faiss: no node says that its k-NN plugin lacks the native libraries. A faiss index would end such a node.
    """

    version: str
    plugins: frozenset[str] | None
    hybrid: bool
    faiss: bool

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

    def require_engine(self, engine: str) -> None:
        """Raises FeatureMissing for what keeps the k-NN graph if a node does not have it."""
        if engine == "faiss" and not self.faiss:
            raise FeatureMissing(
                "A node of the cluster has no native libraries of the k-NN plugin, which faiss needs.",
                "Set opensearch.index.engine to lucene, or use OpenSearch's own distribution.",
            )

    def fuses(self, fusion: ScoreFusion, shards: int) -> bool:
        """Whether the server's score fusion is this project's.

        Only min-max, and only on one shard. `pagination_depth` counts candidates per shard, so that on several
        shards the lowest score of min-max depends on how the pictures are spread; RRF ranks per shard in 2.19, and
        has weights only from 3.1. The client's fusion is the same everywhere. (It is asked only
        where an index's own processors have to see one search: see `search.searching`.)
        """
        return self.hybrid and fusion.method == "min_max" and shards == 1


def detect(cluster: Cluster) -> Features:
    """Asks the cluster. Raises FeatureMissing if it is no OpenSearch or one before 2.19, StoreUnavailable."""
    about = ROOT.read(cluster.read("GET", "/")).get("version", {})
    version = str(about.get("number", ""))
    if about.get("distribution") != "opensearch":
        raise FeatureMissing(
            f"The server is no OpenSearch (it says version {version or 'nothing'}).",
            "Give the address of an OpenSearch cluster; Elasticsearch has no k-NN index of this kind.",
        )
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < _LOWEST:
        raise FeatureMissing(f"The cluster is OpenSearch {version}.", "Update it to 2.19 or later.")
    try:
        answer = cluster.read("GET", "/_nodes/plugins,settings", filter_path=_NODES_PATH, flat_settings="true")
    except StoreForbidden:
        return Features(version, None, hybrid=False, faiss=True)  # not known: the client's fusion is always right
    nodes = NODES.read(answer).get("nodes", {})
    if not nodes:
        raise NODES.wrong("there are none")
    plugins = frozenset.intersection(*(_plugins(node) for node in nodes.values()))
    off = any(node.get("settings", {}).get(_HYBRID_OFF) == "true" for node in nodes.values())
    bare = any(node.get("attributes", {}).get(NO_FAISS_ATTRIBUTE) == NO_FAISS for node in nodes.values())
    return Features(version, plugins, HYBRID_PLUGIN in plugins and not off, faiss=not bare)


def _plugins(node: Node) -> frozenset[str]:
    return frozenset(plugin["name"] for plugin in node.get("plugins", ()))
