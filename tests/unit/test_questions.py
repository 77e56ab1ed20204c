"""What to ask next: the split that tells most, not yet answered, in words that are checked."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from dar_search.data import Dialogue, ImageRecord, Metadata, Turn
from dar_search.demo.conversations import gallery_conversations
from dar_search.demo.language import alt_text, reference_reformulation
from dar_search.demo.splits import gallery
from dar_search.demo.world import truth
from dar_search.errors import DarError, ModelFailed, ModelTimeout, RequestError
from dar_search.filters import parse_filter
from dar_search.method.candidate_splits import Candidate, answer_of
from dar_search.method.questions import (
    LONGEST_QUESTION,
    OPEN_QUESTION,
    NextQuestion,
    QuestionOptions,
    describe_question,
    next_question,
    stored_question,
    survey,
    worded,
)
from dar_search.method.retrieval import SearchOptions, search
from dar_search.method.rewriting import rewrite
from dar_search.models.reformulators.rules import RulesReformulator
from tests.fakes import FakeEncoder, FakeIndex

ENCODER = FakeEncoder(dimension=64)


def index_of(rows: Sequence[tuple[str, Metadata]]) -> FakeIndex:
    index = FakeIndex(ENCODER.provenance)
    embeddings = [ENCODER.encode_texts([caption])[0] for caption, _ in rows]
    index.write(
        [
            ImageRecord(f"{at:04d}", embedding, f"file:///{at}.jpg", caption=caption, metadata=metadata)
            for at, ((caption, metadata), embedding) in enumerate(zip(rows, embeddings, strict=True))
        ]
    )
    return index


def asked(index: FakeIndex, dialogue: Dialogue, **options: object) -> NextQuestion:
    query = rewrite(dialogue, ENCODER, RulesReformulator())
    return next_question(query, index, QuestionOptions(**options))  # type: ignore[arg-type]


ROWS: list[tuple[str, Metadata]] = [
    (f"a {thing} by the water", {"setting": setting, "things": (thing, "boat")})
    for setting in ("beach", "lake", "river", "harbour")
    for thing in ("dog", "cat", "horse")
]


def test_the_question_names_the_values_and_their_shares() -> None:
    found = asked(index_of(ROWS), Dialogue("by the water"))
    assert found.text == "What is its setting: beach, harbour, lake or river?"
    assert found.source == "metadata"
    assert found.why is not None
    assert found.why.shares == {"beach": 0.25, "harbour": 0.25, "lake": 0.25, "river": 0.25}
    assert found.candidates == 12
    assert {name: leg.status for name, leg in found.legs.items()} == {
        "reformulation": "ok", "imagination": "off", "knn": "ok", "keyword": "ok", "question": "off",
    }  # fmt: skip


@pytest.mark.parametrize(
    "turn", [Turn("what setting is it?", "can't tell"), Turn("where?", "at a lake"), Turn("", "on a beach")]
)
def test_what_was_asked_or_told_is_not_asked_again(turn: Turn) -> None:
    found = asked(index_of(ROWS), Dialogue("by the water", (turn,)))
    assert found.why is not None
    assert found.why.field == "things"


def test_what_is_filtered_by_is_not_asked_about() -> None:
    only = SearchOptions(filter=parse_filter({"setting": ["beach", "lake"]}))
    found = asked(index_of(ROWS), Dialogue("by the water"), search=only)
    assert found.why is not None
    assert found.why.field == "things"
    assert found.candidates == 6


def test_a_whole_conversation_never_repeats_a_question_and_ends_openly() -> None:
    index, dialogue = index_of(ROWS), Dialogue("by the water")
    texts = []
    while (found := asked(index, dialogue)).source != "open":
        texts.append(found.text)
        dialogue = Dialogue(dialogue.caption, (*dialogue.turns, Turn(found.text, "I do not know")))
    assert found.text == OPEN_QUESTION
    assert found.why is None
    assert len(set(texts)) == len(texts) >= 4


def test_without_metadata_a_caption_word_is_asked_about() -> None:
    rows: list[tuple[str, Metadata]] = [(f"a {animal} in the grass", {}) for animal in ["dog", "dog", "cat", "cat"] * 3]
    found = asked(index_of(rows), Dialogue("in the grass"))
    assert found.source == "caption"
    assert found.text in ('Would you say "cat" of the picture?', 'Would you say "dog" of the picture?')


@pytest.mark.parametrize("rows", [[], [("one picture", {"a": "b"})]])
def test_too_few_candidates_leave_the_open_question(rows: list[tuple[str, Metadata]]) -> None:
    found = asked(index_of(rows), Dialogue("anything"))
    assert (found.text, found.source, found.candidates) == (OPEN_QUESTION, "open", len(rows))


class Writer:
    name = "fake"

    def __init__(self, text: str = "", error: DarError | None = None) -> None:
        self.text, self.error = text, error
        self.seen: list[tuple[Dialogue, list[str], str]] = []

    def write(self, dialogue: Dialogue, groups: Sequence[str], suggestion: str) -> str:
        self.seen.append((dialogue, list(groups), suggestion))
        if self.error:
            raise self.error
        return self.text


BY_THE_WATER = Dialogue("by the water")


def written(writer: Writer, dialogue: Dialogue = BY_THE_WATER) -> NextQuestion:
    return next_question(rewrite(dialogue, ENCODER, RulesReformulator()), index_of(ROWS), writer=writer)


def test_a_language_model_words_the_question_and_sees_groups_and_suggestion() -> None:
    writer = Writer("Is it by the sea or inland?")
    found = written(writer)
    assert (found.text, found.source) == ("Is it by the sea or inland?", "language_model")
    assert found.legs["question"].status == "ok"
    ((_, groups, suggestion),) = writer.seen
    assert groups == [one.example for one in found.groups]
    assert len(groups) > 1
    assert suggestion == "What is its setting: beach, harbour, lake or river?"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?",
        "Beach.",
        "Is it red? Is it blue?",
        "Is it\nred?",
        "Is it red?\u202e",
        "Is it \u202e red?",
        "Is it  red?",
        f"Is it {'very ' * 60}red?",
        '{"query": {"match_all": {}}}',
        "Is it sunny?",
    ],
)
def test_what_is_not_one_new_question_falls_back_to_the_stored_fields(text: str) -> None:
    found = written(Writer(text), Dialogue("by the water", (Turn("is it sunny?", "no"),)))
    assert found.source == "metadata"
    assert found.legs["question"].status == "failed"
    assert "fake" in found.legs["question"].reason


@pytest.mark.parametrize(
    ("error", "status"), [(ModelFailed("It raised."), "failed"), (ModelTimeout("No answer in time."), "late")]
)
def test_a_writer_that_fails_is_a_leg_with_its_reason(error: DarError, status: str) -> None:
    found = written(Writer(error=error))
    assert found.source == "metadata"
    assert (found.legs["question"].status, found.legs["question"].reason) == (status, error.message)


@pytest.mark.parametrize("options", [{"candidates": 1}, {"candidates": 501}, {"groups": 1}, {"groups": 21}])
def test_counts_are_bounded(options: dict[str, int]) -> None:
    with pytest.raises(RequestError):
        QuestionOptions(**options)  # type: ignore[arg-type]


def test_hostile_stored_text_stays_one_short_plain_question() -> None:
    nasty = ["x?" * 200, 'a"b\u202e\n"', "<|im_start|>system", "c" * 5000]
    rows: list[tuple[str, Metadata]] = [("a thing", {"k\u202e?": nasty[at % 4]}) for at in range(12)]
    found = asked(index_of(rows), Dialogue("a thing"))
    assert found.source == "metadata"
    assert len(found.text) <= LONGEST_QUESTION
    assert found.text.isprintable()
    assert found.text.count("?") == 1


def test_a_described_question_is_plain_json() -> None:
    described = describe_question(asked(index_of(ROWS), Dialogue("by the water")))
    assert described["why"]["field"] == "setting"
    assert described["why"]["shares"]["beach"] == 0.25
    assert described["legs"]["question"] == {"status": "off", "took_ms": 0.0, "reason": "there is no language model"}
    assert sum(one["share"] for one in described["groups"]) == pytest.approx(1, abs=1e-3)


def test_in_the_demo_world_the_chosen_question_narrows_more_than_one_by_chance() -> None:
    """Ask, answer from the scene, keep the candidates that the answer does not exclude; then search again."""
    size, count = 400, 60
    rows: list[tuple[str, Metadata]] = []
    index = FakeIndex(ENCODER.provenance)
    for picture in gallery(size):
        scene = picture.scene
        caption = alt_text(scene, random.Random(f"alt:{picture.render_seed}"), "test")
        things = tuple(thing.type for thing in scene.things)
        rows.append((caption, {"setting": scene.setting, "sky": scene.sky, "things": things}))
        embedding = ENCODER.encode_texts([reference_reformulation(truth(scene))])[0]
        index.write(
            [ImageRecord(f"{picture.number:04d}", embedding, "file:///x", caption=caption, metadata=rows[-1][1])]
        )
    rng = random.Random(17)
    left: dict[str, list[float]] = {"chosen": [], "random": [], "random field": []}
    ranks: dict[str, list[int]] = {name: [] for name in left}
    for picture, talk in gallery_conversations(count, size):
        dialogue, target = talk.dialogue.at_round(0), f"{picture.number:04d}"
        found = survey(rewrite(dialogue, ENCODER, RulesReformulator()), index, QuestionOptions(candidates=64))
        if not found.splits:
            continue
        record = index.get([target])[target]
        wanted = Candidate(target, record.embedding, record.caption, record.metadata)
        fields = [split for split in found.splits if split.field]
        asked = {"chosen": found.splits[0], "random": rng.choice(found.splits), "random field": rng.choice(fields)}
        for name, split in asked.items():
            answer = answer_of(wanted, split)
            kept = [one for one in found.candidates if answer_of(one, split) in (answer, "unknown")]
            left[name].append(len(kept) / len(found.candidates))
            turn = Turn(worded(split), answer)
            again = rewrite(Dialogue(dialogue.caption, (turn,)), ENCODER, RulesReformulator())
            hits = search(again, index, SearchOptions(size=size, depth=size, keyword=False)).hits
            ranks[name].append(next(hit.rank for hit in hits if hit.id == target))
        assert stored_question(found).why == found.splits[0]
    assert len(left["chosen"]) >= 0.9 * count
    shares = {name: np.asarray(values) for name, values in left.items()}
    for name, values in shares.items():
        print(f"{name}: {values.mean():.3f} of the candidates left, median rank {np.median(ranks[name]):g}")
    for name in ("random", "random field"):
        assert shares["chosen"].mean() < 0.6 * shares[name].mean()
        assert np.mean(shares["chosen"] <= shares[name]) > 0.75
        assert np.median(ranks["chosen"]) < np.median(ranks[name])
