"""What the OpenSearch store has beyond the contract: features, versions, aliases, search pipelines."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dar_search.data import FloatArray, ImageRecord, Provenance, ScoreFusion
from dar_search.errors import (
    EncoderMismatch,
    FeatureMissing,
    IndexExists,
    IndexNotFound,
    SettingsError,
    StoreCorrupt,
    StoreTooNew,
)
from dar_search.filters import parse_filter
from dar_search.ports import ImageIndex, SearchRequest
from dar_search.settings import load_settings
from dar_search.stores import bodies
from dar_search.stores.opensearch.store import OpenSearchStore
from dar_search.stores.sqlite.store import SQLiteStore

DIMENSION = 16
COUNT = 300
PROVENANCE = Provenance("encoder", "1", DIMENSION, "crop 8x8 bicubic")
Opened = Callable[..., OpenSearchStore]


@pytest.fixture(scope="module")
def opened(opensearch_url: str) -> Iterator[Opened]:
    """Opens the store with settings of a test."""
    stores: list[OpenSearchStore] = []

    def open_store(**options: Any) -> OpenSearchStore:
        stores.append(OpenSearchStore(opensearch_url, load_settings(opensearch=options)))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture(scope="module")
def store(opened: Opened) -> OpenSearchStore:
    return opened()


@pytest.fixture
def name(store: OpenSearchStore) -> Iterator[str]:
    """A name; all that has it at the end is removed."""
    made = f"store-{uuid.uuid4().hex[:12]}"
    yield made
    for index in store._cluster.read("GET", f"/{made}*", filter_path="*.aliases"):
        store._cluster.send("DELETE", f"/{index}")


@pytest.fixture(scope="module")
def gallery() -> tuple[ImageRecord, ...]:
    words = ["red", "green", "dog", "cat", "house", "tree", "river", "stone"]
    random = np.random.default_rng(5)
    vectors = random.standard_normal((COUNT, DIMENSION))
    vectors[::10] = vectors[0]  # equal pictures: their order is that of their ids
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return tuple(
        ImageRecord(
            f"p{number * 7919 % COUNT:04d}",
            vector.astype(np.float32),
            f"file:///{number}",
            caption=" ".join(random.choice(words, 3)),
            metadata={"priority": float(number * 31 % COUNT), "even": number % 2 == 0},
        )
        for number, vector in enumerate(vectors)
    )


@pytest.fixture(scope="module")
def filled(store: OpenSearchStore, gallery: tuple[ImageRecord, ...]) -> Iterator[ImageIndex]:
    index = store.create(f"store-gallery-{uuid.uuid4().hex[:12]}", PROVENANCE)
    assert index.write(gallery) == []
    index.refresh()
    yield index
    store.drop(index.name)


def _vector(seed: int = 0) -> FloatArray:
    vector: FloatArray = (0.4 * np.random.default_rng(seed).standard_normal(DIMENSION)).astype(np.float32)
    return vector


def _put(store: OpenSearchStore, path: str, body: Any) -> None:
    store._cluster.send("PUT", path, json.dumps(body).encode())


# Rankings


@pytest.mark.parametrize("filter", [{}, {"even": True, "priority": {"lt": 200}}], ids=["all", "filtered"])
@pytest.mark.parametrize("exact", [True, False])
def test_the_knn_ranking_is_that_of_sqlite(
    filled: ImageIndex, gallery: tuple[ImageRecord, ...], tmp_path: Any, filter: dict, exact: bool
) -> None:
    embedded = SQLiteStore(tmp_path / "store.sqlite")
    other = embedded.create("gallery", PROVENANCE)
    other.write(gallery)
    for seed in range(5):
        request = SearchRequest(vector=_vector(seed), filter=parse_filter(filter), exact=exact, size=COUNT, depth=COUNT)
        here, there = filled.search(request).hits, other.search(request).hits
        scores = {hit.id: hit.score for hit in there}
        assert len(here) == len(there) > 0
        assert {hit.id for hit in here} == scores.keys()
        for mine, theirs in zip(here, there, strict=True):
            assert mine.score == pytest.approx(scores[mine.id], abs=1e-6)
            assert mine.id == theirs.id or abs(scores[mine.id] - theirs.score) <= 1e-6
    embedded.close()


@pytest.mark.parametrize("weights", [(0.7, 0.3), (0.2, 0.8), (1.0, 0.0), (0.0, 1.0)])
def test_fusion_on_the_server_and_in_the_client_give_one_ranking(
    with_pipeline: Callable[..., ImageIndex], weights: tuple[float, float]
) -> None:
    """The server joins where an index's own processors have to see one search."""
    joining = with_pipeline(ENRICHED)
    for seed, text in enumerate(["red dog", "a house by the river", "stone", "nothing of it"]):
        request = SearchRequest(
            vector=_vector(seed), text=text, size=100, depth=COUNT, fusion=ScoreFusion("min_max", *weights)
        )
        on_server = joining.search(request).hits
        in_client = joining.search(replace(request, fused_in_client=True)).hits
        assert [hit.legs for hit in on_server] == [{}] * len(on_server), "the server says nothing of legs"
        assert all(hit.legs for hit in in_client)
        scores = {hit.id: hit.score for hit in in_client}
        for mine, theirs in zip(on_server, in_client, strict=True):
            assert mine.score == pytest.approx(theirs.score, abs=2e-6)
            assert mine.id == theirs.id or abs(scores.get(mine.id, mine.score) - theirs.score) <= 2e-6


