"""Several small batches side by side on a CPU, instead of all cores on one.

Threads that share one batch wait for each other at each layer, spinning meanwhile: where other processes want the cores
too (the decoders of ingestion), such a batch costs up to twice the processor time. Lanes share nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dar_search.data import FloatArray

if TYPE_CHECKING:
    import torch

# Fewer pictures than this in a lane, and the cost of starting a forward pass outweighs what lanes save.
LEAST = 8


class Lanes:
    """Splits a batch among as many lanes as it is worth; all the cores that torch may use are shared out to them."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    def batches(self, pixels: NDArray[np.uint8], forward: Callable[[NDArray[np.uint8]], torch.Tensor]) -> FloatArray:
        """(n, ...) -> `forward` of its parts, joined: (n, d) float32. One caller at a time."""
        import torch

        cores = torch.get_num_threads()
        lanes = max(1, min(cores, len(pixels) // LEAST))

        def run(part: NDArray[np.uint8]) -> FloatArray:
            if torch.get_num_threads() != cores // lanes:
                torch.set_num_threads(cores // lanes)  # of this thread alone, but also what new threads begin with
            with torch.inference_mode():
                rows: FloatArray = forward(part).float().numpy()
                return rows

        if lanes == 1:
            return run(pixels)
        self._pool = self._pool or ThreadPoolExecutor(cores, thread_name_prefix="dar-encode")
        try:
            return np.concatenate(list(self._pool.map(run, np.array_split(pixels, lanes))))
        finally:
            torch.set_num_threads(cores)
