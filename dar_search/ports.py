"""The ports: what the core needs from models and stores. Adapters implement them; the core imports no adapter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dar_search.data import (
    Dialogue,
    Failure,
    FloatArray,
    ImageRecord,
    Imagination,
    Place,
    Provenance,
    Reformulation,
    ScoreFusion,
    SearchResult,
)
from dar_search.filters import Filter
from dar_search.preparation import Preparation
from dar_search.values.numbers import as_int, as_vector


class Encoder(Protocol):
    """A vision-language model with one space for texts and pictures.

    `encode_images(images)` equals `encode_prepared` of each image's `preparation.prepare`.
    All results are float32 with rows of unit length. Raises ModelError.
    """

    @property
    def provenance(self) -> Provenance: ...

    @property
    def preparation(self) -> Preparation: ...

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """n texts -> (n, d). Text beyond the model's context is cut off."""
        ...

    def encode_images(self, images: Sequence[Image.Image]) -> FloatArray:
        """n upright pictures of any mode and size -> (n, d)."""
        ...

    def encode_prepared(self, pixels: NDArray[np.uint8]) -> FloatArray:
        """(n, height, width, 3) uint8 RGB, as `preparation` makes it -> (n, d)."""
        ...


class Reformulator(Protocol):
    """Writes text out of a dialogue. Raises ModelError where it cannot; never returns an empty text."""

    @property
    def name(self) -> str: ...

    def reformulate(self, dialogue: Dialogue) -> Reformulation: ...


@runtime_checkable
class KeyedReformulator(Reformulator, Protocol):
    """A reformulator that can say what its texts depend on, so that they can be kept."""

    @property
    def key(self) -> str:
        """The same for the same model and options: with the same key, a dialogue has the same reformulation."""
        ...


@runtime_checkable
class ChatModel(Protocol):
    """A language model that answers a chat. Raises ModelError. What it writes is not trusted."""

    @property
    def name(self) -> str: ...

    def answer(self, messages: Sequence[Mapping[str, str]]) -> str:
        """messages: {"role", "content"} each, whose first asks for a JSON object with a "text"."""
        ...


class QuestionWriter(Protocol):
    """Writes a question about the candidates of a search. Raises ModelError. What it writes is not trusted."""

    @property
    def name(self) -> str: ...

    def write(self, dialogue: Dialogue, groups: Sequence[str], suggestion: str) -> str:
        """groups: a caption of each group of candidates; suggestion: a question that splits them, "" for none."""
        ...


class Imaginer(Protocol):
    """Imagines what a prompt looks like, as embeddings in the encoder's space.

    The same prompt, seed and steps give the same imaginations. Raises ModelError.
    """

    @property
    def name(self) -> str: ...

    def imagine(self, prompt: str, *, count: int, seed: int, steps: int | None = None) -> tuple[Imagination, ...]:
        """`count` imaginations, with seeds `seed`, `seed + 1`, ...; steps None: the model's own default.

        Fewer, but at least one, where a safety checker stops some or no more are there.
        """
        ...


@runtime_checkable
class KeyedImaginer(Imaginer, Protocol):
    """An imaginer that can say, without imagining, under which id an imagination would come."""

    def key(self, prompt: str, seed: int, steps: int | None = None) -> str:
        """The `Imagination.id` of what `imagine` gives for this prompt and seed: a digest of all it depends on."""
        ...


class ImaginationCache(Protocol):
    """Keeps imaginations by their ids. Never raises on use: what it cannot keep or find is imagined again."""

    def get(self, keys: Sequence[str]) -> dict[str, Imagination]:
        """Those that are there, by id."""
        ...

    def put(self, imaginations: Iterable[Imagination]) -> None: ...


