"""The demo world's captions and dialogues."""

from __future__ import annotations

import random
import re

import pytest

from dar_search.data import Dialogue, Turn
from dar_search.demo import phrasings
from dar_search.demo.conversations import ROUNDS, conversation, gallery_conversations
from dar_search.demo.language import alt_text, description, reference_reformulation
from dar_search.demo.phrasings import VALUE_PHRASES, Phrases
from dar_search.demo.splits import gallery, scene
from dar_search.demo.world import VALUES, Fact, truth


def texts_of(split, count=250):
    rng = random.Random(7)
    for seed in range(count):
        shown = scene(seed, split)
        talk = conversation(shown, seed, split)
        yield alt_text(shown, rng, split)
        yield description(shown, rng, split)
        yield from (talk.dialogue.caption, *(turn.text for turn in talk.dialogue.turns))


def phrase_tables():
    for value in vars(phrasings).values():
        if isinstance(value, Phrases):
            yield value
    for table in VALUE_PHRASES.values():
        yield from table.values()
    for table in (phrasings.QUESTIONS, phrasings.CONFIRMATIONS, phrasings.DOUBTS):
        yield from table.values()
    for pair in phrasings.IRRELEVANT:
        yield from pair


def mentions(phrase, text):
    return re.search(rf"(?<![a-z]){re.escape(phrase)}(?![a-z])", text) is not None


def test_every_value_has_words_and_no_phrase_is_both_common_and_held_out():
    assert {name: set(table) for name, table in VALUE_PHRASES.items()} == {n: set(v) for n, v in VALUES.items()}
    for phrases in phrase_tables():
        assert not set(phrases.common) & set(phrases.held_out)


def test_training_and_validation_never_hear_a_held_out_value_phrase_and_the_test_does():
    held_out = [phrase for table in VALUE_PHRASES.values() for p in table.values() for phrase in p.held_out]
    for split in ("train", "validation"):
        spoken = "\n".join(texts_of(split))
        # A phrase may also arise where common ones meet ("at night" + "under the moon"); most cannot.
        heard = {phrase for phrase in held_out if mentions(phrase, spoken)}
        assert heard <= {"at night under the moon", "at dusk with the sun going down"}
    spoken = "\n".join(texts_of("test", 600))
    assert sum(mentions(phrase, spoken) for phrase in held_out) > 0.9 * len(held_out)


def test_held_out_questions_are_asked_in_the_test_only():
    openings = [phrase.split("{")[0] for p in phrasings.QUESTIONS.values() for phrase in p.held_out]
    assert not any(opening in text for text in texts_of("train") for opening in openings)
    assert any(opening in text for text in texts_of("test") for opening in openings)


def test_alt_texts_are_short_and_descriptions_can_say_everything():
    rng = random.Random(8)
    short = [len(alt_text(scene(seed, "train"), rng).split()) for seed in range(400)]
    dense = [len(description(scene(seed, "train"), rng).split()) for seed in range(400)]
    assert max(short) <= 25
    assert sum(short) / 400 < 10 < 15 < sum(dense) / 400
    assert max(dense) > 40


def test_texts_and_dialogues_are_the_same_for_the_same_seed():
    assert list(texts_of("test", 20)) == list(texts_of("test", 20))
    shown = scene(1)
    assert conversation(shown, 1).dialogue != conversation(shown, 2).dialogue


def test_a_dialogue_has_a_caption_and_ten_turns_and_what_is_known_only_grows():
    for seed in range(200):
        talk = conversation(scene(seed), seed)
        assert isinstance(talk.dialogue, Dialogue)
        assert len(talk.dialogue.turns) == ROUNDS == len(talk.known) - 1
        assert all(turn.question.endswith("?") and turn.answer for turn in talk.dialogue.turns)
        for before, after in zip(talk.known, talk.known[1:], strict=False):
            assert before.keys() <= after.keys()
            assert len(after) - len(before) in (0, 1)


def test_nothing_untrue_is_known_but_for_answers_that_are_corrected_by_the_last_round():
    wrong = 0
    for seed in range(400):
        talk = conversation(scene(seed), seed)
        facts = truth(talk.scene)
        false = {fact for known in talk.known for fact, value in known.items() if facts[fact] != value}
        wrong += bool(false)
        assert len(false) <= 1
        assert all(facts[fact] == value for fact, value in talk.known[ROUNDS].items())
    assert 0.15 < wrong / 400 < 0.35


def test_a_new_fact_is_in_the_words_of_its_turn():
    for seed in range(200):
        talk = conversation(scene(seed, "test"), seed, "test")
        for turn, before, after in zip(talk.dialogue.turns, talk.known, talk.known[1:], strict=False):
            for fact in after.keys() - before.keys():
                words = VALUE_PHRASES[fact.attribute][after[fact]]
                assert any(mentions(w, turn.text) for w in (*words.common, *words.held_out)), (turn, fact)


def test_noise_is_there():
    turns = [turn for seed in range(300) for turn in conversation(scene(seed), seed).dialogue.turns]
    unsure = {*phrasings.UNSURE.common, *phrasings.UNSURE.held_out}
    denied = {*phrasings.ABSENCE_ANSWERS.common, *phrasings.ABSENCE_ANSWERS.held_out}
    beside = {q for question, _ in phrasings.IRRELEVANT for q in (*question.common, *question.held_out)}
    doubts = [p.split("{")[0] for table in phrasings.DOUBTS.values() for p in (*table.common, *table.held_out)]
    counts = (
        sum(turn.answer in unsure for turn in turns),
        sum(turn.answer in denied for turn in turns),
        sum(turn.question in beside for turn in turns),
        sum(any(turn.question.startswith(doubt) for doubt in doubts) for turn in turns),
    )
    assert all(40 < count < 600 for count in counts), counts


def test_the_reference_says_all_that_is_known_in_plain_words():
    known = {
        Fact("type", "kite"): "kite",
        Fact("colour", "kite"): "red",
        Fact("place", "kite"): "upper left",
        Fact("type", "fish"): "fish",
        Fact("texture", "fish"): "striped",
        Fact("setting"): "sea",
        Fact("sky"): "night",
        Fact("count"): "3",
    }
    expected = "three things, a striped fish, a red kite in the upper left at sea at night"
    assert reference_reformulation(known) == expected
    assert reference_reformulation({Fact("colour", "star"): "orange"}) == "an orange star"
    assert reference_reformulation({Fact("sky"): "sunset"}) == "a scene at sunset"


def test_dialogues_over_a_gallery_are_about_its_pictures():
    pictures = {picture.number: picture for picture in gallery(90, seed=2)}
    talks = list(gallery_conversations(12, 90, seed=2))
    assert len({picture.number for picture, _ in talks}) == 12
    assert all(pictures[picture.number] == picture and talk.scene == picture.scene for picture, talk in talks)
    assert talks == list(gallery_conversations(12, 90, seed=2))
    with pytest.raises(ValueError, match=r"[Ss]ample"):
        list(gallery_conversations(91, 90))


def test_turn_text_is_question_then_answer():
    turn = conversation(scene(0), 0).dialogue.turns[0]
    assert turn == Turn(turn.question, turn.answer)
    assert turn.text == f"{turn.question} {turn.answer}"
