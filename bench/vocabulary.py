"""Captions and dialogues for benchmarks: words as often as a language has them."""

from __future__ import annotations

from typing import Any

import numpy as np


def words(chance: np.random.Generator, shape: int | tuple[int, int]) -> Any:
    """Of 5,000 words; the n-th is met as often as 1 / n says (Zipf)."""
    shares = 1 / np.arange(1, 5_001)
    drawn = chance.choice(len(shares), shape, p=shares / shares.sum())
    return np.char.add("word", np.char.mod("%d", drawn))
