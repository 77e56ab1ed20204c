"""The picture imaginer's decoder: an AutoencoderTiny whose weights are computed, so that it inverts the latents.

A convolution behind a nearest-neighbour enlargement cannot tell the four new pixels of an old one apart, and so cannot
draw what lies within a patch: when it was trained, it stayed worse than the linear inverse. Here it counts columns and
rows from the picture's edge, whose zeros are all that it can see of them, and keeps whether a number is odd. After each
enlargement a pixel belongs to the left half of its old one if its right neighbour's number is the same, and so on: of
four linear maps, one for each quarter, three are closed by a large negative number before a ReLU. Values are kept above
zero, where a ReLU changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import diffusers
import torch
from torch import nn

from training.painter_latents import CHANNELS, PATCH, PatchComponents, components

WIDTH = 72
# The class squeezes latents into -3..3: divided by this, they are where that changes nothing.
SCALING = 40.0
_SHIFT, _CLOSED = 1.0, 16.0
# How many numbers describe a quarter of a patch, and a quarter of that; and what keeps them between -1 and 1.
_QUARTER, _SIXTEENTH = 16, 12
_SCALES = (12.0, 2.0, 2.0)
_QUARTERS = tuple((down, right) for down in (0, 1) for right in (0, 1))
_LEFT, _RIGHT, _UP, _DOWN, _HERE = (1, 0), (1, 2), (0, 1), (2, 1), (1, 1)


def autoencoder() -> diffusers.AutoencoderTiny:
    """Without weights of use; its encoder, which text-to-image never uses, is the smallest that the class allows."""
    return diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 1, 1, 1),
        decoder_block_out_channels=(WIDTH,) * 4,
        num_decoder_blocks=(3, 1, 1, 1),
        latent_channels=CHANNELS,
        scaling_factor=SCALING,
    )


@dataclass(slots=True)
class _Channels:
    """Names for the channels of a layer's output."""

    numbers: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, name: str) -> int:
        if name not in self.numbers:
            self.numbers[name] = len(self.numbers)
        assert self.numbers[name] < WIDTH, "The decoder is too narrow."
        return self.numbers[name]


def _set(layer: nn.Conv2d, out: int, taps: Mapping[tuple[int, tuple[int, int]], float], bias: float = 0.0) -> None:
    """taps: (input channel, (row, column) of the 3x3 kernel) -> weight."""
    for (channel, (row, column)), weight in taps.items():
        layer.weight[out, channel, row, column] += weight
    if layer.bias is not None:
        layer.bias[out] += bias


def _count_parity(block: nn.Module, names: _Channels) -> None:
    """Three steps of "one minus my neighbour's", which after eight of them alternates from the edge on."""
    first, second, third = block.conv[0], block.conv[2], block.conv[4]
    inner = _Channels()
    for name, neighbour in (("column", _LEFT), ("row", _UP)):
        own, one, kept = names[f"new {name}"], inner[name], inner[f"old {name}"]
        _set(first, one, {(own, neighbour): -1}, 1)
        _set(first, kept, {(own, _HERE): 1})
        _set(second, one, {(one, neighbour): -1}, 1)
        _set(second, kept, {(kept, _HERE): 1})
        _set(third, own, {(one, neighbour): -1, (kept, _HERE): -1}, 1)


def _split(block: nn.Module, names: _Channels, count: int, maps: torch.Tensor, offsets: torch.Tensor) -> _Channels:
    """One linear map of the `count` signals for each quarter; returns the names of the block's output channels.

    Args:
        maps: (4, out, count); offsets: (4, out).
    """
    first, second, third = block.conv[0], block.conv[2], block.conv[4]
    seen, gated, out = _Channels(), _Channels(), _Channels(dict(names.numbers))
    for number in range(count):
        _set(first, seen[f"signal {number}"], {(names[f"signal {number}"], _HERE): 1})
    neighbours = {"right": ("column", _RIGHT), "left": ("column", _LEFT), "down": ("row", _DOWN), "up": ("row", _UP)}
    for side, (name, neighbour) in neighbours.items():
        for sign in (1, -1):
            taps = {(names[name], _HERE): float(sign), (names[name], neighbour): float(-sign)}
            _set(first, seen[f"{side} {sign}"], taps)

    def closed_by(*sides: str) -> dict[tuple[int, tuple[int, int]], float]:
        return {(seen[f"{side} {sign}"], _HERE): -_CLOSED for side in sides for sign in (1, -1)}

    for quarter, (down, right) in enumerate(_QUARTERS):
        gate = closed_by("left" if right else "right", "up" if down else "down")
        for row in range(maps.shape[1]):
            # Rounded as they are stored: so the offset takes exactly the shift away.
            weights = maps[quarter, row].half().double()
            taps = {(seen[f"signal {n}"], _HERE): weights[n].item() for n in range(count)}
            bias = offsets[quarter, row].item() + _SHIFT - _SHIFT * weights.sum().item()
            own = gated[f"{quarter} {row}"]
            _set(second, own, taps | gate, bias)
            _set(third, out[f"new {row}"], {(own, _HERE): 1})
    for name, side in (("new column", "right"), ("new row", "down")):
        _set(second, gated[name], closed_by(side), 1)
        _set(third, out[name], {(gated[name], _HERE): 1})
    return out


