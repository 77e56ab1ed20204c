"""Looking at what an index on a cluster holds: the cluster keeps checksums itself, and says where a shard is damaged.

What is left to see is documents that are no whole picture: they came from another program, or through a pipeline.
"""

from __future__ import annotations

from dar_search.stores import bodies
from dar_search.stores.examined import Examined
from dar_search.stores.opensearch.cluster.calls import Cluster, quoted

_NAMED = 1_000


def examine(cluster: Cluster, name: str) -> Examined:
    """Which documents have no vector, or no id. Raises StoreError where a shard does not answer."""
    path = f"/{quoted(name)}/_search"
    graves = {"exists": {"field": bodies.DELETED}}
    lacking = [{"bool": {"must_not": [{"exists": {"field": field}}]}} for field in ("vector", "id")]
    query = {"bool": {"must_not": [graves], "should": lacking, "minimum_should_match": 1}}
    body = {"query": query, "size": _NAMED, "_source": False, "track_total_hits": True}
    found = cluster.read("POST", path, bodies.encode(body), allow_partial_search_results="false")["hits"]
    everything = {"query": {"bool": {"must_not": [graves]}}, "size": 0, "track_total_hits": True}
    answer = cluster.read("POST", path, bodies.encode(everything), allow_partial_search_results="false")["hits"]
    names = sorted(hit["_id"] for hit in found["hits"])
    not_whole = found["total"]["value"]
    problems = ("Some documents have no vector, or no id: no search by pictures finds them.",) if not_whole else ()
    return Examined(name, answer["total"]["value"] - not_whole, tuple(names), not_whole - len(names), problems)
