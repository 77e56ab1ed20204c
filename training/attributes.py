"""Scenes and what is known of them as class labels, and the heads that read them from a vector.

Layout of a label row: setting, sky, count, then for each type presence, colour, size, texture, place. -1: no label.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from dar_search.demo.world import THING_ATTRIBUTES, TYPES, VALUES, Fact, Knowledge, Scene, truth

SCENE_PARTS = ("setting", "sky", "count")
THING_PARTS = THING_ATTRIBUTES
PARTS = (*SCENE_PARTS, *THING_PARTS)
WEIGHTS: Mapping[str, float] = {"type": 6.0, "colour": 1.5, "place": 1.5}
WIDTH = len(SCENE_PARTS) + len(TYPES) * len(THING_PARTS)


def classes(part: str, *, untold: bool) -> int:
    """How many classes a part has; with `untold`, one more: nothing was said about it."""
    if part == "type":
        return 2
    return len(VALUES[part]) + untold


def labels(known: Knowledge, *, untold: bool) -> NDArray[np.int64]:
    """(WIDTH,) the classes of what is known. What is not: the class `untold`, or -1 where there is none."""
    row = []
    for part in SCENE_PARTS:
        row.append(_class(part, known.get(Fact(part)), untold))
    for name in TYPES:
        there = any(fact.thing == name for fact in known)
        row.append(int(there))
        row += [_class(part, known.get(Fact(part, name)), untold and there) for part in THING_PARTS[1:]]
    return np.array(row, np.int64)


def scene_labels(scene: Scene) -> NDArray[np.int64]:
    return labels(truth(scene), untold=False)


def _class(part: str, value: str | None, untold: bool) -> int:
    if value is None:
        return len(VALUES[part]) if untold else -1
    return VALUES[part].index(value)


class Heads(torch.nn.Module):
    """A linear reader of all attributes from vectors of `width` numbers."""

    def __init__(self, width: int, *, untold: bool = False) -> None:
        super().__init__()
        self.sizes = {part: classes(part, untold=untold) for part in PARTS}
        scene_size = sum(self.sizes[part] for part in SCENE_PARTS)
        self.thing_size = sum(self.sizes[part] for part in THING_PARTS)
        self.linear = torch.nn.Linear(width, scene_size + len(TYPES) * self.thing_size)

    def forward(self, vectors: torch.Tensor) -> dict[str, torch.Tensor]:
        """(n, width) -> part -> (n, 1 or types, classes) logits."""
        logits = self.linear(vectors)
        parts, at = {}, 0
        for part in SCENE_PARTS:
            parts[part] = logits[:, None, at : at + self.sizes[part]]
            at += self.sizes[part]
        things, at = logits[:, at:].unflatten(1, (len(TYPES), self.thing_size)), 0
        for part in THING_PARTS:
            parts[part] = things[:, :, at : at + self.sizes[part]]
            at += self.sizes[part]
        return parts


def split_labels(rows: torch.Tensor) -> dict[str, torch.Tensor]:
    """(n, WIDTH) -> part -> (n, 1 or types)."""
    parts = {part: rows[:, i : i + 1] for i, part in enumerate(SCENE_PARTS)}
    things = rows[:, len(SCENE_PARTS) :].unflatten(1, (len(TYPES), len(THING_PARTS)))
    return parts | {part: things[:, :, i] for i, part in enumerate(THING_PARTS)}


def loss(logits: Mapping[str, torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(())
    for part, target in split_labels(rows).items():
        flat = functional.cross_entropy(logits[part].flatten(0, 1), target.flatten(), ignore_index=-1)
        total = total + WEIGHTS.get(part, 1.0) * flat
    return total


def accuracies(logits: Mapping[str, torch.Tensor], rows: torch.Tensor) -> dict[str, float]:
    """Share of right classes by part, over labelled ones; "strict": things with type, colour and place all right."""
    targets = split_labels(rows)
    right = {part: logits[part].argmax(-1) == target for part, target in targets.items()}
    shares = {part: right[part][targets[part] >= 0].float().mean().item() for part in PARTS}
    present = targets["type"] == 1
    shares["type"] = right["type"][present].float().mean().item()
    shares["absent"] = right["type"][~present].float().mean().item()
    shares["strict"] = (right["type"] & right["colour"] & right["place"])[present].float().mean().item()
    return shares