def test_pages_of_a_fused_search_join_into_the_whole(filled: ImageIndex) -> None:
    request = SearchRequest(vector=_vector(), text="red dog", size=120, depth=120)
    whole = [(hit.rank, hit.id) for hit in filled.search(request).hits]
    pages = [filled.search(replace(request, size=30, offset=offset)).hits for offset in range(0, 120, 30)]
    assert [(hit.rank, hit.id) for page in pages for hit in page] == whole


# Features


def test_without_knn_the_error_says_what_is_missing_where_an_index_is_made_or_searched(
    opensearch_without_knn: str,
) -> None:
    store = OpenSearchStore(opensearch_without_knn, load_settings())
    try:
        with pytest.raises(FeatureMissing, match="k-NN plugin") as error:
            store.create("photos", PROVENANCE)
        assert "opensearch-plugin" in error.value.hint
        assert store.names() == []
        assert "missing" in store.check()["k-NN"]
        # An index that came from elsewhere, a snapshot say.
        body = bodies.index_body("photos", PROVENANCE, load_settings().opensearch.index, {"photos": {}})
        del body["settings"]["index"]["knn"]
        body["mappings"]["properties"]["vector"] = {"type": "float"}
        store._cluster.send("PUT", "/photos-000001", bodies.encode(body))
        index = store.open("photos", PROVENANCE)
        for exact in (True, False):
            with pytest.raises(FeatureMissing, match="k-NN plugin"):
                index.search(SearchRequest(vector=_vector(), text="dog", exact=exact))
        assert index.search(SearchRequest(text="dog")).hits == ()
        store.drop("photos")
    finally:
        store.close()


def test_without_neural_search_scores_are_fused_in_the_client(
    opensearch_without_neural_search: str, gallery: tuple[ImageRecord, ...], filled: ImageIndex
) -> None:
    store = OpenSearchStore(opensearch_without_neural_search, load_settings())
    try:
        assert not store.features.hybrid
        index = store.create("photos", PROVENANCE)
        index.write(gallery)
        index.refresh()
        request = SearchRequest(vector=_vector(), text="red dog", size=50)
        here, there = index.search(request), filled.search(request)
        assert [round(hit.score, 5) for hit in here.hits] == [round(hit.score, 5) for hit in there.hits]
        assert all(hit.legs for hit in here.hits)
        store.drop("photos")
    finally:
        store.close()


def test_the_local_node_which_has_no_native_libraries_refuses_a_faiss_index(
    opensearch_without_neural_search: str,
) -> None:
    store = OpenSearchStore(opensearch_without_neural_search, load_settings(opensearch={"index": {"engine": "faiss"}}))
    try:
        with pytest.raises(FeatureMissing, match="native libraries"):
            store.create("photos", PROVENANCE)
        assert "photos" not in store.names()
    finally:
        store.close()


def test_rrf_has_the_weights_of_the_request(filled: ImageIndex) -> None:
    request = SearchRequest(vector=_vector(), text="red dog", fusion=ScoreFusion("rrf", 0.9, 0.1, 60))
    best = filled.search(request).hits[0]
    shares = {"knn": 0.9, "keyword": 0.1}
    assert best.score == pytest.approx(sum(shares[leg] / (60 + hit.rank) for leg, hit in best.legs.items()))


