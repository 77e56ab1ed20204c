"""Vector fusion is the published score; score fusion is that of OpenSearch's own processors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dar_search.data import LegHit, ScoreFusion, VectorWeights
from dar_search.errors import DimensionMismatch, RequestError
from dar_search.fusion import SCHEDULES, TEXT_ONLY, Schedule, fuse_scores, fuse_vectors, ranked, score_range, share

RELEASED = SCHEDULES["released"]


def units(rng: np.random.Generator, number: int, dimension: int) -> np.ndarray:
    vectors = rng.normal(size=(number, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@settings(deadline=None, max_examples=200)
@given(
    seed=st.integers(0, 2**32 - 1),
    imagined=st.integers(1, 16),
    round=st.integers(0, 10),
    dimension=st.integers(2, 128),
    size=st.integers(2, 300),
    closeness=st.sampled_from([0.0, 0.3, 0.01]),
)
def test_one_knn_query_with_the_fused_vector_ranks_as_the_weighted_sum_of_separate_scores(
    seed: int, imagined: int, round: int, dimension: int, size: int, closeness: float
) -> None:
    rng = np.random.default_rng(seed)
    gallery = units(rng, size, dimension)
    if closeness:  # a gallery of near-duplicates, where ranks are easily confused
        near = gallery[:1].astype(np.float64) + closeness * gallery
        gallery = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
    text, images = units(rng, 1, dimension)[0], units(rng, imagined, dimension)
    weights = RELEASED.at(round)

    # The released evaluation: a text score and a score per imagined picture, each over the whole gallery, then a sum.
    separate = weights.text * (gallery @ text) + weights.image * np.mean([gallery @ image for image in images], axis=0)
    single = gallery @ fuse_vectors(text, list(images), weights)

    np.testing.assert_allclose(single, separate, atol=1e-6, rtol=0)
    ranking = np.argsort(-single, kind="stable")
    best_behind = np.maximum.accumulate(separate[ranking][::-1])[::-1]
    assert (separate[ranking] >= best_behind - 1e-6).all()


def test_fusing_no_imagined_pictures_gives_the_text_alone() -> None:
    text = units(np.random.default_rng(0), 1, 8)[0]
    np.testing.assert_array_equal(fuse_vectors(text, [], VectorWeights(0.5, 0.5)), text)


def test_the_fused_vector_is_float32_and_keeps_its_length() -> None:
    text, image = units(np.random.default_rng(0), 2, 8)
    fused = fuse_vectors(text, [image], VectorWeights(3.0, 2.0))
    assert fused.dtype == np.float32
    np.testing.assert_allclose(fused, 3 * text + 2 * image, rtol=1e-6)


def test_embeddings_of_another_dimension_are_refused() -> None:
    with pytest.raises(DimensionMismatch, match=r"\(4,\).*\(3,\)"):
        fuse_vectors(np.ones(3, np.float32), [np.ones(4, np.float32)], VectorWeights(0.5, 0.5))


def test_the_released_schedule_has_the_published_weights() -> None:
    assert [RELEASED.at(round) for round in (0, 1)] == [VectorWeights(0.8, 0.2)] * 2
    assert [RELEASED.at(round) for round in (2, 3, 10, 1000)] == [VectorWeights(0.5, 0.5)] * 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("released", RELEASED),
        ("text-only", Schedule(((0, TEXT_ONLY),))),
        ("0.7/0.3", Schedule(((0, VectorWeights(0.7, 0.3)),))),
        ("0:0.8/0.2,2:0.5/0.5", RELEASED),
        (" 0 : 1/0 , 3: 0/1 ", Schedule(((0, TEXT_ONLY), (3, VectorWeights(0.0, 1.0))))),
    ],
)
def test_a_schedule_is_read_by_name_or_by_round(text: str, expected: Schedule) -> None:
    assert Schedule.parse(text) == expected


@settings(deadline=None)
@given(st.dictionaries(st.integers(1, 99), st.tuples(st.integers(0, 9), st.integers(1, 9)), max_size=5))
def test_a_schedule_reads_back_from_what_it_prints(later: dict[int, tuple[int, int]]) -> None:
    steps = [(0, VectorWeights(0.5, 0.5)), *((r, VectorWeights(t / 10, i / 10)) for r, (t, i) in sorted(later.items()))]
    assert Schedule.parse(str(Schedule(tuple(steps)))) == Schedule(tuple(steps))


@pytest.mark.parametrize(
    "text",
    ["", "fast", "0.5", "1:0.5/0.5", "0:0.8/0.2,0:0.5/0.5", "0:1/0,3:1/0,2:1/0", "0:0/0", "-1/2", "nan/1", "1/1e5",
     "0:1/0,0.5/0.5", "0:1..2/1", "0:9999/1", "0:1/0,", "٣/١"],
)  # fmt: skip
def test_a_schedule_that_does_not_read_is_refused_with_how_to_write_one(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        Schedule.parse(text)
    assert "0:0.8/0.2,2:0.5/0.5" in caught.value.hint


def test_min_max_fusion_by_hand() -> None:
    legs = {"knn": {"a": 0.9, "b": 0.5, "c": 0.1}, "keyword": {"b": 8.0, "d": 2.0}}
    fused = fuse_scores(legs, ScoreFusion("min_max", 0.6, 0.4))
    assert [one.id for one in fused] == ["b", "a", "c", "d"]
    assert [one.score for one in fused] == pytest.approx([0.6 * 0.5 + 0.4, 0.6, 0.6 * 0.001, 0.4 * 0.001])
    assert fused[0].legs == {"knn": LegHit(2, 0.5), "keyword": LegHit(1, 8.0)}
    assert fused[1].legs == {"knn": LegHit(1, 0.9)}


def test_rrf_by_hand() -> None:
    legs = {"knn": {"a": 0.9, "b": 0.5}, "keyword": {"b": 8.0, "d": 2.0}}
    fused = fuse_scores(legs, ScoreFusion("rrf", 0.7, 0.3, rank_constant=10))
    assert {one.id: one.score for one in fused} == pytest.approx(
        {"b": 0.7 / 12 + 0.3 / 11, "a": 0.7 / 11, "d": 0.3 / 12}
    )
    assert [one.id for one in fused] == ["b", "a", "d"]


def test_a_leg_with_one_score_gives_its_whole_weight() -> None:
    assert fuse_scores({"knn": {"a": 0.2}, "keyword": {}}, ScoreFusion())[0].score == pytest.approx(0.7)
    equal = fuse_scores({"knn": {"b": 0.2, "a": 0.2}, "keyword": {}}, ScoreFusion())
    assert [(one.id, one.score) for one in equal] == [("a", 0.7), ("b", 0.7)]


def test_no_candidates_fuse_to_nothing() -> None:
    assert fuse_scores({"knn": {}, "keyword": {}}, ScoreFusion()) == []
    assert score_range({}) == (None, None)


def processor_scores(legs: list[dict[str, float]], weights: list[float]) -> dict[str, np.float32]:
    """min_max and arithmetic_mean step by step, in float32 and in the order of OpenSearch's processor."""
    one, floor, f = np.float32(1), np.float32(0.001), np.float32
    normalised: dict[str, list[np.float32]] = {}
    for number, leg in enumerate(legs):
        low, high = f(min(leg.values(), default=0)), f(max(leg.values(), default=0))
        for id, score in leg.items():
            value = one if high == low else (f(score) - low) / (high - low)
            normalised.setdefault(id, [f(0)] * len(legs))[number] = floor if value == 0 else value
    total = sum((f(weight) for weight in weights), start=f(0))
    return {
        id: sum((value * f(weight) for value, weight in zip(values, weights, strict=True)), start=f(0)) / total
        for id, values in normalised.items()
    }