MAX_DEPTH = 10_000
"""OpenSearch's limit for the candidates of a leg."""


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One search in an index. At least one of vector and text.

    THE ORDER of a fused search depends on the legs and on `joined` alone, never on the page:

    1. the best `joined` of each leg, joined by `fusion`. Where the score of a leg's last one goes on beyond it, all of
       that score are left out of that leg together: it cannot tell them apart, so none of them gets anything of it
       that another of the same score does not get. (The score still counts as the leg's lowest.)
    2. then, with the score 0, what else the leg of the greater weight has (the k-NN leg, if they are equal), best
       first, down to `depth`; then the rest of the other leg.

    A search of one leg is its ranking, with the leg's own scores.

    Attributes:
        vector: (d,) of any length > 0, kept as float32; the k-NN leg ranks by its inner product with the (unit)
            pictures.
        text: the keyword leg's words, matched against captions: only words, never query syntax.
        filter: holds for every hit, in every leg.
        size, offset: a page of hits; offset + size <= depth.
        depth: candidates of each leg; the same over all pages of a search, 1 to 10,000. Or, for a page further down
            than `fusion.candidates`: how far down that leads, and does not change what comes before.
        fusion: how the legs are joined where both are there.
        exact: compare with every picture instead of an approximate graph.
        fused_in_client: ask for the legs' own scores and ranks (`Hit.legs`, `Leg.lowest`, `Leg.highest`),
            which an explanation needs; a store that fuses on its server then fuses in the client.
        thumbnails: fill `Hit.thumbnail`.
    """

    vector: FloatArray | None = None
    text: str | None = None
    filter: Filter = ()
    size: int = 10
    offset: int = 0
    depth: int = 200
    fusion: ScoreFusion = ScoreFusion()
    exact: bool = False
    fused_in_client: bool = False
    thumbnails: bool = False

    def __post_init__(self) -> None:
        for name in ("size", "offset", "depth"):
            object.__setattr__(self, name, as_int(getattr(self, name)))
        if self.vector is not None:
            object.__setattr__(self, "vector", as_vector(self.vector))

    @property
    def joined(self) -> int:
        """How many candidates of each leg are joined: of two legs one less than a leg may have, to look at the next."""
        most = MAX_DEPTH if self.vector is None or self.text is None else MAX_DEPTH - 1
        return min(self.fusion.candidates or self.depth, self.depth, most)

    @property
    def looked_at(self) -> int:
        """How many candidates of a leg it takes to see whether its last score goes on beyond `joined`."""
        return min(self.joined + 1, MAX_DEPTH)

    @property
    def goes_beyond(self) -> bool:
        """Whether the page ends further down than the candidates that are joined."""
        return self.offset + self.size > self.joined


class ImageIndex(Protocol):
    """An index of pictures. Its contract suite is tests/contract/test_image_index.py.

    Ties in a score are broken by id, ascending (of the pictures that are found: an approximate graph may stop amid more
    equal ones than it was asked for). Raises StoreError, and InputError for what cannot be used.
    """

    @property
    def name(self) -> str: ...

    @property
    def provenance(self) -> Provenance: ...

    def write(
        self, records: Sequence[ImageRecord], *, versions: Sequence[int] | None = None
    ) -> list[tuple[str, Failure]]:
        """Insert or replace by id; the last of several with the same id wins. Durable when it returns.

        Args:
            versions: one for each record, > 0 (see `jobs.data.version_of`): where the index has seen a greater one for
                the id, in a write or a delete, this record is superseded: nothing changes, and that is no failure.
                Without versions a record is written in any case, and leaves its id just above the version it had.

        Returns (id, failure) for each record that was refused (a metadata value of another type than the field
        has, ...); the others are in. Raises DimensionMismatch before anything is written.
        """
        ...

    def delete(self, ids: Sequence[str], *, version: int | None = None) -> int:
        """Remove; returns how many were there. Durable when it returns. version: as for `write`, for all of them.

        The version of what was deleted is remembered without end: however late a write of a lower one comes, the
        record stays deleted.
        """
        ...

    def get(self, ids: Sequence[str]) -> dict[str, ImageRecord]:
        """The records that are there, with embeddings and thumbnails."""
        ...

    def digests(self, ids: Sequence[str]) -> dict[str, str]:
        """id -> digest of the records that are there: much cheaper than `get`."""
        ...

    def with_content(self, sha256: Sequence[str]) -> list[Place]:
        """The records made of pictures with these digests (hexadecimal, of their bytes), in no order.

        About a thousand of them at most: where one picture is in the index very often, others may be left out. Sees
        what was written before the last `refresh`.
        """
        ...

    def ids(self, *, origin: str | None = None) -> Iterator[str]:
        """All ids, or those that `origin` brought in, ascending."""
        ...

    def count(self, filter: Filter = ()) -> int: ...

    def refresh(self) -> None:
        """After it, a search sees everything written before."""
        ...

    def search(self, request: SearchRequest) -> SearchResult: ...


class Store(Protocol):
    """Holds indices by name. Opened from an address by `bootstrap.open_store`."""

    @property
    def address(self) -> str:
        """As the user would write it, with passwords masked."""
        ...

    def create(self, name: str, provenance: Provenance) -> ImageIndex:
        """A new, empty index. Raises IndexExists, InputError for a name that no store may have."""
        ...

    def open(self, name: str, provenance: Provenance | None = None) -> ImageIndex:
        """Raises IndexNotFound (naming the indices that there are), EncoderMismatch if `provenance` differs."""
        ...

    def names(self) -> list[str]:
        """Of all indices, sorted: what can be opened, and dropped."""
        ...

    def drop(self, name: str) -> None:
        """Remove an index and all in it. Raises IndexNotFound, StoreError where it is in use by another name."""
        ...

    def check(self) -> Mapping[str, str]:
        """What `dar doctor` prints: a label -> one line."""
        ...

    def close(self) -> None: ...
