"""The measures against a second computation, written here from the definitions alone."""

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dar_search.evaluation import measures
from dar_search.evaluation.galleries import make_gallery
from dar_search.evaluation.intervals import paired_bootstrap
from dar_search.evaluation.ranking import ArrayRanker

DEPTH = 50
RANKS = st.lists(
    st.lists(st.one_of(st.integers(1, DEPTH), st.none()), min_size=11, max_size=11), min_size=1, max_size=8
)


def as_array(rows: list[list[int | None]]) -> measures.Ranks:
    return np.array([[math.inf if rank is None else float(rank) for rank in row] for row in rows])


@given(RANKS, st.integers(1, 20))
def test_hits_at_k_counts_a_dialogue_from_the_first_round_that_had_its_target_in_the_top_k(
    rows: list[list[int | None]], k: int
) -> None:
    expected = []
    for row in rows:
        seen, line = False, []
        for rank in row:
            if rank is not None and rank <= k:
                seen = True
            line.append(1.0 if seen else 0.0)
        expected.append(line)
    assert measures.hits_at_k(as_array(rows), k).tolist() == expected


@given(RANKS, st.integers(1, 20))
def test_recall_at_k_looks_at_each_round_alone(rows: list[list[int | None]], k: int) -> None:
    expected = [[1.0 if rank is not None and rank <= k else 0.0 for rank in row] for row in rows]
    assert measures.recall_at_k(as_array(rows), k).tolist() == expected


@given(RANKS)
def test_bri_is_the_trapezoid_of_the_best_log_rank_over_rounds_by_rounds_less_one(rows: list[list[int | None]]) -> None:
    expected = []
    for row in rows:
        best, logs = DEPTH, []
        for rank in row:
            from_zero = DEPTH if rank is None else rank - 1
            best = min(best, from_zero)
            logs.append(math.log(best + 1))
        area = sum((left + right) / 2 for left, right in itertools.pairwise(logs))
        expected.append(area / (len(row) - 1))
    assert measures.best_log_rank_integral(as_array(rows), DEPTH) == pytest.approx(expected)


@given(RANKS)
def test_reciprocal_rank_of_a_miss_is_zero(rows: list[list[int | None]]) -> None:
    expected = [[0.0 if rank is None else 1 / rank for rank in row] for row in rows]
    assert measures.reciprocal_rank(as_array(rows)).tolist() == expected


def test_harm_is_a_worse_rank_than_the_text_alone_and_its_factor_the_geometric_mean_of_the_growth() -> None:
    text = np.array([[1.0, 4.0], [5.0, 2.0], [3.0, 3.0]])
    fused = np.array([[4.0, 1.0], [10.0, math.inf], [3.0, 1.0]])
    assert measures.harmed(fused, text).tolist() == [[1, 0], [1, 1], [0, 0]]
    assert measures.helped(fused, text).tolist() == [[0, 1], [0, 0], [0, 1]]
    factors = measures.harm_factor(fused, text, depth=15)
    assert factors == pytest.approx([math.sqrt(4 * 2), 16 / 2])


def test_ties_rank_by_id_ascending() -> None:
    same = np.array([1.0, 0.0], np.float32)
    other = np.array([0.0, 1.0], np.float32)
    gallery = make_gallery(["d", "b", "a", "c"], np.stack([same, same, other, same]))
    assert gallery.names == ("a", "b", "c", "d")
    ranker = ArrayRanker(gallery)
    queries = np.stack([same] * 4)
    assert ranker.ranks(queries, np.array([0, 1, 2, 3])).tolist() == [4, 1, 2, 3]
    rows, _ = ranker.top(queries[:1], 3)
    assert [gallery.names[row] for row in rows[0]] == ["b", "c", "d"]


def test_ranks_agree_with_a_full_sort_on_a_gallery_full_of_ties() -> None:
    rng = random.Random(3)
    vectors = np.array([[rng.choice([-1.0, 1.0]) for _ in range(6)] for _ in range(300)], np.float32) / np.sqrt(6)
    gallery = make_gallery([f"{number:04d}" for number in range(300)], vectors.astype(np.float32))
    queries = gallery.embeddings[::7] * np.float32(1.3)
    targets = np.arange(0, 300, 7)[::-1].copy()
    ranks = ArrayRanker(gallery).ranks(queries, targets)
    scores = queries @ gallery.embeddings.T
    for query, target, rank in zip(range(len(queries)), targets, ranks, strict=True):
        order = sorted(range(300), key=lambda row: (-scores[query, row], gallery.ids[row]))
        assert order.index(target) + 1 == rank


def test_a_paired_interval_holds_the_true_difference_and_excludes_zero_where_it_is_plain() -> None:
    rng = np.random.default_rng(5)
    base = rng.integers(0, 2, (400, 2)).astype(float)
    better = base.copy()
    better[rng.random(400) < 0.2, 0] += 1.0
    first, second = paired_bootstrap(better, base, samples=1000, seed=1)
    assert first.low < first.mean < first.high
    assert first.low > 0.12
    assert first.high < 0.28
    assert (second.low, second.mean, second.high) == (0, 0, 0)
    assert paired_bootstrap(better, base, samples=1000, seed=1)[0] == first
