"""A small gallery with everything that a filter or a search can trip over, and its truth in plain Python and NumPy."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dar_search.data import FloatArray, ImageRecord, Provenance

DIMENSION = 24
SIZE = 240
PROVENANCE = Provenance("contract encoder", "revision 1", DIMENSION, "crop 8x8 bicubic")
_THINGS = ("dog", "cat", "boat", "bicycle", "umbrella", "pizza", "horse", "train")
_PLACES = ("on the beach", "in the street", "near a river", "under a bridge", "at night")


def unit(values: Any) -> FloatArray:
    """(..., d) -> the same directions, float32, of unit length."""
    rows = np.asarray(values, np.float64)
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def random_units(count: int, dimension: int = DIMENSION, seed: int = 0) -> FloatArray:
    """(count, dimension) float32 rows of unit length."""
    return unit(np.random.default_rng(seed).standard_normal((count, dimension)))


def record(id: str, embedding: FloatArray | None = None, **fields: Any) -> ImageRecord:
    """A record; what a test does not say is made up from its id."""
    if embedding is None:
        embedding = random_units(1, seed=sum(id.encode()) + 7 * len(id))[0]
    return ImageRecord(id=id, embedding=embedding, **{"source": f"file:///pictures/{len(id)}.png"} | fields)


@functools.cache
def gallery_records() -> tuple[ImageRecord, ...]:
    """240 pictures: every third vector is one of 20 that repeat, and metadata is there for some and not for others."""
    vectors = random_units(SIZE, seed=1)
    vectors[::3] = random_units(20, seed=2)[np.arange(len(vectors[::3])) % 20]
    return tuple(
        ImageRecord(
            id=f"picture-{number * 7919 % SIZE:03d}",
            embedding=vectors[number],
            source=f"https://example.org/{number}.jpg",
            origin=f"file:///list-{number % 2}.jsonl",
            digest=f"{number:064x}:{number * 3:064x}",
            caption=_caption(number),
            metadata=_metadata(number),
            width=640 + number,
            height=480,
            thumbnail=bytes([number]) * 20 if number % 4 == 0 else None,
        )
        for number in range(SIZE)
    )


def _caption(number: int) -> str:
    if number % 11 == 0:
        return ""
    thing, place = _THINGS[number % len(_THINGS)], _PLACES[number % len(_PLACES)]
    return f"A {thing} {place}" if number % 3 else f"Two {thing}s running {place}, {number}"


def _metadata(number: int) -> dict[str, Any]:
    metadata: dict[str, Any] = {"number": number, "half": number / 2, "even": number % 2 == 0}
    if number % 3 == 0:
        metadata["city"] = ("Paris", "Rome", "São Paulo", "paris")[number // 3 % 4]
    if number % 5 == 0:
        metadata["tags"] = ("first", f"tag {number % 4}")
    if number % 7 == 0:
        metadata["readings"] = (number, number + 100.5)
    if number % 10 == 0:
        metadata["checks"] = (True, False) if number % 20 else (True,)
    return metadata


def truth(
    records: Sequence[ImageRecord], vector: FloatArray, among: Iterable[str] | None = None
) -> list[tuple[str, float]]:
    """The exact k-NN ranking: (id, inner product), best first, ties by id."""
    wanted = None if among is None else set(among)
    scored = [
        (record.id, float(record.embedding.astype(np.float64) @ vector.astype(np.float64)))
        for record in records
        if wanted is None or record.id in wanted
    ]
    return sorted(scored, key=lambda pair: (-pair[1], pair[0]))
