"""How every index must rank: the two legs, score fusion, pages."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dar_search.data import FloatArray, Hit, ScoreFusion
from dar_search.errors import DimensionMismatch, InputError, RequestError
from dar_search.filters import parse_filter
from dar_search.method.fusion import fuse_scores
from dar_search.ports import ImageIndex, SearchRequest
from tests.contract.gallery import DIMENSION, SIZE, gallery_records, random_units, record, truth

QUERIES = [
    random_units(1, seed=11)[0],
    random_units(1, seed=12)[0] * np.float32(0.37),
    random_units(1, seed=13)[0] * np.float32(25),
    -gallery_records()[0].embedding,
    (0.5 * gallery_records()[3].embedding + 0.5 * gallery_records()[4].embedding).astype(np.float32),
]
TEXT = "two dogs near a bridge"
FUSIONS = [
    ScoreFusion(),
    ScoreFusion("min_max", 0.5, 0.5),
    ScoreFusion("min_max", 0.1, 0.9),
    ScoreFusion("rrf", 0.5, 0.5),
    ScoreFusion("rrf", 0.8, 0.2, rank_constant=7),
]
BY_ID = {record.id: record for record in gallery_records()}


def assert_ranked(hits: tuple[Hit, ...], vector: FloatArray, expected: list[tuple[str, float]]) -> None:
    """The hits are the best of `expected`, in its order, up to ties within 1e-6 of the vector's length."""
    tolerance = 1e-6 * float(np.linalg.norm(vector.astype(np.float64)))
    scores = dict(expected)
    assert len({hit.id for hit in hits}) == len(hits)
    for hit, (_, score) in zip(hits, expected, strict=False):
        assert scores[hit.id] == pytest.approx(score, abs=tolerance)
        assert hit.score == pytest.approx(scores[hit.id], abs=4 * tolerance)


@pytest.mark.parametrize("vector", QUERIES, ids=range(len(QUERIES)))
@pytest.mark.parametrize("size", [1, 10, SIZE])
def test_the_knn_leg_ranks_as_numpy_does(gallery: ImageIndex, vector: FloatArray, size: int) -> None:
    result = gallery.search(SearchRequest(vector=vector, size=size, depth=max(size, 50), exact=True))
    assert [hit.rank for hit in result.hits] == list(range(1, size + 1))
    assert_ranked(result.hits, vector, truth(gallery_records(), vector))


@pytest.mark.parametrize("size", [1, 3, 10, 77, SIZE])
def test_equal_pictures_are_ranked_by_id(gallery: ImageIndex, size: int) -> None:
    vector = random_units(1, seed=21)[0]
    hits = gallery.search(SearchRequest(vector=vector, size=size, depth=size, exact=True)).hits
    expected = [id for id, _ in truth(gallery_records(), vector)][:size]
    twins = {id: BY_ID[id].embedding.tobytes() for id in BY_ID}
    assert [twins[hit.id] for hit in hits] == [twins[id] for id in expected]
    for _, group in itertools.groupby((hit.id for hit in hits), key=twins.__getitem__):
        same = list(group)
        assert same == sorted(same)
    if size == SIZE:
        assert [hit.id for hit in hits] == expected


def test_many_equal_pictures_are_cut_off_by_id(index: ImageIndex) -> None:
    vector = random_units(1)[0]
    index.write([record(f"{n * 37 % 101:03d}", vector, caption="the same words") for n in range(101)])
    index.refresh()
    for request in (SearchRequest(vector=vector, exact=True), SearchRequest(text="same word")):
        hits = index.search(replace(request, size=7, depth=7)).hits
        assert [hit.id for hit in hits] == [f"{n:03d}" for n in range(7)]


@pytest.mark.parametrize("filter", [{"city": "Rome"}, {"number": {"lt": 200}}, {"not": {"even": True}}], ids=ascii)
def test_the_knn_leg_ranks_the_filtered_pictures_alone(gallery: ImageIndex, filter: dict[str, Any]) -> None:
    among = {
        "city": lambda m: m.get("city") == "Rome",
        "number": lambda m: m["number"] < 200,
        "not": lambda m: not m["even"],
    }
    ids = [record.id for record in gallery_records() if among[next(iter(filter))](record.metadata)]
    for vector in QUERIES:
        request = SearchRequest(vector=vector, filter=parse_filter(filter), size=30, depth=30, exact=True)
        hits = gallery.search(request).hits
        assert len(hits) == min(30, len(ids))
        assert_ranked(hits, vector, truth(gallery_records(), vector, ids))


