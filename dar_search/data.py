"""The data that flows through dar-search. Frozen; read this file first.

A `Dialogue` (a caption and turns) becomes a `Reformulation` (text) and `Imagination`s (embeddings), together a
`RewrittenQuery`. An `ImageIndex` of `ImageRecord`s answers it with `Hit`s.

Embeddings are float32 arrays of shape (d,) and unit length, unless a field says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
MetadataValue = str | float | bool | tuple[str, ...] | tuple[float, ...] | tuple[bool, ...]
Metadata = Mapping[str, MetadataValue]


@dataclass(frozen=True, slots=True)
class Turn:
    """A question with its answer. Either may be empty, not both."""

    question: str
    answer: str

    @property
    def text(self) -> str:
        return f"{self.question} {self.answer}".strip()


@dataclass(frozen=True, slots=True)
class Dialogue:
    """The caption (round 0) and the turns so far; after n turns the dialogue is at round n."""

    caption: str
    turns: tuple[Turn, ...] = ()

    @property
    def round(self) -> int:
        return len(self.turns)

    def at_round(self, number: int) -> Dialogue:
        """The dialogue as it was after `number` turns (0: the caption alone)."""
        return Dialogue(self.caption, self.turns[:number])

    @property
    def text(self) -> str:
        """Everything said, in order, unchanged: the raw dialogue that a reformulation is measured against."""
        return " ".join(part for part in (self.caption, *(turn.text for turn in self.turns)) if part)


@dataclass(frozen=True, slots=True)
class Reformulation:
    """Text made out of a dialogue, for two readers.

    Attributes:
        text: for the retrieval text encoder and the keyword leg.
        prompts: for the imaginer, at least one.
        reformulator: the name of what wrote it.
        note: why it is not what was asked for (a fallback), empty if it is.
    """

    text: str
    prompts: tuple[str, ...]
    reformulator: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Imagination:
    """One imagined embedding, with its picture where there is one.

    Attributes:
        id: stable for the same model, prompt, seed and steps.
        embedding: (d,) float32, unit length, in the encoder's space.
        picture: an encoded picture (WebP or PNG bytes), or None where the imaginer draws none.
    """

    id: str
    embedding: FloatArray
    prompt: str
    seed: int
    picture: bytes | None = None


@dataclass(frozen=True, slots=True)
class VectorWeights:
    """Vector fusion's weights of one round: q = text * t + image * mean(imagined)."""

    text: float
    image: float


LegStatus = Literal["ok", "late", "failed", "off"]


@dataclass(frozen=True, slots=True)
class Leg:
    """What became of one part of an answer: reformulation, imagination, edits, knn or keyword.

    Attributes:
        took_ms: wall-clock milliseconds.
        reason: why it is not "ok"; empty if it is.
        lowest, highest: the leg's raw scores over its candidates (search legs only), as min-max needs them.
    """

    status: LegStatus
    took_ms: float = 0.0
    reason: str = ""
    lowest: float | None = None
    highest: float | None = None


FeedbackKind = Literal["more_like", "not_this", "negative"]


@dataclass(frozen=True, slots=True)
class Feedback:
    """What the user said of one picture, and how it moves the query vector: by `weight * embedding`. See `edits`.

    Attributes:
        kind: "more_like" and "not_this" of a hit, "negative" of an imagination.
        id: the hit's or the imagination's.
        embedding: (d,) float32, unit length.
        weight: above 0 for "more_like", else below.
    """

    kind: FeedbackKind
    id: str
    embedding: FloatArray
    weight: float


