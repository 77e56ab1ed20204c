"""The request that a rewritten query would send to the store, as JSON values. Nothing is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dar_search.data import RewrittenQuery
from dar_search.filters import Condition, Filter
from dar_search.method.retrieval import SearchOptions, search_request
from dar_search.ports import SearchRequest
from dar_search.settings import Settings


def request_shown(
    query: RewrittenQuery, options: SearchOptions, settings: Settings, index: str | None
) -> dict[str, Any]:
    """For OpenSearch the method, path and body of the search; for the embedded store its SearchRequest."""
    request = search_request(query, options)
    if not settings.store.startswith("sqlite:"):
        return _opensearch(request, settings, index or "INDEX")
    return {
        "store": "sqlite",
        "index": index,
        "vector": request.vector,
        "text": request.text,
        "filter": filter_json(request.filter),
        "size": request.size,
        "offset": request.offset,
        "depth": request.depth,
        "fusion": {
            "method": request.fusion.method,
            "knn": request.fusion.knn,
            "keyword": request.fusion.keyword,
            "rank_constant": request.fusion.rank_constant,
            "candidates": request.fusion.candidates,
        },
        "exact": request.exact,
    }


def _opensearch(request: SearchRequest, settings: Settings, index: str) -> dict[str, Any]:
    """The first search of a cluster that has all plugins. Filtered fields have the types of the filter's values."""
    from dar_search.stores import bodies
    from dar_search.stores.opensearch.search.filters import fields_asked

    types = fields_asked(request.filter)
    chosen = settings.opensearch.index
    depth = request.looked_at
    asked = replace(request, depth=depth)
    if request.exact:
        leg = bodies.exact_leg(asked, types)
    else:
        leg = bodies.knn_leg(asked, types, engine=chosen.engine, ef_search=chosen.ef_search)
    if request.text is None:
        body = bodies.page_search(leg, size=request.size, offset=request.offset, fields=bodies.PAGE_FIELDS)
        return {"method": "POST", "path": f"/{index}/_search", "body": body}
    legs = [leg, bodies.keyword_leg(request, types)]
    searches = [bodies.candidates_search(one, depth) for one in legs]
    fusion = {"method": request.fusion.method, "knn": request.fusion.knn, "keyword": request.fusion.keyword}
    return {"method": "POST", "path": f"/{index}/_msearch", "body": searches, "fusion": fusion}


def abbreviated(value: Any) -> Any:
    """The same for a person: of a vector only how it begins."""
    if isinstance(value, np.ndarray):
        return f"[{', '.join(f'{number:.4f}' for number in value[:3])}, ... {len(value)} numbers]"
    if isinstance(value, Mapping):
        return {name: abbreviated(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [abbreviated(inner) for inner in value]
    return value


def filter_json(filter: Filter) -> list[dict[str, Any]]:
    """Conditions as JSON values, each with its field, operator and values."""
    return [_condition_json(condition) for condition in filter]


def _condition_json(condition: Condition) -> dict[str, Any]:
    return {
        "field": condition.field,
        "operator": ("not " if condition.negated else "") + condition.operator,
        "values": list(condition.values),
    }
