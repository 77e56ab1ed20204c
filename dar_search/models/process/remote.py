"""The model ports on top of a model process: what services and ingestion use in place of the adapters themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dar_search.data import FloatArray, Imagination, Provenance
from dar_search.models.process.supervisor import ModelProcess
from dar_search.ports import Encoder, Imaginer
from dar_search.preparation import Preparation


class RemoteEncoder:
    """An Encoder whose work is done in a model process.

    Args:
        local: the same encoder here, asked only for its provenance and preparation, which load no weights.
        timeout: seconds for each call; None: the process's batch limit.
    """

    def __init__(self, process: ModelProcess, local: Encoder, timeout: float | None = None) -> None:
        self._process = process
        self._local = local
        self._timeout = timeout

    @property
    def provenance(self) -> Provenance:
        return self._local.provenance

    @property
    def preparation(self) -> Preparation:
        return self._local.preparation

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        return self._encode("encode_texts", [(text, text) for text in texts])

    def encode_images(self, images: Sequence[Image.Image]) -> FloatArray:
        return self._encode("encode_prepared", [(self.preparation.prepare(image), None) for image in images])

    def encode_prepared(self, pixels: NDArray[np.uint8]) -> FloatArray:
        # Pictures are not shared by content: hashing the pixels costs more than two equal ones at once are worth.
        return self._encode("encode_prepared", [(one, None) for one in pixels])

    def _encode(self, kind: str, items: Sequence[tuple[Any, str | None]]) -> FloatArray:
        size = self._process.limits.batch_items
        chunks = [items[start : start + size] for start in range(0, len(items), size)]
        pending = [
            self._process.submit(
                kind,
                [item for item, _ in chunk],
                key=tuple(key for _, key in chunk) if all(key is not None for _, key in chunk) else None,
                timeout=self._timeout,
            )
            for chunk in chunks
        ]
        rows = [row for one in pending for row in one.outcome()]
        if not rows:
            return np.empty((0, self.provenance.dimension), np.float32)
        return np.stack(rows).astype(np.float32, copy=False)


class RemoteImaginer:
    """An Imaginer whose work is done in a model process; `local` is asked only for its name."""

    def __init__(self, process: ModelProcess, local: Imaginer, timeout: float | None = None) -> None:
        self._process = process
        self._local = local
        self._timeout = timeout

    @property
    def name(self) -> str:
        return self._local.name

    def imagine(self, prompt: str, *, count: int, seed: int, steps: int | None = None) -> tuple[Imagination, ...]:
        request = (prompt, count, seed)
        (imaginations,) = self._process.call("imagine", [request], options=(steps,), key=request, timeout=self._timeout)
        return tuple(imaginations)
