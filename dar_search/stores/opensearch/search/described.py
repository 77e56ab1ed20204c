"""What a search would send, without sending it: the search itself runs, on a cluster that only writes down."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import orjson

from dar_search.ports import SearchRequest
from dar_search.stores.bodies import Body
from dar_search.stores.opensearch.cluster.calls import Cluster
from dar_search.stores.opensearch.search.searching import Searcher


def first_request(searcher: Searcher, request: SearchRequest) -> Body:
    """The request with which the search begins: {"method", "path", "parameters", "body"}; the body of an `_msearch` is
    the list of its lines."""
    try:
        replace(searcher, cluster=cast(Cluster, _Unsent())).search(request)
    except _Written as written:
        return written.request
    raise AssertionError("a search sends something")


class _Written(Exception):
    def __init__(self, request: Body) -> None:
        super().__init__()
        self.request = request


class _Unsent:
    """Takes the place of a Cluster."""

    def read(self, method: str, path: str, body: bytes = b"", **parameters: Any) -> Any:
        lines = [orjson.loads(line) for line in body.splitlines()]
        whole = lines if path.endswith("/_msearch") else lines[0]
        raise _Written({"method": method, "path": path, "parameters": parameters, "body": whole})
