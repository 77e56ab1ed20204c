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

from dar_search.errors import RequestError
from dar_search.values.numbers import as_float, as_int

FloatArray = NDArray[np.float32]
# A number keeps its type: 2001 stays an int, 2001.0 a float. An int has at most 64 bits.
MetadataValue = str | int | float | bool | tuple[str, ...] | tuple[int | float, ...] | tuple[bool, ...]
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
    """Vector fusion's weights of one round: q = text * t + image * mean(imagined).

    Any real number is kept as a float. Raises RequestError for what is none.
    """

    text: float
    image: float

    def __post_init__(self) -> None:
        for name in ("text", "image"):
            weight = as_float(getattr(self, name))
            if not isinstance(weight, float) or not np.isfinite(weight):
                raise RequestError(f"The {name} weight of vector fusion is a number, not {weight!r:.40}.")
            object.__setattr__(self, name, weight)


LegStatus = Literal["ok", "late", "failed", "off"]


@dataclass(frozen=True, slots=True)
class Leg:
    """What became of one part of an answer: reformulation, imagination, edits, knn or keyword.

    Also "explanation" and "groups" (of a question), where an index cannot give them.

    Attributes:
        took_ms: wall-clock milliseconds.
        reason: why it is not "ok"; empty if it is.
        lowest, highest: the leg's raw scores over its candidates (search legs only), as min-max needs them.
        cut: the raw score that goes on beyond the last candidate: hits of it get nothing of the leg. None: no such one.
    """

    status: LegStatus
    took_ms: float = 0.0
    reason: str = ""
    lowest: float | None = None
    highest: float | None = None
    cut: float | None = None


FeedbackKind = Literal["more_like", "not_this", "negative", "picture"]


@dataclass(frozen=True, slots=True)
class Feedback:
    """What the user said of one picture, and how it moves the query vector: by `weight * embedding`. See `edits`.

    Attributes:
        kind: "more_like" and "not_this" of a hit, "negative" of an imagination, "picture" of one that the user brings.
        id: the hit's or the imagination's; of a picture the SHA-256 of its bytes.
        embedding: (d,) float32, unit length.
        weight: above 0 for "more_like" and "picture", else below.
    """

    kind: FeedbackKind
    id: str
    embedding: FloatArray
    weight: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", as_float(self.weight))


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
        feedback: the pictures that the user judged or brought; none as rewritten, filled by `edits`.
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
    """Where an index's vectors come from. Stored with the index; a different one is refused (`stores.provenance`).

    Attributes:
        encoder: the model's name, without the path of this machine. For people: the same model may have several.
        revision: "sha256:", a digest of the weights and of the configuration that shapes what they give, ".", a digest
            of what prepares texts (the tokenizer's files); indices of earlier versions have the first alone. An
            encoder of another package may have any text.
        dimension: d.
        preparation: the picture geometry, as `Preparation.describe()` prints it.
    """

    encoder: str
    revision: str
    dimension: int
    preparation: str

    @property
    def by_content(self) -> bool:
        """Whether the revision tells the model by its files, so that its name and place say nothing more."""
        return self.revision.startswith("sha256:")

    @property
    def identity(self) -> str:
        """One text for one space of vectors, whatever the model's folder is called: a key for what is kept."""
        name = "" if self.by_content else self.encoder
        return f"{name} {self.revision} {self.dimension} {self.preparation}".strip()


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

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            object.__setattr__(self, name, as_int(getattr(self, name)))


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
        fields: of a record that a store refuses, the metadata fields without which it would go in.
    """

    source: str
    code: str
    message: str
    fields: tuple[str, ...] = ()


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
        knn_rank, keyword_rank: the hit's rank in each leg; None where it is not among the leg's candidates. A leg whose
            last candidate ties with the next one gives nothing to those of that score (`Leg.cut`).
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

    Any real number is kept as the float, any whole one as the int that is declared: what a server is sent must not
    depend on how a caller wrote it. `fusion.check_score_fusion` refuses the rest, where a search is asked for.

    Attributes:
        method: "min_max" (weighted arithmetic mean of min-max normalised scores) or "rrf" (weighted reciprocal
            rank fusion, Cormack et al., SIGIR 2009).
        knn, keyword: weights, each >= 0, sum 1.
        rank_constant: RRF's k.
        candidates: how many of each leg are joined; None: as many as the search is deep. What lies beyond them
            follows: see `ports.SearchRequest`.
    """

    method: Literal["min_max", "rrf"] = "min_max"
    knn: float = 0.7
    keyword: float = 0.3
    rank_constant: int = 60
    candidates: int | None = None

    def __post_init__(self) -> None:
        for name in ("knn", "keyword"):
            object.__setattr__(self, name, as_float(getattr(self, name)))
        for name in ("rank_constant", "candidates"):
            object.__setattr__(self, name, as_int(getattr(self, name)))