def test_an_unknown_analyzer_is_named(opened: Opened, name: str) -> None:
    with pytest.raises(SettingsError, match='no analyzer "klingon"') as error:
        opened(index={"analyzer": "klingon"}).create(name, PROVENANCE)
    assert "opensearch.index.analyzer" in error.value.hint


def test_settings_shape_a_new_index(opened: Opened, name: str) -> None:
    store = opened(index={"m": 8, "ef_construction": 64, "shards": 3, "replicas": 0, "analyzer": "standard"})
    store.create(name, PROVENANCE)
    ((index, about),) = store._cluster.read("GET", f"/{name}").items()
    assert index == f"{name}-000001"
    assert about["aliases"] == {name: {}, f"{name}-write": {"is_write_index": True}}
    assert about["settings"]["index"]["number_of_shards"] == "3"
    assert about["settings"]["index"]["number_of_replicas"] == "0"
    properties = about["mappings"]["properties"]
    assert properties["vector"]["method"]["parameters"] == {"m": 8, "ef_construction": 64}
    assert properties["caption"]["analyzer"] == "standard"
    assert about["mappings"]["dynamic"] == "false"


# Versions


def test_an_index_of_a_newer_version_is_refused(store: OpenSearchStore, name: str) -> None:
    store.create(name, PROVENANCE)
    meta = bodies.index_meta(name, PROVENANCE) | {"version": bodies.schema_version() + 1}
    _put(store, f"/{name}/_mapping", {"_meta": {bodies.META: meta}})
    with pytest.raises(StoreTooNew, match=name) as error:
        store.open(name)
    assert "Update" in error.value.hint


def test_an_index_of_an_older_version_gets_the_fields_that_it_lacks(store: OpenSearchStore, name: str) -> None:
    body = bodies.index_body(name, PROVENANCE, load_settings().opensearch.index, {name: {}, f"{name}-write": {}})
    body["mappings"]["_meta"][bodies.META]["version"] = 0
    body["mappings"]["_meta"]["theirs"] = "kept"
    for field in ("origin", "thumbnail"):
        del body["mappings"]["properties"][field]
    store._cluster.send("PUT", f"/{name}-000001", bodies.encode(body))
    index = store.open(name, PROVENANCE)
    mappings = store._cluster.read("GET", f"/{name}/_mapping")[f"{name}-000001"]["mappings"]
    assert mappings["_meta"][bodies.META]["version"] == bodies.schema_version()
    assert mappings["_meta"]["theirs"] == "kept"
    assert {"origin", "thumbnail"} <= mappings["properties"].keys()
    record = ImageRecord("p", _unit(), "file:///p", origin="file:///list")
    assert index.write([record]) == []
    assert list(index.ids(origin="file:///list")) == ["p"]


def test_an_index_that_says_nothing_readable_about_itself_is_corrupt(store: OpenSearchStore, name: str) -> None:
    store.create(name, PROVENANCE)
    _put(store, f"/{name}/_mapping", {"_meta": {bodies.META: {"version": 1, "name": name, "encoder": "x"}}})
    with pytest.raises(StoreCorrupt, match=name):
        store.open(name)


# Aliases


def test_a_foreign_index_is_neither_opened_nor_listed_nor_dropped_nor_replaced(
    store: OpenSearchStore, name: str
) -> None:
    _put(store, f"/{name}", {})
    assert name not in store.names()
    for use in (store.open, store.drop):
        with pytest.raises(IndexNotFound):
            use(name)
    with pytest.raises(IndexExists):
        store.create(name, PROVENANCE)
    assert name in store._cluster.read("GET", f"/{name}")


def test_a_foreign_write_alias_is_not_taken_over(store: OpenSearchStore, name: str) -> None:
    _put(store, f"/{name}-theirs", {"aliases": {f"{name}-write": {}}})
    with pytest.raises(IndexExists):
        store.create(name, PROVENANCE)


def _point(store: OpenSearchStore, name: str, index: str) -> None:
    """Moves both aliases to another index at once."""
    actions = [{"remove": {"index": f"{name}-*", "alias": alias}} for alias in (name, f"{name}-write")]
    actions += [{"add": {"index": index, "alias": alias}} for alias in (name, f"{name}-write")]
    store._cluster.send("POST", "/_aliases", json.dumps({"actions": actions}).encode())


