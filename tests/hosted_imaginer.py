"""An imaginer for a model process that sleeps, raises or kills its process, as the prompt's words say."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from typing import Any

from dar_search.data import Imagination
from dar_search.models.process.worker import Run
from tests.fakes import direction


def load(dimension: int) -> Mapping[str, Run]:
    def imagine(items: list[tuple[str, int, int]], options: tuple[Any, ...]) -> list[tuple[Imagination, ...]]:
        return [_imagined(prompt, count, seed, dimension) for prompt, count, seed in items]

    return {"imagine": imagine}


def _imagined(prompt: str, count: int, seed: int, dimension: int) -> tuple[Imagination, ...]:
    if "sleeps" in prompt:
        time.sleep(1.0)
    if "raises" in prompt:
        raise ValueError("no picture today")
    if "dies" in prompt:
        os.kill(os.getpid(), signal.SIGKILL)
    numbers = range(seed, seed + count)
    return tuple(
        Imagination(f"{prompt}-{one}", direction(f"{prompt} {one}", dimension), prompt, one) for one in numbers
    )