def test_the_graph_finds_what_the_exact_search_finds_here(gallery: ImageIndex) -> None:
    for vector in QUERIES:
        hits = gallery.search(SearchRequest(vector=vector, size=20, depth=SIZE)).hits
        assert_ranked(hits, vector, truth(gallery_records(), vector))


def test_a_hit_carries_its_record_and_its_place_in_its_leg(gallery: ImageIndex) -> None:
    for request in (SearchRequest(vector=QUERIES[0], exact=True), SearchRequest(text=TEXT)):
        name = "knn" if request.text is None else "keyword"
        result = gallery.search(replace(request, fused_in_client=True))
        assert len(result.hits) == 10
        for rank, hit in enumerate(result.hits, 1):
            expected = BY_ID[hit.id]
            assert (hit.source, hit.caption, hit.metadata) == (expected.source, expected.caption, expected.metadata)
            assert hit.rank == rank
            assert set(hit.legs) == {name}
            assert hit.legs[name].rank == rank
            assert hit.legs[name].score == pytest.approx(hit.score, rel=1e-6)
            assert hit.thumbnail is None
            assert hit.explanation is None


def test_thumbnails_come_when_asked_for(gallery: ImageIndex) -> None:
    hits = gallery.search(SearchRequest(vector=QUERIES[0], size=SIZE, depth=SIZE, thumbnails=True, exact=True)).hits
    assert {hit.id: hit.thumbnail for hit in hits} == {record.id: record.thumbnail for record in gallery_records()}


@pytest.mark.parametrize("fused_in_client", [True, False])
@pytest.mark.parametrize("fusion", FUSIONS, ids=str)
@pytest.mark.parametrize("depth", [20, SIZE])
def test_score_fusion_is_that_of_the_fusion_module(
    gallery: ImageIndex, fusion: ScoreFusion, depth: int, fused_in_client: bool
) -> None:
    filter = parse_filter({"number": {"gte": 20}})
    both = SearchRequest(
        QUERIES[1], TEXT, filter, size=depth, depth=depth, fusion=fusion, exact=True, fused_in_client=fused_in_client
    )
    knn = gallery.search(replace(both, text=None)).hits
    keyword = gallery.search(replace(both, vector=None)).hits
    legs = {"knn": {hit.id: hit.score for hit in knn}, "keyword": {hit.id: hit.score for hit in keyword}}
    expected = fuse_scores(legs, fusion)[:depth]
    hits = gallery.search(both).hits
    assert len(hits) == len(expected)
    scores = {candidate.id: candidate.score for candidate in fuse_scores(legs, fusion)}
    for hit, candidate in zip(hits, expected, strict=True):
        assert hit.score == pytest.approx(scores[hit.id], abs=2e-6)
        assert scores[hit.id] == pytest.approx(candidate.score, abs=2e-6)


def test_fusion_with_both_legs_explains_where_a_hit_was_found(gallery: ImageIndex) -> None:
    request = SearchRequest(QUERIES[0], TEXT, size=40, depth=40, exact=True, fused_in_client=True)
    knn = {hit.id: hit.rank for hit in gallery.search(replace(request, text=None)).hits}
    keyword = {hit.id: hit.rank for hit in gallery.search(replace(request, vector=None)).hits}
    for hit in gallery.search(request).hits:
        places = {name: ranks[hit.id] for name, ranks in (("knn", knn), ("keyword", keyword)) if hit.id in ranks}
        assert {name: leg.rank for name, leg in hit.legs.items()} == places


def test_the_legs_say_what_became_of_them(gallery: ImageIndex) -> None:
    request = SearchRequest(QUERIES[0], TEXT, depth=30, exact=True, fused_in_client=True)
    for vector, text in ((QUERIES[0], TEXT), (QUERIES[0], None), (None, TEXT)):
        result = gallery.search(replace(request, vector=vector, text=text))
        assert set(result.legs) == {"knn", "keyword"}
        for name, asked in (("knn", vector is not None), ("keyword", text is not None)):
            leg = result.legs[name]
            assert leg.status == ("ok" if asked else "off")
            assert leg.took_ms >= 0
            assert (leg.lowest is not None and leg.highest is not None) == asked
    alone = {
        name: [hit.score for hit in gallery.search(replace(request, size=30, **{other: None})).hits]
        for name, other in (("knn", "text"), ("keyword", "vector"))
    }
    for name, leg in gallery.search(request).legs.items():
        assert leg.lowest == pytest.approx(alone[name][-1], abs=1e-6)
        assert leg.highest == pytest.approx(alone[name][0], abs=1e-6)


