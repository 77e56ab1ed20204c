"""Vector fusion and score fusion: pure functions.

Vector fusion joins the text and the imagined embeddings into ONE k-NN query vector. Score fusion joins the k-NN
leg with the keyword leg. They are different methods: see `fuse_vectors` and `fuse_scores`.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass

from dar_search.data import VectorWeights
from dar_search.errors import RequestError

TEXT_ONLY = VectorWeights(1.0, 0.0)
_MAX_WEIGHT = 1000.0
_HINT = 'Write "released", "text-only", "0.5/0.5" (text/image), or by first round "0:0.8/0.2,2:0.5/0.5".'


@dataclass(frozen=True, slots=True)
class Schedule:
    """Vector fusion's weights by round.

    Attributes:
        steps: (first round, weights), rounds ascending from 0; a step holds until the next one.
    """

    steps: tuple[tuple[int, VectorWeights], ...]

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """A name, or "ROUND:TEXT/IMAGE,..." as in settings. Raises RequestError."""
        if text in SCHEDULES:
            return SCHEDULES[text]
        steps = []
        for part in text.split(","):
            match = re.fullmatch(r"\s*(?:(\d{1,6})\s*:)?\s*([\d.]+)\s*/\s*([\d.]+)\s*", part, re.ASCII)
            if not match or (match[1] is None and "," in text):
                raise RequestError(f'The schedule "{text[:80]}" does not read.', _HINT)
            steps.append((int(match[1] or 0), VectorWeights(_weight(match[2]), _weight(match[3]))))
        rounds = [first for first, _ in steps]
        if rounds[0] != 0 or any(later <= earlier for earlier, later in itertools.pairwise(rounds)):
            raise RequestError(f'The rounds of the schedule "{text[:80]}" do not ascend from 0.', _HINT)
        if any(weights.text == 0 and weights.image == 0 for _, weights in steps):
            raise RequestError(f'The schedule "{text[:80]}" has a round with both weights 0.', _HINT)
        return cls(tuple(steps))

    def at(self, round: int) -> VectorWeights:
        """The weights of a round (0: the caption alone)."""
        return next(weights for first, weights in reversed(self.steps) if first <= round)

    def __str__(self) -> str:
        return ",".join(f"{first}:{weights.text:g}/{weights.image:g}" for first, weights in self.steps)


#: By name. "released": the weights of DAR's released evaluation (SIGIR 2025).
SCHEDULES = {
    "released": Schedule(((0, VectorWeights(0.8, 0.2)), (2, VectorWeights(0.5, 0.5)))),
    "text-only": Schedule(((0, TEXT_ONLY),)),
}


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 <= weight <= _MAX_WEIGHT:
        raise RequestError(f'The weight "{text[:20]}" of a schedule is not in 0 to {_MAX_WEIGHT:g}.', _HINT)
    return weight
