"""Finding records on a cluster by their pictures' content.

An index that an older dar-search made cannot be searched by digest, nor can any where the cluster forbids expensive
queries: there all digests are read once in a job, and kept until its end (some 300 bytes for each record).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dar_search.data import Place
from dar_search.errors import StoreError
from dar_search.stores import bodies
from dar_search.stores.opensearch.cluster.calls import Cluster, quoted

_AT_ONCE = 256  # of 1,024 clauses that a query may have
_AT_MOST = 1_000
_KEPT_OPEN = "2m"


class Contents:
    """The records of an index by the digests of their pictures."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self._name = name
        self._read: Mapping[str, Sequence[Place]] | None = None

    def places(self, sha256: Sequence[str], *, searchable: bool) -> list[Place]:
        """See `ports.ImageIndex.with_content`. searchable: whether the mapping has an index of digests."""
        wanted = list(dict.fromkeys(sha256))
        if self._read is None and searchable:
            try:
                return [place for start in range(0, len(wanted), _AT_ONCE) for place in self._found(wanted, start)]
            except StoreError as error:
                if "allow_expensive_queries" not in error.message:
                    raise
        if self._read is None:
            self._read = self._all()
        return [place for one in wanted for place in self._read.get(one, ())]

    def forget(self) -> None:
        """What was read may not be so any more."""
        self._read = None

    def _found(self, wanted: Sequence[str], start: int) -> Iterator[Place]:
        body = bodies.encode(bodies.contents_search(wanted[start : start + _AT_ONCE], _AT_MOST))
        answer = self._cluster.read("POST", f"/{quoted(self._name)}/_search", body, filter_path=_HITS)
        return map(_place, answer.get("hits", {}).get("hits", []))

    def _all(self) -> Mapping[str, Sequence[Place]]:
        by_content: dict[str, list[Place]] = defaultdict(list)
        path = f"/{quoted(self._name)}/_search/point_in_time"
        point = self._cluster.read("POST", path, keep_alive=_KEPT_OPEN)["pit_id"]
        try:
            after: str | None = None
            while True:
                body = bodies.ids_search(point, None, after=after, size=_AT_MOST, keep_alive=_KEPT_OPEN)
                del body["stored_fields"]
                body["_source"] = bodies.PLACE_FIELDS
                answer = self._cluster.read(
                    "POST", "/_search", bodies.encode(body), filter_path=f"pit_id,hits.hits.sort,{_HITS}"
                )
                point = answer.get("pit_id", point)
                page = answer.get("hits", {}).get("hits", [])
                for place in map(_place, page):
                    by_content[place.digest.partition(":")[0]].append(place)
                if len(page) < _AT_MOST:
                    return by_content
                after = page[-1]["sort"][0]
        finally:
            self._cluster.send("DELETE", "/_search/point_in_time", bodies.encode({"pit_id": [point]}))


_HITS = "hits.hits._id,hits.hits._source"


def _place(hit: Mapping[str, Any]) -> Place:
    source = hit.get("_source", {})
    return Place(hit["_id"], source.get("source", ""), source.get("origin", ""), source.get("digest", ""))
