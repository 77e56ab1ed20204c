"""The picture imaginer's decoder: an AutoencoderTiny that turns the linear latents back into pixels.

`python -m training.painter_decoder --work DIR`. Only the decoder is trained; the encoder half, which text-to-image
never uses, is the smallest that the class allows.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import diffusers
import numpy as np
import torch
from torch.nn import functional

from training import checkpoints
from training.device import half_precision, here
from training.image_tower import PICTURES
from training.painter_latents import CHANNELS, latents, scaled
from training.pictures import render_all

BATCH, RATE, SEED = 32, 2e-3, 6
WIDTH = 32
# The class squeezes what it is given into -3..3: the strongest components would lose what is above.
SCALING = 4.0


def autoencoder() -> diffusers.AutoencoderTiny:
    return diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 1, 1, 1),
        decoder_block_out_channels=(WIDTH,) * 4,
        num_decoder_blocks=(3, 2, 1, 0),
        latent_channels=CHANNELS,
        scaling_factor=SCALING,
    )


def train(work: Path, steps: int, pictures: int = PICTURES, report_every: int = 100) -> None:
    torch.manual_seed(SEED)
    pixels, painted = render_all(work, "train", pictures), latents(work, pictures)
    modules = {"autoencoder": here(autoencoder())}
    # Half precision and this order of memory: three times faster on a CPU that has the instructions.
    decoder = modules["autoencoder"].decoder.to(memory_format=torch.channels_last)
    optimizer = checkpoints.adamw(decoder.parameters(), RATE, 0.0, (0.9, 0.99))
    path = work / "painter_decoder.safetensors"
    first = checkpoints.load(path, modules, optimizer)
    began, losses = time.perf_counter(), []
    for step in range(first, steps):
        checkpoints.set_rate(optimizer, checkpoints.cosine(step, steps, RATE, 50))
        numbers = checkpoints.batch_numbers(step, BATCH, pictures, SEED)
        scaled_down = torch.from_numpy(painted[numbers].astype(np.float32)) / SCALING
        given = here(scaled_down.to(memory_format=torch.channels_last))
        with half_precision():
            drawn = decoder(given)
        loss = functional.l1_loss(drawn.float(), here(scaled(pixels[numbers])))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % report_every == 0 or step + 1 == steps:
            rate = (step + 1 - first) * BATCH / (time.perf_counter() - began)
            print(f"painter decoder {step + 1}/{steps} L1 {np.mean(losses[-100:]):.4f} {rate:.0f}/s", flush=True)
            checkpoints.save(path, modules, optimizer, step + 1)


def trained(work: Path) -> diffusers.AutoencoderTiny:
    model = autoencoder()
    if not checkpoints.load(work / "painter_decoder.safetensors", {"autoencoder": model}):
        raise SystemExit("There is no trained decoder: run training.painter_decoder first.")
    return model.eval().requires_grad_(False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments.work, arguments.steps)
