"""A rewritten query meets an index: hits, what became of each leg, and where each score came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from dar_search.data import (
    Explanation,
    FloatArray,
    Hit,
    Leg,
    Reformulation,
    RewrittenQuery,
    ScoreFusion,
    SearchResult,
)
from dar_search.errors import FeatureMissing, StoreError
from dar_search.filters import Filter
from dar_search.method.dialogues import as_json
from dar_search.method.fusion import share
from dar_search.ports import MAX_DEPTH, ImageIndex, SearchRequest

#: A k-NN score and its split differ by rounding up to this; more means that the index approximates its vectors.
_ROUNDING = 1e-4


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """What to search for beside the query. As in `ports.SearchRequest`, and:

    Attributes:
        keyword: search captions by the reformulated text too, and join the two rankings.
        explain: fill `Hit.explanation` (reads the hits' vectors).
    """

    filter: Filter = ()
    size: int = 10
    offset: int = 0
    depth: int = 200
    fusion: ScoreFusion = ScoreFusion()
    keyword: bool = True
    exact: bool = False
    explain: bool = False
    thumbnails: bool = False


def reaching(options: SearchOptions) -> SearchOptions:
    """The same for a page that ends beyond `options.depth`: such pages continue the order of the pages before them.

    What `depth` candidates of each leg give stays first. For callers that name a page and no depth; who names a depth
    is better told that the page lies beyond it, which the index does.
    """
    if options.offset + options.size <= options.depth:
        return options
    return replace(options, depth=MAX_DEPTH, fusion=replace(options.fusion, candidates=options.depth))


def search(query: RewrittenQuery, index: ImageIndex, options: SearchOptions = SearchOptions()) -> SearchResult:
    """One page of hits, with the legs "reformulation", "imagination", "knn" and "keyword".

    A keyword leg that the store cannot run is a leg with a reason, and the k-NN leg answers alone. Hits of an index
    that keeps no vectors to explain them by stay without, and a leg "explanation" says so.

    Raises what the index raises: RequestError for sizes and weights, FilterError, DimensionMismatch, and StoreError
    where the k-NN leg failed. (EncoderMismatch comes earlier, from `Store.open` with the encoder's provenance.)
    """
    result = _search(index, search_request(query, options))
    if options.explain:
        try:
            result = replace(result, hits=_explained(result, query, index, options.fusion))
        except FeatureMissing as error:
            result = replace(result, legs={**result.legs, "explanation": Leg("failed", reason=error.message)})
    return replace(result, legs={**query.legs, **result.legs})


def search_request(query: RewrittenQuery, options: SearchOptions) -> SearchRequest:
    """What `search` asks the index for."""
    return SearchRequest(
        vector=query.vector,
        text=(query.reformulation.text or None) if options.keyword else None,
        filter=options.filter,
        size=options.size,
        offset=options.offset,
        depth=options.depth,
        fusion=options.fusion,
        exact=options.exact,
        fused_in_client=options.explain,
        thumbnails=options.thumbnails,
    )


def describe(query: RewrittenQuery) -> dict[str, Any]:
    """What a rewriting did, as plain JSON values (no embeddings, no pictures): what `dar rewrite` shows."""
    return {
        "dialogue": as_json(query.dialogue),
        "round": query.dialogue.round,
        "reformulation": describe_reformulation(query.reformulation),
        "imaginations": [
            {"id": one.id, "prompt": one.prompt, "seed": one.seed, "picture": one.picture is not None}
            for one in query.imaginations
        ],
        "weights": asdict(query.weights),
        "edits": [{"kind": one.kind, "id": one.id, "weight": one.weight} for one in query.feedback],
        "vector": {"dimension": len(query.vector), "length": float(np.linalg.norm(query.vector))},
        "legs": describe_legs(query.legs),
    }


def describe_reformulation(reformulation: Reformulation) -> dict[str, Any]:
    """A reformulation as plain JSON values."""
    return {**asdict(reformulation), "prompts": list(reformulation.prompts)}


def describe_result(result: SearchResult) -> dict[str, Any]:
    """Hits and legs as plain JSON values, without thumbnails: `{"hits": [...], "legs": {...}}`."""
    return {"hits": [describe_hit(hit) for hit in result.hits], "legs": describe_legs(result.legs)}


def describe_hit(hit: Hit) -> dict[str, Any]:
    """A hit as plain JSON values, without its thumbnail; "explanation" only where there is one."""
    described: dict[str, Any] = {
        "id": hit.id,
        "rank": hit.rank,
        "score": hit.score,
        "source": hit.source,
        "caption": hit.caption,
        "metadata": {name: list(value) if isinstance(value, tuple) else value for name, value in hit.metadata.items()},
        "legs": {name: {"rank": place.rank, "score": place.score} for name, place in hit.legs.items()},
    }
    if hit.explanation is not None:
        split = {"images": hit.explanation.images, "edits": hit.explanation.edits}
        described["explanation"] = {
            field: getattr(hit.explanation, field)
            for field in ("text", "offset", "knn", "keyword", "knn_rank", "keyword_rank")
        } | {name: None if parts is None else dict(parts) for name, parts in split.items()}
    return described


def describe_legs(legs: Mapping[str, Leg]) -> dict[str, Any]:
    """Legs as plain JSON values: name -> status, took_ms, and a reason where there is one."""
    return {
        name: {"status": leg.status, "took_ms": round(leg.took_ms, 3)} | ({"reason": leg.reason} if leg.reason else {})
        for name, leg in legs.items()
    }


def _search(index: ImageIndex, request: SearchRequest) -> SearchResult:
    if request.text is None:
        result = index.search(request)
        return replace(result, legs={**result.legs, "keyword": Leg("off", reason="not asked for")})
    try:
        return index.search(request)
    except StoreError as error:
        # Only what the k-NN leg may still survive: an index that is gone, shut or unreachable is so for both legs.
        if type(error) not in (StoreError, FeatureMissing):
            raise
        result = index.search(replace(request, text=None))
        return replace(result, legs={**result.legs, "keyword": Leg("failed", reason=error.message)})


def _explained(result: SearchResult, query: RewrittenQuery, index: ImageIndex, fusion: ScoreFusion) -> tuple[Hit, ...]:
    """The hits with explanations; a hit that was deleted meanwhile stays without."""
    records = index.get([hit.id for hit in result.hits])
    fused = "keyword" in result.legs and result.legs["keyword"].status == "ok"
    return tuple(
        replace(hit, explanation=_explanation(hit, result.legs, query, records[hit.id].embedding, fusion, fused))
        if hit.id in records
        else hit
        for hit in result.hits
    )


def _explanation(
    hit: Hit, legs: Mapping[str, Leg], query: RewrittenQuery, embedding: FloatArray, fusion: ScoreFusion, fused: bool
) -> Explanation:
    ranks = {f"{name}_rank": hit.legs[name].rank for name in ("knn", "keyword") if name in hit.legs}
    counted = {name: place for name, place in hit.legs.items() if fused and place.score != legs[name].cut}
    given = {name: share(fusion, name, place, legs[name].lowest, legs[name].highest) for name, place in counted.items()}
    keyword = given.get("keyword", 0.0)
    knn = given.get("knn", 0.0) if fused else hit.score
    if fused and fusion.method == "rrf":
        return Explanation(None, None, None, knn, keyword, **ranks, edits=None)

    scale = _scale(fusion, legs["knn"]) if fused else 1.0
    if "knn" not in counted and fused:
        scale = 0.0
    text, images, edits = _split(query, embedding, scale)
    offset = knn - text - sum(images.values()) - sum(edits.values())
    if not fused and abs(offset) < _ROUNDING:
        offset = 0.0
    return Explanation(text, images, offset, knn, keyword, **ranks, edits=edits)


def _scale(fusion: ScoreFusion, knn: Leg) -> float:
    """What min-max multiplies the k-NN leg's raw scores with, up to its offset."""
    if knn.lowest is None or knn.highest is None or knn.highest == knn.lowest:
        return fusion.knn
    return fusion.knn / (knn.highest - knn.lowest)


def _split(
    query: RewrittenQuery, embedding: FloatArray, scale: float
) -> tuple[float, dict[str, float], dict[str, float]]:
    """What the text, the imagined and the judged pictures give to a picture's inner product with the vector, scaled."""
    picture = embedding.astype(np.float64)
    text = scale * query.weights.text * float(query.text_embedding @ picture)
    each = scale * query.weights.image / max(1, len(query.imaginations))
    images: dict[str, float] = {}
    for imagination in query.imaginations:
        given = each * float(imagination.embedding @ picture)
        images[imagination.id] = images.get(imagination.id, 0.0) + given
    edits = {f"{one.kind}:{one.id}": scale * one.weight * float(one.embedding @ picture) for one in query.feedback}
    return text, images, edits