@dataclass(frozen=True, slots=True)
class RewrittenQuery:
    """A dialogue, rewritten: what one search needs.

    Attributes:
        text_embedding: (d,) the reformulated text, encoded.
        imaginations: those that came in time; may be empty.
        weights: as used: the image weight is 0 where nothing was imagined.
        vector: (d,) float32, `weights.text * text_embedding + weights.image * mean(imaginations)`, and what
            `feedback` adds: NOT of unit length, so that its inner product with a picture is the published score.
        legs: "reformulation" and "imagination", and "edits" where the user edited the query.
        feedback: the pictures that the user judged; none as rewritten, filled by `edits.edited`.
    """

    dialogue: Dialogue
    reformulation: Reformulation
    text_embedding: FloatArray
    imaginations: tuple[Imagination, ...]
    weights: VectorWeights
    vector: FloatArray
    legs: Mapping[str, Leg]
    feedback: tuple[Feedback, ...] = ()


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an index's vectors come from. Stored with the index; a different one is refused.

    Attributes:
        encoder: the model's name, without the path of this machine.
        revision: a digest of the weights (or the hub's revision): the same name with other weights differs.
        dimension: d.
        preparation: the picture geometry, as `Preparation.describe()` prints it.
    """

    encoder: str
    revision: str
    dimension: int
    preparation: str


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """A picture as an index keeps it.

    Attributes:
        id: at most 512 bytes of UTF-8; deterministic from the source's key.
        embedding: (d,) float32, unit length.
        source: where the picture is: a file: or http(s): URI.
        origin: what brought it in (the folder's or JSONL file's URI); `--prune` removes by it.
        digest: "<sha256 of the picture's bytes>:<sha256 of caption and metadata>".
        width, height: of the upright picture, in pixels.
        thumbnail: a small WebP, or None.
    """

    id: str
    embedding: FloatArray
    source: str
    origin: str = ""
    digest: str = ""
    caption: str = ""
    metadata: Metadata = field(default_factory=dict)
    width: int = 0
    height: int = 0
    thumbnail: bytes | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record says that its picture is, without the record's other parts. See `ImageRecord`."""

    id: str
    source: str
    origin: str
    digest: str


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that is not in the index, and why: a dead letter.

    Attributes:
        source: the item's URI (or its JSONL file and line).
        code: stable; message: one line for a person.
    """

    source: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class LegHit:
    """A hit's place in one leg. rank starts at 1; score is raw (inner product, or BM25)."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a hit's score came about: `text + sum(images.values()) + sum(edits.values()) + keyword + offset == score`.

    The sum holds for the k-NN leg alone and for min-max score fusion, where `offset` is what min-max subtracts.
    For RRF a rank cannot be split: text, images, edits and offset are None, and knn and keyword are the ranks' shares.

    Attributes:
        text: what the reformulated text gave.
        images: imagination id -> what that imagined picture gave.
        edits: "more_like:ID", "not_this:ID" or "negative:ID" -> what that judged picture gave, or took (below 0).
        knn: what the k-NN leg gave in all.
        keyword: what the keyword leg gave.
        knn_rank, keyword_rank: the hit's rank in each leg; None where it is not among the leg's candidates.
    """

    text: float | None
    images: Mapping[str, float] | None
    offset: float | None
    knn: float
    keyword: float
    knn_rank: int | None = None
    keyword_rank: int | None = None
    edits: Mapping[str, float] | None = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hit:
    """A found picture. rank starts at 1 and counts over pages; legs: "knn" and "keyword", where it was found."""

    id: str
    rank: int
    score: float
    source: str = ""
    caption: str = ""
    metadata: Metadata = field(default_factory=dict)
    legs: Mapping[str, LegHit] = field(default_factory=dict)
    thumbnail: bytes | None = None
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits by rank, and what became of the legs "knn" and "keyword" (and, from `retrieval`, of the rewriting)."""

    hits: tuple[Hit, ...]
    legs: Mapping[str, Leg]


@dataclass(frozen=True, slots=True)
class ScoreFusion:
    """How the k-NN leg and the keyword leg are joined.

    Attributes:
        method: "min_max" (weighted arithmetic mean of min-max normalised scores) or "rrf" (weighted reciprocal
            rank fusion, Cormack et al., SIGIR 2009).
        knn, keyword: weights, each >= 0, sum 1.
        rank_constant: RRF's k.
    """

    method: Literal["min_max", "rrf"] = "min_max"
    knn: float = 0.7
    keyword: float = 0.3
    rank_constant: int = 60
