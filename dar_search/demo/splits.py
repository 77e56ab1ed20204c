"""Which scenes belong to training, validation and the held-out test, and galleries made of them.

A scene's split follows from what it shows, not from the seed alone: the same scene can never be in two splits, and
a near-duplicate that a gallery holds is of the gallery's own split.
"""

# ruff: noqa: S311  (drawing and telling, not cryptography)
from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dar_search.demo.world import Scene, near_duplicate, random_scene

Split = Literal["train", "validation", "test"]
_FAMILY = (1, 1, 2)
_SINGLES = 2


@dataclass(frozen=True, slots=True)
class GalleryPicture:
    """A gallery's picture: `render(scene, render_seed)` draws it. family: near-duplicates share it."""

    number: int
    scene: Scene
    render_seed: str
    family: int


def split_of(scene: Scene) -> Split:
    """Eight scenes in ten are for training, one for validation, one for the test."""
    bucket = hashlib.sha256(scene.key.encode()).digest()[0] % 10
    return "train" if bucket < 8 else "validation" if bucket == 8 else "test"


def scene(seed: int | str, split: Split = "test") -> Scene:
    """A random scene of the split. The same seed and split give the same scene."""
    rng = random.Random(f"scene:{split}:{seed}")
    return _first_of(split, (random_scene(rng) for _ in itertools.count()))


def gallery(size: int, seed: int = 0, split: Split = "test") -> Iterator[GalleryPicture]:
    """`size` pictures, no two of the same scene; a smaller gallery is the beginning of a larger one.

    Two thirds come in families of four (a scene, two that differ in one attribute, one that differs in two), the
    others alone. Made one at a time: a gallery of any size needs little memory.
    """
    seen: set[bytes] = set()
    number = 0
    for family in itertools.count():
        rng = random.Random(f"gallery:{split}:{seed}:{family}")
        for member in _family(rng, split, seen):
            if number >= size:
                return
            yield GalleryPicture(number, member, f"{split}:{seed}:{number}", family)
            number += 1


def _family(rng: random.Random, split: Split, seen: set[bytes]) -> Iterator[Scene]:
    base = _unseen(split, (random_scene(rng) for _ in itertools.count()), seen)
    yield base
    for changes in _FAMILY:
        yield _unseen(split, _duplicates(base, rng, changes), seen)
    for _ in range(_SINGLES):
        yield _unseen(split, (random_scene(rng) for _ in itertools.count()), seen)


def _duplicates(base: Scene, rng: random.Random, changes: int) -> Iterator[Scene]:
    # A scene has few neighbours at one change, and only a tenth of them is in a test split: widen when used up.
    for attempt in itertools.count():
        yield near_duplicate(base, rng, changes + attempt // 200)


def _unseen(split: Split, candidates: Iterator[Scene], seen: set[bytes]) -> Scene:
    for candidate in candidates:  # endless
        mark = hashlib.blake2b(candidate.key.encode(), digest_size=8).digest()
        if mark not in seen and split_of(candidate) == split:
            break
    seen.add(mark)
    return candidate


def _first_of(split: Split, candidates: Iterator[Scene]) -> Scene:
    return next(candidate for candidate in candidates if split_of(candidate) == split)
