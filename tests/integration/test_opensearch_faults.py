"""What versions get wrong: each row that was tried, tried again on the cluster of this run."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from dar_search.errors import StoreError
from dar_search.settings import load_settings
from dar_search.stores import bodies
from dar_search.stores.opensearch.cluster.calls import Cluster
from dar_search.stores.opensearch.cluster.connection import connect
from dar_search.stores.opensearch.cluster.faults import FAULTS, HYBRID, KNN, Fault, faults_of
from dar_search.stores.opensearch.cluster.features import detect

COUNT = 12
VECTOR = {
    "type": "knn_vector",
    "dimension": 2,
    "method": {"name": "hnsw", "engine": "lucene", "space_type": "cosinesimil"},
}
FIELDS = {
    "v": VECTOR,
    "alias": {"type": "alias", "path": "v"},
    "words": {"type": "text"},
    "half": {"type": "keyword"},
}
Scored = list[tuple[str, float]]


@dataclass(frozen=True)
class Place:
    """A cluster, and an index there of one shard and of two: pictures of which the nearer have fewer of the words."""

    cluster: Cluster
    one: str
    two: str

    def search(self, index: str, body: Any, **params: Any) -> Scored:
        """(id, score) of each hit. Raises StoreError."""
        answer = self.cluster.send("POST", f"/{index}/_search", bodies.encode(body), **params)
        return [(hit["_id"], hit["_score"]) for hit in answer["hits"]["hits"]]

    def make(self, shards: int = 1, **mappings: Any) -> str:
        name = f"faults-{uuid.uuid4().hex[:10]}"
        settings = {"index.knn": True, "number_of_shards": shards, "number_of_replicas": 0}
        body = {"settings": settings, "mappings": {"properties": FIELDS} | mappings}
        self.cluster.send("PUT", f"/{name}", bodies.encode(body))
        return name

    def fill(self, index: str, angle: float = 0.1) -> str:
        lines = []
        for number in range(COUNT):
            vector = [math.cos(number * angle), math.sin(number * angle)]
            words = " ".join(["dog"] * (number + 1 if angle else 1) + ["x"] * (COUNT - number if angle else 1))
            lines += [{"index": {"_id": f"{number}"}}, {"v": vector, "words": words, "half": str(number % 2)}]
        bulk = b"".join(bodies.encode(line) + b"\n" for line in lines)
        self.cluster.send("POST", f"/{index}/_bulk", bulk, refresh="true")
        return index


@pytest.fixture(scope="module")
def place(opensearch_url: str) -> Iterator[Place]:
    cluster = Cluster(connect(opensearch_url, load_settings()), retry_seconds=10)
    empty = Place(cluster, "", "")
    yield Place(cluster, empty.fill(empty.make()), empty.fill(empty.make(2)))
    cluster.send("DELETE", "/faults-*")
    cluster.close()


NEAREST = {"knn": {"v": {"vector": [1.0, 0.0], "k": COUNT}}}
LEGS = [{"match": {"words": "dog"}}, NEAREST]
RRF = {"phase_results_processors": [{"score-ranker-processor": {"combination": {"technique": "rrf"}}}]}


def min_max(*weights: float) -> dict[str, Any]:
    combination = {"technique": "arithmetic_mean"} | ({"parameters": {"weights": weights}} if weights else {})
    normalization = {"technique": "min_max"}
    processor = {"normalization-processor": {"normalization": normalization, "combination": combination}}
    return {"phase_results_processors": [processor]}


def hybrid(pipeline: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"query": {"hybrid": {"queries": LEGS} | more}, "search_pipeline": pipeline or min_max(), "size": COUNT}


def cuts_ties(place: Place) -> bool:
    equal = place.fill(place.make(), angle=0)
    return len(place.search(equal, hybrid(pagination_depth=COUNT // 2))) < COUNT


def follows_size(place: Place) -> bool:
    return place.search(place.one, hybrid() | {"size": 3}) != place.search(place.one, hybrid())[:3]


def unfused_with_dfs(place: Place) -> bool:
    found = place.search(place.two, hybrid(), search_type="dfs_query_then_fetch")
    return len({id for id, _ in found}) < len(found) or min(score for _, score in found) < 0


def rrf_by_shard(place: Place) -> bool:
    body = hybrid(RRF) | {"query": {"hybrid": {"queries": [NEAREST]}}}
    assert len({score for _, score in place.search(place.one, body)}) == COUNT
    return len({score for _, score in place.search(place.two, body)}) < COUNT


def ignores_collapse(place: Place) -> bool:
    return len(place.search(place.one, hybrid() | {"collapse": {"field": "half"}})) > 2


def fails_from_cache(place: Place) -> bool:
    body = hybrid() | {"size": 4}
    place.search(place.one, body, request_cache="true")
    return refused(lambda: place.search(place.one, body, request_cache="true"))


def counts_from_cache(place: Place) -> bool:
    body = hybrid() | {"size": 0, "track_total_hits": True, "aggs": {"halves": {"terms": {"field": "half"}}}}
    first, second = (place.cluster.send("POST", f"/{place.one}/_search", bodies.encode(body)) for _ in range(2))
    assert first["hits"]["total"]["value"] == COUNT
    return bool((first["hits"], first["aggregations"]) != (second["hits"], second["aggregations"]))


def refuses_whole_weights(place: Place) -> bool:
    assert place.search(place.one, hybrid(min_max(1.0, 0.0)))
    return refused(lambda: place.search(place.one, hybrid(min_max(1, 0))))


def explain_moves_scores(place: Place) -> bool:
    return place.search(place.one, hybrid() | {"explain": True}) != place.search(place.one, hybrid())


def alias_finds_nothing(place: Place) -> bool:
    assert len(place.search(place.one, {"query": NEAREST})) == 10
    return place.search(place.one, {"query": {"knn": {"alias": NEAREST["knn"]["v"]}}}) == []


def excluded_is_lost(place: Place) -> bool:
    index = place.fill(place.make(_source={"excludes": ["v"]}))
    body = {"query": NEAREST, "size": COUNT}
    before = place.search(index, body)
    place.cluster.send("POST", f"/{index}/_update/0", bodies.encode({"doc": {"half": "2"}}), refresh="true")
    return len(place.search(index, body)) == len(before) - 1


def refused(call: Callable[[], Any]) -> bool:
    try:
        call()
    except StoreError:
        return True
    return False


#: The name of a row -> whether the cluster does it.
TRIED: dict[str, Callable[[Place], bool]] = {
    "hybrid_cuts_ties": cuts_ties,
    "hybrid_follows_size": follows_size,
    "hybrid_unfused_with_dfs": unfused_with_dfs,
    "rrf_ranks_by_shard": rrf_by_shard,
    "hybrid_ignores_collapse": ignores_collapse,
    "hybrid_from_request_cache": fails_from_cache,
    "hybrid_counts_from_cache": counts_from_cache,
    "hybrid_refuses_whole_weights": refuses_whole_weights,
    "hybrid_explain_moves_scores": explain_moves_scores,
    "knn_on_a_field_alias": alias_finds_nothing,
    "excluded_vector_is_lost": excluded_is_lost,
}


def test_every_row_that_was_not_only_read_is_tried() -> None:
    assert {fault.name for fault in FAULTS if fault.status != "read, not run"} == TRIED.keys()


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.name in TRIED], ids=lambda fault: fault.name)
def test_a_version_does_what_its_row_says(place: Place, fault: Fault) -> None:
    features = detect(place.cluster)
    assert features.plugins is not None
    if fault.plugin not in features.plugins:
        pytest.skip(f"the cluster (OpenSearch {features.version}) has no {fault.plugin}")
    assert TRIED[fault.name](place) == fault.touches(features.version, features.plugins)


def test_a_fault_touches_the_versions_and_the_plugins_that_have_it() -> None:
    def names(version: str, *plugins: str) -> set[str]:
        return {fault.name for fault in faults_of(version, plugins)}

    assert names("2.19.1") == set()
    assert names("3.5.0", KNN) == {"knn_on_a_field_alias", "excluded_vector_is_lost", "templated_vector_reads_as_1"}
    assert "knn_on_a_field_alias" not in names("3.9.0", KNN)
    assert "rrf_ranks_by_shard" in names("3.4.2", KNN, HYBRID)
    assert "rrf_ranks_by_shard" not in names("3.5.0", KNN, HYBRID)
    assert "hybrid_counts_from_cache" not in names("2.19.1", KNN, HYBRID), "ruled out"
    assert {fault.name for fault in faults_of("2.19.1", None)} >= names("2.19.1", KNN, HYBRID), "plugins unknown"