def _second(store: OpenSearchStore, name: str, provenance: Provenance) -> str:
    """Makes a second numbered index and moves the aliases to it."""
    index = f"{name}-000002"
    body = bodies.index_body(name, provenance, load_settings().opensearch.index, {})
    store._cluster.send("PUT", f"/{index}", bodies.encode(body))
    _point(store, name, index)
    return index


def test_an_open_handle_follows_its_alias_to_the_next_index(store: OpenSearchStore, name: str) -> None:
    index = store.create(name, PROVENANCE)
    index.write([ImageRecord("old", _unit(), "file:///old")])
    _second(store, name, PROVENANCE)
    assert index.write([ImageRecord("new", _unit(), "file:///new")]) == []
    index.refresh()
    assert [hit.id for hit in index.search(SearchRequest(vector=_vector())).hits] == ["new"]
    assert set(index.get(["old", "new"])) == {"new"}
    store.drop(name)
    assert store._cluster.read("GET", f"/{name}*") == {}, "dropping removes the older index too"


def test_a_search_notices_that_the_alias_leads_to_another_encoders_vectors(store: OpenSearchStore, name: str) -> None:
    index = store.create(name, PROVENANCE)
    index.write([ImageRecord("old", _unit(), "file:///old")])
    index.refresh()
    assert index.search(SearchRequest(vector=_vector())).hits
    other = replace(PROVENANCE, revision="2")
    second = _second(store, name, other)
    store.open(name, other).write([ImageRecord("new", _unit(), "file:///new")])
    store._cluster.send("POST", f"/{second}/_refresh")
    for text in (None, "new"):
        with pytest.raises(EncoderMismatch):
            index.search(SearchRequest(vector=_vector(), text=text))


def test_an_alias_over_several_indices_is_refused(store: OpenSearchStore, name: str) -> None:
    store.create(name, PROVENANCE)
    body = bodies.index_body(name, PROVENANCE, load_settings().opensearch.index, {name: {}})
    store._cluster.send("PUT", f"/{name}-000002", bodies.encode(body))
    with pytest.raises(StoreCorrupt, match=f"{name}-000001, {name}-000002"):
        store.open(name)


# Search pipelines


@pytest.fixture
def with_pipeline(
    opensearch_with_neural_search: str, store: OpenSearchStore, opened: Opened, filled: ImageIndex
) -> Iterator[Callable[..., ImageIndex]]:
    """Gives the gallery's index a default search pipeline, and opens it anew. The processors are neural-search's."""
    pipeline = f"pipeline-{uuid.uuid4().hex[:8]}"

    def give(parts: dict[str, Any], **options: Any) -> ImageIndex:
        _put(store, f"/_search/pipeline/{pipeline}", parts)
        _put(store, f"/{filled.name}/_settings", {"index.search.default_pipeline": pipeline})
        return opened(**options).open(filled.name)

    yield give
    _put(store, f"/{filled.name}/_settings", {"index.search.default_pipeline": None})
    store._cluster.send("DELETE", f"/_search/pipeline/{pipeline}")


BOTH = SearchRequest(vector=_vector(), text="red dog")
BY_PRIORITY = {"response_processors": [{"rerank": {"by_field": {"target_field": "metadata.priority"}}}]}
NORMALIZED = {"phase_results_processors": [{"normalization-processor": {"normalization": {"technique": "l2"}}}]}
ENRICHED = {"request_processors": [{"neural_query_enricher": {"default_model_id": "none"}}]}


def _processed(store: OpenSearchStore) -> int:
    """How many requests went through request processors of search pipelines."""
    nodes = store._cluster.read("GET", "/_nodes/stats/search_pipeline")["nodes"].values()
    return sum(node["search_pipeline"]["total_request"]["count"] for node in nodes)


@pytest.mark.parametrize("request_", [BOTH, replace(BOTH, text=None)], ids=["fused", "one leg"])
def test_a_default_pipelines_response_processors_run_after_the_fusion(
    with_pipeline: Callable[..., ImageIndex], filled: ImageIndex, request_: SearchRequest
) -> None:
    plain = filled.search(request_).hits
    hits = with_pipeline(BY_PRIORITY).search(request_).hits
    assert {hit.id for hit in hits} == {hit.id for hit in plain}
    priorities = [hit.metadata["priority"] for hit in hits]
    assert priorities == sorted(priorities, reverse=True)
    assert [hit.score for hit in hits] == priorities
    assert [hit.rank for hit in hits] == list(range(1, 11))


