"""What the small reformulator is trained on: dialogues of the training split, packed with texts of their rounds.

Reading and copying take far more samples than words do, so one dialogue teaches several of its rounds at once: after
the dialogue stand the texts of the rounds as branches, each of which sees only its own beginning of the dialogue.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import torch

from dar_search.demo.conversations import Conversation, conversation
from dar_search.demo.language import PlainSpeaker, with_article
from dar_search.demo.splits import scene
from dar_search.demo.world import THING_ATTRIBUTES, TYPES, VALUES, Fact, Knowledge
from training import reformulator_words as words

BATCH, BRANCHES = 16, 5
IGNORED = -100
_PLAIN = PlainSpeaker()


@cache
def statements() -> dict[tuple[Fact, str], int]:
    """All that one can be told about a scene, numbered from 1."""
    facts = [Fact("setting"), Fact("sky"), Fact("count")]
    facts += [Fact(part, thing) for thing in TYPES for part in THING_ATTRIBUTES]
    every = [
        (fact, value)
        for fact in facts
        for value in ((fact.thing,) if fact.attribute == "type" else VALUES[fact.attribute])
    ]
    return {statement: number for number, statement in enumerate(every, 1)}


def newly_told(before: Knowledge, after: Knowledge) -> tuple[int, int]:
    """The first and the last number of the statements that are in `after` and not in `before`; 0 for none."""
    new = [statements()[fact, value] for fact, value in after.items() if before.get(fact) != value] or [0]
    return new[0], new[-1]


def text_of(known: Knowledge) -> str:
    """What the model learns to write: each thing's name before its attributes, which are easier looked up by name."""
    parts = [_PLAIN.value("count", known[Fact("count")])] if Fact("count") in known else []
    for thing in TYPES:
        if any(fact.thing == thing for fact in known):
            told = [
                _PLAIN.value(part, known[Fact(part, thing)])
                for part in ("size", "colour", "texture")
                if Fact(part, thing) in known
            ]
            listed = " and ".join(filter(None, [", ".join(told[:-1]), *told[-1:]]))
            place = known.get(Fact("place", thing))
            words_of = [with_article(thing), f"that is {listed}" if listed else ""]
            parts.append(" ".join(filter(None, [*words_of, _PLAIN.value("place", place) if place else ""])))
    background = [_PLAIN.value(part, known[Fact(part)]) for part in ("setting", "sky") if Fact(part) in known]  # type: ignore[arg-type]
    return " ".join(filter(None, [", ".join(parts), *background]))


@cache
def tokens() -> list[str]:
    """The vocabulary, with all that can be written."""
    written = [_PLAIN.value(part, value) for part, values in VALUES.items() for value in values]
    return words.vocabulary([*written, "a an that is and ,"])


@dataclass(frozen=True, slots=True)
class Example:
    """A dialogue and some of its rounds' texts, packed.

    Attributes:
        numbers, positions, targets: (n,) token numbers, places, and what is to be predicted there (-100: nothing).
        parts: (n,) 0 for the dialogue, else the branch.
        ends: branch -> how many tokens of the dialogue it sees (ends[0] is unused).
        told: (n, 2) right after the caption and after each turn, what that told (`newly_told`); elsewhere -100.
    """

    numbers: list[int]
    positions: list[int]
    targets: list[int]
    parts: list[int]
    ends: list[int]
    told: list[tuple[int, int]]


def example(told: Conversation, rounds: Sequence[int], numbers: dict[str, int]) -> Example:
    """Rounds ascend, and the dialogue is told up to the last of them."""
    unknown = numbers[words.UNKNOWN]

    def read(text: str) -> list[int]:
        return [numbers.get(token, unknown) for token in words.split(text)]

    shared = [numbers[words.CAPTION], *read(told.dialogue.caption)]
    ends = [len(shared)]
    for at, turn in enumerate(told.dialogue.turns[: rounds[-1]]):
        shared.append(numbers[words.NEXT_TURN if at else words.FIRST_TURN])
        shared += [*read(turn.question), numbers[words.ANSWER], *read(turn.answer)]
        ends.append(len(shared))
    learnt = [newly_told(before, after) for before, after in pairwise([{}, *told.known])]
    read_here = dict(zip(ends[: rounds[-1]], learnt, strict=False))
    packed = Example(
        numbers=list(shared),
        positions=list(range(len(shared))),
        targets=[IGNORED] * len(shared),
        parts=[0] * len(shared),
        ends=[0],
        told=[read_here.get(place, (IGNORED, IGNORED)) for place in range(len(shared))],
    )
    for branch, number in enumerate(rounds, 1):
        asked = [numbers[words.LAST_TURN if number else words.NO_TURNS], numbers[words.WRITE]]
        answer = [numbers[words.TEXT], *read(text_of(told.known[number])), numbers[words.TEXT_END], numbers[words.END]]
        own = [*asked, *answer[:-1]]
        packed.numbers.extend(own)
        packed.positions.extend(range(ends[number], ends[number] + len(own)))
        packed.targets.extend([IGNORED, *answer])
        packed.parts.extend([branch] * len(own))
        packed.ends.append(ends[number])
        packed.told.extend([learnt[number], *[(IGNORED, IGNORED)] * (len(own) - 1)])
    return packed


def batch_of(examples: Sequence[Example]) -> tuple[torch.Tensor, ...]:
    """Numbers, positions and targets (n, length), what was told (n, length, 2), and who sees whom
    (n, 1, length, length) as an additive mask."""
    length = max(len(one.numbers) for one in examples)
    grid = np.zeros((3, len(examples), length), np.int64)
    grid[2] = IGNORED
    told = np.full((len(examples), length, 2), IGNORED, np.int64)
    hidden = np.ones((len(examples), length, length), np.bool_)
    hidden[:, range(length), range(length)] = False  # padding sees itself: a row without any would be NaN
    causal = np.tril(np.ones((length, length), np.bool_))
    for row, one in enumerate(examples):
        count = len(one.numbers)
        grid[:, row, :count] = [one.numbers, one.positions, one.targets]
        told[row, :count] = one.told
        parts = np.array(one.parts)
        ends = np.array([count, *one.ends[1:]])[parts]
        column = np.arange(count)
        shared = (parts == 0)[None, :] & (column[None, :] < ends[:, None])
        hidden[row, :count, :count] = ~(causal[:count, :count] & (shared | (parts[None, :] == parts[:, None])))
    mask = torch.zeros(hidden.shape).masked_fill(torch.from_numpy(hidden), torch.finfo(torch.float32).min)
    numbers, positions, targets = torch.from_numpy(grid)
    return numbers, positions, targets, torch.from_numpy(told), mask[:, None]


def examples_of(step: int, steps: int, numbers: dict[str, int]) -> list[Example]:
    """Dialogues that were never read before; short ones in the beginning, which are easier."""
    rng = random.Random(f"reformulator:{step}")
    longest = min(10, 2 + 16 * step // steps)
    found = []
    for number in range(BATCH):
        name = f"reformulator:{step}:{number}"
        last = longest if rng.random() < 0.6 else rng.randint(0, longest)
        rounds = sorted({last, *rng.sample(range(last + 1), min(BRANCHES - 1, last + 1))})
        found.append(example(conversation(scene(name, "train"), name, "train"), rounds, numbers))
    return found
