"""How a search is run: one leg as it is; two legs in one request, joined here.

A server's `hybrid` query cuts a leg at its depth in the midst of equal scores, and does not say that it did
(neural-search #325, #910); and it joins in single precision, so that of two pictures that are nearly the same the other
one comes first, and pages joined now there and now here lose one. Asking for the legs costs the cluster no more, and
tells their scores. Only where an index's own search pipeline has processors, which have to see one search, does the
server join.
"""

from __future__ import annotations

import hashlib
import heapq
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from dar_search.data import Hit, Leg, LegHit, SearchResult
from dar_search.errors import FeatureMissing
from dar_search.method.fusion import Fused, Range, in_order, leg_range
from dar_search.ports import SearchRequest
from dar_search.stores import bodies
from dar_search.stores.bodies import Body
from dar_search.stores.opensearch.cluster.calls import Cluster, quoted
from dar_search.stores.opensearch.cluster.features import Features
from dar_search.stores.opensearch.cluster.forms import (
    CANDIDATES,
    DOCUMENTS,
    JOINED,
    PAGE,
    Document,
    Found,
    OnPage,
)
from dar_search.stores.opensearch.documents import is_grave, metadata, thumbnail
from dar_search.stores.opensearch.search.pipelines import DefaultPipeline
from dar_search.stores.opensearch.state import IndexState
from dar_search.values.forms import Form

_CANDIDATE = ("hits.hits.sort", "hits.hits.fields.id", "hits.hits._score")
_PAGE = ("hits.hits._index", "hits.hits._id", "hits.hits.sort", "hits.hits._score", "hits.hits._source")
_FAILED = ("status", "error")
T = TypeVar("T")


class Moved(Exception):
    """The alias leads to another index than it did when the search began."""


