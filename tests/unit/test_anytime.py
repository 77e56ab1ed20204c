"""Answers under a deadline: whatever hangs, raises or talks nonsense is a leg with a reason, and the rest answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from dar_search.answering.answers import Answer, Asked, Models, Move, moves
from dar_search.answering.anytime import AnytimeSearcher
from dar_search.answering.time_limits import seconds_left
from dar_search.data import Dialogue, FloatArray, ImageRecord, Imagination, Reformulation, SearchResult, Turn
from dar_search.errors import (
    DialogueError,
    FeatureMissing,
    ModelFailed,
    ModelTimeout,
    RequestError,
    StoreError,
    StoreUnavailable,
)
from dar_search.method.edits import QueryEdits
from dar_search.method.fusion import SCHEDULES
from dar_search.method.retrieval import SearchOptions, search
from dar_search.method.rewriting import ImaginationOptions, rewrite
from dar_search.models.imaginers.imagination_cache import CachedImaginer, MemoryImaginationCache
from dar_search.ports import SearchRequest
from tests.fakes import FakeEncoder, FakeImaginer, FakeIndex, FakeReformulator

SAID = Dialogue("a red house", (Turn("where?", "near a lake"), Turn("which season?", "winter")))
ASKED = Asked(SAID, seconds=30.0, options=SearchOptions(size=5))


class Hanging:
    """Any port: every call waits until the test ends, then fails."""

    name = "hanging"

    def __init__(self, released: threading.Event) -> None:
        self._released = released
        self.entered = threading.Semaphore(0)

    def _hang(self, *_: Any, **__: Any) -> Any:
        self.entered.release()
        self._released.wait(60)
        raise ModelTimeout("It never answered.")

    reformulate = imagine = encode_texts = _hang


@pytest.fixture
def released() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def index(encoder: FakeEncoder) -> FakeIndex:
    index = FakeIndex(encoder.provenance)
    captions = ["a red house near a lake", "a blue house", "a red car", "winter at the lake", "a dog", "winter house"]
    for number, caption in enumerate(captions):
        index.write([ImageRecord(f"p{number}", encoder.encode_texts([caption])[0], "file:///x", caption=caption)])
    return index


Make = Callable[..., AnytimeSearcher]


@pytest.fixture
def make(encoder: FakeEncoder) -> Iterator[Make]:
    made: list[AnytimeSearcher] = []

    def make(**parts: Any) -> AnytimeSearcher:
        at_once = parts.pop("at_once", 2)
        models = {
            "encoder": encoder,
            "reformulator": FakeReformulator(),
            "fallback": FakeReformulator("rules wrote it"),
        }
        made.append(AnytimeSearcher(Models(**(models | parts)), at_once=at_once))
        return made[-1]

    yield make
    for searcher in made:
        searcher.close()


def statuses(answer: Answer) -> dict[str, str]:
    return {name: leg.status for name, leg in answer.result.legs.items()}


def test_with_time_enough_it_is_the_method_itself(make: Make, encoder: FakeEncoder, index: FakeIndex) -> None:
    imaginer = FakeImaginer(encoder)
    answer = make(imaginer=imaginer).answer(ASKED, index)
    query = rewrite(SAID, encoder, FakeReformulator(), imaginer)
    expected = search(query, index, ASKED.options)
    assert [(hit.id, hit.score) for hit in answer.result.hits] == [(hit.id, hit.score) for hit in expected.hits]
    assert answer.imagined
    assert answer.final
    assert statuses(answer) == dict.fromkeys(("reformulation", "imagination", "knn", "keyword"), "ok")


def test_an_imagination_that_is_there_at_once_costs_one_search(
    make: Make, encoder: FakeEncoder, index: FakeIndex
) -> None:
    make(imaginer=FakeImaginer(encoder)).answer(ASKED, index)
    assert len(index.requests) == 1


class TestLanguageModel:
    def test_one_that_hangs_is_replaced_by_the_rules_and_said_to_be_late(
        self, make: Make, index: FakeIndex, released: threading.Event
    ) -> None:
        answer = make(reformulator=Hanging(released)).answer(replace(ASKED, seconds=0.6), index)
        assert answer.reformulation.text == "rules wrote it"
        assert statuses(answer)["reformulation"] == "late"
        assert answer.result.legs["reformulation"].took_ms > 0
        assert "hanging" in answer.result.legs["reformulation"].reason
        assert answer.result.hits

    @pytest.mark.parametrize("error", [ModelFailed("nonsense"), ModelTimeout("slow")])
    def test_one_that_fails_is_replaced_by_the_rules(self, make: Make, index: FakeIndex, error: ModelFailed) -> None:
        answer = make(reformulator=FakeReformulator(error=error)).answer(ASKED, index)
        assert statuses(answer)["reformulation"] == ("late" if isinstance(error, ModelTimeout) else "failed")
        assert answer.reformulation.text == "rules wrote it"
        assert error.message in answer.result.legs["reformulation"].reason

    def test_one_that_breaks_its_port_is_replaced_too(self, make: Make, index: FakeIndex) -> None:
        class Broken:
            name = "broken"

            def reformulate(self, dialogue: Dialogue) -> Reformulation:
                raise ZeroDivisionError

        answer = make(reformulator=Broken()).answer(ASKED, index)
        assert answer.reformulation.text == "rules wrote it"
        assert statuses(answer)["reformulation"] == "failed"

    def test_when_all_of_them_hang_the_next_is_not_waited_for(
        self, make: Make, index: FakeIndex, released: threading.Event
    ) -> None:
        hanging = Hanging(released)
        searcher = make(reformulator=hanging, at_once=1)
        for _ in range(4):
            searcher.answer(replace(ASKED, seconds=0.05), index)
        # Two threads hang; what waited for them was cancelled when its time was over, and its place is still taken.
        answer = searcher.answer(replace(ASKED, seconds=30.0), index)
        assert statuses(answer)["reformulation"] == "failed"
        assert "under way" in answer.result.legs["reformulation"].reason

    def test_no_word_goes_out_where_the_caller_forbids_it(
        self, make: Make, index: FakeIndex, released: threading.Event
    ) -> None:
        answer = make(reformulator=Hanging(released)).answer(replace(ASKED, outside_models=False), index)
        assert answer.reformulation.text == "rules wrote it"
        assert statuses(answer)["reformulation"] == "ok"


class TestImaginer:
    def test_one_that_hangs_leaves_the_text_and_is_said_to_be_late(
        self, make: Make, index: FakeIndex, released: threading.Event
    ) -> None:
        answer = make(imaginer=Hanging(released)).answer(replace(ASKED, seconds=0.6), index)
        assert statuses(answer) == {"reformulation": "ok", "imagination": "late", "knn": "ok", "keyword": "ok"}
        assert answer.result.legs["imagination"].took_ms > 0
        assert not answer.imagined
        assert answer.final

    @pytest.mark.parametrize("error", [ModelFailed("It died."), ZeroDivisionError()])
    def test_one_that_raises_is_failed(self, make: Make, index: FakeIndex, encoder: FakeEncoder, error: Any) -> None:
        answer = make(imaginer=FakeImaginer(encoder, error=error)).answer(ASKED, index)
        assert statuses(answer)["imagination"] == "failed"
        assert answer.result.hits

    def test_one_that_comes_late_is_in_the_cache_for_the_next_turn(
        self, make: Make, index: FakeIndex, encoder: FakeEncoder
    ) -> None:
        go, kept = threading.Event(), threading.Event()

        class Slow(FakeImaginer):
            def key(self, prompt: str, seed: int, steps: int | None = None) -> str:
                return f"fake-{prompt}-{seed}-{steps}"

            def imagine(self, prompt: str, **options: Any) -> tuple[Imagination, ...]:
                go.wait(60)
                return super().imagine(prompt, **options)

        class Cache(MemoryImaginationCache):
            def put(self, imaginations: Any) -> None:
                super().put(imaginations)
                kept.set()

        slow = Slow(encoder)
        searcher = make(imaginer=CachedImaginer(slow, Cache()))
        first = searcher.answer(replace(ASKED, seconds=0.6), index)
        go.set()
        assert kept.wait(60)
        second = searcher.answer(ASKED, index)
        assert [statuses(one)["imagination"] for one in (first, second)] == ["late", "ok"]
        assert len(slow.calls) == 1

    def test_with_no_weight_or_none_wanted_it_is_off(self, make: Make, index: FakeIndex, encoder: FakeEncoder) -> None:
        searcher = make(imaginer=FakeImaginer(encoder))
        text_only = searcher.answer(replace(ASKED, schedule=SCHEDULES["text-only"]), index)
        none = searcher.answer(replace(ASKED, imagination=ImaginationOptions(count=0)), index)
        assert statuses(text_only)["imagination"] == statuses(none)["imagination"] == "off"

    def test_a_busy_services_answer_says_why_there_is_none(
        self, make: Make, index: FakeIndex, encoder: FakeEncoder
    ) -> None:
        answer = make(imaginer=FakeImaginer(encoder)).answer(replace(ASKED, without_imagination="too busy"), index)
        assert answer.result.legs["imagination"].reason == "too busy"
        assert statuses(answer)["imagination"] == "failed"

    def test_too_many_is_the_callers_mistake(self, make: Make, index: FakeIndex, encoder: FakeEncoder) -> None:
        with pytest.raises(RequestError, match="65 imaginations"):
            make(imaginer=FakeImaginer(encoder)).answer(replace(ASKED, imagination=ImaginationOptions(65)), index)


class TestIndex:
    def test_a_keyword_leg_that_fails_leaves_the_other(
        self, make: Make, encoder: FakeEncoder, index: FakeIndex
    ) -> None:
        index._keyword_error = FeatureMissing("no words here")
        answer = make().answer(ASKED, index)
        assert statuses(answer)["keyword"] == "failed"
        assert answer.result.hits

    def test_a_keyword_leg_that_hangs_leaves_the_other(
        self, make: Make, encoder: FakeEncoder, index: FakeIndex, released: threading.Event
    ) -> None:
        class HangsOnWords(FakeIndex):
            def search(self, request: SearchRequest) -> SearchResult:
                if request.text is not None:
                    released.wait(60)
                return index.search(replace(request, text=None))

        answer = make().answer(replace(ASKED, seconds=0.6), HangsOnWords(encoder.provenance))
        assert statuses(answer)["keyword"] == "late"
        assert statuses(answer)["knn"] == "ok"
        assert answer.result.hits

    def test_where_there_is_no_place_for_a_second_search_the_first_is_waited_for(
        self, make: Make, encoder: FakeEncoder, index: FakeIndex, released: threading.Event
    ) -> None:
        searcher = make(at_once=1)
        crew = searcher._index_crew
        crew.start(lambda: released.wait(60), 60)

        class SlowWithWords(FakeIndex):
            def search(self, request: SearchRequest) -> SearchResult:
                for _ in range(2):
                    crew.start(lambda: None, 60)  # waits for the one that hangs: the crew is full
                released.wait(1)
                return index.search(request)

        answer = searcher.answer(replace(ASKED, seconds=0.6), SlowWithWords(encoder.provenance))
        assert statuses(answer)["keyword"] == "ok"
        assert answer.result.hits

    def test_one_that_was_slow_and_then_hangs_is_waited_for_no_longer_than_the_overtime(
        self, make: Make, encoder: FakeEncoder, index: FakeIndex, released: threading.Event
    ) -> None:
        limits: list[float | None] = []

        class Hangs(FakeIndex):
            def search(self, request: SearchRequest) -> SearchResult:
                limits.append(seconds_left())
                released.wait(60)
                raise StoreUnavailable("It never answered.")

        searcher = make()
        for _ in range(100):
            searcher._index_crew.took(100.0)
        with pytest.raises(StoreUnavailable, match="in time"):
            searcher.answer(replace(ASKED, seconds=0.3, overtime=0.2), Hangs(encoder.provenance))
        assert limits
        assert all(left is not None and left <= 0.5 for left in limits), "its requests would go on"

    def test_one_that_was_slow_and_is_well_again_answers_with_pictures_at_once(
        self, make: Make, encoder: FakeEncoder, index: FakeIndex
    ) -> None:
        searched = threading.Event()

        class Searched(FakeIndex):
            def search(self, request: SearchRequest) -> SearchResult:
                searched.set()
                return index.search(request)

        class AfterTheSearch(FakeImaginer):
            def imagine(self, prompt: str, **options: Any) -> tuple[Imagination, ...]:
                searched.wait(60)
                return super().imagine(prompt, **options)

        searcher = make(imaginer=AfterTheSearch(encoder))
        for _ in range(100):
            searcher._index_crew.took(100.0)
        assert searcher.answer(ASKED, Searched(encoder.provenance)).imagined

    def test_edits_of_an_index_that_hangs_end_too(
        self, make: Make, encoder: FakeEncoder, released: threading.Event
    ) -> None:
        class Hangs(FakeIndex):
            def get(self, ids: Sequence[str]) -> dict[str, ImageRecord]:
                released.wait(60)
                return {}

        asked = replace(ASKED, seconds=0.2, overtime=0.1, edits=QueryEdits(more_like=("p1",)))
        with pytest.raises(StoreUnavailable, match="in time"):
            make().rewrite(asked, Hangs(encoder.provenance))

    def test_an_index_that_cannot_answer_is_an_error(self, make: Make, encoder: FakeEncoder) -> None:
        class Gone(FakeIndex):
            def search(self, request: SearchRequest) -> SearchResult:
                raise StoreUnavailable("gone")

        with pytest.raises(StoreUnavailable):
            make().answer(ASKED, Gone(encoder.provenance))

    def test_where_the_second_search_fails_the_first_answers(
        self, make: Make, encoder: FakeEncoder, index: FakeIndex
    ) -> None:
        searched = threading.Event()

        class Once(FakeIndex):
            def search(self, request: SearchRequest) -> SearchResult:
                if searched.is_set():
                    raise StoreError("not twice")
                searched.set()
                return index.search(request)

        class AfterTheSearch(FakeImaginer):
            def imagine(self, prompt: str, **options: Any) -> tuple[Imagination, ...]:
                searched.wait(60)
                return super().imagine(prompt, **options)

        answer = make(imaginer=AfterTheSearch(encoder)).answer(ASKED, Once(encoder.provenance))
        assert statuses(answer)["imagination"] == "late"
        assert "not twice" in answer.result.legs["imagination"].reason
        assert answer.result.hits

    def test_without_an_encoder_the_words_answer_alone(
        self, make: Make, encoder: FakeEncoder, index: FakeIndex, released: threading.Event
    ) -> None:
        class Deaf(FakeEncoder):
            def encode_texts(self, texts: Sequence[str]) -> FloatArray:
                raise ModelFailed("out of memory")

        answer = make(encoder=Deaf(), reformulator=FakeReformulator("a red house")).answer(ASKED, index)
        assert statuses(answer) == {
            "reformulation": "ok",
            "imagination": "off",
            "knn": "failed",
            "keyword": "ok",
        }
        assert {hit.id for hit in answer.result.hits} >= {"p0", "p1"}
        with pytest.raises(ModelFailed, match="out of memory"):
            make(encoder=Deaf()).answer(replace(ASKED, options=SearchOptions(keyword=False)), index)

    def test_an_encoder_that_hangs_likewise(
        self, make: Make, encoder: FakeEncoder, index: FakeIndex, released: threading.Event
    ) -> None:
        class Mute(FakeEncoder):
            def encode_texts(self, texts: Sequence[str]) -> FloatArray:
                released.wait(60)
                return super().encode_texts(texts)

        answer = make(encoder=Mute()).answer(replace(ASKED, seconds=0.6), index)
        assert statuses(answer)["knn"] == "failed"


class TestStream:
    def test_the_text_comes_first_then_the_imagined_answer(
        self, make: Make, encoder: FakeEncoder, index: FakeIndex
    ) -> None:
        go = threading.Event()

        class Slow(FakeImaginer):
            def imagine(self, prompt: str, **options: Any) -> tuple[Imagination, ...]:
                go.wait(60)
                return super().imagine(prompt, **options)

        stages = make(imaginer=Slow(encoder)).stream(ASKED, index)
        text = next(stages)
        assert (text.imagined, text.final) == (False, False)
        assert text.result.hits
        go.set()  # long after the deadline or not: a stream waits
        imagined = next(stages)
        assert (imagined.imagined, imagined.final) == (True, True)
        assert next(stages, None) is None

    def test_where_nothing_will_be_imagined_the_text_is_final(self, make: Make, index: FakeIndex) -> None:
        (only,) = make().stream(ASKED, index)
        assert only.final

    def test_the_wait_ends(self, make: Make, index: FakeIndex, released: threading.Event) -> None:
        stages = list(make(imaginer=Hanging(released)).stream(replace(ASKED, imagined_seconds=0.3), index))
        assert [stage.final for stage in stages] == [False, True]
        assert statuses(stages[-1])["imagination"] == "late"
        assert stages[0].result.hits == stages[1].result.hits


def test_edits_hold_in_every_answer(make: Make, encoder: FakeEncoder, index: FakeIndex) -> None:
    asked = replace(ASKED, edits=QueryEdits(more_like=("p4",)))
    answer = make(imaginer=FakeImaginer(encoder)).answer(asked, index)
    assert answer.query is not None
    assert [one.id for one in answer.query.feedback] == ["p4"]
    assert answer.result.legs["edits"].status == "ok"


def test_a_dialogue_without_words_is_refused(make: Make, index: FakeIndex) -> None:
    with pytest.raises(DialogueError):
        make().answer(replace(ASKED, dialogue=Dialogue(" ")), index)


def test_rewriting_alone_degrades_the_same_way(make: Make, released: threading.Event) -> None:
    hanging = Hanging(released)
    query = make(reformulator=hanging, imaginer=hanging).rewrite(replace(ASKED, seconds=0.6))
    assert {name: leg.status for name, leg in query.legs.items()} == {"reformulation": "late", "imagination": "late"}


def test_moves_name_what_changed_what_came_and_what_went(make: Make, index: FakeIndex, encoder: FakeEncoder) -> None:
    before = search(rewrite(SAID, encoder, FakeReformulator()), index, SearchOptions(size=4))
    kept, risen, gone = before.hits[0], before.hits[2], before.hits[3]
    new = replace(gone, id="new", rank=3)
    after = SearchResult((kept, replace(risen, rank=2), new), {})
    sunk = before.hits[1]
    assert moves(before, after) == (
        Move(risen.id, 3, 2),
        Move("new", None, 3),
        Move(sunk.id, 2, None),
        Move(gone.id, 4, None),
    )
