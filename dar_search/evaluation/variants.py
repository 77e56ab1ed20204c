"""What is compared: ways to make a query vector out of the same texts and imaginations.

Beside each schedule stand its noise controls: the imagination replaced by Gaussian noise of the same norm and weight.
Cumulative Hits@k rewards fresh randomness in each round, so a gain that the noise has too is no gain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dar_search.data import FloatArray
from dar_search.evaluation.queries import Embedded
from dar_search.method.fusion import Schedule

TEXT_ONLY = "text-only"
RAW = "raw dialogue"
Control = Literal["", "fresh noise", "fixed noise"]
CONTROLS: tuple[Control, ...] = ("", "fresh noise", "fixed noise")


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to make queries.

    Attributes:
        schedule: vector fusion's weights; None for the text alone.
        raw: the dialogue as it was said, in place of the reformulation.
        control: "fresh noise": another draw each round; "fixed noise": one a dialogue.
    """

    name: str
    schedule: str | None = None
    raw: bool = False
    control: Control = ""

    def queries(self, embedded: Embedded, seed_at: int, seed: int) -> FloatArray:
        """(dialogues, rounds, d) float32: w_t * text + w_v * mean(imagined), or its control."""
        if self.raw:
            assert embedded.raw is not None  # noqa: S101  # listed only then
            return embedded.raw
        if self.schedule is None:
            return embedded.text
        assert embedded.imagined is not None  # noqa: S101  # listed only then
        imagined = embedded.imagined[seed_at]
        if self.control:
            imagined = _noise(imagined, seed, fresh=self.control == "fresh noise")
        schedule = Schedule.parse(self.schedule)
        weights = [schedule.at(number) for number in range(imagined.shape[1])]
        text = np.array([weight.text for weight in weights], np.float32)[:, None]
        image = np.array([weight.image for weight in weights], np.float32)[:, None]
        return np.asarray(text * embedded.text + image * imagined)

    @property
    def seeded(self) -> bool:
        """Whether it differs by sampling seed."""
        return self.schedule is not None


def variants(embedded: Embedded, schedules: Sequence[str]) -> Iterator[Variant]:
    """The text alone, the raw dialogue, and each schedule with its controls, as far as the inputs are there."""
    yield Variant(TEXT_ONLY)
    if embedded.raw is not None:
        yield Variant(RAW, raw=True)
    for schedule in schedules if embedded.imagined is not None else ():
        for control in CONTROLS:
            yield Variant(f"{schedule}, {control}" if control else schedule, schedule, control=control)


def _noise(imagined: FloatArray, seed: int, *, fresh: bool) -> FloatArray:
    """Gaussian directions with the norms of `imagined`, (dialogues, rounds, d)."""
    dialogues, rounds, dimension = imagined.shape
    out = np.empty_like(imagined)
    for position in range(dialogues):
        rng = np.random.default_rng([seed, position])
        drawn = rng.standard_normal((rounds if fresh else 1, dimension))
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        out[position] = drawn * np.linalg.norm(imagined[position], axis=1, keepdims=True)
    return out
