"""Bodies for OpenSearch, compared with golden ones in tests/data/bodies.

`python -m tests.unit.test_bodies` writes the golden files anew: read the difference before you commit it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dar_search.data import ImageRecord, Provenance, ScoreFusion
from dar_search.filters import parse_filter
from dar_search.ports import SearchRequest
from dar_search.settings.opensearch import OpenSearchIndexSettings
from dar_search.stores import bodies
from dar_search.stores.assets import assets
from dar_search.stores.opensearch.documents import document, embedding, index_action, record

GOLDEN = Path(__file__).parents[1] / "data" / "bodies"
TYPES = {"city": "keyword", "year": "number", "free": "boolean"}
VECTOR = np.array([0.1, -0.2, 0.3, 1e-7], np.float32)
FILTER = parse_filter({"city": ["Paris", "Rome"], "year": {"gte": 2000, "lt": 2010}, "not": {"free": True}})
PLAIN = SearchRequest(vector=VECTOR, text="a red bicycle, by the river?", depth=100)
FILTERED = SearchRequest(vector=VECTOR, text="a red bicycle", depth=100, filter=FILTER)
PROVENANCE = Provenance("demo", "0123abcd", 4, "crop 64x64 bicubic")


def _knn(request: SearchRequest, **options: Any) -> bodies.Body:
    return bodies.knn_leg(request, TYPES, **({"engine": "lucene", "ef_search": 256} | options))


def _legs(request: SearchRequest) -> list[bodies.Body]:
    return [_knn(request), bodies.keyword_leg(request, TYPES)]


CASES: dict[str, Callable[[], Any]] = {
    "knn-page": lambda: bodies.page_search(_knn(PLAIN), size=10, offset=20, fields=bodies.PAGE_FIELDS),
    "knn-filtered": lambda: _knn(FILTERED),
    "knn-deeper-than-ef-search": lambda: _knn(PLAIN, ef_search=50),
    "knn-faiss": lambda: _knn(PLAIN, engine="faiss", ef_search=50),
    "exact": lambda: bodies.exact_leg(PLAIN, TYPES),
    "exact-filtered": lambda: bodies.exact_leg(FILTERED, TYPES),
    "keyword": lambda: bodies.keyword_leg(PLAIN, TYPES),
    "keyword-filtered": lambda: bodies.keyword_leg(FILTERED, TYPES),
    "candidates": lambda: bodies.candidates_search(bodies.keyword_leg(PLAIN, TYPES), 100),
    "hybrid": lambda: bodies.hybrid_search(_legs(PLAIN), 100, bodies.fusion_pipeline(ScoreFusion())),
    "hybrid-filtered": lambda: bodies.hybrid_search(_legs(FILTERED), 100, bodies.fusion_pipeline(ScoreFusion())),
    "hybrid-page-merged": lambda: bodies.page_for_processors(
        bodies.hybrid_search(
            _legs(PLAIN),
            100,
            bodies.fusion_pipeline(
                ScoreFusion(knn=0.4, keyword=0.6),
                {
                    "description": "theirs",
                    "request_processors": [{"filter_query": {"query": {"term": {"origin": "x"}}}}],
                    "response_processors": [{"rename_field": {"field": "caption", "target_field": "title"}}],
                },
            ),
        ),
        size=10,
        offset=20,
        fields=(*bodies.PAGE_FIELDS, "thumbnail"),
    ),
    "ids-first": lambda: bodies.ids_search("point", None, after=None, size=1000, keep_alive="2m"),
    "ids-of-origin": lambda: bodies.ids_search("point", "file:///a", after="p1", size=1000, keep_alive="2m"),
    "index": lambda: bodies.index_body("photos", PROVENANCE, OpenSearchIndexSettings(), {"photos": {}}),
    "index-tuned": lambda: bodies.index_body(
        "photos",
        PROVENANCE,
        OpenSearchIndexSettings(
            engine="faiss", m=32, ef_construction=256, shards=4, replicas=2, analyzer="german"
        ),
        {"photos": {}, "photos-write": {"is_write_index": True}},
    ),
    "metadata-mapping": lambda: bodies.metadata_mapping(TYPES),
}  # fmt: skip


def _written(body: Any) -> str:
    return json.dumps(json.loads(bodies.encode(body)), indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", CASES)
def test_a_body_equals_its_golden_file(name: str) -> None:
    assert _written(CASES[name]()) == (GOLDEN / f"{name}.json").read_text("utf-8")


def test_every_golden_file_has_a_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(CASES)


def test_making_bodies_changes_neither_the_templates_nor_another_body() -> None:
    first = _written(CASES["index"]())
    CASES["index-tuned"]()
    bodies.fusion_pipeline(ScoreFusion(knn=0.1, keyword=0.9))
    assert _written(CASES["index"]()) == first
    weights = bodies.fusion_pipeline(ScoreFusion())["phase_results_processors"][0]["normalization-processor"]
    assert weights["combination"]["parameters"]["weights"] == [0.7, 0.3]


@pytest.mark.parametrize("name", ["templates/image-index.json", "pipelines/score-fusion-min-max.json"])
def test_what_the_project_ships_carries_a_version(name: str) -> None:
    assert json.loads(assets(name).read_text("utf-8"))["_meta"]["version"] >= 1


def test_no_mapping_excludes_the_vector_or_maps_anything_by_itself() -> None:
    mappings = CASES["index"]()["mappings"]
    assert mappings["dynamic"] is False
    assert mappings["properties"]["metadata"]["dynamic"] == "strict"
    assert "_source" not in mappings
    assert "dynamic_templates" not in mappings


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"nowhere": "x"}, bodies.NOTHING),
        ({"city": "Paris", "nowhere": {"exists": True}}, bodies.NOTHING),
        ({"not": {"nowhere": "x"}}, {"bool": {}}),
        ({"city": {"exists": False}}, {"bool": {"must_not": [{"exists": {"field": "metadata.city"}}]}}),
        ({"year": 0}, {"bool": {"filter": [{"terms": {"metadata.year": [0.0, -0.0]}}]}}),
        ({"free": False}, {"bool": {"filter": [{"terms": {"metadata.free": [False]}}]}}),
    ],
)
def test_a_filter_matches_what_it_says(raw: dict[str, Any], expected: bodies.Body) -> None:
    assert bodies.filter_query(parse_filter(raw), TYPES) == expected


@pytest.mark.parametrize(("operator", "bound"), [("gte", "-0.0"), ("gt", "0.0"), ("lt", "-0.0"), ("lte", "0.0")])
def test_a_range_takes_both_zeros_for_one_number(operator: str, bound: str) -> None:
    query = bodies.filter_query(parse_filter({"year": {operator: -0.0}}), TYPES)
    assert str(query["bool"]["filter"][0]["range"]["metadata.year"][operator]) == bound


@given(st.text(min_size=0, max_size=3000))
def test_the_keyword_leg_stays_within_the_clauses_that_a_server_takes(text: str) -> None:
    query = bodies.keyword_leg(SearchRequest(text=text * 5), {})["match"]["caption"]["query"]
    assert (text * 5).startswith(query)
    assert len(bodies._WORD.findall(query)) <= 1000


def test_long_texts_keep_their_first_thousand_words_and_short_ones_all() -> None:
    words = [f"word{number}" for number in range(2000)]
    query = bodies.keyword_leg(SearchRequest(text=" ".join(words)), {})["match"]["caption"]["query"]
    assert query.split() == words[:1000]
    assert bodies.keyword_leg(SearchRequest(text="it's (red)!"), {})["match"]["caption"]["query"] == "it's (red)!"


@given(arrays(np.float32, 16, elements=st.floats(-1, 1, width=32)))
def test_a_vector_comes_back_bit_for_bit(vector: np.ndarray) -> None:
    lines = index_action(ImageRecord("id", vector, "file:///a"), vector, "{}").splitlines()
    assert json.loads(lines[0]) == {"index": {"_id": "id"}}
    assert embedding(json.loads(lines[1]), 16).tobytes() == vector.tobytes()


def test_a_record_comes_back_as_it_was() -> None:
    metadata = {"i": 7, "f": 7.5, "zero": -0.0, "s": "ü", "b": True, "many": ("a", "b"), "one": ("a",), "none": ()}
    written = ImageRecord("id", VECTOR, "file:///ä", "o", "d", "a caption", metadata, 640, 480, b"\x00\xff")
    source = json.loads(bodies.encode(document(written, VECTOR, json.dumps(metadata))))
    read = record("id", source, len(VECTOR))
    assert source["metadata"].keys() == metadata.keys() - {"none"}, "a field without a value has no type to map"
    assert read.embedding.tobytes() == VECTOR.tobytes()
    assert read.metadata == metadata
    assert {name: type(value) for name, value in read.metadata.items()} == {
        name: type(value) for name, value in metadata.items()
    }
    for name in ("id", "source", "origin", "digest", "caption", "width", "height", "thumbnail"):
        assert getattr(read, name) == getattr(written, name)


def test_a_fused_search_of_the_greatest_depth_stays_within_what_a_server_returns() -> None:
    assert bodies.hybrid_search(_legs(PLAIN), 10_000, {})["size"] == 10_000
    assert bodies.hybrid_search(_legs(PLAIN), 4_000, {})["size"] == 8_000


def test_scores_of_the_server_become_inner_products() -> None:
    vector = np.array([0.3, 0.4], np.float32)
    assert bodies.raw_knn_scores([1.0, 0.5, 0.0], vector) == pytest.approx([0.5, 0.0, -0.5], abs=1e-7)


if __name__ == "__main__":
    for case, make in CASES.items():
        (GOLDEN / f"{case}.json").write_text(_written(make()), "utf-8")
