"""What is sent to OpenSearch, as pure functions: searches, filters, a new index.

A search has at most two legs, `knn_leg` (or `exact_leg`) and `keyword_leg`. Each is a query of its own, so that the
same leg stands alone, in an `_msearch` (fusion in the client) or in a `hybrid` query (fusion on the server). A filter
is copied into each leg: `hybrid` has none of its own before 3.0.

Vectors stay NumPy arrays in a body: `encode` writes them as the shortest decimals that read back as the same float32.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from dar_search.data import FloatArray, Provenance, ScoreFusion
from dar_search.filters import Filter
from dar_search.ports import SearchRequest
from dar_search.settings.opensearch import OpenSearchIndexSettings
from dar_search.stores.assets import assets
from dar_search.stores.opensearch.search.filters import NOTHING as NOTHING
from dar_search.stores.opensearch.search.filters import FieldTypes
from dar_search.stores.opensearch.search.filters import filter_query as filter_query
from dar_search.stores.opensearch.search.filters import metadata_mapping as metadata_mapping
from dar_search.stores.opensearch.search.filters import metadata_types as metadata_types

Body = dict[str, Any]

META = "dar_search"  # our part of a mapping's `_meta`
EMPTY_FIELDS = "metadata_empty"  # the names of a picture's metadata fields that hold an empty list
# When a picture was deleted: the one field of what is left of it (`documents`). Not a name that others use.
DELETED = "dar_deleted"
LIVE: Body = {"exists": {"field": "id"}}  # every picture, and no grave
PLACE_FIELDS = ("source", "origin", "digest")
PAGE_FIELDS = ("source", "caption", "metadata", EMPTY_FIELDS)
_FAIR = 20  # a vector whose greatest number is within 2**-20 and 2**20 is sent as it is
_MAX_WORDS = 1000  # a server takes 1,024 clauses in one query (indices.query.bool.max_clause_count)
_MAX_WINDOW = 10_000  # hits that a server returns at once (index.max_result_window); no page lies beyond it
_WORD = re.compile(r"[A-Za-z0-9_]{1,255}|\w")  # at least what a tokenizer makes of it: ideographs are words


def encode(body: Any) -> bytes:
    """A body -> JSON."""
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def knn_leg(request: SearchRequest, types: FieldTypes, *, engine: str, ef_search: int) -> Body:
    """The approximate k-NN leg: `request.depth` candidates. Its score is (1 + cosine) / 2.

    With lucene `k` is the breadth of the graph search, and `ef_search` raises it (k-NN takes the larger); it then
    finds more than `depth`, which the search's own size cuts off.
    """
    field: Body = {"vector": request.vector, "k": request.depth}
    if engine == "faiss" or ef_search > request.depth:
        field["method_parameters"] = {"ef_search": ef_search}
    if request.filter:
        field["filter"] = filter_query(request.filter, types)
    return {"knn": {"vector": field}}


def exact_leg(request: SearchRequest, types: FieldTypes) -> Body:
    """The k-NN leg compared with every picture. Its score is (1 + cosine) / 2 too (since OpenSearch 2.19)."""
    script = {
        "lang": "knn",
        "source": "knn_score",
        "params": {"field": "vector", "query_value": request.vector, "space_type": "cosinesimil"},
    }
    return {"script_score": {"query": live_query(request.filter, types), "script": script}}


def keyword_leg(request: SearchRequest, types: FieldTypes) -> Body:
    """The keyword leg: captions that have any of the words, by BM25. Words only: there is no query syntax in it."""
    # A lone surrogate is no text that JSON can carry: it parts words, as in the embedded store.
    text = (request.text or "").encode("utf-8", "replace").decode()
    words = list(itertools.islice(_WORD.finditer(text), _MAX_WORDS + 1))
    match: Body = {"match": {"caption": {"query": text if len(words) <= _MAX_WORDS else text[: words[-2].end()]}}}
    if not request.filter:
        return match
    filtered = filter_query(request.filter, types)
    return {"bool": {"must": [match], "filter": [filtered]}}


def query_vector(vector: FloatArray) -> FloatArray:
    """What is sent of a query vector, (d,) float32: of an extreme length, the same direction.

    A server squares its numbers in single precision, where they become infinite or nothing; the cosines that it ranks
    by do not depend on the length. By a power of two, so that every digit stays.
    """
    exponent = int(np.frexp(np.abs(vector).max())[1])
    return np.ascontiguousarray(np.ldexp(vector, -exponent if abs(exponent) > _FAIR else 0), dtype=np.float32)


def raw_knn_scores(scores: Sequence[float], vector: FloatArray) -> list[float]:
    """The k-NN leg's scores, (1 + cosine) / 2, -> inner products of the query vector with (unit) pictures."""
    length = float(np.linalg.norm(vector.astype(np.float64)))
    return [(2 * score - 1) * length for score in scores]


def page_search(leg: Body, *, size: int, offset: int, fields: Sequence[str]) -> Body:
    """One leg's page, with fields. Ties are broken by id; a hit's `sort` is [score, id]."""
    return _sorted(leg, size) | {"from": offset, "_source": list(fields)}


def candidates_search(leg: Body, depth: int) -> Body:
    """All candidates of one leg, as [score, id] in `sort`.

    No stored field is read, not even `_id`: a document's stored fields hold its vector as text, and are slow. For
    200 candidates of 512 dimensions that is three times faster.
    """
    return _sorted(leg, depth) | {"stored_fields": "_none_"}


