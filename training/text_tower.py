"""The retrieval encoder's text tower, fitted to the locked image tower on short alt-texts only (LiT, Zhai et al.).

`python -m training.text_tower --work DIR` needs the finished image tower there, and leaves DIR/encoder: a folder that
open_clip loads by `local-dir:`.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch.nn import functional

from dar_search.demo.language import alt_text
from training import checkpoints, tokenizer
from training.device import here
from training.image_tower import FEATURES, PICTURES, VISION, cached_features, tower
from training.pictures import training_scene

DIMENSION, CONTEXT = 128, 77
TEXT = {"context_length": CONTEXT, "width": 128, "heads": 4, "layers": 2}
BATCH, RATE, SEED = 256, 1.5e-3, 2


def configuration(vocabulary: int) -> dict[str, Any]:
    text = {**TEXT, "vocab_size": vocabulary, "hf_tokenizer_name": "the tokenizer of this folder"}
    return {"embed_dim": DIMENSION, "vision_cfg": dict(VISION), "text_cfg": text}


def model_of(configured: dict[str, Any]) -> CLIP:
    return CLIP(**json.loads(json.dumps(configured)))


def encoded_texts(model: CLIP, tokens: torch.Tensor) -> torch.Tensor:
    """What `model.encode_text` gives, without the padding behind the longest text (the attention is causal)."""
    ends = tokens.argmax(1)
    length = int(ends.max()) + 1
    embedded = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
    hidden = model.ln_final(model.transformer(embedded, attn_mask=model.attn_mask[:length, :length]))
    return hidden[torch.arange(len(tokens)), ends] @ model.text_projection


class Projection(torch.nn.Module):
    """From the image tower's features, standardised, into the common space."""

    def __init__(self, features: torch.Tensor) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(FEATURES, DIMENSION)
        torch.nn.init.orthogonal_(self.linear.weight)
        self.register_buffer("mean", features.mean(0))
        self.register_buffer("deviation", features.std(0))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.linear((features - self.mean) / self.deviation)


def folded(visual: torch.nn.Module, projection: Projection) -> dict[str, torch.Tensor]:
    """The image tower's weights with the projection folded into its last layer."""
    state = {key: value.clone() for key, value in visual.state_dict().items()}
    weight = projection.linear.weight / projection.deviation
    state["attnpool.c_proj.bias"] = weight @ (state["attnpool.c_proj.bias"] - projection.mean) + projection.linear.bias
    state["attnpool.c_proj.weight"] = weight @ state["attnpool.c_proj.weight"]
    return {key: value.detach() for key, value in state.items()}


def train(work: Path, steps: int, pictures: int = PICTURES, report_every: int = 100) -> None:
    torch.manual_seed(SEED)
    seen = cached_features(work, pictures)
    reader = tokenizer.of_work(work, CONTEXT)
    model = model_of(configuration(len(reader)))
    modules = {"model": here(model), "projection": here(Projection(seen))}
    path = work / "text_tower-alt_text.safetensors"
    model.visual.requires_grad_(False)
    parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
    optimizer = checkpoints.adamw(iter(parameters), RATE, 0.05, (0.9, 0.98))
    first = checkpoints.load(path, modules, optimizer)
    scenes = [training_scene(number) for number in range(pictures)]
    losses: list[float] = []
    began = time.perf_counter()
    for step in range(first, steps):
        checkpoints.set_rate(optimizer, checkpoints.cosine(step, steps, RATE, 50))
        numbers = checkpoints.batch_numbers(step, BATCH, pictures, SEED)
        rng = random.Random(f"captions:alt_text:{step}")
        texts = [alt_text(scenes[number], rng) for number in numbers]
        texts, numbers = zip(*sorted(zip(texts, numbers, strict=True), key=lambda pair: len(pair[0])), strict=True)
        loss = contrastive(modules, here(seen[list(numbers)]), here(tokens_of(reader, list(texts))))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        losses.append(loss.item())
        if (step + 1) % report_every == 0 or step + 1 == steps:
            rate = (step + 1 - first) * BATCH / (time.perf_counter() - began)
            scale = model.logit_scale.exp().item()
            print(
                f"text tower {step + 1}/{steps} loss {np.mean(losses[-100:]):.3f} scale {scale:.1f} {rate:.0f} texts/s",
                flush=True,
            )
            checkpoints.save(path, modules, optimizer, step + 1)
    export(work, seen)


def tokens_of(reader: Any, texts: list[str]) -> torch.Tensor:
    read = reader(texts, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt")
    return read.input_ids  # type: ignore[no-any-return]


def contrastive(modules: dict[str, Any], seen: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """CLIP's symmetric loss (Radford et al., 2021)."""
    images = functional.normalize(modules["projection"](seen), dim=-1)
    # From short to long, a part at a time: little padding.
    parts = [encoded_texts(modules["model"], part) for part in tokens.chunk(4)]
    texts = functional.normalize(torch.cat(parts), dim=-1)
    logits = modules["model"].logit_scale.exp() * images @ texts.T
    target = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def export(work: Path, seen: torch.Tensor) -> None:
    """Write the open_clip folder, and what its picture embeddings of the training pictures are (training's scale)."""
    reader = tokenizer.of_work(work, CONTEXT)
    configured = configuration(len(reader))
    modules = {"model": model_of(configured), "projection": Projection(seen)}
    checkpoints.load(work / "text_tower-alt_text.safetensors", modules)
    visual = tower().cpu()
    checkpoints.load(work / "image_tower.safetensors", {"tower": visual})
    modules["model"].visual.load_state_dict(folded(visual, modules["projection"]))
    folder = work / "encoder"
    folder.mkdir(parents=True, exist_ok=True)
    half = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in modules["model"].state_dict().items()
    }
    save_file(half, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    preparation = {"interpolation": "bicubic", "resize_mode": "shortest", "size": [64, 64]}
    config = {"model_cfg": configured, "preprocess_cfg": preparation}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    tokenizer.saved(reader, folder)
    with torch.inference_mode():
        np.save(work / "embeddings-alt_text.npy", modules["projection"](seen).numpy())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1_500)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments.work, arguments.steps)
