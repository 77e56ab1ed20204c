"""The picture imaginer: a small latent diffusion model, exported as a StableDiffusionPipeline of standard parts.

`python -m training.painter --work DIR` needs the painter's finished text encoder. It goes on from its checkpoint, and
writes DIR/painter, which `DiffusionPipeline.from_pretrained` loads, at every `--export-every` steps.
Settings follow what was found to work: the picture is predicted, not the noise, which takes more width than the network
has; the loss is that of velocities (Salimans and Ho, 2022), capped by signal-to-noise ratio (Hang et al., 2023);
a tenth of the captions dropped for guidance (Ho and Salimans, 2022), an average of the weights. Where things stand the
loss counts more: backgrounds are learned soon, and things are small. During the first half of the steps it is told
where to look in the text (`training.guided_attention`).
"""

from __future__ import annotations

import argparse
import functools
import random
import time
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor

from dar_search.demo.world import PLACES, Scene
from training import checkpoints, painter_decoder, painter_text
from training.device import half_precision, here
from training.guided_attention import SIDE, guide, missed, slots_of_positions
from training.image_tower import PICTURES
from training.painter_latents import CHANNELS, latents
from training.pictures import training_scene
from training.twins import Twins

BATCH, RATE, SEED = 64, 1e-3, 7
_DROPPED, _SNR_CAP = 0.1, 5.0
_EMPHASIS, _GUIDANCE = 4.0, 0.2
_SCHEDULE = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"}


def unet() -> diffusers.UNet2DConditionModel:
    model = diffusers.UNet2DConditionModel(
        sample_size=SIDE,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=(64, 128),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=painter_text.WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )
    model.set_attn_processor(AttnProcessor())  # several times faster on a CPU than the fused kernel
    return model


def sampling_scheduler() -> diffusers.DPMSolverMultistepScheduler:
    return diffusers.DPMSolverMultistepScheduler(
        **_SCHEDULE, timestep_spacing="trailing", final_sigmas_type="zero", steps_offset=1
    )


def emphasis(shown: Scene) -> np.ndarray:
    """(1, 8, 8) float32 of mean 1: how much each part of the latent picture counts."""
    taken = slots_of_positions(SIDE**2)[:, [PLACES.index(thing.place) for thing in shown.things]]
    grid = 1 + (_EMPHASIS - 1) * taken.amax(1).numpy().reshape(1, SIDE, SIDE)
    return grid / grid.mean()  # type: ignore[no-any-return]


def train(
    work: Path,
    steps: int,
    pictures: int = PICTURES,
    report_every: int = 100,
    export_every: int = 1_000,
    threads: int = 2,
) -> None:
    torch.manual_seed(SEED)
    reader, encoder = painter_text.trained(work)
    painted = latents(work, pictures)
    scenes = [training_scene(number) for number in range(pictures)]
    model, averaged = here(unet()), here(unet())
    guide(model)
    averaged.load_state_dict(model.state_dict())
    modules = {"unet": model, "averaged": averaged}
    optimizer = checkpoints.adamw(model.parameters(), RATE, 0.01, (0.9, 0.99))
    path = work / "painter.safetensors"
    first = checkpoints.load(path, modules, optimizer)
    average = checkpoints.Average(model, averaged, 0.998)
    kept = here(diffusers.DDPMScheduler(**_SCHEDULE).alphas_cumprod)

    def loss_of(
        used: torch.nn.Module,
        read: torch.Tensor,
        counts: torch.Tensor,
        clean: torch.Tensor,
        drawn: torch.Tensor,
        times: torch.Tensor,
        guidance: float,
    ) -> torch.Tensor:
        signal = kept[times].view(-1, 1, 1, 1)
        noisy = signal.sqrt() * clean + (1 - signal).sqrt() * drawn
        with half_precision(), torch.no_grad():
            told = encoder(input_ids=read).last_hidden_state
        with half_precision():
            guess = used(noisy, times, encoder_hidden_states=told).sample.float()
        weight = (1 / (1 - signal)).clamp(max=_SNR_CAP).flatten()
        lost = ((counts * (guess - clean) ** 2).mean((1, 2, 3)) * weight).mean()
        looked_past = missed(used)
        misses.append(looked_past.item())
        return lost + guidance * looked_past

    began = time.perf_counter()
    losses: list[float] = []
    misses: list[float] = []
    with Twins(model, threads, BATCH) as twins:
        for step in range(first, steps):
            checkpoints.set_rate(optimizer, checkpoints.cosine(step, steps, RATE, 200))
            numbers = checkpoints.batch_numbers(step, BATCH, pictures, SEED)
            rng, generator = random.Random(f"painter:{step}"), torch.Generator().manual_seed(1_000_003 * SEED + step)
            texts = [painter_text.painted_caption(reader, scenes[number], rng)[0] for number in numbers]
            texts = ["" if rng.random() < _DROPPED else text for text in texts]
            clean = torch.from_numpy(painted[numbers].astype(np.float32))
            drawn = torch.randn(clean.shape, generator=generator)
            times = (1000 * torch.rand(BATCH, generator=generator) ** 0.85).long().clamp(0, 999)
            read = painter_text.tokens_of(reader, texts)
            counts = torch.from_numpy(np.stack([emphasis(scenes[number]) for number in numbers]))
            guided = functools.partial(loss_of, guidance=_GUIDANCE * max(0.0, 1 - 2 * step / steps))
            batch = [here(tensor) for tensor in (read, counts, clean, drawn, times)]
            losses.append(twins.backward(guided, *batch))
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            average.update(step)
            if (step + 1) % report_every == 0 or step + 1 == steps:
                rate = (step + 1 - first) * BATCH / (time.perf_counter() - began)
                lost, looked_past = np.mean(losses[-100:]), np.mean(misses[-100:])
                print(
                    f"painter {step + 1}/{steps} loss {lost:.4f} looks past {looked_past:.2f} {rate:.0f} pictures/s",
                    flush=True,
                )
                checkpoints.save(path, modules, optimizer, step + 1)
            if (step + 1) % export_every == 0 or step + 1 == steps:
                export(work, reader, encoder, averaged)


def export(work: Path, reader: Any, encoder: Any, averaged: diffusers.UNet2DConditionModel) -> None:
    """Write the pipeline's folder in half precision, from copies: training goes on in full."""
    vae, half_unet, half_text = painter_decoder.of_work(work), unet(), painter_text.text_encoder(reader)
    half_unet.load_state_dict(averaged.state_dict())
    half_text.load_state_dict(encoder.state_dict())
    pipeline = diffusers.StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=half_text.half(),
        tokenizer=reader,
        unet=half_unet.half(),
        scheduler=sampling_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(work / "painter", safe_serialization=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=8_000)
    parser.add_argument("--export-every", type=int, default=1_000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    train(arguments.work, arguments.steps, export_every=arguments.export_every, threads=arguments.threads)
