"""Dialogues about a scene: a caption and ten turns, with the noise of real ones.

Questions beside the point, things asked for that are not there, answers that say nothing, questions that only want a
yes, and, in three dialogues of ten, an answer that is wrong and corrected later.
"""

# ruff: noqa: S311  (drawing and telling, not cryptography)
from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

from dar_search.data import Dialogue, Turn
from dar_search.demo import phrasings as p
from dar_search.demo.language import Speaker, caption, with_article
from dar_search.demo.splits import GalleryPicture, Split, gallery
from dar_search.demo.world import TYPES, VALUES, Fact, Knowledge, Scene, truth

ROUNDS = 10
_WEIGHTS = {"type": 2.0, "setting": 1.5, "sky": 1.5, "colour": 1.5, "count": 0.5}
_CORRECTABLE = ("setting", "sky", "colour", "size", "texture", "place")


@dataclass(frozen=True, slots=True)
class Conversation:
    """A dialogue with its truth.

    Attributes:
        scene: what it is about.
        dialogue: the caption and ten turns.
        known: what has been told after each round, 0 to 10; between a wrong answer and its correction, wrongly.
    """

    scene: Scene
    dialogue: Dialogue
    known: tuple[Knowledge, ...]


def conversation(scene: Scene, seed: int | str, split: Split = "test") -> Conversation:
    """A dialogue of ten turns about the scene. The same scene, seed and split give the same dialogue."""
    return _Talk(scene, random.Random(f"conversation:{split}:{seed}"), split).held()


def gallery_conversations(
    count: int, gallery_size: int, seed: int = 0, split: Split = "test"
) -> Iterator[tuple[GalleryPicture, Conversation]]:
    """`count` dialogues, each about another picture of `gallery(gallery_size, seed, split)`, in the gallery's order.

    Raises ValueError where the gallery has fewer pictures than that.
    """
    chosen = set(random.Random(f"targets:{split}:{seed}").sample(range(gallery_size), count))
    for picture in gallery(gallery_size, seed, split):
        if picture.number in chosen:
            yield picture, conversation(picture.scene, f"{seed}:{picture.number}", split)


class _Talk:
    """One dialogue in the making."""

    def __init__(self, scene: Scene, rng: random.Random, split: Split) -> None:
        self.scene, self.rng, self.speaker = scene, rng, Speaker(rng, split)
        self.truth = truth(scene)
        self.known: dict[Fact, str] = {}
        self.wrong: Fact | None = None
        self.wrong_from = rng.randint(1, 5) if rng.random() < 0.3 else ROUNDS
        self.corrected_at = 0

    def held(self) -> Conversation:
        opening = self._opening()
        history, turns = [dict(self.known)], []
        for number in range(1, ROUNDS + 1):
            turns.append(self._turn(number))
            history.append(dict(self.known))
        dialogue = Dialogue(opening, tuple(turns))
        return Conversation(self.scene, dialogue, tuple(MappingProxyType(known) for known in history))

    def _opening(self) -> str:
        thing = self.rng.choice(self.scene.things).type
        facts = [Fact("type", thing)]
        if self.rng.random() < 0.6:
            facts.append(self.rng.choice((Fact("setting"), Fact("sky"), Fact("colour", thing))))
        self.known = {fact: self.truth[fact] for fact in facts}
        return caption(self.known, self.speaker)

    def _turn(self, number: int) -> Turn:
        if self.wrong is not None and number >= self.corrected_at:
            return self._correction(self.wrong)
        open_facts = [
            fact
            for fact in self.truth
            if fact not in self.known
            and (not fact.thing or fact.attribute == "type" or Fact("type", fact.thing) in self.known)
        ]
        roll = self.rng.random()
        if not open_facts or roll < 0.07:
            return self._irrelevant()
        if roll < 0.14:
            return self._absence()
        fact = self.rng.choices(open_facts, [_WEIGHTS.get(fact.attribute, 1.0) for fact in open_facts])[0]
        if roll < 0.2:
            return Turn(self._question(fact), self.speaker.say(p.UNSURE))
        if self.wrong_from <= number <= ROUNDS - 2 and fact.attribute in _CORRECTABLE:
            self.wrong, self.wrong_from = fact, ROUNDS
            self.corrected_at = min(ROUNDS, number + self.rng.randint(2, 4))
            return self._answered(fact, self._other_value(fact))
        if roll < 0.36 and fact.attribute in p.CONFIRMATIONS:
            return self._confirmation(fact)
        return self._answered(fact, self.truth[fact])

    def _answered(self, fact: Fact, value: str) -> Turn:
        self.known[fact] = value
        answer = self._words(fact, value)
        return Turn(self._question(fact), self.speaker.say(p.ANSWERS).format(answer))

    def _confirmation(self, fact: Fact) -> Turn:
        self.known[fact] = self.truth[fact]
        right = self.rng.random() < 0.5
        guess = self.truth[fact] if right else self._other_value(fact)
        form = self.speaker.say(p.CONFIRMATIONS[fact.attribute])
        question = form.format(self.speaker.value(fact.attribute, guess), self._noun(fact))
        question = re.sub(r"\ba orange\b", "an orange", question)
        if right:
            return Turn(question, self.speaker.say(p.YES))
        return Turn(question, self.speaker.say(p.NO_BUT).format(self._words(fact, self.truth[fact])))

    def _correction(self, fact: Fact) -> Turn:
        self.wrong = None
        self.known[fact] = self.truth[fact]
        question = self.speaker.say(p.DOUBTS[fact.attribute]).format(self._noun(fact))
        return Turn(question, self.speaker.say(p.CORRECTIONS).format(self._words(fact, self.truth[fact])))

    def _absence(self) -> Turn:
        present = {thing.type for thing in self.scene.things}
        absent = self.rng.choice([name for name in TYPES if name not in present])
        question = self.speaker.say(p.ABSENCE_QUESTIONS).format(with_article(self.speaker.value("type", absent)))
        return Turn(question, self.speaker.say(p.ABSENCE_ANSWERS))

    def _irrelevant(self) -> Turn:
        question, answer = self.rng.choice(p.IRRELEVANT)
        return Turn(self.speaker.say(question), self.speaker.say(answer))

    def _question(self, fact: Fact) -> str:
        return self.speaker.say(p.QUESTIONS[fact.attribute]).format(self._noun(fact))

    def _noun(self, fact: Fact) -> str:
        return self.speaker.value("type", fact.thing) if fact.thing else ""

    def _words(self, fact: Fact, value: str) -> str:
        words = self.speaker.value(fact.attribute, value)
        return with_article(words) if fact.attribute == "type" else words

    def _other_value(self, fact: Fact) -> str:
        return self.rng.choice([value for value in VALUES[fact.attribute] if value != self.truth[fact]])