#: Scores of a few bits: float32 holds them, their differences and their doubles exactly.
score = st.integers(-1024, 20 * 1024).map(lambda number: number / 1024)
scores = st.dictionaries(st.sampled_from([f"picture-{number}" for number in range(12)]), score, max_size=12)


@settings(deadline=None)
@given(knn=scores, keyword=scores, percent=st.integers(0, 100))
def test_min_max_fusion_agrees_with_the_processor_up_to_float32(
    knn: dict[str, float], keyword: dict[str, float], percent: int
) -> None:
    fusion = ScoreFusion("min_max", percent / 100, 1 - percent / 100)
    expected = processor_scores([knn, keyword], [fusion.knn, fusion.keyword])
    fused = fuse_scores({"knn": knn, "keyword": keyword}, fusion)
    assert {one.id: one.score for one in fused} == pytest.approx(expected, abs=1e-5)


@settings(deadline=None)
@given(knn=scores, keyword=scores, method=st.sampled_from(["min_max", "rrf"]), data=st.data())
def test_the_order_does_not_depend_on_the_order_of_the_input_and_ties_go_by_id(
    knn: dict[str, float], keyword: dict[str, float], method: str, data: st.DataObject
) -> None:
    fusion = ScoreFusion(method, 0.7, 0.3)  # type: ignore[arg-type]
    fused = fuse_scores({"knn": knn, "keyword": keyword}, fusion)
    shuffled = {id: knn[id] for id in data.draw(st.permutations(list(knn)))}
    assert fuse_scores({"keyword": keyword, "knn": shuffled}, fusion) == fused
    for first, second in itertools.pairwise(fused):
        assert (-first.score, first.id) < (-second.score, second.id)


@settings(deadline=None)
@given(knn=scores, keyword=scores, scale=st.sampled_from([0.25, 0.5, 2.0]), shift=st.sampled_from([0.0, 0.5, 1.0]))
def test_min_max_does_not_see_a_scaled_or_shifted_leg(
    knn: dict[str, float], keyword: dict[str, float], scale: float, shift: float
) -> None:
    """A server that scores by cosine, (1 + cos) / 2, so fuses like a store that scores by inner product."""
    moved = {id: score * scale + shift for id, score in knn.items()}
    fused = fuse_scores({"knn": moved, "keyword": keyword}, ScoreFusion())
    expected = {one.id: one.score for one in fuse_scores({"knn": knn, "keyword": keyword}, ScoreFusion())}
    assert {one.id: one.score for one in fused} == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(knn=scores, keyword=scores, method=st.sampled_from(["min_max", "rrf"]))
def test_the_shares_of_the_legs_sum_to_the_fused_score(
    knn: dict[str, float], keyword: dict[str, float], method: str
) -> None:
    fusion = ScoreFusion(method, 0.4, 0.6)  # type: ignore[arg-type]
    legs = {"knn": knn, "keyword": keyword}
    for one in fuse_scores(legs, fusion):
        shares = [share(fusion, name, hit, *score_range(legs[name])) for name, hit in one.legs.items()]
        assert sum(shares) == pytest.approx(one.score, abs=1e-12)
        assert all(given > 0 for given in shares)


def test_a_leg_is_ranked_from_one_with_ties_by_id() -> None:
    assert ranked({"b": 1.0, "a": 1.0, "c": 2.0}) == {"c": LegHit(1, 2.0), "a": LegHit(2, 1.0), "b": LegHit(3, 1.0)}
