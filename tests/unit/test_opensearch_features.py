"""What the store makes of the cluster's answers about itself."""

from __future__ import annotations

from typing import Any, cast

import pytest

from dar_search.data import ScoreFusion
from dar_search.errors import FeatureMissing, StoreForbidden
from dar_search.stores.opensearch.cluster.calls import Cluster
from dar_search.stores.opensearch.cluster.features import Features, detect

KNN, HYBRID = {"name": "opensearch-knn"}, {"name": "opensearch-neural-search"}


class FakeCluster:
    """Answers as a cluster of these nodes would; None: it forbids the question."""

    def __init__(self, nodes: list[dict[str, Any]] | None, **version: str) -> None:
        self.version = {"number": "2.19.1", "distribution": "opensearch"} | version
        self.nodes = nodes

    def read(self, method: str, path: str, **_: Any) -> Any:
        if path == "/":
            return {"version": self.version}
        if self.nodes is None:
            raise StoreForbidden("no permissions for [cluster:monitor/nodes/info]")
        return {"nodes": {str(number): {"name": f"n{number}"} | node for number, node in enumerate(self.nodes)}}


def detected(nodes: list[dict[str, Any]] | None, **version: str) -> Features:
    return detect(cast(Cluster, FakeCluster(nodes, **version)))


def test_a_plugin_counts_if_every_node_has_it() -> None:
    assert detected([{"plugins": [KNN, HYBRID]}] * 2).hybrid
    mixed = detected([{"plugins": [KNN, HYBRID]}, {"plugins": [KNN]}])
    assert (mixed.has_knn, mixed.hybrid) == (True, False)
    none = detected([{"plugins": [KNN]}, {}])
    assert not none.has_knn
    with pytest.raises(FeatureMissing, match="opensearch-knn"):
        none.require_knn()


def test_hybrid_switched_off_in_a_nodes_settings_is_noticed() -> None:
    off = {"plugins": [KNN, HYBRID], "settings": {"plugins.neural_search.hybrid_search_disabled": "true"}}
    assert not detected([off]).hybrid


def test_where_nobody_may_ask_knn_is_tried_and_scores_are_fused_in_the_client() -> None:
    features = detected(None)
    features.require_knn()
    assert (features.has_knn, features.hybrid) == (True, False)


def test_a_node_without_native_libraries_is_not_given_a_faiss_index() -> None:
    bare = detected([{"plugins": [KNN]}, {"plugins": [KNN], "attributes": {"knn_native_libraries": "none"}}])
    bare.require_engine("lucene")
    with pytest.raises(FeatureMissing, match="native libraries") as error:
        bare.require_engine("faiss")
    assert "lucene" in error.value.hint
    detected([{"plugins": [KNN]}]).require_engine("faiss")


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ({"number": "8.15.0", "distribution": ""}, "no OpenSearch"),
        ({"number": "2.18.0"}, "2.18.0"),
        ({"number": "1.3.20"}, "1.3.20"),
    ],
    ids=["elasticsearch", "2.18", "1.3"],
)
def test_another_server_or_an_older_one_is_refused(version: dict[str, str], said: str) -> None:
    with pytest.raises(FeatureMissing, match=said) as error:
        detected([{"plugins": [KNN]}], **version)
    assert error.value.hint


@pytest.mark.parametrize("number", ["2.19.0", "2.20.1", "3.0.0-beta1", "10.1.0"])
def test_later_versions_are_taken(number: str) -> None:
    assert detected([{"plugins": [KNN, HYBRID]}], number=number).hybrid


def test_the_server_fuses_only_what_it_fuses_as_the_client_does() -> None:
    features = detected([{"plugins": [KNN, HYBRID]}])
    assert features.fuses(ScoreFusion(), shards=1)
    assert not features.fuses(ScoreFusion(), shards=2)
    assert not features.fuses(ScoreFusion("rrf"), shards=1)
    assert not detected([{"plugins": [KNN]}]).fuses(ScoreFusion(), shards=1)
