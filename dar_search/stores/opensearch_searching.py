"""How a search is run: one leg as it is; two legs fused on the server where that is right, else in the client."""

from __future__ import annotations

import hashlib
import heapq
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from dar_search.data import Hit, Leg, LegHit, SearchResult
from dar_search.errors import FeatureMissing
from dar_search.fusion import Fused, in_order, score_range
from dar_search.ports import SearchRequest
from dar_search.stores import bodies
from dar_search.stores.bodies import Body
from dar_search.stores.opensearch_calls import Cluster, mapped_part, quoted
from dar_search.stores.opensearch_documents import metadata, thumbnail
from dar_search.stores.opensearch_features import Features
from dar_search.stores.opensearch_pipelines import DefaultPipeline
from dar_search.stores.opensearch_state import IndexState

_CANDIDATE = ("hits.hits.sort", "hits.hits.fields.id", "hits.hits._score")
_PAGE = ("hits.hits._index", "hits.hits._id", "hits.hits.sort", "hits.hits._score", "hits.hits._source")
_FAILED = ("status", "error")


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
        legs = self._legs(request)
        ranges: Mapping[str, tuple[float | None, float | None]] = {}
        if request.fused_in_client:
            hits, ranges = self._in_client(request, legs)
        elif len(legs) == 1:
            hits = self._one_leg(request, *next(iter(legs.items())))
        elif self.features.fuses(request.fusion, self.state.shards) and not self.pipeline.joins_scores:
            hits = self._on_server(request, legs)
        else:
            hits, ranges = self._in_client(request, legs)
        took = (time.perf_counter() - began) * 1000
        off = {name: Leg("off") for name in ("knn", "keyword")}
        return SearchResult(hits, off | {name: Leg("ok", took, "", *ranges.get(name, ())) for name in legs})

    def _legs(self, request: SearchRequest) -> dict[str, Body]:
        legs: dict[str, Body] = {}
        if request.vector is not None:
            self.features.require_knn()
            types, engine = self.state.fields, self.state.engine
            vector = np.ascontiguousarray(request.vector, dtype=np.float32)
            request = replace(request, vector=vector)
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
        found = self._found(self.pipeline.applied(body), _PAGE, request, self._search_type(name))
        scores = self._raw(name, [hit["sort"][0] for hit in found], request)
        hits = []
        for rank, (hit, score) in enumerate(zip(found, scores, strict=True), request.offset + 1):
            hits.append(self._hit(hit, rank, score, {name: LegHit(rank, score)}, request))
        return tuple(hits)

    def _on_server(self, request: SearchRequest, legs: Mapping[str, Body]) -> tuple[Hit, ...]:
        pipeline = bodies.fusion_pipeline(request.fusion, self.pipeline.parts)
        body = bodies.hybrid_search([legs["knn"], legs["keyword"]], request.depth, pipeline)
        if self.pipeline.reorders:
            return self._reordered(body, request)
        found = ((-hit["_score"], hit["fields"]["id"][0]) for hit in self._found(body, _CANDIDATE, request))
        page = heapq.nsmallest(request.offset + request.size, found)[request.offset :]
        return self._page([Fused(id, -below, {}) for below, id in page], request)

    def _reordered(self, body: Body, request: SearchRequest) -> tuple[Hit, ...]:
        """The page in the order, and with the scores, that the index's own response processors give it."""
        page = bodies.page_for_processors(body, size=request.size, offset=request.offset, fields=_fields(request))
        found = self._found(page, _PAGE, request)
        return tuple(
            self._hit(hit, rank, hit["_score"], {}, request) for rank, hit in enumerate(found, request.offset + 1)
        )

    def _in_client(
        self, request: SearchRequest, legs: Mapping[str, Body]
    ) -> tuple[tuple[Hit, ...], Mapping[str, tuple[float | None, float | None]]]:
        """The page, and each leg's lowest and highest raw score."""
        if self.pipeline.reorders:
            raise FeatureMissing(
                f'The default search pipeline "{self.pipeline.name}" of "{self.name}" changes what a search returns, '
                "which fusing its legs in the client cannot respect.",
                "Search without explanations and with min_max, or set opensearch.default_pipeline to skip.",
            )
        candidates = self._candidates(request, legs)
        page = in_order(candidates, request.fusion, _page_of(request))
        return self._page(page, request), {name: score_range(scores) for name, scores in candidates.items()}

    def _found(
        self, body: Body, parts: Sequence[str], request: SearchRequest, params: Mapping[str, str] = MappingProxyType({})
    ) -> list[Body]:
        """The hits of a search, only those parts of them."""
        answer = self.cluster.read(
            "POST",
            f"/{quoted(self.name)}/_search",
            bodies.encode(body),
            filter_path=",".join(parts),
            **self._params(request),
            **params,
        )
        hits: list[Body] = answer.get("hits", {}).get("hits", [])
        return hits

    def _candidates(self, request: SearchRequest, legs: Mapping[str, Body]) -> dict[str, dict[str, float]]:
        """All candidates of each leg in one round trip: id -> raw score."""
        header = {"index": self.name, **_typed(self._params(request))}
        searches = [
            (header | self._search_type(name), self.pipeline.applied(bodies.candidates_search(leg, request.depth)))
            for name, leg in legs.items()
        ]
        wanted = [f"responses.{part}" for part in (*_CANDIDATE, *_FAILED)]
        answer = self.cluster.read("POST", "/_msearch", bodies.multi_search(searches), filter_path=",".join(wanted))
        found = {}
        for name, response in zip(legs, answer["responses"], strict=True):
            if "error" in response:
                raise mapped_part(response["status"], response["error"])
            pairs = [hit["sort"] for hit in response.get("hits", {}).get("hits", [])]
            scores = self._raw(name, [score for score, _ in pairs], request)
            found[name] = {id: score for (_, id), score in zip(pairs, scores, strict=True)}
        return found

    def _page(self, page: Sequence[Fused], request: SearchRequest) -> tuple[Hit, ...]:
        """The page with its fields; a picture that was deleted meanwhile is left out."""
        if not page:
            return ()
        answer = self.cluster.read(
            "POST",
            f"/{quoted(self.name)}/_mget",
            bodies.encode({"ids": [candidate.id for candidate in page]}),
            _source_includes=",".join(_fields(request)),
        )
        return tuple(
            self._hit(document, rank, candidate.score, candidate.legs, request)
            for rank, (document, candidate) in enumerate(zip(answer["docs"], page, strict=True), request.offset + 1)
            if document.get("found")
        )

    def _hit(self, document: Body, rank: int, score: float, legs: Mapping[str, LegHit], request: SearchRequest) -> Hit:
        if document["_index"] != self.state.index:
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


def _page_of(request: SearchRequest) -> slice:
    return slice(request.offset, request.offset + request.size)


def _fields(request: SearchRequest) -> tuple[str, ...]:
    return (*bodies.PAGE_FIELDS, "thumbnail") if request.thumbnails else bodies.PAGE_FIELDS


def _typed(params: Mapping[str, str]) -> dict[str, Any]:
    return {name: False if value == "false" else value for name, value in params.items()}
