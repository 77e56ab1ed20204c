"""SigLIP 2's NaFlex: a picture keeps its ratio, and is cut into as many whole patches as the model takes.

The processor's own steps (`Siglip2ImageProcessor` of transformers): the first of them, the resize, is in
`dar_search.preparation` and so in decoder processes; patches, masks and normalisation are here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dar_search.errors import ModelFailed
from dar_search.models.encoders import picture_config
from dar_search.models.encoders.picture_config import Channels
from dar_search.preparation import Preparation

if TYPE_CHECKING:
    import torch

_DEFAULTS: Mapping[str, Any] = {"patch_size": 16, "max_num_patches": 256}
_NAMED = "Siglip2ImageProcessor"


def preparation(
    pictures: Mapping[str, Any], config: Mapping[str, Any], *, model: str
) -> tuple[Preparation, Channels, Channels]:
    """The processor's and the model's configuration -> the geometry, and mean and deviation of channels in 0-1.

    Raises ModelFailed for what cannot be done as it says.
    """
    named = str(pictures.get("image_processor_type") or _NAMED)
    if not named.startswith(_NAMED):
        raise ModelFailed(
            f"{model} is a NaFlex model whose pictures {named} prepares, which is not supported.",
            f"Fetch {picture_config.FILE} from where the weights are from.",
        )
    sizes = {name: int(pictures.get(name) or default) for name, default in _DEFAULTS.items()}
    step = sizes["patch_size"]
    taken = int((config.get("vision_config") or {}).get("patch_size", _DEFAULTS["patch_size"]))
    if step != taken:
        raise ModelFailed(
            f"{model}'s pictures are cut into patches of {step} pixels, but its weights take {taken}.",
            f"Is {picture_config.FILE} of another model? Fetch it from where the weights are from.",
        )
    # All else is as SigLIP's, but for the filter and the size, which patches stand for.
    others = {name: value for name, value in pictures.items() if name not in (*_DEFAULTS, "size", "do_pad")}
    square, mean, std = picture_config.preparation(
        {"resample": 2, **others, "image_processor_type": "SiglipImageProcessor"}, "siglip", model=model
    )
    most = sizes["max_num_patches"] * step * step
    return Preparation.own_ratio("patches", square.resample, step=step, most=most), mean, std


@dataclass(frozen=True, slots=True)
class Patches:
    """Pictures -> what the vision tower takes.

    Attributes:
        step: a patch's side, pixels; most: patches of one picture.
        mean, std: of each channel, in the range 0-1.
    """

    step: int
    most: int
    mean: Channels
    std: Channels

    def of(
        self, pictures: Sequence[NDArray[np.uint8]], device: torch.device, dtype: torch.dtype
    ) -> dict[str, torch.Tensor]:
        """(height, width, 3) uint8 of each, sides multiples of `step` -> pixel_values and what goes with them."""
        import torch

        values = np.zeros((len(pictures), self.most, self.step, self.step, 3), np.float32)
        mask = np.zeros((len(pictures), self.most), np.int64)
        shapes = np.zeros((len(pictures), 2), np.int64)
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        for at, picture in enumerate(pictures):
            down, across = picture.shape[0] // self.step, picture.shape[1] // self.step
            cut = picture.reshape(down, self.step, across, self.step, 3).swapaxes(1, 2)
            shown = cut.reshape(-1, self.step, self.step, 3).astype(np.float32) / 255
            values[at, : down * across] = (shown - mean) / std
            mask[at, : down * across] = 1
            shapes[at] = down, across
        return {
            "pixel_values": torch.from_numpy(values.reshape(len(pictures), self.most, -1)).to(device, dtype),
            "pixel_attention_mask": torch.from_numpy(mask).to(device),
            "spatial_shapes": torch.from_numpy(shapes).to(device),
        }
