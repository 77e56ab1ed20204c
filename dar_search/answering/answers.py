"""What is asked under a deadline and what is answered: `anytime`'s data."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dar_search.answering.time_limits import limited
from dar_search.data import Dialogue, FloatArray, Imagination, Leg, Reformulation, RewrittenQuery, SearchResult
from dar_search.method.edits import EditWeights, QueryEdits
from dar_search.method.fusion import Schedule
from dar_search.method.retrieval import SearchOptions
from dar_search.method.rewriting import RELEASED, ImaginationOptions, joined
from dar_search.ports import Encoder, ImaginationCache, Imaginer, QuestionWriter, Reformulator


@dataclass(frozen=True, slots=True)
class Models:
    """What answers a dialogue.

    Attributes:
        fallback: writes text where the reformulator does not; without a model, at once.
        cache: where imaginations are kept, which the imaginer itself looks into.
        writer: writes questions; None: they are made of what is stored.
    """

    encoder: Encoder
    reformulator: Reformulator
    fallback: Reformulator
    imaginer: Imaginer | None = None
    cache: ImaginationCache | None = None
    writer: QuestionWriter | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """One turn's question.

    Attributes:
        seconds: the deadline, from now on.
        overtime: how much later an answer may come where there is nothing else to answer with, seconds.
        imagined_seconds: how long a stream waits for the imagination; an answer never waits beyond `seconds`.
        schedule, imagination: as in `rewriting.rewrite`.
        options: as in `retrieval.search`.
        edits, edit_weights: as in `edits.edited`.
        pictures: of the user's own, embedded, as in `edits.with_pictures`; without words they are the query.
        outside_models: False: the fallback reformulates, and no word goes to the reformulator.
        without_imagination: why nothing is to be imagined, where it is not (the service is too busy).
    """

    dialogue: Dialogue
    seconds: float = 2.0
    overtime: float = 5.0
    imagined_seconds: float = 30.0
    schedule: Schedule = RELEASED
    imagination: ImaginationOptions = ImaginationOptions()
    options: SearchOptions = SearchOptions()
    edits: QueryEdits = QueryEdits()
    edit_weights: EditWeights = EditWeights()
    pictures: Mapping[str, FloatArray] = field(default_factory=dict)
    outside_models: bool = True
    without_imagination: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What there is so far.

    Attributes:
        query: None where the text could not be encoded: the keyword leg answers alone.
        result: the hits, and every leg: reformulation, imagination, knn, keyword (and edits, where there are some).
        imagined: whether imagined pictures are in it.
        final: whether no better answer follows.
        took_ms: since the question came.
    """

    dialogue: Dialogue
    reformulation: Reformulation
    query: RewrittenQuery | None
    result: SearchResult
    imagined: bool
    final: bool
    took_ms: float


@dataclass(frozen=True, slots=True)
class Move:
    """A hit's rank before and after; None: not on the page."""

    id: str
    before: int | None
    after: int | None


def moves(before: SearchResult, after: SearchResult) -> tuple[Move, ...]:
    """The hits whose rank changed, those that are new and those that are gone; in the new order, the gone last."""
    old = {hit.id: hit.rank for hit in before.hits}
    new = {hit.id: hit.rank for hit in after.hits}
    changed = [Move(id, old.get(id), rank) for id, rank in new.items() if old.get(id) != rank]
    return (*changed, *(Move(id, rank, None) for id, rank in old.items() if id not in new))


Imagined = tuple[tuple[Imagination, ...], Leg]


@dataclass(frozen=True, slots=True)
class Running:
    """A question and when it came."""

    asked: Asked
    began: float = field(default_factory=time.perf_counter)

    @property
    def wordless(self) -> bool:
        """Pictures alone are asked for."""
        return bool(self.asked.pictures) and not self.asked.dialogue.text

    def took(self) -> float:
        return time.perf_counter() - self.began

    def took_ms(self) -> float:
        return self.took() * 1000

    def left(self) -> float:
        """Seconds until the deadline; 0 once it is over."""
        return max(0.0, self.asked.seconds - self.took())

    def longest(self) -> float:
        """Seconds until nothing is waited for any more: those until the deadline, and the overtime."""
        return limited(max(0.0, self.asked.seconds + self.asked.overtime - self.took()))


def query_of(
    turn: Running,
    written: tuple[Reformulation, Leg],
    text: FloatArray,
    pictures: tuple[Imagination, ...],
    imagined: Leg,
) -> RewrittenQuery:
    asked = turn.asked
    weights = asked.schedule.at(asked.dialogue.round)
    return joined(asked.dialogue, written[0], text, pictures, weights, written[1], imagined)


def without_pictures(turn: Running, alone: Answer, leg: Leg) -> Answer:
    """The text's answer as the last one, with what became of the imagination."""
    query = alone.query and replace(alone.query, legs={**alone.query.legs, "imagination": leg})
    result = replace(alone.result, legs={**alone.result.legs, "imagination": leg})
    return replace(alone, query=query, result=result, final=True, took_ms=turn.took_ms())


def answer_of(
    turn: Running, reformulation: Reformulation, query: RewrittenQuery | None, result: SearchResult, *, final: bool
) -> Answer:
    imagined = query is not None and bool(query.imaginations)
    return Answer(turn.asked.dialogue, reformulation, query, result, imagined, final, turn.took_ms())
