"""A dialogue becomes one vector and one text, and a model that fails takes nothing else down."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dar_search.data import Dialogue, Imagination, Turn, VectorWeights
from dar_search.errors import DialogueError, ModelFailed, ModelTimeout, RequestError
from dar_search.method.fusion import SCHEDULES, TEXT_ONLY, Schedule
from dar_search.method.rewriting import ImaginationOptions, rewrite
from dar_search.models.reformulators.rules import RulesReformulator
from tests.fakes import FakeEncoder, FakeImaginer, FakeReformulator

DIALOGUE = Dialogue(
    "a woman on a bench", (Turn("what color is the bench?", "brown"), Turn("is it sunny?", "yes"), Turn("a dog?", "no"))
)


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


def test_the_vector_is_the_weighted_text_and_the_mean_of_the_imaginations(encoder: FakeEncoder) -> None:
    query = rewrite(DIALOGUE, encoder, RulesReformulator(), FakeImaginer(encoder), options=ImaginationOptions(count=4))
    assert query.reformulation.text == "a woman on a bench, brown bench, sunny"
    assert query.weights == VectorWeights(0.5, 0.5)
    assert len(query.imaginations) == 4
    np.testing.assert_array_equal(query.text_embedding, encoder.encode_texts([query.reformulation.text])[0])
    mean = np.mean([one.embedding for one in query.imaginations], axis=0)
    np.testing.assert_allclose(query.vector, 0.5 * query.text_embedding + 0.5 * mean, atol=1e-6)
    assert query.vector.dtype == np.float32
    assert {name: leg.status for name, leg in query.legs.items()} == {"reformulation": "ok", "imagination": "ok"}


@pytest.mark.parametrize(("round", "weights"), [(0, (0.8, 0.2)), (1, (0.8, 0.2)), (2, (0.5, 0.5)), (3, (0.5, 0.5))])
def test_the_round_chooses_the_weights(encoder: FakeEncoder, round: int, weights: tuple[float, float]) -> None:
    query = rewrite(DIALOGUE.at_round(round), encoder, RulesReformulator(), FakeImaginer(encoder))
    assert query.weights == VectorWeights(*weights)


def test_each_different_prompt_is_imagined_with_the_options(encoder: FakeEncoder) -> None:
    imaginer = FakeImaginer(encoder)
    reformulator = FakeReformulator("text", ("one", "two", "one", " "))
    query = rewrite(DIALOGUE, encoder, reformulator, imaginer, options=ImaginationOptions(count=2, seed=7, steps=3))
    assert imaginer.calls == [("one", 2, 7, 3), ("two", 2, 7, 3)]
    assert [(one.prompt, one.seed) for one in query.imaginations] == [("one", 7), ("one", 8), ("two", 7), ("two", 8)]


def test_the_same_dialogue_gives_the_same_vector(encoder: FakeEncoder) -> None:
    first, second = (rewrite(DIALOGUE, encoder, RulesReformulator(), FakeImaginer(encoder)) for _ in range(2))
    np.testing.assert_array_equal(first.vector, second.vector)


def test_without_an_imaginer_the_text_searches_alone(encoder: FakeEncoder) -> None:
    query = rewrite(DIALOGUE, encoder, RulesReformulator())
    np.testing.assert_array_equal(query.vector, query.text_embedding)
    assert query.weights == TEXT_ONLY
    assert query.imaginations == ()
    assert (query.legs["imagination"].status, query.legs["imagination"].reason) == ("off", "there is no imaginer")


def test_a_schedule_without_image_weight_does_not_run_the_imaginer(encoder: FakeEncoder) -> None:
    imaginer = FakeImaginer(encoder)
    query = rewrite(DIALOGUE, encoder, RulesReformulator(), imaginer, schedule=SCHEDULES["text-only"])
    assert imaginer.calls == []
    assert query.legs["imagination"].status == "off"
    assert "round 3" in query.legs["imagination"].reason


def test_a_schedule_of_images_alone_searches_with_what_was_imagined(encoder: FakeEncoder) -> None:
    query = rewrite(DIALOGUE, encoder, RulesReformulator(), FakeImaginer(encoder), schedule=Schedule.parse("0/1"))
    np.testing.assert_allclose(query.vector, query.imaginations[0].embedding, atol=1e-7)


@pytest.mark.parametrize(
    ("error", "status"), [(ModelFailed("The prior died."), "failed"), (ModelTimeout("The prior is slow."), "late")]
)
def test_a_failing_imaginer_leaves_the_text_and_says_why(encoder: FakeEncoder, error: ModelFailed, status: str) -> None:
    query = rewrite(DIALOGUE, encoder, RulesReformulator(), FakeImaginer(encoder, error=error))
    np.testing.assert_array_equal(query.vector, query.text_embedding)
    assert query.weights == TEXT_ONLY
    assert (query.legs["imagination"].status, query.legs["imagination"].reason) == (status, error.message)


def test_what_was_imagined_before_a_failure_is_kept(encoder: FakeEncoder) -> None:
    imaginer = FakeImaginer(encoder, error=ModelFailed("out of luck"), failing=["two"])
    query = rewrite(DIALOGUE, encoder, FakeReformulator("text", ("one", "two")), imaginer)
    assert [one.prompt for one in query.imaginations] == ["one"]
    assert query.weights == VectorWeights(0.5, 0.5)
    assert query.legs["imagination"].status == "failed"


class BadImaginer(FakeImaginer):
    def __init__(self, encoder: FakeEncoder, embedding: np.ndarray) -> None:
        super().__init__(encoder)
        self._embedding = embedding

    def imagine(self, prompt: str, *, count: int, seed: int, steps: int | None = None) -> tuple[Imagination, ...]:
        made = super().imagine(prompt, count=count, seed=seed, steps=steps)
        return tuple(dataclasses.replace(one, embedding=self._embedding) for one in made)


@pytest.mark.parametrize(
    "embedding",
    [np.ones(3, np.float32), np.full(16, np.nan, np.float32), np.zeros(16, np.float32), np.ones(16, np.float32)],
    ids=["another dimension", "not a number", "zero", "not of unit length"],
)
def test_unusable_imaginations_are_left_out(encoder: FakeEncoder, embedding: np.ndarray) -> None:
    query = rewrite(DIALOGUE, encoder, RulesReformulator(), BadImaginer(encoder, embedding))
    assert query.imaginations == ()
    assert query.legs["imagination"].status == "failed"
    assert "16 dimensions" in query.legs["imagination"].reason
    np.testing.assert_array_equal(query.vector, query.text_embedding)


def test_a_failing_reformulator_leaves_the_dialogues_own_words(encoder: FakeEncoder) -> None:
    reformulator = FakeReformulator(error=ModelTimeout("The language model is slow."))
    query = rewrite(DIALOGUE, encoder, reformulator, FakeImaginer(encoder))
    assert query.reformulation.text == DIALOGUE.text
    assert query.reformulation.prompts == (DIALOGUE.text,)
    assert query.reformulation.reformulator == "none"
    assert "The language model is slow." in query.reformulation.note
    assert query.legs["reformulation"].status == "late"
    assert query.legs["imagination"].status == "ok"


@pytest.mark.parametrize("empty", [FakeReformulator("  ", ("a prompt",)), FakeReformulator("text", ("", " "))])
def test_an_empty_reformulation_counts_as_a_failure(encoder: FakeEncoder, empty: FakeReformulator) -> None:
    query = rewrite(DIALOGUE, encoder, empty)
    assert query.reformulation.text == DIALOGUE.text
    assert (query.legs["reformulation"].status, query.reformulation.note[:19]) == ("failed", "fake wrote nothing.")


def test_a_reformulator_that_fell_back_itself_says_so_in_its_leg(encoder: FakeEncoder) -> None:
    query = rewrite(DIALOGUE, encoder, FakeReformulator("text", note="the endpoint is down; rules were used"))
    assert query.reformulation.text == "text"
    assert query.legs["reformulation"].reason == "the endpoint is down; rules were used"


def test_an_encoder_that_fails_is_an_error(encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(texts: object) -> None:
        raise ModelFailed("The encoder died.")

    monkeypatch.setattr(encoder, "encode_texts", fail)
    with pytest.raises(ModelFailed, match="The encoder died"):
        rewrite(DIALOGUE, encoder, RulesReformulator())


def test_a_mistake_in_an_adapter_is_not_swallowed(encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    imaginer = FakeImaginer(encoder)
    monkeypatch.setattr(imaginer, "imagine", lambda prompt: ())
    with pytest.raises(TypeError):
        rewrite(DIALOGUE, encoder, RulesReformulator(), imaginer)


@pytest.mark.parametrize("count", [0, -1, 33])
def test_too_many_or_no_imaginations_are_refused(encoder: FakeEncoder, count: int) -> None:
    with pytest.raises(RequestError, match="1 to 64"):
        rewrite(
            DIALOGUE,
            encoder,
            FakeReformulator("text", ("one", "two")),
            FakeImaginer(encoder),
            options=ImaginationOptions(count=count),
        )


def test_a_dialogue_without_words_is_refused(encoder: FakeEncoder) -> None:
    with pytest.raises(DialogueError, match="no words"):
        rewrite(Dialogue(" "), encoder, RulesReformulator())


def test_fewer_imaginations_than_asked_for_are_used_and_none_at_all_is_a_failure(encoder: FakeEncoder) -> None:
    class Stopping(FakeImaginer):
        kept = 2

        def imagine(self, prompt: str, *, count: int, seed: int, steps: int | None = None) -> tuple[Imagination, ...]:
            return super().imagine(prompt, count=count, seed=seed, steps=steps)[: self.kept]

    imaginer = Stopping(encoder)
    options = ImaginationOptions(count=4)
    query = rewrite(DIALOGUE, encoder, RulesReformulator(), imaginer, options=options)
    assert query.legs["imagination"].status == "ok"
    assert len(query.imaginations) == 2
    imaginer.kept = 0
    assert (
        rewrite(DIALOGUE, encoder, RulesReformulator(), imaginer, options=options).legs["imagination"].status
        == "failed"
    )
