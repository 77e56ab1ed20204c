"""The judge of painted pictures: linear readers of all attributes, fitted to the trunk of a bundle's image side.

The encoder's last layer, which keeps only what search needs, is left out: before it, the picture side says what it was
taught to see. Needs the encoder's folder and the training pictures, and nothing else of a training run.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from training import attributes, checkpoints, image_tower
from training.pictures import render_all

BATCH, RATE, STEPS, SEED = 512, 5e-3, 3_000, 11
_LAST = "attnpool.c_proj"


def trunk(encoder: Path) -> tuple[torch.nn.Module, int]:
    """The image side of an encoder's folder without its last layer, and the width of what it gives."""
    stored = load_file(encoder / "open_clip_model.safetensors")
    weights = {
        name.removeprefix("visual."): value.float() for name, value in stored.items() if name.startswith("visual.")
    }
    width = weights[f"{_LAST}.weight"].shape[1]
    weights |= {f"{_LAST}.weight": torch.eye(width), f"{_LAST}.bias": torch.zeros(width)}
    model = image_tower.tower(width)
    model.load_state_dict(weights)
    return model.eval(), width


def fitted(work: Path, encoder: Path, pictures: int = image_tower.PICTURES) -> tuple[torch.nn.Module, attributes.Heads]:
    """The trunk and its readers; fitted once and kept in the work folder."""
    model, width = trunk(encoder)
    heads, path = attributes.Heads(width), work / "judge_heads.safetensors"
    if checkpoints.load(path, {"heads": heads}):
        return model, heads
    torch.manual_seed(SEED)
    seen = image_tower.features(model, render_all(work, "train", pictures))
    labels = image_tower.labels_of("train", pictures)
    mean, spread = seen.mean(0), seen.std(0) + 1e-6
    scaled = (seen - mean) / spread
    optimizer = checkpoints.adamw(heads.parameters(), RATE, 1e-4, (0.9, 0.999))
    for step in range(STEPS):
        checkpoints.set_rate(optimizer, checkpoints.cosine(step, STEPS, RATE, 100))
        numbers = checkpoints.batch_numbers(step, min(BATCH, pictures), pictures, SEED)
        loss = attributes.loss(heads(scaled[numbers]), labels[numbers])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        heads.linear.weight.div_(spread)
        heads.linear.bias.sub_(heads.linear.weight @ mean)
    checkpoints.save(path, {"heads": heads}, optimizer, STEPS)
    return model, heads
