"""Vector fusion is the published score; score fusion is that of OpenSearch's own processors."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dar_search.data import Feedback, LegHit, ScoreFusion, VectorWeights
from dar_search.errors import DimensionMismatch, RequestError
from dar_search.method.edits import EditWeights
from dar_search.method.fusion import (
    SCHEDULES,
    TEXT_ONLY,
    Schedule,
    fuse_scores,
    fuse_vectors,
    in_order,
    ranked,
    score_range,
    share,
)
from dar_search.method.questions import QuestionOptions
from dar_search.method.rewriting import ImaginationOptions

ONE = np.ones(1, np.float32)
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


def test_a_leg_that_is_cut_amid_equal_scores_gives_nothing_to_any_of_them() -> None:
    legs = {"knn": {"a": 0.9, "b": 0.5, "c": 0.1}, "keyword": {"b": 8.0, "c": 2.0, "d": 2.0, "e": 2.0}}
    fused = fuse_scores(legs, ScoreFusion("min_max", 0.6, 0.4), joined=3)
    assert [(one.id, one.score) for one in fused] == [
        ("b", pytest.approx(0.6 * 0.5 + 0.4)),
        ("a", pytest.approx(0.6)),
        ("c", pytest.approx(0.6 * 0.001)),
    ]
    assert fused[2].legs == {"knn": LegHit(3, 0.1), "keyword": LegHit(2, 2.0)}, "where it was found is still told"
    order = in_order(legs, ScoreFusion("min_max", 0.6, 0.4), joined=3)
    assert [(one.id, one.score) for one in order[3:]] == [("d", 0.0), ("e", 0.0)]
    assert [one.id for one in in_order(legs, ScoreFusion("rrf", 0.5, 0.5), joined=3)] == ["b", "a", "c", "d", "e"]


def test_a_leg_whose_candidates_are_all_equal_gives_them_the_same_by_either_method() -> None:
    for method, score in (("min_max", 0.3), ("rrf", 0.3 / 61)):
        fusion = ScoreFusion(method)  # type: ignore[arg-type]
        assert share(fusion, "keyword", LegHit(1, 2.0), 2.0, 2.0) == share(fusion, "keyword", LegHit(9, 2.0), 2.0, 2.0)
        assert share(fusion, "keyword", LegHit(9, 2.0), 2.0, 2.0) == pytest.approx(score)


@settings(deadline=None)
@given(
    knn=scores,
    keyword=scores,
    method=st.sampled_from(["min_max", "rrf"]),
    percent=st.integers(0, 100),
    joined=st.integers(1, 12),
)
def test_the_order_has_every_candidate_once_and_a_page_is_a_part_of_it(
    knn: dict[str, float], keyword: dict[str, float], method: str, percent: int, joined: int
) -> None:
    fusion = ScoreFusion(method, percent / 100, 1 - percent / 100)  # type: ignore[arg-type]
    legs = {"knn": knn, "keyword": keyword}
    order = in_order(legs, fusion, joined=joined)
    assert sorted(one.id for one in order) == sorted({*knn, *keyword})
    assert [one.score for one in order] == sorted((one.score for one in order), reverse=True)
    assert in_order(legs, fusion, slice(2, 5), joined) == order[2:5]
    # What a shallower search of each leg looks at is enough for the places that are joined.
    looked_at = {
        name: dict(sorted(leg.items(), key=lambda one: (-one[1], one[0]))[: joined + 1]) for name, leg in legs.items()
    }
    assert in_order(looked_at, fusion, slice(joined), joined) == order[:joined]
    deeper = in_order(looked_at, fusion, joined=joined, further=legs)
    assert [one.id for one in deeper][:joined] == [one.id for one in order][:joined]
    assert sorted(one.id for one in deeper) == sorted(one.id for one in order)


@pytest.mark.parametrize(
    ("given", "kept"),
    [(1, 1.0), (0, 0.0), (np.float32(0.5), 0.5), (np.int8(1), 1.0), (Fraction(1, 4), 0.25), (0.7, 0.7)],
)
def test_a_weight_of_any_numeric_type_is_kept_as_the_float_that_is_declared(given: Any, kept: float) -> None:
    kinds = (ScoreFusion(knn=given, keyword=given), VectorWeights(given, given), Feedback("more_like", "a", ONE, given))
    for made in kinds:
        values = [getattr(made, name) for name in ("knn", "keyword", "text", "image", "weight") if hasattr(made, name)]
        assert values
        assert [(type(value), value) for value in values] == [(float, kept)] * len(values)
    fusion = ScoreFusion(rank_constant=60.0, candidates=np.int64(7))  # type: ignore[arg-type]
    assert (type(fusion.rank_constant), type(fusion.candidates)) == (int, int)
    assert Schedule(((np.int64(0), VectorWeights(1, 0)),)) == Schedule.parse("1/0")  # type: ignore[arg-type]
    assert str(Schedule(((0, VectorWeights(1, 0)),))) == "0:1/0"


def test_options_keep_whole_numbers_of_any_type_as_ints_and_refuse_others() -> None:
    three: Any = np.int64(3)
    made = (ImaginationOptions(three, three, 3.0), QuestionOptions(candidates=three, groups=three))  # type: ignore[arg-type]
    for options, names in zip(made, (("count", "seed", "steps"), ("candidates", "groups")), strict=True):
        assert [(type(getattr(options, name)), getattr(options, name)) for name in names] == [(int, 3)] * len(names)
    wrong: Any
    for wrong in (2.5, True, "3", float("nan")):
        with pytest.raises(RequestError, match="count"):
            ImaginationOptions(wrong)
        with pytest.raises(RequestError, match="candidates"):
            QuestionOptions(candidates=wrong)
        if wrong != 2.5:
            with pytest.raises(RequestError, match="more_like"):
                EditWeights(more_like=wrong)
    assert type(EditWeights(1, 0).more_like) is float


@pytest.mark.parametrize("wrong", [True, "0.5", None, float("nan"), float("inf"), np.bool_(True), 1j], ids=repr)
def test_a_vector_weight_that_is_no_number_is_refused(wrong: Any) -> None:
    for weights in ((wrong, 0.5), (0.5, wrong)):
        with pytest.raises(RequestError, match="weight of vector fusion is a number"):
            VectorWeights(*weights)