@dataclass(frozen=True, slots=True)
class Searcher:
    """Searches one index, as it was found to be.

    Attributes:
        name: the alias to read from.
        ef_search: of the settings.
        pipeline: the index's own default search pipeline.
    """

    cluster: Cluster
    features: Features
    name: str
    state: IndexState
    pipeline: DefaultPipeline
    ef_search: int

    def search(self, request: SearchRequest) -> SearchResult:
        """One search; the request is checked. Raises StoreError, and `Moved`: read the state again, and repeat."""
        began = time.perf_counter()
        legs = self._legs(request, request.looked_at)
        ranges: Mapping[str, Range] = {}
        if len(legs) == 1 and not request.fused_in_client and not request.goes_beyond:
            hits = self._one_leg(request, *next(iter(legs.items())))
        elif len(legs) == 2 and self._joins_on_server(request):
            hits = self._on_server(request, legs)
        else:
            hits, ranges = self._in_client(request, legs)
        took = (time.perf_counter() - began) * 1000
        off = {name: Leg("off") for name in ("knn", "keyword")}
        return SearchResult(hits, off | {name: _leg(took, ranges.get(name), alone=len(legs) == 1) for name in legs})

    def _joins_on_server(self, request: SearchRequest) -> bool:
        if request.fused_in_client or request.goes_beyond or self.pipeline.joins_scores:
            return False
        return bool(self.pipeline.parts) and self.features.fuses(request.fusion, self.state.shards)

    def _legs(self, request: SearchRequest, depth: int) -> dict[str, Body]:
        legs: dict[str, Body] = {}
        if request.vector is not None:
            self.features.require_knn()
            types, engine = self.state.fields, self.state.engine
            vector = bodies.query_vector(request.vector)
            request = replace(request, vector=vector, depth=depth)
            legs["knn"] = (
                bodies.exact_leg(request, types)
                if request.exact
                else bodies.knn_leg(request, types, engine=engine, ef_search=self.ef_search)
            )
        if request.text is not None:
            legs["keyword"] = bodies.keyword_leg(request, self.state.fields)
        return legs

    def _one_leg(self, request: SearchRequest, name: str, leg: Body) -> tuple[Hit, ...]:
        body = bodies.page_search(leg, size=request.size, offset=request.offset, fields=_fields(request))
        if self.pipeline.reorders:
            return self._reordered(body, request)
        found = self._found(PAGE, self.pipeline.applied(body), _PAGE, request, self._search_type(name))
        sorts = [hit["sort"] for hit in found if "sort" in hit]
        PAGE.each(sorts, found)
        scores = self._raw(name, [score for score, _ in sorts], request)
        hits = []
        for rank, (hit, score) in enumerate(zip(found, scores, strict=True), request.offset + 1):
            hits.append(self._hit(hit, rank, score, {name: LegHit(rank, score)}, request))
        return tuple(hits)

    def _on_server(self, request: SearchRequest, legs: Mapping[str, Body]) -> tuple[Hit, ...]:
        pipeline = bodies.fusion_pipeline(request.fusion, self.pipeline.parts)
        body = bodies.hybrid_search([legs["knn"], legs["keyword"]], request.joined, pipeline)
        if self.pipeline.reorders:
            return self._reordered(body, request)
        found = self._found(JOINED, body, _CANDIDATE, request)
        best = ((-hit["_score"], hit["fields"]["id"][0]) for hit in found)
        page = heapq.nsmallest(request.offset + request.size, best)[request.offset :]
        return self._page([Fused(id, -below, {}) for below, id in page], request)

    def _reordered(self, body: Body, request: SearchRequest) -> tuple[Hit, ...]:
        """The page in the order, and with the scores, that the index's own response processors give it."""
        page = bodies.page_for_processors(body, size=request.size, offset=request.offset, fields=_fields(request))
        found = self._found(PAGE, page, _PAGE, request)
        scores = [score for hit in found if (score := hit.get("_score")) is not None]
        PAGE.each(scores, found)
        return tuple(
            self._hit(hit, rank, score, {}, request)
            for rank, (hit, score) in enumerate(zip(found, scores, strict=True), request.offset + 1)
        )

    def _in_client(
        self, request: SearchRequest, legs: Mapping[str, Body]
    ) -> tuple[tuple[Hit, ...], Mapping[str, Range]]:
        """The page, and the range of each leg's raw scores."""
        if self.pipeline.reorders:
            raise FeatureMissing(
                f'The default search pipeline "{self.pipeline.name}" of "{self.name}" changes what a search returns, '
                "which fusing its legs in the client cannot respect.",
                "Search without explanations, with min_max, and with a depth (the same on all pages) that reaches the "
                "page's end, or set opensearch.default_pipeline to skip.",
            )
        searches = [(name, leg, request.looked_at) for name, leg in legs.items()]
        if request.goes_beyond:
            searches += [(name, leg, request.depth) for name, leg in self._legs(request, request.depth).items()]
        found = self._candidates(request, searches)
        first, further = dict(found[: len(legs)]), dict(found[len(legs) :])
        page = in_order(first, request.fusion, _page_of(request), request.joined, further)
        return self._page(page, request), {name: leg_range(one.values(), request.joined) for name, one in first.items()}

    def _found(
        self,
        form: Form[Found[T]],
        body: Body,
        parts: Sequence[str],
        request: SearchRequest,
        params: Mapping[str, str] = MappingProxyType({}),
    ) -> list[T]:
        """The hits of a search, only those parts of them."""
        answer = self.cluster.read(
            "POST",
            f"/{quoted(self.name)}/_search",
            bodies.encode(body),
            filter_path=",".join(parts),
            **self._params(request),
            **params,
        )
        return form.read(answer).get("hits", {}).get("hits", [])

    def _candidates(
        self, request: SearchRequest, searches: Sequence[tuple[str, Body, int]]
    ) -> list[tuple[str, dict[str, float]]]:
        """So many candidates of each leg (its name, its query, how many) in one round trip: id -> raw score."""
        header = {"index": self.name, **_typed(self._params(request))}
        bodies_sent = [
            (header | self._search_type(name), self.pipeline.applied(bodies.candidates_search(leg, size)))
            for name, leg, size in searches
        ]
        wanted = [f"responses.{part}" for part in (*_CANDIDATE, *_FAILED)]
        answer = self.cluster.read("POST", "/_msearch", bodies.multi_search(bodies_sent), filter_path=",".join(wanted))
        responses = CANDIDATES.read(answer)["responses"]
        CANDIDATES.each(responses, searches)
        found = []
        for (name, _, _), response in zip(searches, responses, strict=True):
            pairs = [hit["sort"] for hit in response.get("hits", {}).get("hits", [])]
            scores = self._raw(name, [score for score, _ in pairs], request)
            found.append((name, {id: score for (_, id), score in zip(pairs, scores, strict=True)}))
        return found

    def _page(self, page: Sequence[Fused], request: SearchRequest) -> tuple[Hit, ...]:
        """The page with its fields; a picture that was deleted meanwhile is left out."""
        if not page:
            return ()
        answer = self.cluster.read(
            "POST",
            f"/{quoted(self.name)}/_mget",
            bodies.encode({"ids": [candidate.id for candidate in page]}),
            _source_includes=",".join((*_fields(request), bodies.DELETED)),
        )
        documents = DOCUMENTS.read(answer)["docs"]
        DOCUMENTS.each(documents, page)
        return tuple(
            self._hit(document, rank, candidate.score, candidate.legs, request)
            for rank, (document, candidate) in enumerate(zip(documents, page, strict=True), request.offset + 1)
            if document.get("found") and not is_grave(document.get("_source", {}))
        )

    def _hit(
        self, document: OnPage | Document, rank: int, score: float, legs: Mapping[str, LegHit], request: SearchRequest
    ) -> Hit:
        if document.get("_index") != self.state.index:
            raise Moved
        source = document.get("_source", {})
        return Hit(
            id=document["_id"],
            rank=rank,
            score=score,
            source=source.get("source", ""),
            caption=source.get("caption", ""),
            metadata=metadata(source),
            legs=legs,
            thumbnail=thumbnail(source) if request.thumbnails else None,
        )

    def _raw(self, name: str, scores: Sequence[float], request: SearchRequest) -> list[float]:
        if name == "knn" and request.vector is not None:
            return bodies.raw_knn_scores(scores, request.vector)
        return list(scores)

    def _params(self, request: SearchRequest) -> dict[str, str]:
        """No partial answers; and all pages of a search from the same copies, whose ties and scores are the same."""
        digest = hashlib.blake2b((request.text or "").encode("utf-8", "replace"), digest_size=8)
        if request.vector is not None:
            digest.update(np.ascontiguousarray(request.vector).tobytes())
        return {"allow_partial_search_results": "false", "preference": digest.hexdigest()}

    def _search_type(self, name: str) -> dict[str, str]:
        # Word statistics of all shards together: otherwise a score depends on how the pictures are spread.
        several = name == "keyword" and self.state.shards > 1
        return {"search_type": "dfs_query_then_fetch"} if several else {}


def _leg(took_ms: float, range: Range | None, *, alone: bool) -> Leg:
    if range is None:
        return Leg("ok", took_ms)
    return Leg("ok", took_ms, "", range.lowest, range.highest, None if alone else range.cut)


def _page_of(request: SearchRequest) -> slice:
    return slice(request.offset, request.offset + request.size)


def _fields(request: SearchRequest) -> tuple[str, ...]:
    return (*bodies.PAGE_FIELDS, "thumbnail") if request.thumbnails else bodies.PAGE_FIELDS


def _typed(params: Mapping[str, str]) -> dict[str, Any]:
    return {name: False if value == "false" else value for name, value in params.items()}