def _pass_on(layer: nn.Conv2d, old: _Channels, count: int) -> _Channels:
    """Signals and parities, the latter as 1 and 2: beyond the edge there are zeros, which are neither."""
    names = _Channels()
    for number in range(count):
        _set(layer, names[f"signal {number}"], {(old[f"new {number}"], _HERE): 1})
    for name in ("column", "row"):
        _set(layer, names[name], {(old[f"new {name}"], _HERE): 1, (old["one"], _HERE): 1})
    _set(layer, names["one"], {(old["one"], _HERE): 1})
    return names


def inverse_of(space: PatchComponents) -> diffusers.AutoencoderTiny:
    """The decoder of a latent space, up to rounding and to the components of quarters that are left out."""
    model = autoencoder().eval().requires_grad_(False)
    layers = model.decoder.layers
    for parameter in model.decoder.parameters():
        parameter.zero_()
    names, signals = _Channels(), CHANNELS
    for number in range(signals):
        _set(layers[0], names[f"new {number}"], {(number, _HERE): 1}, _SHIFT)
    for name in ("new column", "new row", "one"):
        _set(layers[0], names[name], {}, 1)
    for block in layers[2:5]:
        _count_parity(block, names)
    # Each level is an enlargement, a convolution and a block.
    for at, (maps, offsets) in zip(range(5, 14, 3), _levels(space), strict=True):
        names = _pass_on(layers[at + 1], names, signals)
        names = _split(layers[at + 2], names, signals, maps, offsets)
        signals = maps.shape[1]
    for colour in range(3):
        # The class turns 0..1 into -1..1.
        half = _SCALES[2] / 2
        _set(layers[-1], colour, {(names[f"new {colour}"], _HERE): half}, 0.5 - half * _SHIFT)
    return model


def _levels(space: PatchComponents) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Maps and offsets of the three halvings: latents -> quarters -> sixteenths -> pixels."""
    back, mean = space.back.double().T, space.mean.double()  # (192, channels), (192,)
    parts, means = _quarters(back, PATCH), _quarters(mean[:, None], PATCH)[..., 0]
    middle = means.mean(0)
    spread = sum(part @ part.T for part in parts) + sum(torch.outer(m - middle, m - middle) for m in means)
    basis = torch.linalg.eigh(spread)[1].flip(1)[:, :_QUARTER]
    first = basis.T @ parts * (SCALING / _SCALES[0]), (means - middle) @ basis / _SCALES[0]
    fine, fine_means = _quarters(basis, PATCH // 2), _quarters(middle[:, None], PATCH // 2)[..., 0]
    second = fine * (_SCALES[0] / _SCALES[1]), fine_means / _SCALES[1]
    pixels = _quarters(torch.eye(_SIXTEENTH, dtype=torch.float64), PATCH // 4) * (_SCALES[1] / _SCALES[2])
    return [first, second, (pixels, torch.zeros(4, 3, dtype=torch.float64))]


def _quarters(rows: torch.Tensor, side: int) -> torch.Tensor:
    """(3 * side², n) -> (4, 3 * side² / 4, n): the rows of each quarter of a patch, in the order of `_QUARTERS`."""
    half = side // 2
    split = rows.unflatten(0, (3, 2, half, 2, half))  # type: ignore[no-untyped-call]
    return torch.stack([split[:, down, :, right].flatten(0, 2) for down, right in _QUARTERS])


def of_work(work: Path) -> diffusers.AutoencoderTiny:
    return inverse_of(components(work))
