"""All pictures of an index as of one moment, by id: a point in time, read in pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dar_search.stores import bodies
from dar_search.stores.opensearch.cluster.calls import Cluster, quoted
from dar_search.stores.opensearch.cluster.forms import LISTED, POINT, Listed

_AT_ONCE = 1_000
_KEPT_OPEN = "2m"  # how long the cluster keeps a point in time after the last page


def listed(cluster: Cluster, name: str, *, origin: str | None = None, fields: Sequence[str] = ()) -> Iterator[Listed]:
    """The pictures in the order of their ids, the first part of `sort`; with these fields of each, and its `_id`."""
    path = f"/{quoted(name)}/_search/point_in_time"
    point = POINT.read(cluster.read("POST", path, keep_alive=_KEPT_OPEN))["pit_id"]
    parts = ",".join(("pit_id", "hits.hits.sort", *(("hits.hits._id", "hits.hits._source") if fields else ())))
    try:
        after: str | None = None
        while True:
            body = bodies.ids_search(point, origin, after=after, size=_AT_ONCE, keep_alive=_KEPT_OPEN)
            if fields:
                del body["stored_fields"]
                body["_source"] = fields
            answer = LISTED.read(cluster.read("POST", "/_search", bodies.encode(body), filter_path=parts))
            point = answer.get("pit_id", point)
            page = answer.get("hits", {}).get("hits", [])
            yield from page
            if len(page) < _AT_ONCE:
                return
            (last,) = page[-1]["sort"]
            if after is not None and last <= after:
                raise LISTED.wrong("a page that goes back")
            after = last
    finally:
        cluster.send("DELETE", "/_search/point_in_time", bodies.encode({"pit_id": [point]}))
