"""Paired bootstrap intervals: is the difference between two variants more than the choice of dialogues?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its percentile interval."""

    mean: float
    low: float
    high: float


def paired_bootstrap(
    values: NDArray[np.float64], baseline: NDArray[np.float64], *, samples: int, seed: int, level: float = 0.95
) -> list[Interval]:
    """The mean of `values - baseline` for each column, resampling dialogues (rows) with replacement.

    Args:
        values, baseline: (dialogues, columns), the same dialogues in the same order. Several sampling seeds are
            averaged per dialogue before: they are no further dialogues.
        samples: bootstrap samples; seed: of the resampling; level: of the interval.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), the percentile interval.
    """
    difference = values - baseline
    count = len(difference)
    rng = np.random.default_rng(seed)
    means = np.empty((samples, difference.shape[1]))
    for start in range(0, samples, 256):
        drawn = rng.multinomial(count, np.full(count, 1.0 / count), size=min(256, samples - start))
        means[start : start + len(drawn)] = drawn @ difference / count
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [
        Interval(*triple) for triple in zip(difference.mean(axis=0).tolist(), low.tolist(), high.tolist(), strict=True)
    ]
