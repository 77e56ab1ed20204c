"""The latent space that the picture imaginer paints in: principal components of 8x8 patches, half whitened.

Linear, so that it needs no training: 64x64 pixels become 48 numbers in each of 8x8 patches. The decoder has to be one
of diffusers' own classes: its weights are computed (`training.painter_decoder`). What the numbers leave out
cannot be painted: half as many lost what small things are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch.nn import functional

from training.checkpoints import save_array
from training.image_tower import PICTURES
from training.pictures import render_all

PATCH, CHANNELS = 8, 48
_FITTED_ON = 8_000


@dataclass(frozen=True, slots=True)
class PatchComponents:
    """mean: (192,); into: (192, 48) patch -> latent; back: (48, 192)."""

    mean: torch.Tensor
    into: torch.Tensor
    back: torch.Tensor

    def encode(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """(n, 64, 64, 3) uint8 -> (n, 48, 8, 8) float32 of mean variance 1."""
        return ((patches(pixels) - self.mean) @ self.into).permute(0, 3, 1, 2).contiguous()

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """(n, 48, 8, 8) -> (n, 3, 64, 64) in -1..1: the linear picture, the best that the latents can say."""
        flat = latents.permute(0, 2, 3, 1) @ self.back + self.mean
        return functional.pixel_shuffle(flat.permute(0, 3, 1, 2), PATCH)


def scaled(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """(n, 64, 64, 3) uint8 -> (n, 3, 64, 64) float32 in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def patches(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """(n, 64, 64, 3) uint8 -> (n, 8, 8, 192)."""
    return functional.pixel_unshuffle(scaled(pixels), PATCH).permute(0, 2, 3, 1)


def fitted(pixels: NDArray[np.uint8]) -> PatchComponents:
    """Principal components; scaling by the square root of the deviation keeps the strong ones stronger."""
    flat = patches(pixels).reshape(-1, 3 * PATCH**2).double()
    mean = flat.mean(0)
    variances, vectors = torch.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
    variances, vectors = variances.flip(0)[:CHANNELS], vectors.flip(1)[:, :CHANNELS]
    scale = variances.sqrt().sqrt()
    scale = scale * (variances / scale**2).mean().sqrt()
    return PatchComponents(mean.float(), (vectors / scale).float(), (vectors * scale).T.contiguous().float())


def components(work: Path, pictures: int = PICTURES) -> PatchComponents:
    """The work folder's latent space; fitted once."""
    path = work / "painter_components.safetensors"
    if not path.exists():
        pixels = render_all(work, "train", pictures)
        found = fitted(pixels[:: max(1, pictures // _FITTED_ON)])
        save_file({"mean": found.mean, "into": found.into.contiguous(), "back": found.back}, path)
    return PatchComponents(**load_file(path))


def latents(work: Path, pictures: int = PICTURES) -> NDArray[np.float16]:
    """(n, 48, 8, 8) float16 of the training pictures, memory-mapped; computed once."""
    path = work / "painter_latents.npy"
    if not path.exists():
        space, pixels = components(work, pictures), render_all(work, "train", pictures)
        parts = [space.encode(pixels[at : at + 500]).half().numpy() for at in range(0, pictures, 500)]
        save_array(path, np.concatenate(parts))
    return np.load(path, mmap_mode="r")
