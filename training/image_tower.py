"""The image tower, taught by ground-truth attributes; afterwards it is locked.

`python -m training.image_tower --work DIR` goes on from DIR/image_tower.safetensors if that is there. The heads stay
as the judge of imagined pictures; `features` caches what the tower sees in the training pictures.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIPVisionCfg, _build_vision_tower

from training import attributes, checkpoints
from training.cells import CellHeads, cell_labels
from training.device import here
from training.pictures import render_all, training_scene

FEATURES = 256
VISION = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64}
PICTURES, VALIDATION = 64_000, 1_500
BATCH, RATE, SEED = 128, 2e-3, 1
_CELLS_WEIGHT = 2.0
_MEAN = torch.tensor(OPENAI_DATASET_MEAN).view(3, 1, 1)
_STD = torch.tensor(OPENAI_DATASET_STD).view(3, 1, 1)


def tower(width: int = FEATURES) -> torch.nn.Module:
    visual = _build_vision_tower(width, CLIPVisionCfg(**VISION))
    return here(visual.to(memory_format=torch.channels_last))


def normalised(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """(n, 64, 64, 3) uint8 -> (n, 3, 64, 64) float32, as open_clip's transform has it."""
    scaled = (torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255 - _MEAN) / _STD
    return here(scaled.contiguous(memory_format=torch.channels_last))


def labels_of(split: str, count: int) -> torch.Tensor:
    return torch.from_numpy(np.stack([attributes.scene_labels(training_scene(i, split)) for i in range(count)]))


def train(work: Path, steps: int, pictures: int = PICTURES, report_every: int = 50, save_every: int = 100) -> None:
    torch.manual_seed(SEED)
    pixels, held_out = render_all(work, "train", pictures), render_all(work, "validation", VALIDATION)
    labels, held_out_labels = labels_of("train", pictures), labels_of("validation", VALIDATION)
    cells = torch.from_numpy(np.stack([cell_labels(training_scene(i)) for i in range(pictures)]))
    modules = {"tower": tower(), "heads": here(attributes.Heads(FEATURES))}
    modules["cells"] = here(CellHeads(modules["tower"]))
    modules["tower"](normalised(pixels[:2]))
    modules["cells"].loss(here(cells[:2]))  # the lazy layer learns its width
    parameters = [parameter for module in modules.values() for parameter in module.parameters()]
    optimizer = checkpoints.adamw(iter(parameters), RATE, 0.03, (0.9, 0.999))
    path = work / "image_tower.safetensors"
    first = checkpoints.load(path, modules, optimizer)
    losses: list[float] = []
    began = time.perf_counter()
    for step in range(first, steps):
        checkpoints.set_rate(optimizer, checkpoints.cosine(step, steps, RATE, 80))
        numbers = checkpoints.batch_numbers(step, BATCH, pictures, SEED)
        read = modules["heads"](modules["tower"](normalised(pixels[numbers])))
        loss = attributes.loss(read, here(labels[numbers])) + _CELLS_WEIGHT * modules["cells"].loss(
            here(cells[numbers])
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 2.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % report_every == 0:
            rate = (step + 1 - first) * BATCH / (time.perf_counter() - began)
            print(f"image tower {step + 1}/{steps} loss {np.mean(losses[-100:]):.3f} {rate:.0f} pictures/s", flush=True)
        if (step + 1) % save_every == 0 or step + 1 == steps:
            checkpoints.save(path, modules, optimizer, step + 1)
        if (step + 1) % (4 * report_every) == 0 or step + 1 == steps:
            print("image tower on validation", judged(modules, held_out, held_out_labels), flush=True)


@torch.inference_mode()
def features(visual: torch.nn.Module, pixels: NDArray[np.uint8]) -> torch.Tensor:
    """(n, 64, 64, 3) uint8 -> (n, width) float32."""
    visual.eval()
    return torch.cat([visual(normalised(pixels[at : at + 250])).cpu() for at in range(0, len(pixels), 250)])


def judged(modules: dict[str, torch.nn.Module], pixels: NDArray[np.uint8], labels: torch.Tensor) -> dict[str, float]:
    with torch.inference_mode():
        read = modules["heads"](here(features(modules["tower"], pixels)))
    modules["tower"].train()
    return {part: round(share, 3) for part, share in attributes.accuracies(read, here(labels)).items()}


def cached_features(work: Path, pictures: int = PICTURES) -> torch.Tensor:
    """What the finished tower sees in the training pictures, (n, FEATURES) float32; computed once."""
    path, visual = work / "features.npy", tower()
    if not path.exists():
        step = checkpoints.load(work / "image_tower.safetensors", {"tower": visual})
        if not step:
            raise SystemExit("There is no trained image tower: run training.image_tower first.")
        checkpoints.save_array(path, features(visual, render_all(work, "train", pictures)).numpy())
    return torch.from_numpy(np.load(path))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments.work, arguments.steps)
    cached_features(arguments.work)
