"""The demo's measurements: a held-out dialogue round by round, and Recall@10 over some dozens of them.

Text only beside DAR: the same reformulation and the same k-NN leg, with and without the imagination. The keyword leg
is left out, so that nothing else differs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dar_search.data import Dialogue, FloatArray, Hit, Imagination, RewrittenQuery
from dar_search.demo.conversations import gallery_conversations
from dar_search.demo.picture_files import GalleryFiles, picture_name
from dar_search.errors import ModelFailed
from dar_search.evaluation.intervals import Interval, paired_bootstrap
from dar_search.ingestion.sources.locations import file_uri, record_id
from dar_search.ports import ImageIndex, Imaginer, SearchRequest

TOP = 10
_MOST_CANDIDATES = 10_000
_SHOWN = 5
_SKETCHES = 2
_BOOTSTRAP_SAMPLES = 2_000


class Rewriter(Protocol):
    """A dialogue -> a rewritten query, with the models and weights of the run."""

    def rewrite(self, dialogue: Dialogue) -> RewrittenQuery: ...


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A dialogue that no model was trained on, and the picture of the gallery that it is about.

    Attributes:
        target: the record's id; picture: its file, relative to the gallery's folder.
    """

    dialogue: Dialogue
    target: str
    picture: str


@dataclass(frozen=True, slots=True)
class Round:
    """A round of a replayed dialogue.

    Attributes:
        said: what this round added; text: the reformulation of all so far.
        text_rank, dar_rank: the target's rank from 1, without and with imagination; None beyond all candidates.
        text_hits, dar_hits: the best few, with thumbnails.
        pictures: what was imagined, where the imaginer draws pictures.
        sketches: what was drawn from the same prompt to be looked at; nothing is searched with them.
    """

    number: int
    said: str
    text: str
    text_rank: int | None
    dar_rank: int | None
    text_hits: tuple[Hit, ...]
    dar_hits: tuple[Hit, ...]
    pictures: tuple[bytes, ...]
    sketches: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Recall:
    """Recall@10 by round, over `dialogues` dialogues.

    Attributes:
        rounds: those that were measured.
        text_only, dar: shares from 0 to 1, in the order of the rounds.
        gain: DAR minus text only, with its 95% paired bootstrap interval.
    """

    dialogues: int
    rounds: tuple[int, ...]
    text_only: tuple[float, ...]
    dar: tuple[float, ...]
    gain: tuple[Interval, ...]


def held_out(files: GalleryFiles, count: int) -> Iterator[HeldOut]:
    """`count` dialogues of the test split about pictures of the gallery, in the gallery's order."""
    for picture, conversation in gallery_conversations(count, files.size):
        name = picture_name(picture.number)
        path = os.path.realpath(files.folder / name)
        yield HeldOut(conversation.dialogue, record_id(file_uri(os.fsencode(path))), name)


def replay(
    subject: HeldOut, rewriter: Rewriter, index: ImageIndex, gallery: int, sketcher: Imaginer | None = None
) -> Iterator[Round]:
    """The rounds of a dialogue, 0 to its last, each as it would have been answered then.

    sketcher: draws what there is to look at, where the rewriter's own imaginer draws nothing.
    """
    dialogue = subject.dialogue
    for number in range(dialogue.round + 1):
        said = dialogue.caption if number == 0 else dialogue.turns[number - 1].text
        query = _rewritten(rewriter, dialogue.at_round(number))
        text_rank, text_hits = _ranked(query.text_embedding, subject.target, index, gallery)
        dar_rank, dar_hits = _ranked(query.vector, subject.target, index, gallery)
        drawn = sketcher.imagine(query.reformulation.prompts[0], count=_SKETCHES, seed=number) if sketcher else []
        pictures, sketches = _pictures(query.imaginations), _pictures(drawn)
        text = query.reformulation.text
        yield Round(number, said, text, text_rank, dar_rank, text_hits, dar_hits, pictures, sketches)


def recall(
    subjects: Sequence[HeldOut],
    rounds: Sequence[int],
    rewriter: Rewriter,
    index: ImageIndex,
    progress: Callable[[int], None] = lambda done: None,
) -> Recall:
    """Recall@10 of text alone and of DAR. progress: called with the number of dialogues done."""
    found = np.zeros((2, len(subjects), len(rounds)))
    for row, subject in enumerate(subjects):
        for column, number in enumerate(rounds):
            query = _rewritten(rewriter, subject.dialogue.at_round(number))
            for which, vector in enumerate((query.text_embedding, query.vector)):
                found[which, row, column] = subject.target in _best(vector, index)
        progress(row + 1)
    text_only, dar = found
    gain = paired_bootstrap(dar, text_only, samples=_BOOTSTRAP_SAMPLES, seed=0)
    return Recall(len(subjects), tuple(rounds), _means(text_only), _means(dar), tuple(gain))


def _pictures(imaginations: Sequence[Imagination]) -> tuple[bytes, ...]:
    return tuple(one.picture for one in imaginations if one.picture is not None)


def _means(found: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(found.mean(axis=0).tolist())


def _best(vector: FloatArray, index: ImageIndex) -> set[str]:
    result = index.search(SearchRequest(vector=vector, size=TOP, depth=TOP, exact=True))
    return {hit.id for hit in result.hits}


def _ranked(vector: FloatArray, target: str, index: ImageIndex, gallery: int) -> tuple[int | None, tuple[Hit, ...]]:
    """The target's rank, and the best few hits."""
    best = index.search(SearchRequest(vector=vector, size=TOP, depth=TOP, exact=True, thumbnails=True)).hits
    rank = next((hit.rank for hit in best if hit.id == target), None)
    depth = min(max(gallery, TOP), _MOST_CANDIDATES)
    if rank is None and depth > TOP:
        everything = index.search(SearchRequest(vector=vector, size=depth, depth=depth, exact=True)).hits
        rank = next((hit.rank for hit in everything if hit.id == target), None)
    return rank, best[:_SHOWN]


def _rewritten(rewriter: Rewriter, dialogue: Dialogue) -> RewrittenQuery:
    """A search goes on without a failed imagination; a measurement of it must not: it would show the text twice."""
    query = rewriter.rewrite(dialogue)
    leg = query.legs["imagination"]
    if leg.status in ("failed", "late"):
        raise ModelFailed(f"The imagination failed, so there is nothing to compare: {leg.reason}", "See dar doctor.")
    return query
