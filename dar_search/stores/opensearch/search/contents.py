"""Finding records on a cluster by their pictures' content.

An index that an older dar-search made cannot be searched by digest, nor can any where the cluster forbids expensive
queries: there all digests are read once in a job, and kept until its end (some 300 bytes for each record).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from dar_search.data import Place
from dar_search.errors import StoreError
from dar_search.stores import bodies
from dar_search.stores.opensearch.cluster.calls import Cluster, quoted
from dar_search.stores.opensearch.cluster.forms import PLACED, Source
from dar_search.stores.opensearch.search.listing import listed

_AT_ONCE = 256  # of 1,024 clauses that a query may have
_AT_MOST = 1_000


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
        found = PLACED.read(answer).get("hits", {}).get("hits", [])
        return (_place(hit["_id"], hit.get("_source", {})) for hit in found)

    def _all(self) -> Mapping[str, Sequence[Place]]:
        by_content: dict[str, list[Place]] = defaultdict(list)
        for hit in listed(self._cluster, self._name, fields=bodies.PLACE_FIELDS):
            place = _place(hit.get("_id", hit["sort"][0]), hit.get("_source", {}))
            by_content[place.digest.partition(":")[0]].append(place)
        return by_content


_HITS = "hits.hits._id,hits.hits._source"


def _place(id: str, source: Source) -> Place:
    return Place(id, source.get("source", ""), source.get("origin", ""), source.get("digest", ""))
