"""The picture imaginer's text encoder: a plain CLIP text model whose last twelve positions say what goes where.

The tokenizer pads every caption to 64 tokens, and the model reads from left to right: so the last positions, which
are padding, know the whole caption, and their position tells what they stand for. Six are for the places of the grid,
one for the setting, one for the sky, four for things that are told without their place, as most are in a dialogue.
`python -m training.painter_text --work DIR` teaches them that.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel

from dar_search.demo.language import described, reference_reformulation
from dar_search.demo.splits import scene
from dar_search.demo.world import MAX_THINGS, PLACES, SETTINGS, SKIES, TYPES, VALUES, Fact, Knowledge, Scene, truth
from training import checkpoints, tokenizer
from training.device import half_precision, here

WIDTH, LENGTH, LAYERS = 128, 64, 2
SLOTS = len(PLACES) + 2 + MAX_THINGS
BATCH, RATE, SEED = 96, 1.5e-3, 5
_THING_PARTS = ("type", "colour", "size", "texture")
_CLASSES = (len(TYPES) + 1, *(len(VALUES[part]) + 1 for part in _THING_PARTS[1:]))
_WEIGHTS = (3.0, 1.5, 1.0, 1.0)


def text_encoder(reader: Any) -> CLIPTextModel:
    model = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(reader),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            pad_token_id=reader.pad_token_id,
            bos_token_id=reader.bos_token_id,
            eos_token_id=reader.eos_token_id,
        )
    )
    model.set_attn_implementation("eager")  # as in the painter: faster than the fused kernel on a CPU
    return model


def tokens_of(reader: Any, texts: list[str]) -> torch.Tensor:
    """(n, 64) token numbers, as StableDiffusionPipeline makes them."""
    read = reader(texts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
    return read.input_ids  # type: ignore[no-any-return]


def painted_caption(reader: Any, shown: Scene, rng: random.Random) -> tuple[str, Knowledge]:
    """A caption to paint from, with what it tells: two in five complete, the others with any share of the attributes.

    All tell of every thing in the picture: so the painter paints what is told of, and no things besides. What is too
    long to be read is told shortly, as reformulations tell it.
    """
    share = 1.0 if rng.random() < 0.4 else rng.random()
    known = {fact: value for fact, value in truth(shown).items() if fact.attribute == "type" or rng.random() < share}
    if rng.random() < 0.6:
        text = described(known, rng)
        if len(reader(text, verbose=False).input_ids) <= LENGTH - SLOTS:
            return text, known
    return reference_reformulation(known), known


def slot_labels(known: Knowledge) -> np.ndarray:
    """(10 * 4 + 2,): setting and sky last.

    Before them type (last: none told to be here), colour, size, texture (last: untold) by place, and then of up to four
    things whose place is not told, in the order of their types.
    """
    rows = np.full((len(PLACES) + MAX_THINGS, len(_THING_PARTS)), -1, np.int64)
    rows[:, 0] = len(TYPES)
    things = [name for name in TYPES if any(fact.thing == name for fact in known)]
    elsewhere = iter(range(len(PLACES), len(rows)))
    for thing in things:
        place = known.get(Fact("place", thing))
        told = [known.get(Fact(part, thing)) for part in _THING_PARTS[1:]]
        rows[next(elsewhere) if place is None else PLACES.index(place)] = [
            TYPES.index(thing),
            *(
                len(VALUES[part]) if value is None else VALUES[part].index(value)
                for part, value in zip(_THING_PARTS[1:], told, strict=True)
            ),
        ]
    setting, sky = known.get(Fact("setting")), known.get(Fact("sky"))
    ends = [
        len(SETTINGS) if setting is None else SETTINGS.index(setting),
        len(SKIES) if sky is None else SKIES.index(sky),
    ]
    return np.concatenate([rows.ravel(), ends])


class SlotHeads(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.things = torch.nn.Linear(WIDTH, sum(_CLASSES))
        self.setting = torch.nn.Linear(WIDTH, len(SETTINGS) + 1)
        self.sky = torch.nn.Linear(WIDTH, len(SKIES) + 1)

    def loss(self, slots: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        """(n, 12, width), (n, 42) -> a scalar, and the shares that are right."""
        shares: dict[str, float] = {}
        total = torch.zeros(())
        targets = rows[:, :-2].unflatten(1, (len(PLACES) + MAX_THINGS, len(_THING_PARTS)))
        things = torch.cat([slots[:, : len(PLACES)], slots[:, len(PLACES) + 2 :]], 1)
        for at, logits in enumerate(self.things(things).split(_CLASSES, -1)):
            target = targets[:, :, at]
            total = total + _WEIGHTS[at] * functional.cross_entropy(
                logits.flatten(0, 1), target.flatten(), ignore_index=-1
            )
            counted = (target >= 0) & (targets[:, :, 0] < len(TYPES))
            shares[_THING_PARTS[at]] = (logits.argmax(-1) == target)[counted].float().mean().item()
        for name, head, slot, column in (("setting", self.setting, 6, -2), ("sky", self.sky, 7, -1)):
            logits = head(slots[:, slot])
            total = total + functional.cross_entropy(logits, rows[:, column])
            shares[name] = (logits.argmax(-1) == rows[:, column]).float().mean().item()
        return total, shares


def train(work: Path, steps: int, report_every: int = 100) -> None:
    torch.manual_seed(SEED)
    reader = tokenizer.of_work(work, LENGTH)
    modules: dict[str, Any] = {"encoder": here(text_encoder(reader)), "heads": here(SlotHeads())}
    parameters = [parameter for module in modules.values() for parameter in module.parameters()]
    optimizer = checkpoints.adamw(iter(parameters), RATE, 0.01, (0.9, 0.98))
    path = work / "painter_text.safetensors"
    first = checkpoints.load(path, modules, optimizer)
    began, losses = time.perf_counter(), []
    for step in range(first, steps):
        checkpoints.set_rate(optimizer, checkpoints.cosine(step, steps, RATE, 50))
        rng = random.Random(f"painter text:{step}")
        told = [painted_caption(reader, scene(f"painter text:{step}:{n}", "train"), rng) for n in range(BATCH)]
        rows = here(torch.from_numpy(np.stack([slot_labels(known) for _, known in told])))
        read = here(tokens_of(reader, [text for text, _ in told]))
        with half_precision():
            hidden = modules["encoder"](input_ids=read).last_hidden_state
        loss, shares = modules["heads"].loss(hidden[:, -SLOTS:].float(), rows)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % report_every == 0 or step + 1 == steps:
            rate = (step + 1 - first) * BATCH / (time.perf_counter() - began)
            rounded = {part: round(share, 3) for part, share in shares.items()}
            print(
                f"painter text {step + 1}/{steps} loss {np.mean(losses[-100:]):.3f} {rate:.0f}/s {rounded}", flush=True
            )
            checkpoints.save(path, modules, optimizer, step + 1)


def trained(work: Path) -> tuple[Any, CLIPTextModel]:
    """The tokenizer and the finished text encoder, frozen."""
    reader = tokenizer.of_work(work, LENGTH)
    encoder = here(text_encoder(reader))
    if not checkpoints.load(work / "painter_text.safetensors", {"encoder": encoder}):
        raise SystemExit("There is no trained text encoder: run training.painter_text first.")
    return reader, encoder.eval().requires_grad_(False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments.work, arguments.steps)
