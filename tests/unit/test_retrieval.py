"""One search: its page, its legs, and explanations whose parts sum to the score."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dar_search.data import Dialogue, Hit, ImageRecord, RewrittenQuery, ScoreFusion, SearchResult, Turn
from dar_search.errors import (
    DarError,
    DimensionMismatch,
    EncoderMismatch,
    FeatureMissing,
    IndexNotFound,
    RequestError,
    StoreError,
    StoreForbidden,
    StoreUnavailable,
)
from dar_search.filters import parse_filter
from dar_search.method.fusion import Schedule
from dar_search.method.retrieval import SearchOptions, describe, describe_result, search
from dar_search.method.rewriting import ImaginationOptions, rewrite
from dar_search.models.reformulators.rules import RulesReformulator
from tests.fakes import FakeEncoder, FakeImaginer, FakeIndex, FakeStore, direction

ENCODER = FakeEncoder()
DIALOGUE = Dialogue("a dog on a beach", (Turn("what color is the dog?", "brown"), Turn("is it sunny?", "yes")))
CAPTIONS = ["a dog", "a brown dog on a beach", "a cat in the snow", "a boat", "sunny weather", "two people on a beach"]


def rewritten(imaginations: int = 3, schedule: str = "released") -> RewrittenQuery:
    return rewrite(
        DIALOGUE,
        ENCODER,
        RulesReformulator(),
        FakeImaginer(ENCODER) if imaginations else None,
        schedule=Schedule.parse(schedule),
        options=ImaginationOptions(count=max(1, imaginations)),
    )


def filled(keyword_error: DarError | None = None, captions: list[str] = CAPTIONS) -> FakeIndex:
    index = FakeIndex(ENCODER.provenance, keyword_error=keyword_error)
    embeddings = ENCODER.encode_texts(captions)
    index.write(
        [
            ImageRecord(
                f"id{number}", embedding, f"file:///{number}.jpg", caption=caption, metadata={"n": number * 1.0}
            )
            for number, (caption, embedding) in enumerate(zip(captions, embeddings, strict=True))
        ]
    )
    return index


def test_a_search_answers_with_hits_by_rank_and_all_four_legs() -> None:
    result = search(rewritten(), filled(), SearchOptions(size=3))
    assert result.hits[0].caption == "a brown dog on a beach"
    assert [hit.rank for hit in result.hits] == [1, 2, 3]
    assert [hit.score for hit in result.hits] == sorted((hit.score for hit in result.hits), reverse=True)
    assert set(result.legs) == {"reformulation", "imagination", "knn", "keyword"}
    assert {leg.status for leg in result.legs.values()} == {"ok"}
    assert all(hit.explanation is None for hit in result.hits)


def test_one_search_is_one_request_however_much_was_imagined() -> None:
    index = filled()
    search(rewritten(imaginations=16), index)
    assert len(index.requests) == 1


def test_the_options_reach_the_index() -> None:
    index, query = filled(), rewritten()
    options = SearchOptions(
        parse_filter({"n": {"gte": 1}}), 2, 1, 50, ScoreFusion("rrf", 0.5, 0.5), exact=True, thumbnails=True
    )
    search(query, index, options)
    request = index.requests[0]
    assert request.vector is query.vector
    assert request.text == query.reformulation.text
    given = (request.filter, request.size, request.offset, request.depth, request.fusion, request.exact)
    assert given == (options.filter, 2, 1, 50, options.fusion, True)
    assert (request.fused_in_client, request.thumbnails) == (False, True)


def test_pages_continue_each_other() -> None:
    query, index = rewritten(), filled()
    whole = search(query, index, SearchOptions(size=6)).hits
    pages = [search(query, index, SearchOptions(size=2, offset=offset)).hits for offset in (0, 2, 4)]
    assert [hit for page in pages for hit in page] == list(whole)


def test_without_the_keyword_leg_the_score_is_the_published_one() -> None:
    query = rewritten()
    result = search(query, filled(), SearchOptions(keyword=False))
    embeddings = dict(zip((f"id{number}" for number in range(6)), ENCODER.encode_texts(CAPTIONS), strict=True))
    for hit in result.hits:
        text, images = (
            embeddings[hit.id] @ query.text_embedding,
            [embeddings[hit.id] @ one.embedding for one in query.imaginations],
        )
        assert hit.score == pytest.approx(0.5 * text + 0.5 * np.mean(images), abs=1e-6)
    assert (result.legs["keyword"].status, result.legs["keyword"].reason) == ("off", "not asked for")


@pytest.mark.parametrize("error", [StoreError("The captions have no text index."), FeatureMissing("No hybrid here.")])
def test_a_failing_keyword_leg_leaves_the_knn_leg_and_says_why(error: StoreError) -> None:
    result = search(rewritten(), filled(keyword_error=error), SearchOptions(explain=True))
    alone = search(rewritten(), filled(), SearchOptions(keyword=False, explain=True))
    assert result.hits == alone.hits
    assert (result.legs["keyword"].status, result.legs["keyword"].reason) == ("failed", error.message)
    assert result.legs["knn"].status == "ok"


@pytest.mark.parametrize("kind", [IndexNotFound, StoreUnavailable, StoreForbidden, DimensionMismatch])
def test_an_error_of_the_whole_index_is_not_taken_for_the_keyword_legs(kind: type[DarError]) -> None:
    index = filled(keyword_error=kind("gone"))
    with pytest.raises(kind, match="gone"):
        search(rewritten(), index)
    assert len(index.requests) == 1


@pytest.mark.parametrize(
    "options",
    [
        SearchOptions(size=0),
        SearchOptions(offset=-1),
        SearchOptions(depth=0),
        SearchOptions(depth=10_001),
        SearchOptions(size=10, offset=195),
        SearchOptions(fusion=ScoreFusion("min_max", 0.7, 0.7)),
        SearchOptions(fusion=ScoreFusion("min_max", 1.5, -0.5)),
        SearchOptions(fusion=ScoreFusion("min_max", float("nan"), 0.5)),
        SearchOptions(fusion=ScoreFusion("borda")),  # type: ignore[arg-type]
        SearchOptions(fusion=ScoreFusion("rrf", rank_constant=0)),
    ],
)
def test_impossible_pages_and_weights_are_refused(options: SearchOptions) -> None:
    with pytest.raises(RequestError):
        search(rewritten(), filled(), options)


def test_an_index_of_another_dimension_is_refused() -> None:
    with pytest.raises(DimensionMismatch):
        search(rewritten(), FakeIndex(FakeEncoder(dimension=8).provenance))


def test_an_index_of_another_encoder_does_not_open() -> None:
    store = FakeStore()
    store.create("photos", ENCODER.provenance)
    with pytest.raises(EncoderMismatch, match="photos"):
        store.open("photos", FakeEncoder(revision="2").provenance)


def parts(hit: Hit) -> float:
    assert hit.explanation is not None
    assert hit.explanation.text is not None
    assert hit.explanation.images is not None
    assert hit.explanation.offset is not None
    return (
        hit.explanation.text + sum(hit.explanation.images.values()) + hit.explanation.keyword + hit.explanation.offset
    )


def test_an_explanation_of_the_knn_leg_alone_by_hand() -> None:
    query, index = rewritten(imaginations=2), filled()
    hit = search(query, index, SearchOptions(keyword=False, explain=True)).hits[0]
    embedding = index.get([hit.id])[hit.id].embedding
    assert hit.explanation is not None
    assert hit.explanation.text == pytest.approx(0.5 * (query.text_embedding @ embedding), abs=1e-6)
    assert hit.explanation.images == pytest.approx(
        {one.id: 0.25 * (one.embedding @ embedding) for one in query.imaginations}, abs=1e-6
    )
    assert (hit.explanation.offset, hit.explanation.keyword) == (0.0, 0.0)
    assert (hit.explanation.knn, hit.explanation.knn_rank, hit.explanation.keyword_rank) == (hit.score, 1, None)


def test_a_min_max_explanation_by_hand() -> None:
    query, index = rewritten(imaginations=1), filled()
    result = search(query, index, SearchOptions(explain=True, fusion=ScoreFusion("min_max", 0.6, 0.4)))
    lowest, highest = result.legs["knn"].lowest, result.legs["knn"].highest
    assert lowest is not None
    assert highest is not None
    hit = next(hit for hit in result.hits if hit.legs["knn"].rank == 2)
    embedding = index.get([hit.id])[hit.id].embedding
    scale = 0.6 / (highest - lowest)
    assert hit.explanation is not None
    assert hit.explanation.text == pytest.approx(scale * 0.5 * (query.text_embedding @ embedding), abs=1e-5)
    assert hit.explanation.offset == pytest.approx(-scale * lowest, abs=1e-5)
    assert hit.explanation.knn == pytest.approx(0.6 * (hit.legs["knn"].score - lowest) / (highest - lowest), abs=1e-6)
    assert hit.explanation.keyword == pytest.approx(hit.score - hit.explanation.knn, abs=1e-9)


def test_an_rrf_explanation_names_the_ranks_and_splits_no_further() -> None:
    result = search(rewritten(), filled(), SearchOptions(explain=True, fusion=ScoreFusion("rrf", 0.6, 0.4, 10)))
    for hit in result.hits:
        explanation = hit.explanation
        assert explanation is not None
        assert (explanation.text, explanation.images, explanation.offset) == (None, None, None)
        assert explanation.knn == pytest.approx(0.6 / (10 + hit.legs["knn"].rank))
        expected = 0.4 / (10 + hit.legs["keyword"].rank) if "keyword" in hit.legs else 0.0
        assert explanation.keyword == pytest.approx(expected)
        assert explanation.knn + explanation.keyword == pytest.approx(hit.score)
        assert explanation.keyword_rank == (hit.legs["keyword"].rank if "keyword" in hit.legs else None)


def test_a_hit_of_the_keyword_leg_alone_owes_nothing_to_the_vectors() -> None:
    query = rewritten()
    towards = query.vector / np.linalg.norm(query.vector)
    index = FakeIndex(ENCODER.provenance)
    index.write(
        [
            ImageRecord("near", towards, "near", caption="no word of it"),
            ImageRecord("worded", -towards, "worded", caption=query.reformulation.text),
        ]
    )
    options = SearchOptions(size=1, depth=1, explain=True, fusion=ScoreFusion("min_max", 0.2, 0.8))
    hit = search(query, index, options).hits[0]
    assert (hit.id, set(hit.legs)) == ("worded", {"keyword"})
    assert hit.explanation is not None
    assert (hit.explanation.text, hit.explanation.knn, hit.explanation.knn_rank) == (0.0, 0.0, None)
    assert hit.explanation.keyword == parts(hit) == hit.score == 0.8


WORDS = ["a", "dog", "cat", "on", "beach", "sunny", "brown", "boat", "snow"]
words = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)


@settings(deadline=None, max_examples=150)
@given(
    captions=st.lists(words, min_size=1, max_size=25),
    imaginations=st.integers(0, 16),
    schedule=st.sampled_from(["released", "text-only", "0/1", "0.9/0.1", "3/2"]),
    percent=st.integers(0, 100),
    keyword=st.booleans(),
    depth=st.integers(10, 30),
)
def test_an_explanations_parts_sum_to_the_score(
    captions: list[str], imaginations: int, schedule: str, percent: int, keyword: bool, depth: int
) -> None:
    fusion = ScoreFusion("min_max", percent / 100, 1 - percent / 100)
    options = SearchOptions(keyword=keyword, explain=True, depth=depth, fusion=fusion)
    result = search(rewritten(imaginations, schedule), filled(captions=captions), options)
    assert result.hits
    for hit in result.hits:
        assert parts(hit) == pytest.approx(hit.score, abs=1e-6)
        assert hit.explanation is not None
        assert hit.explanation.knn + hit.explanation.keyword == pytest.approx(hit.score, abs=1e-9)


class Forgetful(FakeIndex):
    """An index whose first hit is deleted between the search and the explanation."""

    def search(self, request: object) -> SearchResult:
        result = super().search(request)  # type: ignore[arg-type]
        self.delete([result.hits[0].id])
        return result


def test_a_hit_deleted_before_it_is_explained_stays_without_explanation() -> None:
    index = Forgetful(ENCODER.provenance)
    index.write([ImageRecord(name, direction(name, 16), name) for name in ("a", "b")])
    hits = search(rewritten(), index, SearchOptions(explain=True, keyword=False)).hits
    assert hits[0].explanation is None
    assert hits[1].explanation is not None


class Coarse(FakeIndex):
    """An index that keeps its vectors in eighths, as a quantising one does."""

    def write(self, records: object) -> list:  # type: ignore[type-arg]
        self.exact = {record.id: record for record in records}  # type: ignore[attr-defined]
        coarse = [ImageRecord(one.id, np.round(one.embedding * 8) / 8, one.source) for one in self.exact.values()]
        return super().write(coarse)

    def get(self, ids: object) -> dict[str, ImageRecord]:
        return {id: self.exact[id] for id in ids}  # type: ignore[attr-defined]


def test_what_a_coarse_index_rounds_is_shown_as_the_offset() -> None:
    index = Coarse(ENCODER.provenance)
    index.write([ImageRecord("a", direction("a", 16), "a")])
    hit = search(rewritten(), index, SearchOptions(explain=True, keyword=False)).hits[0]
    assert hit.explanation is not None
    assert abs(hit.explanation.offset or 0.0) > 1e-4
    assert parts(hit) == pytest.approx(hit.score, abs=1e-9)


def test_a_description_is_plain_json_and_holds_what_was_done() -> None:
    query = rewritten(imaginations=2)
    described = json.loads(json.dumps(describe(query)))
    assert described["round"] == 2
    assert described["dialogue"]["turns"][0] == {"question": "what color is the dog?", "answer": "brown"}
    assert described["reformulation"]["text"] == "a dog on a beach, brown dog, sunny"
    assert described["reformulation"]["prompts"] == ["a brown dog on a beach, sunny"]
    assert described["weights"] == {"text": 0.5, "image": 0.5}
    assert [one["seed"] for one in described["imaginations"]] == [0, 1]
    assert described["vector"]["dimension"] == 16
    assert described["legs"]["imagination"]["status"] == "ok"


@pytest.mark.parametrize("fusion", [ScoreFusion("min_max"), ScoreFusion("rrf")])
def test_a_described_result_is_plain_json_with_its_explanations(fusion: ScoreFusion) -> None:
    result = search(rewritten(), filled(), SearchOptions(explain=True, fusion=fusion))
    described = json.loads(json.dumps(describe_result(result)))
    assert [hit["id"] for hit in described["hits"]] == [hit.id for hit in result.hits]
    assert described["hits"][0]["metadata"] == {"n": 1.0}
    assert described["hits"][0]["legs"]["knn"]["rank"] == 1
    assert set(described["hits"][0]["explanation"]) == {
        "text", "images", "edits", "offset", "knn", "keyword", "knn_rank", "keyword_rank",
    }  # fmt: skip
    assert set(described["legs"]) == {"reformulation", "imagination", "knn", "keyword"}
