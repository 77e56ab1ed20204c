"""Edits of a rewritten query: Rocchio's formula, explanations that still sum to the score, edits in any order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dar_search.data import Dialogue, FloatArray, ImageRecord, RewrittenQuery, ScoreFusion, Turn
from dar_search.errors import RequestError, StoreUnavailable
from dar_search.method.edits import MAX_EDITS, EditWeights, QueryEdits, edited, parse_edits, with_pictures, wordless
from dar_search.method.fusion import Schedule
from dar_search.method.retrieval import SearchOptions, describe, describe_result, search
from dar_search.method.rewriting import ImaginationOptions, rewrite
from dar_search.models.imaginers.imagination_cache import MemoryImaginationCache
from dar_search.models.reformulators.rules import RulesReformulator
from tests.fakes import FakeEncoder, FakeImaginer, FakeIndex, direction

ENCODER = FakeEncoder()
DIALOGUE = Dialogue("a dog on a beach", (Turn("what color is the dog?", "brown"), Turn("is it sunny?", "yes")))
CAPTIONS = ["a dog", "a brown dog on a beach", "a cat in the snow", "a boat", "sunny weather", "two people on a beach"]
IMAGINED = 4


def query(dialogue: Dialogue = DIALOGUE) -> RewrittenQuery:
    return rewrite(
        dialogue, ENCODER, RulesReformulator(), FakeImaginer(ENCODER), options=ImaginationOptions(count=IMAGINED)
    )


def filled() -> FakeIndex:
    index = FakeIndex(ENCODER.provenance)
    embeddings = ENCODER.encode_texts(CAPTIONS)
    index.write(
        [
            ImageRecord(f"id{at}", embedding, f"file:///{at}.jpg", caption=caption)
            for at, (caption, embedding) in enumerate(zip(CAPTIONS, embeddings, strict=True))
        ]
    )
    return index


QUERY, INDEX = query(), filled()
IMAGES = [one.id for one in QUERY.imaginations]
HITS = [f"id{at}" for at in range(len(CAPTIONS))]


def embedding(id: str) -> FloatArray:
    return INDEX.get([id])[id].embedding


@st.composite
def some_edits(draw: st.DrawFn) -> QueryEdits:
    """Each imagination and each hit is left alone, or edited in one of its two ways."""
    of_images = draw(st.lists(st.sampled_from(["", "strike", "negative"]), min_size=IMAGINED, max_size=IMAGINED))
    of_hits = draw(st.lists(st.sampled_from(["", "more_like", "not_this"]), min_size=len(HITS), max_size=len(HITS)))
    lists: dict[str, list[str]] = {}
    for id, what in zip((*IMAGES, *HITS), (*of_images, *of_hits), strict=True):
        if what:
            lists.setdefault(what, []).append(id)
    return parse_edits(lists)


def test_the_vector_is_rocchios_formula_by_hand() -> None:
    edits = QueryEdits(strike=(IMAGES[0],), negative=(IMAGES[1],), more_like=("id1", "id5"), not_this=("id2",))
    found = edited(QUERY, edits, INDEX, weights=EditWeights(0.6, 0.4))
    _, two, three, four = (imagination.embedding for imagination in QUERY.imaginations)
    expected = 0.5 * QUERY.text_embedding + 0.5 * (three + four) / 2
    expected = expected + 0.6 * (embedding("id1") + embedding("id5")) / 2 - 0.4 * (two + embedding("id2")) / 2
    np.testing.assert_allclose(found.vector, expected, atol=1e-6)
    assert [imagination.id for imagination in found.imaginations] == IMAGES[2:]
    assert found.legs["edits"].status == "ok"
    assert found.legs["imagination"].status == "ok"


@settings(max_examples=60, deadline=None)
@given(some_edits(), st.booleans())
def test_the_parts_of_an_edited_query_sum_to_the_score(edits: QueryEdits, keyword: bool) -> None:
    changed = edited(QUERY, edits, INDEX, weights=EditWeights(0.75, 0.5))
    result = search(changed, INDEX, SearchOptions(keyword=keyword, explain=True, fusion=ScoreFusion()))
    for hit in result.hits:
        parts = hit.explanation
        assert parts is not None
        assert parts.text is not None
        assert parts.images is not None
        assert parts.edits is not None
        assert parts.offset is not None
        assert set(parts.images) == {one.id for one in changed.imaginations}
        assert len(parts.edits) == len(edits.negative) + len(edits.more_like) + len(edits.not_this)
        total = parts.text + sum(parts.images.values()) + sum(parts.edits.values()) + parts.keyword + parts.offset
        assert total == pytest.approx(hit.score, abs=1e-6)
        # The offset is min-max's own, the same for every hit: it hides no part that is not named.
        if not keyword:
            assert parts.offset == 0.0
        elif "knn" in hit.legs and hit.legs["knn"].score > (result.legs["knn"].lowest or 0.0):
            low, high = result.legs["knn"].lowest, result.legs["knn"].highest
            assert low is not None
            assert high is not None
            assert parts.offset == pytest.approx(-0.7 * low / (high - low), abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(some_edits(), st.randoms(use_true_random=False))
def test_edits_of_different_pictures_commute_to_the_last_bit(edits: QueryEdits, chance: Any) -> None:
    steps = [
        QueryEdits(**{name: (id,)})
        for name in ("strike", "negative", "more_like", "not_this")
        for id in getattr(edits, name)
    ]
    chance.shuffle(steps)
    one_by_one = QUERY
    for step in steps:
        one_by_one = edited(one_by_one, step, INDEX)
    at_once = edited(QUERY, edits, INDEX)
    assert one_by_one.vector.tobytes() == at_once.vector.tobytes()
    assert one_by_one.imaginations == at_once.imaginations
    assert [(one.kind, one.id, one.weight) for one in one_by_one.feedback] == [
        (one.kind, one.id, one.weight) for one in at_once.feedback
    ]


def test_all_imaginations_struck_out_is_the_text_alone() -> None:
    found = edited(QUERY, QueryEdits(strike=tuple(IMAGES)), INDEX)
    text_only = rewrite(DIALOGUE, ENCODER, RulesReformulator(), schedule=Schedule.parse("text-only"))
    assert found.vector.tobytes() == text_only.vector.tobytes()
    assert found.weights == text_only.weights
    assert (found.legs["imagination"].status, found.legs["imagination"].reason) == ("off", "all was struck out")
    ours = describe_result(search(found, INDEX))["hits"]
    assert ours == describe_result(search(text_only, INDEX))["hits"]


def test_no_edits_are_the_query_itself() -> None:
    assert edited(QUERY, QueryEdits(), INDEX) is QUERY
    assert edited(QUERY, parse_edits(None), INDEX) is QUERY


def test_more_like_this_raises_a_hit_and_not_this_lowers_it() -> None:
    def score(found: RewrittenQuery) -> float:
        return float(found.vector @ embedding("id3"))

    assert score(edited(QUERY, QueryEdits(more_like=("id3",)), INDEX)) > score(QUERY)
    assert score(edited(QUERY, QueryEdits(not_this=("id3",)), INDEX)) < score(QUERY)


def test_what_is_gone_is_a_leg_with_a_reason_and_the_rest_counts() -> None:
    found = edited(
        QUERY, QueryEdits(strike=("gone1", IMAGES[0]), negative=("gone2",), more_like=("gone3", "id1")), INDEX
    )
    assert found.legs["edits"].status == "failed"
    assert found.legs["edits"].reason == "not there any more: gone1, gone2, gone3"
    expected = edited(QUERY, QueryEdits(strike=(IMAGES[0],), more_like=("id1",)), INDEX)
    assert found.vector.tobytes() == expected.vector.tobytes()


def test_an_index_that_fails_is_a_leg_with_a_reason() -> None:
    class Unreachable(FakeIndex):
        def get(self, ids: Any) -> Any:
            raise StoreUnavailable("The store does not answer.")

    found = edited(QUERY, QueryEdits(strike=(IMAGES[0],), more_like=("id1",)), Unreachable(ENCODER.provenance))
    assert (found.legs["edits"].status, found.legs["edits"].reason) == ("failed", "The store does not answer.")
    assert found.vector.tobytes() == edited(QUERY, QueryEdits(strike=(IMAGES[0],)), INDEX).vector.tobytes()


def test_a_negative_imagination_of_an_earlier_round_comes_from_the_cache_and_nothing_is_imagined() -> None:
    earlier = query(DIALOGUE.at_round(1)).imaginations[0]
    cache = MemoryImaginationCache()
    cache.put([earlier])
    found = edited(QUERY, QueryEdits(negative=(earlier.id,)), INDEX, cache=cache)
    assert found.legs["edits"].status == "ok"
    np.testing.assert_allclose(found.vector, QUERY.vector - 0.15 * earlier.embedding, atol=1e-6)
    assert found.imaginations == QUERY.imaginations


def test_a_cached_imagination_of_another_space_is_not_used() -> None:
    other = FakeImaginer(FakeEncoder(dimension=8)).imagine("a dog", count=1, seed=0)[0]
    cache = MemoryImaginationCache()
    cache.put([other])
    found = edited(QUERY, QueryEdits(negative=(other.id,)), INDEX, cache=cache)
    assert found.legs["edits"].status == "failed"
    assert found.vector.tobytes() == QUERY.vector.tobytes()


def test_the_index_is_not_asked_where_no_hit_is_named() -> None:
    class Untouchable(FakeIndex):
        def get(self, ids: Any) -> Any:
            raise AssertionError("asked")

    edited(QUERY, QueryEdits(strike=(IMAGES[0],), negative=(IMAGES[1],)), Untouchable(ENCODER.provenance))


def test_a_query_that_edits_cancel_out_is_refused() -> None:
    index = FakeIndex(ENCODER.provenance)
    text_only = rewrite(DIALOGUE, ENCODER, RulesReformulator())
    index.write([ImageRecord("same", text_only.text_embedding, "file:///same.jpg")])
    with pytest.raises(RequestError, match="take away all"):
        edited(text_only, QueryEdits(not_this=("same",)), index, weights=EditWeights(not_this=1.0))


@pytest.mark.parametrize(
    "raw",
    [
        ["x"],
        "x",
        {"stricken": ["x"]},
        {"strike": "x"},
        {"strike": [1]},
        {"strike": [""]},
        {"strike": ["\ud800"]},
        {"strike": ["x" * 513]},
        {"strike": [f"{number}" for number in range(MAX_EDITS + 1)]},
        {"strike": None},
        {"strike": ["x"], "negative": ["x"]},
        {"more_like": ["x"], "not_this": ["x"]},
        {1: ["x"]},
    ],
)
def test_bad_edits_are_refused_with_a_hint(raw: Any) -> None:
    with pytest.raises(RequestError) as caught:
        parse_edits(raw)
    assert caught.value.hint


def test_contradictions_over_two_calls_are_refused() -> None:
    once = edited(QUERY, QueryEdits(more_like=("id1",)), INDEX)
    with pytest.raises(RequestError, match='"id1"'):
        edited(once, QueryEdits(not_this=("id1",)), INDEX)


@pytest.mark.parametrize("weight", [-0.1, 11.0, float("nan"), float("inf")])
def test_weights_of_edits_are_bounded(weight: float) -> None:
    with pytest.raises(RequestError):
        EditWeights(more_like=weight)


def test_a_description_names_the_edits() -> None:
    found = edited(QUERY, QueryEdits(negative=(IMAGES[1],), more_like=("id1",)), INDEX)
    assert describe(found)["edits"] == [
        {"kind": "more_like", "id": "id1", "weight": 0.75},
        {"kind": "negative", "id": IMAGES[1], "weight": -0.15},
    ]


def test_an_rrf_explanation_splits_no_edits() -> None:
    found = edited(QUERY, QueryEdits(more_like=("id1",)), INDEX)
    result = search(found, INDEX, SearchOptions(explain=True, fusion=ScoreFusion("rrf", 0.5, 0.5)))
    assert all(hit.explanation is not None and hit.explanation.edits is None for hit in result.hits)


def test_hits_liked_by_direction_alone_keep_the_vector_linear() -> None:
    """The score of any picture is the inner product with one vector, so one k-NN query still answers."""
    found = edited(QUERY, QueryEdits(more_like=("id1",), not_this=("id2",), negative=(IMAGES[0],)), INDEX)
    for seed in range(20):
        picture = direction(f"picture {seed}", 16)
        parts = found.weights.text * found.text_embedding @ picture
        parts += np.mean([found.weights.image * one.embedding @ picture for one in found.imaginations])
        parts += sum(one.weight * one.embedding @ picture for one in found.feedback)
        assert found.vector @ picture == pytest.approx(parts, abs=1e-6)


def test_a_picture_of_ones_own_counts_as_much_as_the_words_and_alone_it_is_the_query() -> None:
    size = len(QUERY.vector)
    mine, other = direction("mine", size), direction("other", size)
    both = with_pictures(QUERY, {"m": mine, "o": other}, EditWeights(picture=0.5))
    assert np.allclose(both.vector, QUERY.vector + 0.25 * mine + 0.25 * other, atol=1e-6)
    assert [(one.kind, one.id, one.weight) for one in both.feedback] == [("picture", id, 0.25) for id in "mo"]
    assert with_pictures(QUERY, {}) is QUERY
    edited_too = edited(
        both, QueryEdits(more_like=("id1",), not_this=("id2",)), INDEX, weights=EditWeights(picture=0.5)
    )
    moved = both.vector + 0.75 * embedding("id1") - 0.15 * embedding("id2")
    assert np.allclose(edited_too.vector, moved, atol=1e-6)

    alone = with_pictures(wordless(size), {"m": mine})
    assert np.allclose(alone.vector, mine, atol=1e-6)
    result = search(alone, INDEX, SearchOptions(explain=True))
    assert result.legs["keyword"].status == "off"
    hit = result.hits[0]
    assert hit.explanation is not None
    assert hit.explanation.edits == {"picture:m": pytest.approx(hit.score, abs=1e-5)}
