"""Where the painter looks in a text, told while it learns: each part of a picture at what is to stand there.

The text encoder keeps that in the last twelve of 64 positions: six places, the setting, the sky, and four for things
whose place is not told. Left to itself the painter did not find them; led there, but not told which is whose, it took
left for right: a rendered world is as good as its mirror image, and only the zeros around a convolution's edge tell its
columns apart. The finished weights are those of an ordinary UNet2DConditionModel.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from torch.nn import functional

from dar_search.demo.world import PLACES
from training.painter_text import SLOTS

SIDE = 8
_ROWS, _COLUMNS = (slice(0, 4), slice(4, 8)), (slice(0, 3), slice(3, 5), slice(5, 8))
_LEAST_SHARE = 1e-4


class GuidedAttention:
    """A diffusers attention processor that also says how far the heads look past what they should look at.

    All heads but the last should look at the slot of the query's place, the last one at those of setting, sky and
    things without a place.

    Attributes:
        missed: of the last call, the mean of minus the logarithm of the share of attention that is where it should be.
    """

    missed: torch.Tensor

    def __call__(
        self, attention: Any, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor, **unused: Any
    ) -> torch.Tensor:
        """(n, positions, width), (n, 64, 128) -> (n, positions, width)."""

        def heads_of(projected: torch.Tensor) -> torch.Tensor:
            return projected.reshape(*projected.shape[:2], attention.heads, -1).transpose(1, 2)

        query, key = heads_of(attention.to_q(hidden_states)), heads_of(attention.to_k(encoder_hidden_states))
        shares = (attention.scale * query @ key.transpose(-1, -2)).float().softmax(-1)
        at_slots = shares[..., -SLOTS:]
        wanted = slots_of_positions(hidden_states.shape[1]).to(shares.device)
        placed = (at_slots[:, :-1, :, : len(PLACES)] * wanted).sum(-1)
        self.missed = (
            -torch.cat([placed, at_slots[:, -1:, :, len(PLACES) :].sum(-1)], 1).clamp(_LEAST_SHARE).log().mean()
        )
        value = heads_of(attention.to_v(encoder_hidden_states))
        return attention.to_out[0]((shares.to(value.dtype) @ value).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


@cache
def slots_of_positions(positions: int) -> torch.Tensor:
    """(positions, 6) float32: 1 where a position of the latent picture, or of a coarser one, is in that place."""
    grid = torch.zeros(len(PLACES), SIDE, SIDE)
    for number in range(len(PLACES)):
        row, column = divmod(number, len(_COLUMNS))
        grid[number, _ROWS[row], _COLUMNS[column]] = 1
    coarser = SIDE // round(positions**0.5)
    return functional.max_pool2d(grid, coarser).flatten(1).T


def guide(model: torch.nn.Module) -> None:
    """Let the model's attention to texts be guided by `missed`, which it computes from now on."""
    for block in _blocks(model):
        block.attn2.set_processor(GuidedAttention())


def missed(model: torch.nn.Module) -> torch.Tensor:
    """A scalar: the mean over the guided layers of the model's last call."""
    return torch.stack([block.attn2.processor.missed for block in _blocks(model)]).mean()


def _blocks(model: torch.nn.Module) -> list[BasicTransformerBlock]:
    return [module for module in model.modules() if isinstance(module, BasicTransformerBlock)]
