"""The imaginer's text encoder: reads dense captions, taught to tell what they say.

`python -m training.imaginer_text --work DIR` leaves DIR/imaginer_text.safetensors. Untold attributes are a class of
their own, so that the embedding knows what it does not know. Every step reads scenes that were never read before.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from dar_search.demo.language import alt_text, dense_facts, described
from dar_search.demo.splits import scene
from training import attributes, checkpoints, tokenizer
from training.device import here

WIDTH, LENGTH, LAYERS = 128, 64, 2
BATCH, RATE, SEED = 128, 1.5e-3, 3


def text_encoder(reader: Any) -> CLIPTextModelWithProjection:
    config = CLIPTextConfig(
        vocab_size=len(reader),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        pad_token_id=reader.pad_token_id,
        bos_token_id=reader.bos_token_id,
        eos_token_id=reader.eos_token_id,
    )
    return CLIPTextModelWithProjection(config)


def read(reader: Any, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token numbers and mask, padded to the longest text only: attention is causal, so the padding says nothing."""
    tokens = reader(texts, padding="longest", max_length=LENGTH, truncation=True, return_tensors="pt")
    return here(tokens.input_ids), here(tokens.attention_mask.bool())


def by_length(texts: list[str], parts: int = 4) -> list[tuple[list[int], list[str]]]:
    """The texts from short to long in parts, with their numbers: padding to the longest of a part costs little."""
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    size = -(-len(order) // parts)
    chunks = [order[at : at + size] for at in range(0, len(order), size)]
    return [(chunk, [texts[number] for number in chunk]) for chunk in chunks]


def examples(step: int) -> tuple[list[str], torch.Tensor]:
    rng = random.Random(f"dense:{step}")
    texts, rows = [], []
    for number in range(BATCH):
        known = dense_facts(scene(f"dense:{step}:{number}", "train"), rng)
        texts.append(described(known, rng))
        rows.append(attributes.labels(known, untold=True))
    return texts, torch.from_numpy(np.stack(rows))


def modules_of(reader: Any) -> dict[str, torch.nn.Module]:
    return {"encoder": here(text_encoder(reader)), "heads": here(attributes.Heads(WIDTH, untold=True))}


def train(work: Path, steps: int, report_every: int = 100) -> None:
    torch.manual_seed(SEED)
    reader = tokenizer.of_work(work, LENGTH)
    modules = modules_of(reader)
    parameters = [parameter for module in modules.values() for parameter in module.parameters()]
    optimizer = checkpoints.adamw(iter(parameters), RATE, 0.01, (0.9, 0.98))
    path = work / "imaginer_text.safetensors"
    first = checkpoints.load(path, modules, optimizer)
    losses: list[float] = []
    began = time.perf_counter()
    for step in range(first, steps):
        checkpoints.set_rate(optimizer, checkpoints.cosine(step, steps, RATE, 50))
        texts, rows = examples(step)
        order = by_length(texts)
        embeds = torch.cat([modules["encoder"](input_ids=read(reader, part)[0]).text_embeds for _, part in order])
        rows = here(torch.cat([rows[numbers] for numbers, _ in order]))
        told = modules["heads"](embeds)
        loss = attributes.loss(told, rows)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % report_every == 0 or step + 1 == steps:
            shares = {part: round(share, 3) for part, share in attributes.accuracies(told, rows).items()}
            rate = (step + 1 - first) * BATCH / (time.perf_counter() - began)
            print(
                f"imaginer text {step + 1}/{steps} loss {np.mean(losses[-100:]):.3f} {rate:.0f} texts/s {shares}",
                flush=True,
            )
            checkpoints.save(path, modules, optimizer, step + 1)


def trained(work: Path) -> tuple[Any, CLIPTextModelWithProjection]:
    """The tokenizer and the finished text encoder, frozen."""
    reader = tokenizer.of_work(work, LENGTH)
    encoder = here(text_encoder(reader))
    if not checkpoints.load(work / "imaginer_text.safetensors", {"encoder": encoder}):
        raise SystemExit("There is no trained text encoder: run training.imaginer_text first.")
    return reader, encoder.eval().requires_grad_(False)


def captions(scenes: list[Any], rng: random.Random) -> list[str]:
    """Dense captions, and one short in five: what a prior is conditioned on."""
    return [alt_text(shown, rng) if rng.random() < 0.2 else described(dense_facts(shown, rng), rng) for shown in scenes]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1_200)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments.work, arguments.steps)