@pytest.mark.parametrize("fusion", [ScoreFusion(), ScoreFusion("rrf", 0.5, 0.5)], ids=str)
@pytest.mark.parametrize("legs", ["knn", "keyword", "both"])
def test_pages_are_parts_of_one_ranking(gallery: ImageIndex, legs: str, fusion: ScoreFusion) -> None:
    vector = None if legs == "keyword" else QUERIES[2]
    text = None if legs == "knn" else TEXT
    whole = SearchRequest(vector, text, size=60, depth=60, fusion=fusion, exact=True)
    expected = gallery.search(whole).hits
    pages = [
        gallery.search(replace(whole, size=size, offset=offset)).hits for offset, size in ((0, 7), (7, 13), (20, 40))
    ]
    assert [hit.id for page in pages for hit in page] == [hit.id for hit in expected]
    assert [hit.rank for page in pages for hit in page] == [hit.rank for hit in expected]
    assert [hit.rank for hit in expected] == list(range(1, len(expected) + 1))


def test_a_page_beyond_the_last_hit_is_empty(gallery: ImageIndex) -> None:
    request = SearchRequest(text="pizza at night", size=10, offset=990, depth=1_000)
    assert gallery.search(request).hits == ()
    assert gallery.search(replace(request, vector=QUERIES[0], exact=True)).hits == ()


def test_the_greatest_depth_works(gallery: ImageIndex) -> None:
    request = SearchRequest(QUERIES[0], TEXT, size=10_000, depth=10_000, exact=True)
    assert {hit.id for hit in gallery.search(request).hits} == set(BY_ID)


def test_an_empty_index_answers_with_nothing(index: ImageIndex) -> None:
    index.refresh()
    for vector, text in ((QUERIES[0], TEXT), (QUERIES[0], None), (None, TEXT)):
        result = index.search(SearchRequest(vector, text, filter=parse_filter({"nowhere": {"exists": False}})))
        assert result.hits == ()
        assert {name: leg.status for name, leg in result.legs.items()} == {
            "knn": "off" if vector is None else "ok",
            "keyword": "off" if text is None else "ok",
        }
    assert index.search(SearchRequest(QUERIES[0], exact=True)).hits == ()


def test_a_text_without_words_leaves_the_ranking_to_the_vector(gallery: ImageIndex) -> None:
    request = SearchRequest(QUERIES[0], "of the ?!", size=30, exact=True)
    alone = gallery.search(replace(request, text=None)).hits
    assert [hit.id for hit in gallery.search(request).hits] == [hit.id for hit in alone]


@pytest.mark.parametrize(
    ("error", "change"),
    [
        (RequestError, {"vector": None}),
        (RequestError, {"depth": 0}),
        (RequestError, {"depth": 10_001}),
        (RequestError, {"size": 0}),
        (RequestError, {"size": -1}),
        (RequestError, {"offset": -1}),
        (RequestError, {"size": 11, "depth": 10}),
        (RequestError, {"size": 5, "offset": 6, "depth": 10}),
        (RequestError, {"vector": np.zeros(DIMENSION, np.float32)}),
        (RequestError, {"vector": np.full(DIMENSION, np.nan, np.float32)}),
        (RequestError, {"vector": np.full(DIMENSION, np.inf, np.float32)}),
        (DimensionMismatch, {"vector": random_units(1, DIMENSION + 1)[0]}),
        (DimensionMismatch, {"vector": random_units(2)}),
        (RequestError, {"text": "dog", "fusion": ScoreFusion(knn=0.7, keyword=0.7)}),
        (RequestError, {"text": "dog", "fusion": ScoreFusion(knn=1.5, keyword=-0.5)}),
        (RequestError, {"text": "dog", "fusion": ScoreFusion("rrf", 0.5, 0.5, rank_constant=0)}),
        (RequestError, {"text": "dog", "fusion": ScoreFusion("sum")}),  # type: ignore[arg-type]
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_a_search_that_cannot_be_is_refused(
    gallery: ImageIndex, error: type[InputError], change: dict[str, Any]
) -> None:
    with pytest.raises(error) as raised:
        gallery.search(replace(SearchRequest(QUERIES[0]), **change))
    assert raised.value.message


def test_a_vector_of_any_length_ranks_the_same(gallery: ImageIndex) -> None:
    vector = QUERIES[0]
    expected = [hit.id for hit in gallery.search(SearchRequest(vector, size=50, exact=True)).hits]
    for scale in (1e-3, 1e3, 2e19, 1e-26):
        scaled = (vector * scale).astype(np.float32)
        hits = gallery.search(SearchRequest(scaled, size=50, exact=True)).hits
        assert_ranked(hits, scaled, truth(gallery_records(), scaled))
        assert len(set(expected) & {hit.id for hit in hits}) >= 49
