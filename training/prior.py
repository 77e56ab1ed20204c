"""The imaginer by prior: a diffusers PriorTransformer that samples picture embeddings from a dense caption.

`python -m training.prior --work DIR` needs DIR/embeddings-alt_text.npy and DIR/imaginer_text.safetensors, and leaves
DIR/prior, a folder in KandinskyPriorPipeline's layout (without its image encoder). The transformer predicts the
embedding itself (x0), standardised by clip_mean and clip_std.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from torch.nn import functional

from training import checkpoints, tokenizer
from training.device import here
from training.imaginer_text import LENGTH, WIDTH, by_length, captions, read, trained
from training.pictures import training_scene

BATCH, RATE, SEED = 128, 1.2e-3, 4
# The one-step mean retrieves better than the mean of a few samples, at a quarter of the cost (training.validate).
RECOMMENDED = {"mode": "mean", "steps": 4, "guidance": 1.0, "eta": 1.0}


def transformer() -> diffusers.PriorTransformer:
    return diffusers.PriorTransformer(
        num_attention_heads=4,
        attention_head_dim=32,
        num_layers=3,
        embedding_dim=WIDTH,
        num_embeddings=LENGTH,
        additional_embeddings=4,
    )


def scheduler() -> diffusers.DDIMScheduler:
    return diffusers.DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        clip_sample=False,
        timestep_spacing="trailing",
    )


def predicted(
    prior: diffusers.PriorTransformer,
    noisy: torch.Tensor,
    times: torch.Tensor,
    embeds: torch.Tensor,
    hidden: torch.Tensor,
    mask: torch.Tensor,
) -> torch.Tensor:
    """What the transformer's own forward gives, computed without the padding tokens that its mask hides.

    Training on captions of a third of the longest length takes a third of the time so. (A test holds the equality.)
    """
    length, extra = hidden.shape[1], prior.config.additional_embeddings
    time_embeds = prior.time_embedding(prior.time_proj(times).to(prior.dtype))
    told = prior.encoder_hidden_states_proj(hidden)
    own = torch.stack([prior.embedding_proj(embeds), time_embeds, prior.proj_in(noisy)], 1)
    states = torch.cat([told, own, prior.prd_embedding.expand(len(noisy), -1, -1)], 1)
    positions = prior.positional_embedding
    states = states + torch.cat([positions[:, :length], positions[:, prior.config.num_embeddings :]], 1)
    hidden_keys = functional.pad((~mask).to(states.dtype) * -10000.0, (0, extra))
    causal = prior.causal_attention_mask[:, : length + extra, : length + extra]
    attention = (hidden_keys[:, None, :] + causal).repeat_interleave(prior.config.num_attention_heads, 0)
    for block in prior.transformer_blocks:
        states = block(states, attention_mask=attention)
    return prior.proj_to_clip_embeddings(prior.norm_out(states)[:, -1])


def targets(work: Path, name: str = "alt_text") -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The training pictures' unit embeddings, standardised; their mean and deviation, (1, d) each."""
    unit = functional.normalize(torch.from_numpy(np.load(work / f"embeddings-{name}.npy")), dim=-1)
    mean, deviation = unit.mean(0, keepdim=True), unit.std(0, keepdim=True)
    return (unit - mean) / deviation, mean, deviation


def train(work: Path, steps: int, report_every: int = 100) -> None:
    torch.manual_seed(SEED)
    reader, encoder = trained(work)
    wanted, mean, deviation = targets(work)
    scenes = [training_scene(number) for number in range(len(wanted))]
    prior, averaged = here(transformer()), here(transformer())
    with torch.no_grad():
        prior.clip_mean.copy_(mean)
        prior.clip_std.copy_(deviation)
    averaged.load_state_dict(prior.state_dict())
    modules = {"prior": prior, "averaged": averaged}
    parameters = [value for name, value in prior.named_parameters() if not name.startswith("clip_")]
    optimizer = checkpoints.adamw(iter(parameters), RATE, 0.01, (0.9, 0.99))
    noise = scheduler()
    path = work / "prior.safetensors"
    first = checkpoints.load(path, modules, optimizer)
    average = checkpoints.Average(prior, averaged, 0.995)
    losses: list[float] = []
    began = time.perf_counter()
    for step in range(first, steps):
        checkpoints.set_rate(optimizer, checkpoints.cosine(step, steps, RATE, 60))
        numbers = checkpoints.batch_numbers(step, BATCH, len(wanted), SEED)
        generator = torch.Generator().manual_seed(1_000_003 * SEED + step)
        clean = here(wanted[torch.from_numpy(numbers)])
        drawn = here(torch.randn(clean.shape, generator=generator))
        # More often near pure noise, where the caption decides.
        times = here((1000 * torch.rand(BATCH, generator=generator) ** 0.7).long().clamp(0, 999))
        noisy = noise.add_noise(clean, drawn, times)
        texts = captions([scenes[number] for number in numbers], random.Random(f"prior:{step}"))
        loss = torch.zeros(())
        for rows, part in by_length(texts):
            tokens, mask = read(reader, part)
            with torch.no_grad():
                told = encoder(input_ids=tokens)
            guess = predicted(prior, noisy[rows], times[rows], told.text_embeds, told.last_hidden_state, mask)
            loss = loss + functional.mse_loss(guess, clean[rows]) * len(rows) / BATCH
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        average.update(step)
        losses.append(loss.item())
        if (step + 1) % report_every == 0 or step + 1 == steps:
            rate = (step + 1 - first) * BATCH / (time.perf_counter() - began)
            print(f"prior {step + 1}/{steps} loss {np.mean(losses[-100:]):.4f} {rate:.0f} texts/s", flush=True)
            checkpoints.save(path, modules, optimizer, step + 1)
    export(work, reader, encoder, averaged)


def export(work: Path, reader: Any, encoder: Any, averaged: diffusers.PriorTransformer) -> None:
    folder = work / "prior"
    averaged.half().save_pretrained(folder / "prior", safe_serialization=True)
    encoder.half().save_pretrained(folder / "text_encoder", safe_serialization=True)
    scheduler().save_pretrained(folder / "scheduler")
    tokenizer.saved(reader, folder / "tokenizer")
    index = {
        "_class_name": "KandinskyPriorPipeline",
        "_diffusers_version": diffusers.__version__,
        "prior": ["diffusers", "PriorTransformer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "_dar_search": RECOMMENDED,
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1_200)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments.work, arguments.steps)
