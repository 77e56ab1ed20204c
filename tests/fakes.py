"""Small stand-ins for models and stores: deterministic, in memory, true to the ports."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dar_search.data import (
    Dialogue,
    Failure,
    FloatArray,
    Hit,
    ImageRecord,
    Imagination,
    Leg,
    Metadata,
    Provenance,
    Reformulation,
    SearchResult,
)
from dar_search.errors import DarError, DimensionMismatch, IndexExists, IndexNotFound
from dar_search.filters import Condition, Filter
from dar_search.method.fusion import Fused, in_order, leg_range
from dar_search.ports import SearchRequest
from dar_search.preparation import Preparation
from dar_search.stores.provenance import check_provenance
from dar_search.stores.requests import check_request

FAKE_PREPARATION = Preparation(8, 8)


def unit(vector: NDArray[np.floating]) -> FloatArray:
    """Scaled to unit length, float32."""
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@functools.lru_cache(maxsize=10_000)
def direction(seed: str, dimension: int) -> FloatArray:
    """A random unit vector, always the same for the same seed."""
    digest = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
    return unit(np.random.default_rng(digest).normal(size=dimension))


class FakeEncoder:
    """Texts with words in common are near each other; a picture is near the word "grey<its mean level>"."""

    def __init__(self, dimension: int = 16, revision: str = "1") -> None:
        self.provenance = Provenance("fake", revision, dimension, FAKE_PREPARATION.describe())
        self.preparation = FAKE_PREPARATION
        self.texts: list[str] = []

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        self.texts += texts
        words = [re.findall(r"\w+", text.lower()) or [""] for text in texts]
        return np.stack([unit(np.sum([self._word(word) for word in sorted(set(some))], axis=0)) for some in words])

    def encode_images(self, images: Sequence[Image.Image]) -> FloatArray:
        return self.encode_prepared(np.stack([self.preparation.prepare(image) for image in images]))

    def encode_prepared(self, pixels: NDArray[np.uint8]) -> FloatArray:
        return np.stack([self._word(f"grey{int(picture.mean()) // 8}") for picture in pixels])

    def _word(self, word: str) -> FloatArray:
        return direction(word, self.provenance.dimension)


class FakeReformulator:
    """Writes the given text and prompts (by default the dialogue's own), or raises the given error."""

    def __init__(
        self, text: str | None = None, prompts: tuple[str, ...] = (), note: str = "", error: DarError | None = None
    ) -> None:
        self.name = "fake"
        self._text, self._prompts, self._note, self._error = text, prompts, note, error

    def reformulate(self, dialogue: Dialogue) -> Reformulation:
        if self._error:
            raise self._error
        text = dialogue.text if self._text is None else self._text
        return Reformulation(text, self._prompts or (text,), self.name, self._note)


class FakeImaginer:
    """Imagines a prompt as its encoding and noise from the seed. Fails on the prompts in `failing`."""

    def __init__(
        self, encoder: FakeEncoder, *, noise: float = 0.5, error: DarError | None = None, failing: Sequence[str] = ()
    ) -> None:
        self.name = "fake"
        self.calls: list[tuple[str, int, int, int | None]] = []
        self._encoder, self._noise, self._error, self._failing = encoder, noise, error, failing

    def imagine(self, prompt: str, *, count: int, seed: int, steps: int | None = None) -> tuple[Imagination, ...]:
        self.calls.append((prompt, count, seed, steps))
        if self._error and (not self._failing or prompt in self._failing):
            raise self._error
        encoded = self._encoder.encode_texts([prompt])[0]
        made = []
        for number in range(seed, seed + count):
            noise = self._noise * direction(f"noise {number} {prompt}", len(encoded))
            made.append(Imagination(f"fake-{prompt}-{number}-{steps}", unit(encoded + noise), prompt, number))
        return tuple(made)


class FakeIndex:
    """An ImageIndex in a dictionary. The keyword leg's score is the number of words in common with the caption.

    keyword_error: raised by a search that has a text.
    """

    def __init__(self, provenance: Provenance, name: str = "fake", keyword_error: DarError | None = None) -> None:
        self.name, self.provenance = name, provenance
        self.requests: list[SearchRequest] = []
        self._records: dict[str, ImageRecord] = {}
        self._keyword_error = keyword_error

    def write(self, records: Sequence[ImageRecord]) -> list[tuple[str, Failure]]:
        for record in records:
            if record.embedding.shape != (self.provenance.dimension,):
                raise DimensionMismatch(f"{record.id} has the shape {record.embedding.shape}.")
        self._records |= {record.id: record for record in records}
        return []

    def delete(self, ids: Sequence[str]) -> int:
        return sum(self._records.pop(id, None) is not None for id in ids)

    def get(self, ids: Sequence[str]) -> dict[str, ImageRecord]:
        return {id: self._records[id] for id in ids if id in self._records}

    def digests(self, ids: Sequence[str]) -> dict[str, str]:
        return {id: record.digest for id, record in self.get(ids).items()}

    def ids(self, *, origin: str | None = None) -> Iterator[str]:
        return iter(sorted(id for id, record in self._records.items() if origin in (None, record.origin)))

    def count(self, filter: Filter = ()) -> int:
        return sum(_holds(filter, record.metadata) for record in self._records.values())

    def refresh(self) -> None:
        """Nothing to do: a search sees every write at once."""

    def search(self, request: SearchRequest) -> SearchResult:
        self.requests.append(request)
        check_request(request, self.provenance.dimension)
        if request.text is not None and self._keyword_error:
            raise self._keyword_error
        found = [record for record in self._records.values() if _holds(request.filter, record.metadata)]
        legs: dict[str, dict[str, float]] = {}
        if request.vector is not None:
            legs["knn"] = {record.id: float(record.embedding @ request.vector) for record in found}
        if request.text is not None:
            wanted = set(request.text.lower().split())
            scores = {record.id: len(wanted & set(record.caption.lower().split())) for record in found}
            legs["keyword"] = {id: float(score) for id, score in scores.items() if score}
        page = in_order(legs, request.fusion, slice(request.offset, request.offset + request.size), request.joined)
        ranges = {name: leg_range(leg.values(), request.joined) for name, leg in legs.items()}
        return SearchResult(
            tuple(self._hit(found, rank) for rank, found in enumerate(page, request.offset + 1)),
            {name: Leg("ok", 1.0, "", found.lowest, found.highest, found.cut) for name, found in ranges.items()},
        )

    def _hit(self, found: Fused, rank: int) -> Hit:
        record = self._records[found.id]
        return Hit(found.id, rank, found.score, record.source, record.caption, record.metadata, found.legs)


class FakeStore:
    """A Store of FakeIndex."""

    address = "fake:"

    def __init__(self) -> None:
        self._indices: dict[str, FakeIndex] = {}

    def create(self, name: str, provenance: Provenance) -> FakeIndex:
        if name in self._indices:
            raise IndexExists(f'There is an index "{name}" already.')
        self._indices[name] = FakeIndex(provenance, name)
        return self._indices[name]

    def open(self, name: str, provenance: Provenance | None = None) -> FakeIndex:
        if name not in self._indices:
            raise IndexNotFound(f'There is no index "{name}".', f"There are: {', '.join(self.names())}.")
        check_provenance(name, self._indices[name].provenance, provenance)
        return self._indices[name]

    def names(self) -> list[str]:
        return sorted(self._indices)

    def drop(self, name: str) -> None:
        if self._indices.pop(name, None) is None:
            raise IndexNotFound(f'There is no index "{name}".')

    def check(self) -> dict[str, str]:
        return {"fake store": f"{len(self._indices)} indices in memory"}

    def close(self) -> None:
        """Nothing to close."""


def _holds(filter: Filter, metadata: Metadata) -> bool:
    return all(_condition_holds(condition, metadata) for condition in filter)


def _condition_holds(condition: Condition, metadata: Metadata) -> bool:
    value = metadata.get(condition.field)
    values = () if value is None else value if isinstance(value, tuple) else (value,)
    if condition.operator == "exists":
        held = bool(values)
    elif condition.operator == "any_of":
        held = any(type(one) is type(other) and one == other for one in values for other in condition.values)
    else:
        numbers = [one for one in values if isinstance(one, int | float) and not isinstance(one, bool)]
        bound = float(condition.values[0])
        compare = {"gt": float.__gt__, "gte": float.__ge__, "lt": float.__lt__, "lte": float.__le__}
        held = any(compare[condition.operator](float(one), bound) for one in numbers)
    return held != condition.negated
