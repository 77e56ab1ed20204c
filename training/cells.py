"""A second teacher for the image tower: what stands in each cell of the grid, read from its inner feature maps.

Reading everything from one pooled vector teaches the lower layers slowly; a cell's own labels teach them directly.
The cells' heads are thrown away after training.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from dar_search.demo.world import PLACES, TYPES, VALUES, Attribute, Scene

PARTS: tuple[Attribute, ...] = ("type", "colour", "size", "texture")
_SIZES = (len(TYPES) + 1, *(len(VALUES[part]) for part in PARTS[1:]))


def cell_labels(scene: Scene) -> NDArray[np.int64]:
    """(6, 4): type (the last class: nothing), colour, size and texture (-1 where there is nothing) of each place."""
    rows = np.full((len(PLACES), len(PARTS)), -1, np.int64)
    rows[:, 0] = len(TYPES)
    for thing in scene.things:
        rows[PLACES.index(thing.place)] = [VALUES[part].index(getattr(thing, part)) for part in PARTS]
    return rows


class CellHeads(torch.nn.Module):
    """Reads each cell of a ModifiedResNet's second and third stage, which it listens to."""

    def __init__(self, visual: torch.nn.Module) -> None:
        super().__init__()
        self._maps: dict[str, torch.Tensor] = {}
        for name in ("layer2", "layer3"):
            getattr(visual, name).register_forward_hook(
                lambda _module, _given, out, name=name: self._maps.__setitem__(name, out)
            )
        self.linear = torch.nn.LazyLinear(sum(_SIZES))

    def loss(self, rows: torch.Tensor) -> torch.Tensor:
        """(n, 6, 4) labels of the pictures that the tower has just seen -> a scalar."""
        fine, coarse = self._maps.pop("layer2"), self._maps.pop("layer3")
        both = torch.cat([fine, functional.interpolate(coarse, fine.shape[-2:])], 1)
        cells = functional.adaptive_avg_pool2d(both, (2, 3)).flatten(2).transpose(1, 2)
        total = torch.zeros(())
        for part, logits in enumerate(self.linear(cells).split(_SIZES, -1)):
            total = total + functional.cross_entropy(logits.flatten(0, 1), rows[:, :, part].flatten(), ignore_index=-1)
        return total
