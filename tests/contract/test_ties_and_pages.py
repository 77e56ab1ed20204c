"""What fixes the order of a search is the search: not the page that is asked for, nor where equal scores are cut.

Sources of the faults that these hold against: neural-search #325, #910 and #1131, qdrant #6814, weaviate #3205.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dar_search.data import Hit, ImageRecord, ScoreFusion
from dar_search.errors import RequestError
from dar_search.filters import parse_filter
from dar_search.ports import ImageIndex, SearchRequest, Store
from tests.contract.gallery import PROVENANCE, random_units, record

COUNT = 300
METHODS = (ScoreFusion(), ScoreFusion("min_max", 0.2, 0.8), ScoreFusion("rrf"), ScoreFusion("rrf", 0.4, 0.6))
VECTOR = random_units(1, seed=5)[0] * np.float32(0.8)
#: 12 of the gallery are nearest and the same; captions are so few that any depth cuts amid equal ones.
CAPTIONS = ("a red kite", "a red kite and a dog", "two dogs", "a dog and a dog at the sea", "nothing of it", "")
TEXT = "a red kite and a dog"


@pytest.fixture(scope="module")
def tied(store: Store) -> Iterator[ImageIndex]:
    """300 pictures: 12 of them the same, the others in pairs that are; captions of six kinds."""
    vectors = random_units(COUNT, seed=3)
    vectors[1::2] = vectors[::2]
    vectors[40:52] = VECTOR / np.linalg.norm(VECTOR)
    made = store.create("contract-ties", PROVENANCE)
    pictures = [
        record(f"p{n * 7919 % COUNT:03d}", vectors[n], caption=CAPTIONS[n * n % 7 % 6], metadata={"even": n % 2 == 0})
        for n in range(COUNT)
    ]
    assert made.write(pictures) == []
    made.refresh()
    yield made
    store.drop(made.name)


@pytest.fixture(scope="module")
def alike(store: Store) -> Iterator[ImageIndex]:
    """300 different pictures with one caption."""
    vectors = random_units(COUNT, seed=4)
    made = store.create("contract-alike", PROVENANCE)
    assert (
        made.write([record(f"p{n * 7919 % COUNT:03d}", vectors[n], caption="a red kite") for n in range(COUNT)]) == []
    )
    made.refresh()
    yield made
    store.drop(made.name)


def ids(hits: tuple[Hit, ...]) -> list[str]:
    return [hit.id for hit in hits]


def whole(index: ImageIndex, request: SearchRequest, leg: str) -> dict[str, float]:
    """The raw scores of a whole leg."""
    alone = replace(request, size=COUNT, offset=0, depth=COUNT, **{"text" if leg == "knn" else "vector": None})
    return {hit.id: hit.score for hit in index.search(alone).hits}


@pytest.mark.parametrize("fused_in_client", [False, True])
@pytest.mark.parametrize("fusion", METHODS, ids=str)
@pytest.mark.parametrize("depth", [20, 100, COUNT - 1, COUNT, 2 * COUNT])
def test_where_all_captions_are_the_same_the_order_is_that_of_the_vector(
    alike: ImageIndex, fusion: ScoreFusion, depth: int, fused_in_client: bool
) -> None:
    request = SearchRequest(VECTOR, "red kite", size=20, depth=depth, fusion=fusion, exact=True)
    by_vector = alike.search(replace(request, text=None)).hits
    hits = alike.search(replace(request, fused_in_client=fused_in_client)).hits
    assert ids(hits) == ids(by_vector)
    assert sorted(hits, key=lambda hit: -hit.score) == list(hits)


@pytest.mark.parametrize("fused_in_client", [False, True])
@pytest.mark.parametrize("fusion", METHODS, ids=str)
@pytest.mark.parametrize("depth", [1, 3, 7, 20, 55, 120, 200, COUNT])
def test_pictures_that_a_legs_cut_parts_get_nothing_of_that_leg(
    tied: ImageIndex, fusion: ScoreFusion, depth: int, fused_in_client: bool
) -> None:
    request = SearchRequest(
        VECTOR, TEXT, size=depth, depth=depth, fusion=fusion, exact=True, fused_in_client=fused_in_client
    )
    legs = {leg: whole(tied, request, leg) for leg in ("knn", "keyword")}
    expected: dict[str, float] = {}
    for leg, scores in legs.items():
        order = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
        best, beyond = order[:depth], order[depth:]
        lowest, highest = best[-1][1], best[0][1]
        weight = fusion.knn if leg == "knn" else fusion.keyword
        for rank, (id, score) in enumerate(best, 1):
            if beyond and score == lowest == beyond[0][1]:
                continue
            if fusion.method == "rrf":
                given = weight / (fusion.rank_constant + (1 if highest == lowest else rank))
            else:
                given = weight * (1 if highest == lowest else (score - lowest) / (highest - lowest) or 0.001)
            expected[id] = expected.get(id, 0.0) + given
    hits = tied.search(request).hits
    assert len(hits) == depth
    assert [hit.score for hit in hits] == pytest.approx(
        sorted(expected.values(), reverse=True)[:depth] + [0.0] * (depth - len(expected)), abs=2e-6
    )
    for hit in hits:
        assert hit.score == pytest.approx(expected.get(hit.id, 0.0), abs=2e-6)
    rest = [hit.id for hit in hits if hit.id not in expected]
    heavier = legs["keyword" if fusion.keyword > fusion.knn else "knn"]
    assert rest == sorted(rest, key=lambda id: (-heavier.get(id, -9.0), id)), "then by the heavier leg"


@pytest.mark.parametrize("fusion", METHODS, ids=str)
@pytest.mark.parametrize("depth", [5, 20, 120, 200, COUNT])
def test_the_order_is_the_same_with_and_without_the_legs_own_scores(
    tied: ImageIndex, fusion: ScoreFusion, depth: int
) -> None:
    request = SearchRequest(VECTOR, TEXT, size=depth, depth=depth, fusion=fusion, exact=True)
    for filter in ({}, {"even": True}):
        one = replace(request, filter=parse_filter(filter))
        assert ids(tied.search(one).hits) == ids(tied.search(replace(one, fused_in_client=True)).hits)


@pytest.mark.parametrize("exact", [True, False])
def test_more_equal_nearest_pictures_than_are_joined_are_found_and_told_apart_by_their_captions(
    index: ImageIndex, exact: bool
) -> None:
    vectors = random_units(60, seed=8)
    vectors[:40] = vectors[0]
    pictures = [record(f"p{n:02d}", vectors[n], caption="a kite" if n % 10 == 3 else "") for n in range(60)]
    assert index.write(pictures) == []
    index.refresh()
    request = SearchRequest(vectors[0], "kite", size=20, depth=20, exact=exact)
    for one in (request, replace(request, fused_in_client=True)):
        hits = index.search(one).hits
        assert ids(hits)[:6] == ["p03", "p13", "p23", "p33", "p43", "p53"]
        assert len(hits) == 20
        assert {hit.score for hit in hits[6:]} == {0.0}
    assert len(index.search(replace(request, text="nowhere")).hits) == 20
    alone = index.search(replace(request, text=None, exact=True)).hits
    assert ids(alone) == [f"p{n:02d}" for n in range(20)]


PAGED: dict[str, dict[str, Any]] = {
    "min_max": {},
    "min_max, for the keywords": {"fusion": ScoreFusion("min_max", 0.2, 0.8)},
    "rrf": {"fusion": ScoreFusion("rrf")},
    "explained": {"fused_in_client": True},
    "by vector": {"text": None},
    "by vector, explained": {"text": None, "fused_in_client": True},
    "filtered": {"filter": parse_filter({"even": True})},
}


def paged(index: ImageIndex, request: SearchRequest, *, size: int, candidates: int) -> list[Hit]:
    """All pages, as they are asked for without a depth."""
    found: list[Hit] = []
    for offset in itertools.count(0, size):
        deep = offset + size > candidates
        page = replace(
            request,
            size=size,
            offset=offset,
            depth=10_000 if deep else candidates,
            fusion=replace(request.fusion, candidates=candidates if deep else None),
        )
        hits = index.search(page).hits
        found += hits
        if len(hits) < size:
            return found
    raise AssertionError


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("kind", PAGED)
def test_pages_beyond_what_is_joined_have_every_picture_once_in_one_order(
    tied: ImageIndex, alike: ImageIndex, kind: str, exact: bool
) -> None:
    for index in (tied, alike):
        if index is alike and kind == "filtered":
            continue
        request = replace(SearchRequest(VECTOR, TEXT, exact=exact), **PAGED[kind])
        hits = paged(index, request, size=37, candidates=60)
        count = COUNT // 2 if kind == "filtered" else COUNT
        assert len({hit.id for hit in hits}) == len(hits) == count
        assert [hit.rank for hit in hits] == list(range(1, count + 1))
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert [hit.id for hit in paged(index, request, size=150, candidates=60)] == [hit.id for hit in hits]
        first = index.search(replace(request, size=60, depth=60)).hits
        assert ids(first) == [hit.id for hit in hits[:60]], "what is joined comes first, as without the other pages"


def test_pages_by_words_alone_have_every_match_once(tied: ImageIndex) -> None:
    request = SearchRequest(text=TEXT)
    every = ids(tied.search(replace(request, size=COUNT, depth=COUNT)).hits)
    assert [hit.id for hit in paged(tied, request, size=37, candidates=60)] == every


@pytest.mark.parametrize("exact", [True, False])
def test_the_greatest_depth_is_joined_but_for_one_candidate(tied: ImageIndex, exact: bool) -> None:
    request = SearchRequest(VECTOR, TEXT, size=10_000, depth=10_000, exact=exact)
    assert len(tied.search(request).hits) == COUNT
    assert tied.search(replace(request, offset=9_990, size=10)).hits == ()


@pytest.mark.parametrize(
    "given",
    [
        {"fusion": ScoreFusion(knn=1, keyword=0)},
        {"fusion": ScoreFusion(knn=np.float32(0.5), keyword=np.float64(0.5))},  # type: ignore[arg-type]
        {"fusion": ScoreFusion("rrf", 1, 0, rank_constant=np.int64(60))},  # type: ignore[arg-type]
        {"fusion": ScoreFusion("rrf", 0.5, 0.5, rank_constant=60.0)},  # type: ignore[arg-type]
        {"size": np.int32(10), "offset": np.int64(0), "depth": np.uint16(200)},
        {"vector": [1] + [0] * 23},
        {"vector": np.eye(24, dtype=np.int64)[0]},
        {"vector": np.eye(24)[0]},
        {"vector": np.eye(48, dtype=np.float32)[0][::2]},
    ],
    ids=str,
)
def test_numbers_of_any_type_search_as_the_declared_ones_do(tied: ImageIndex, given: dict[str, Any]) -> None:
    fusion = given.get("fusion", ScoreFusion())
    plain = SearchRequest(
        np.eye(24, dtype=np.float32)[0],
        TEXT,
        fusion=ScoreFusion(fusion.method, float(fusion.knn), float(fusion.keyword), int(fusion.rank_constant)),
    )
    for client in (False, True):
        expected = tied.search(replace(plain, fused_in_client=client)).hits
        assert tied.search(replace(plain, fused_in_client=client, **given)).hits == expected


def test_a_record_and_its_version_may_have_numbers_of_any_type(index: ImageIndex) -> None:
    given = np.eye(24)[:3]
    pictures = [
        ImageRecord(f"p{n}", vector, "file:///x", width=np.int64(640), height=480.0)  # type: ignore[arg-type]
        for n, vector in enumerate(given)
    ]
    assert index.write(pictures, versions=[np.int64(5)] * 3) == []  # type: ignore[list-item]
    index.refresh()
    for id, found in index.get(["p0", "p1", "p2"]).items():
        assert found.embedding.dtype == np.float32
        assert found.embedding.tolist() == given[int(id[1])].tolist()
        assert (found.width, found.height) == (640, 480)
    assert index.delete(["p0"], version=np.int64(6)) == 1
    assert index.write(pictures[:1], versions=[5]) == []
    index.refresh()
    assert list(index.ids()) == ["p1", "p2"], "the version of the delete is the greater one"


@pytest.mark.parametrize(
    "wrong",
    [
        {"fusion": ScoreFusion(knn=True, keyword=False)},
        {"fusion": ScoreFusion(knn=float("nan"), keyword=0.3)},
        {"fusion": ScoreFusion(knn="0.7", keyword=0.3)},  # type: ignore[arg-type]
        {"fusion": ScoreFusion(knn=None, keyword=1.0)},  # type: ignore[arg-type]
        {"fusion": ScoreFusion("rrf", rank_constant=60.5)},  # type: ignore[arg-type]
        {"fusion": ScoreFusion("rrf", rank_constant=True)},
        {"fusion": ScoreFusion(candidates=0)},
        {"fusion": ScoreFusion(candidates=2.5)},  # type: ignore[arg-type]
        {"size": 2.5},
        {"size": True},
        {"depth": "200"},
        {"offset": None},
        {"vector": ["a"] * 24},
        {"vector": np.ones(24, bool)},
    ],
    ids=str,
)
def test_what_is_no_such_number_is_refused_with_its_name(tied: ImageIndex, wrong: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as caught:
        tied.search(replace(SearchRequest(VECTOR, TEXT), **wrong))
    assert caught.value.message
