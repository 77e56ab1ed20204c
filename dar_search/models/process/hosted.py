"""What the model process loads: the adapters that the settings name, as kinds of batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dar_search.data import Imagination
from dar_search.models import catalogue
from dar_search.models.process.worker import Run


def load(encoder: str, imaginer: str = "none", device: str = "auto", dtype: str = "auto") -> Mapping[str, Run]:
    """Load and warm up. Raises what the adapters raise: UnknownModel, WeightsMissing, UnsafeWeights, ..."""
    encoding = catalogue.encoder(encoder, device=device, dtype=dtype)
    imagining = catalogue.imaginer(imaginer, encoding, device=device, dtype=dtype)

    def encode_texts(items: list[str], options: tuple[Any, ...]) -> Sequence[Any]:
        return list(encoding.encode_texts(items))

    def encode_prepared(items: list[Any], options: tuple[Any, ...]) -> Sequence[Any]:
        return list(encoding.encode_prepared(np.stack(items)))

    def imagine(items: list[tuple[str, int, int]], options: tuple[Any, ...]) -> list[tuple[Imagination, ...]]:
        (steps,) = options
        assert imagining is not None  # noqa: S101  # the kind is offered only with an imaginer
        return [imagining.imagine(prompt, count=count, seed=seed, steps=steps) for prompt, count, seed in items]

    shape = encoding.preparation
    encoding.encode_texts(["a picture"])
    encoding.encode_prepared(np.zeros((1, shape.height, shape.width, 3), np.uint8))
    kinds: dict[str, Run] = {"encode_texts": encode_texts, "encode_prepared": encode_prepared}
    if imagining is not None:
        imagining.imagine("a picture", count=1, seed=0)
        kinds["imagine"] = imagine
    return kinds