def _sorted(leg: Body, size: int) -> Body:
    return {"query": leg, "size": size, "sort": [{"_score": "desc"}, {"id": "asc"}], "track_total_hits": False}


def hybrid_search(legs: Sequence[Body], depth: int, pipeline: Body) -> Body:
    """All candidates of both legs, fused on the server. A hit's id is `fields.id[0]`.

    On one shard the server reads what a search returns for every candidate before it fuses them: so no stored field
    here either, and the page's fields in a request of their own (measured: four times faster together).
    """
    return {
        "query": {"hybrid": {"queries": list(legs), "pagination_depth": depth}},
        "size": min(len(legs) * depth, _MAX_WINDOW),
        "track_total_hits": False,
        "stored_fields": "_none_",
        "docvalue_fields": ["id"],
        "search_pipeline": pipeline,
    }


def page_for_processors(body: Body, *, size: int, offset: int, fields: Sequence[str]) -> Body:
    """A search that returns one page with all that a response processor may need: fields, scores, a total."""
    left_out = ("stored_fields", "docvalue_fields", "sort", "track_total_hits")
    wanted = {name: part for name, part in body.items() if name not in left_out}
    return wanted | {"from": offset, "size": size, "_source": list(fields)}


def multi_search(searches: Sequence[tuple[Body, Body]]) -> bytes:
    """(header, body) pairs -> the newline-delimited body of `_msearch`."""
    return b"".join(encode(part) + b"\n" for pair in searches for part in pair)


def ids_search(point: str, origin: str | None, *, after: str | None, size: int, keep_alive: str) -> Body:
    """A page of ids, ascending, of a point in time: all, or those of one origin."""
    body: Body = {
        "query": LIVE if origin is None else {"term": {"origin": origin}},
        "pit": {"id": point, "keep_alive": keep_alive},
        "size": size,
        "sort": [{"id": "asc"}],
        "track_total_hits": False,
        "stored_fields": "_none_",
    }
    return body if after is None else body | {"search_after": [after]}


def contents_search(sha256: Sequence[str], size: int) -> Body:
    """The records made of pictures with these digests, and what a `Place` has."""
    wanted = [{"prefix": {"digest": {"value": f"{one}:"}}} for one in sha256]
    return {
        "query": {"bool": {"filter": [{"bool": {"should": wanted, "minimum_should_match": 1}}]}},
        "size": size,
        "_source": PLACE_FIELDS,
        "track_total_hits": False,
    }


def fusion_pipeline(fusion: ScoreFusion, default: Mapping[str, Any] | None = None) -> Body:
    """The inline search pipeline of a fused search, around it the processors of the index's own default pipeline."""
    pipeline = copy.deepcopy(_asset("pipelines/score-fusion-min-max.json"))
    pipeline.pop("_meta")
    (processor,) = pipeline["phase_results_processors"]
    processor["normalization-processor"]["combination"]["parameters"]["weights"] = [fusion.knn, fusion.keyword]
    for part in ("request_processors", "response_processors"):
        if default and default.get(part):
            pipeline[part] = default[part]
    return pipeline


def live_query(filter: Filter, types: FieldTypes) -> Body:
    """All pictures that a filter leaves, without a score."""
    return {"bool": {"filter": [LIVE, filter_query(filter, types)]}} if filter else LIVE


def index_body(
    name: str, provenance: Provenance, settings: OpenSearchIndexSettings, aliases: Mapping[str, Body]
) -> Body:
    """A new index, from opensearch/templates/image-index.json: settings, mappings and aliases."""
    body: Body = copy.deepcopy(_asset("templates/image-index.json")["template"])
    index = body["settings"]["index"]
    index["number_of_shards"] = settings.shards
    if settings.replicas is None:
        del index["number_of_replicas"]
        index["auto_expand_replicas"] = "0-1"
    else:
        index["number_of_replicas"] = settings.replicas
    mappings = body["mappings"]
    vector = mappings["properties"]["vector"]
    vector["dimension"] = provenance.dimension
    vector["method"]["engine"] = settings.engine
    vector["method"]["parameters"] = {"m": settings.m, "ef_construction": settings.ef_construction}
    mappings["properties"]["caption"]["analyzer"] = settings.analyzer
    mappings["_meta"] = {META: index_meta(name, provenance)}
    body["aliases"] = {alias: dict(options) for alias, options in aliases.items()}
    return body


def index_meta(name: str, provenance: Provenance) -> Body:
    """Our part of the mapping's `_meta`: the schema's version, the index's name, where its vectors come from."""
    return {
        "version": schema_version(),
        "name": name,
        "encoder": provenance.encoder,
        "revision": provenance.revision,
        "dimension": provenance.dimension,
        "preparation": provenance.preparation,
    }


def schema_version() -> int:
    """The version of the index's layout: that of its template."""
    return int(_asset("templates/image-index.json")["_meta"]["version"])


def missing_properties(properties: Mapping[str, Any]) -> Body:
    """The template's fields that an older index lacks (never the vector: its field cannot be added twice)."""
    wanted = _asset("templates/image-index.json")["template"]["mappings"]["properties"]
    return {name: field for name, field in wanted.items() if name not in properties and name != "vector"}


def layout_fields() -> list[str]:
    """The names of an index's fields, as its template has them."""
    return list(_asset("templates/image-index.json")["template"]["mappings"]["properties"])


def _asset(name: str) -> Body:
    if name not in _assets:
        _assets[name] = orjson.loads(assets(name).read_bytes())
    return _assets[name]


_assets: dict[str, Body] = {}
