"""The control: the bundle's encoder with a text side that has read dense captions. It is measured, not shipped.

`python -m training.control --work DIR` needs DIR/encoder and DIR/embeddings-alt_text.npy, and leaves DIR/encoder-dense.
The picture side stays locked, so pictures have the embeddings that they had and the same prior imagines in the same
space: only what the text encoder has read differs. Imagination should help it less.
"""

from __future__ import annotations

import argparse
import math
import random
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from open_clip.model import CLIP
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import CLIPTokenizer

from dar_search.demo.language import dense_facts, described
from training import checkpoints
from training.device import here
from training.pictures import training_scene
from training.text_tower import configuration, encoded_texts, model_of, tokens_of

BATCH, RATE, SEED = 192, 1e-3, 11
WEIGHTS = "open_clip_model.safetensors"


def starting_model(work: Path, vocabulary: int) -> CLIP:
    """The bundle's encoder, whose text side goes on learning."""
    model = model_of(configuration(vocabulary))
    state = load_file(work / "encoder" / WEIGHTS)
    model.load_state_dict({key: value.float() if value.is_floating_point() else value for key, value in state.items()})
    model.visual.requires_grad_(False)
    return model


def train(work: Path, steps: int, report_every: int = 50) -> None:
    torch.manual_seed(SEED)
    seen = functional.normalize(torch.from_numpy(np.load(work / "embeddings-alt_text.npy")), dim=-1)
    reader = CLIPTokenizer.from_pretrained(work / "encoder", local_files_only=True)
    model = here(starting_model(work, len(reader)))
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = checkpoints.adamw(iter(parameters), RATE, 0.05, (0.9, 0.98))
    path = work / "control.safetensors"
    first = checkpoints.load(path, {"model": model}, optimizer)
    scenes = [training_scene(number) for number in range(len(seen))]
    began, losses = time.perf_counter(), []
    for step in range(first, steps):
        checkpoints.set_rate(optimizer, checkpoints.cosine(step, steps, RATE, 20))
        rng = random.Random(f"control:{step}")
        numbers = checkpoints.batch_numbers(step, BATCH, len(seen), SEED)
        told = [(described(dense_facts(scenes[number], rng), rng), number) for number in numbers]
        texts, ordered = zip(*sorted(told, key=lambda pair: len(pair[0])), strict=True)
        parts = [encoded_texts(model, part) for part in here(tokens_of(reader, list(texts))).chunk(4)]
        logits = model.logit_scale.exp() * functional.normalize(torch.cat(parts), dim=-1) @ here(seen[list(ordered)]).T
        target = torch.arange(len(logits), device=logits.device)
        loss = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        losses.append(loss.item())
        if (step + 1) % report_every == 0 or step + 1 == steps:
            rate = (step + 1 - first) * BATCH / (time.perf_counter() - began)
            print(
                f"control {step + 1}/{steps} loss {np.mean(losses[-report_every:]):.3f} {rate:.0f} texts/s", flush=True
            )
            checkpoints.save(path, {"model": model}, optimizer, step + 1)
    export(work, model)


def export(work: Path, model: CLIP) -> None:
    folder = work / "encoder-dense"
    shutil.copytree(work / "encoder", folder, dirs_exist_ok=True, copy_function=shutil.copyfile)
    half = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in model.state_dict().items()
    }
    save_file(half, folder / WEIGHTS, metadata={"format": "pt"})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments.work, arguments.steps)
