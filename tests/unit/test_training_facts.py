"""The reader that judges reformulations: it reads back every fact of the world's own texts, and nothing else."""

from __future__ import annotations

import random

import pytest

from dar_search.demo.conversations import conversation
from dar_search.demo.language import Speaker, caption, reference_reformulation, sentences
from dar_search.demo.splits import scene
from dar_search.demo.world import Fact, truth
from dar_search.models.reformulators.rules import RulesReformulator
from training import facts

SCENES = 150


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("told", [caption, sentences])
def test_every_fact_is_read_back_from_the_worlds_own_texts(told, split):
    speaker = Speaker(random.Random(4), split)
    for number in range(SCENES):
        known = truth(scene(f"facts:{number}", "train"))
        text = told(known, speaker)
        assert facts.read_facts(text) == set(known.items()), text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a fish that is red, small kite", {("type", "fish"), ("colour", "fish"), ("size", "kite"), ("type", "kite")}),
        ("a kite, red.", {("type", "kite"), ("colour", facts.UNATTACHED)}),
        ("no words of this world", set()),
    ],
)
def test_a_word_belongs_to_the_thing_in_whose_clause_it_stands(text, expected):
    assert {(fact.attribute, fact.thing) for fact, _ in facts.read_facts(text)} == expected


def test_a_wrong_fact_costs_precision_and_a_missing_one_recall():
    known = {Fact("type", "kite"): "kite", Fact("colour", "kite"): "red"}
    assert facts.score([("a red kite", known)]) == facts.Score(2, 2, 2)
    wrong = facts.score([("a blue kite", known)])
    assert (wrong.precision, wrong.recall) == (0.5, 0.5)
    assert facts.score([("a kite", known)]).recall == 0.5


def test_the_rules_read_the_worlds_dialogues():
    """Corrections, doubts, negations and vague answers, in the phrasings that are not held out."""
    rules, pairs, prompts = RulesReformulator(), [], []
    for number in range(SCENES):
        talk = conversation(scene(f"facts:{number}", "train"), number, "train")
        for after in (5, 10):
            written = rules.reformulate(talk.dialogue.at_round(after))
            pairs.append((written.text, talk.known[after]))
            prompts.append((written.prompts[0], talk.known[after]))
    for told in (pairs, prompts):
        score = facts.score(told)
        assert score.precision > 0.995
        assert score.recall > 0.995


def test_the_reference_states_what_is_known():
    talk = conversation(scene("facts", "train"), 1, "train")
    for known in talk.known:
        assert facts.read_facts(reference_reformulation(known)) == set(known.items())