def test_a_default_pipelines_request_processors_run_before_the_fusion(
    with_pipeline: Callable[..., ImageIndex], store: OpenSearchStore, filled: ImageIndex
) -> None:
    plain = [(hit.id, hit.score) for hit in filled.search(BOTH).hits]
    index = with_pipeline(ENRICHED)
    for request, legs in ((BOTH, 1), (replace(BOTH, fused_in_client=True), 2), (replace(BOTH, text=None), 1)):
        before = _processed(store)
        hits = index.search(request).hits
        assert _processed(store) == before + legs
        assert request.text is None or [(h.id, pytest.approx(h.score, abs=2e-6)) for h in hits] == plain


def test_a_default_pipeline_that_fuses_scores_itself_is_left_to_its_owners_searches(
    with_pipeline: Callable[..., ImageIndex], filled: ImageIndex
) -> None:
    plain = filled.search(BOTH).hits
    hits = with_pipeline(NORMALIZED).search(BOTH).hits
    assert [(hit.id, pytest.approx(hit.score, abs=2e-6)) for hit in plain] == [(hit.id, hit.score) for hit in hits]
    assert all(hit.legs for hit in hits), "fused in the client"


@pytest.mark.parametrize(
    ("parts", "request_"),
    [
        (BY_PRIORITY, replace(BOTH, fused_in_client=True)),
        (BY_PRIORITY, replace(BOTH, fusion=ScoreFusion("rrf"))),
        (BY_PRIORITY | NORMALIZED, BOTH),
    ],
    ids=["explained", "rrf", "fuses itself"],
)
def test_a_default_pipeline_that_cannot_be_joined_is_refused_not_replaced(
    with_pipeline: Callable[..., ImageIndex], parts: dict[str, Any], request_: SearchRequest
) -> None:
    index = with_pipeline(parts)
    with pytest.raises(FeatureMissing, match="default search pipeline") as error:
        index.search(request_)
    assert "opensearch.default_pipeline" in error.value.hint


def test_a_default_pipeline_is_skipped_where_the_settings_say_so(
    with_pipeline: Callable[..., ImageIndex], filled: ImageIndex
) -> None:
    requests = [BOTH, replace(BOTH, text=None), replace(BOTH, fused_in_client=True), replace(BOTH, vector=None)]
    plain = [[(hit.id, hit.score) for hit in filled.search(request).hits] for request in requests]
    index = with_pipeline(BY_PRIORITY, default_pipeline="skip")
    assert [[(hit.id, hit.score) for hit in index.search(request).hits] for request in requests] == plain


def _unit() -> FloatArray:
    vector: FloatArray = np.full(DIMENSION, DIMENSION**-0.5, np.float32)
    return vector


def test_a_document_of_another_program_costs_no_page(store: OpenSearchStore, name: str) -> None:
    vector = np.eye(DIMENSION, dtype=np.float32)
    index = store.create(name, PROVENANCE)
    index.write([ImageRecord("ours", vector[0], "ours.png", caption="a dog")])

    def put(id: str, **fields: Any) -> None:
        document = {"id": id, "vector": vector[1].tolist(), **fields}
        store._cluster.send("PUT", f"/{name}-000001/_doc/{id}?refresh=true", bodies.encode(document))

    put("nulls", source=None, caption=None, thumbnail=None, width=None, metadata=None)
    put("lists", source=["theirs.png"], caption=["a dog", None, "and 7 cats"], digest=7, width="640", height=480.0)
    found = index.search(SearchRequest(vector[0], thumbnails=True)).hits
    assert {hit.id: (hit.source, hit.caption, hit.thumbnail) for hit in found} == {
        "ours": ("ours.png", "a dog", None),
        "nulls": ("", "", None),
        "lists": ("theirs.png", "a dog and 7 cats", None),
    }
    records = index.get(["nulls", "lists"])
    assert (records["nulls"].width, records["nulls"].metadata) == (0, {})
    assert (records["lists"].width, records["lists"].height, records["lists"].digest) == (640, 480, "7")
    put("odd", width="640.5")
    with pytest.raises(StoreCorrupt, match='width of the document "odd"'):
        index.get(["ours", "odd"])
