"""A light, real encoder for tests of ingestion: the mean colour of each cell of a grid. No model library.

It tells a picture from its mirror image and its rotations, gives the same vector for the same pixels in any batch,
and counts what it encodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dar_search.data import FloatArray, Provenance
from dar_search.preparation import Preparation

CELLS = 4
SIDE = 64


class GridEncoder:
    """See the module's docstring.

    Attributes:
        pictures: how many pictures it has encoded.
        calls: how many batches.
        before_call: called at the start of each batch with the number of batches before it.
    """

    provenance = Provenance("grid", "1", CELLS * CELLS * 3, f"squash {SIDE}x{SIDE} bicubic")
    preparation = Preparation(SIDE, SIDE, "squash")

    def __init__(self, before_call: Callable[[int], None] = lambda call: None) -> None:
        self.pictures = 0
        self.calls = 0
        self.before_call = before_call

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        raise NotImplementedError

    def encode_images(self, images: Sequence[Image.Image]) -> FloatArray:
        return self.encode_prepared(np.stack([self.preparation.prepare(image) for image in images]))

    def encode_prepared(self, pixels: NDArray[np.uint8]) -> FloatArray:
        self.before_call(self.calls)
        self.calls += 1
        self.pictures += len(pixels)
        step = SIDE // CELLS
        cells = pixels.reshape(len(pixels), CELLS, step, CELLS, step, 3).mean(axis=(2, 4)).reshape(len(pixels), -1)
        vectors = cells.astype(np.float32) - 127.25
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
