"""Vector fusion and score fusion: pure functions.

Vector fusion joins the text and the imagined embeddings into ONE k-NN query vector. Score fusion joins the k-NN
leg with the keyword leg. They are different methods: see `fuse_vectors` and `fuse_scores`.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from dar_search.data import FloatArray, LegHit, ScoreFusion, VectorWeights
from dar_search.errors import DimensionMismatch, RequestError
from dar_search.values.numbers import as_int

TEXT_ONLY = VectorWeights(1.0, 0.0)
_MAX_WEIGHT = 1000.0
_HINT = 'Write "released", "text-only", "0.5/0.5" (text/image), or by first round "0:0.8/0.2,2:0.5/0.5".'


@dataclass(frozen=True, slots=True)
class Schedule:
    """Vector fusion's weights by round.

    Attributes:
        steps: (first round, weights), rounds ascending from 0; a step holds until the next one.
    """

    steps: tuple[tuple[int, VectorWeights], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple((as_int(first), weights) for first, weights in self.steps))

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """A name, or "ROUND:TEXT/IMAGE,..." as in settings. Raises RequestError."""
        if text in SCHEDULES:
            return SCHEDULES[text]
        steps = []
        for part in text.split(","):
            match = re.fullmatch(r"\s*(?:(\d{1,6})\s*:)?\s*([\d.]+)\s*/\s*([\d.]+)\s*", part, re.ASCII)
            if not match or (match[1] is None and "," in text):
                raise RequestError(f'The schedule "{text[:80]}" does not read.', _HINT)
            steps.append((int(match[1] or 0), VectorWeights(_weight(match[2]), _weight(match[3]))))
        rounds = [first for first, _ in steps]
        if rounds[0] != 0 or any(later <= earlier for earlier, later in itertools.pairwise(rounds)):
            raise RequestError(f'The rounds of the schedule "{text[:80]}" do not ascend from 0.', _HINT)
        if any(weights.text == 0 and weights.image == 0 for _, weights in steps):
            raise RequestError(f'The schedule "{text[:80]}" has a round with both weights 0.', _HINT)
        return cls(tuple(steps))

    def at(self, round: int) -> VectorWeights:
        """The weights of a round (0: the caption alone)."""
        return next(weights for first, weights in reversed(self.steps) if first <= round)

    def __str__(self) -> str:
        return ",".join(f"{first}:{weights.text:g}/{weights.image:g}" for first, weights in self.steps)


#: By name. "released": the weights of DAR's released evaluation (SIGIR 2025).
SCHEDULES = {
    "released": Schedule(((0, VectorWeights(0.8, 0.2)), (2, VectorWeights(0.5, 0.5)))),
    "text-only": Schedule(((0, TEXT_ONLY),)),
}


def fuse_vectors(text: FloatArray, imagined: Sequence[FloatArray], weights: VectorWeights) -> FloatArray:
    """One k-NN query vector: `weights.text * text + weights.image * mean(imagined)`; text alone if none is imagined.

    DAR's released evaluation scores a picture g as `w_t * (text . g) + w_v * mean_i(imagined_i . g)`. That is linear
    in g, so the inner product of g with this vector IS that score, for any number of imagined pictures.

    Args:
        text: (d,) float32.
        imagined: any number of (d,) float32.

    Returns:
        (d,) float32, NOT of unit length. Raises DimensionMismatch.
    """
    for embedding in imagined:
        if embedding.shape != text.shape:
            raise DimensionMismatch(f"An imagined embedding has shape {embedding.shape}, the text's {text.shape}.")
    if not imagined:
        return text.astype(np.float32)
    mean = np.mean(np.asarray(imagined, dtype=np.float64), axis=0)
    fused: FloatArray = (weights.text * text.astype(np.float64) + weights.image * mean).astype(np.float32)
    return fused


#: What min-max gives a leg's lowest candidate, so that it still ranks before one that the leg lacks.
LOWEST_SHARE = 0.001


@dataclass(frozen=True, slots=True)
class Fused:
    """A candidate after score fusion. legs: its place in each leg that has it, "knn" and "keyword"."""

    id: str
    score: float
    legs: Mapping[str, LegHit]


def ranked(candidates: Mapping[str, float]) -> dict[str, LegHit]:
    """A leg's candidates (id -> raw score), best first, ties by id; ranks from 1."""
    order = sorted(candidates.items(), key=lambda item: (-item[1], item[0]))
    return {id: LegHit(rank, score) for rank, (id, score) in enumerate(order, 1)}


def fuse_scores(
    legs: Mapping[str, Mapping[str, float]], fusion: ScoreFusion, page: slice = slice(None), joined: int | None = None
) -> list[Fused]:
    """The legs' candidates in one order: by fused score, ties by id; of them, those of the page.

    The rules are those of OpenSearch's normalization-processor (`min_max` with `arithmetic_mean`) and of its
    score-ranker-processor (`rrf`), so that fusing here or on the server gives the same order: a leg that lacks a
    candidate counts 0 for it; see `share` for one that has it. Unlike there, a leg is never cut in the midst of equal
    scores: none of those counts then (`Range.cut`), while `Fused.legs` still says where it was found.

    Args:
        legs: "knn" and "keyword" -> id -> raw score, of all the leg's candidates.
        page: which candidates of that order are wanted.
        joined: of each leg, only so many; None: all.
    """
    places = {name: _best(candidates, joined) for name, candidates in sorted(legs.items())}
    fused: dict[str, float] = {}
    for name, hits in places.items():
        range = leg_range(legs[name].values(), joined)
        for id, hit in hits.items():
            if hit.score != range.cut:
                fused[id] = fused.get(id, 0.0) + share(fusion, name, hit, range.lowest, range.highest)
    order = sorted(fused.items(), key=lambda item: (-item[1], item[0]))
    return [Fused(id, score, _found_in(places, id)) for id, score in order[page]]


def in_order(
    legs: Mapping[str, Mapping[str, float]],
    fusion: ScoreFusion,
    page: slice = slice(None),
    joined: int | None = None,
    further: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
) -> list[Fused]:
    """The page of the order that `ports.SearchRequest` describes. Of a single leg: its candidates, by raw score.

    Args:
        legs: each leg's candidates; of two legs at least one more than `joined`, if it has more.
        further: what a deeper search of a leg found, where that is not sure to begin with what the first one found.
    """
    alone = len(legs) == 1
    order = [] if alone else fuse_scores(legs, fusion, joined=joined)
    places = {name: _best(candidates, joined) for name, candidates in legs.items()}
    seen = {one.id for one in order}
    for name in sorted(legs, key=lambda name: -fusion.keyword if name == "keyword" else -fusion.knn):
        for found in (legs[name], further.get(name, {})):
            for id, hit in ranked(found).items():
                if id not in seen:
                    seen.add(id)
                    place = {name: LegHit(len(order) + 1, hit.score)} if alone else _found_in(places, id)
                    order.append(Fused(id, hit.score if alone else 0.0, place))
    return order[page]


@dataclass(frozen=True, slots=True)
class Range:
    """A leg's lowest and highest raw score, None where it has no candidate; and its cut, as `data.Leg` has it."""

    lowest: float | None
    highest: float | None
    cut: float | None


def leg_range(scores: Iterable[float], joined: int | None = None) -> Range:
    """Of the `joined` best of a leg's raw scores; whether the last of them goes on shows in one more."""
    scores = sorted(scores, reverse=True)
    best = scores[:joined]
    if not best:
        return Range(None, None, None)
    goes_on = len(scores) > len(best) and scores[len(best)] == best[-1]
    return Range(best[-1], best[0], best[-1] if goes_on else None)


def score_range(candidates: Mapping[str, float]) -> tuple[float | None, float | None]:
    """A leg's lowest and highest raw score, None where it has no candidate."""
    range = leg_range(candidates.values())
    return range.lowest, range.highest


def _best(candidates: Mapping[str, float], joined: int | None) -> dict[str, LegHit]:
    return dict(itertools.islice(ranked(candidates).items(), joined))


def _found_in(places: Mapping[str, Mapping[str, LegHit]], id: str) -> dict[str, LegHit]:
    return {name: hits[id] for name, hits in places.items() if id in hits}


def share(fusion: ScoreFusion, name: str, hit: LegHit, lowest: float | None, highest: float | None) -> float:
    """What one leg gives to a candidate's fused score.

    min_max: weight * (score - lowest) / (highest - lowest); the lowest gets 0.001. rrf: weight / (rank_constant +
    rank), ranks from 1, ties by id (Cormack et al., SIGIR 2009). Where lowest == highest the leg tells nothing apart,
    and each of its candidates gets what the best one gets.
    """
    weight = fusion.knn if name == "knn" else fusion.keyword
    rrf = fusion.method == "rrf"
    if lowest is None or highest is None or lowest == highest:
        return weight / (fusion.rank_constant + 1) if rrf else weight
    if rrf:
        return weight / (fusion.rank_constant + hit.rank)
    return weight * ((hit.score - lowest) / (highest - lowest) or LOWEST_SHARE)


def check_candidates(fusion: ScoreFusion) -> None:
    """Raises RequestError for a number of joined candidates that no leg can have."""
    wanted = fusion.candidates
    if wanted is not None and (type(wanted) is not int or wanted < 1):
        raise RequestError(
            f"Score fusion joins at least 1 candidate of each leg, not {wanted!r:.40}.", "None: the search's depth."
        )


def check_score_fusion(fusion: ScoreFusion) -> None:
    """Raises RequestError for weights that are not two shares of 1, an unknown method or a bad rank constant."""
    for name in ("knn", "keyword"):
        if not isinstance(weight := getattr(fusion, name), float):
            raise RequestError(f"The {name} weight of score fusion is a number, not {weight!r:.40}.")
    if type(fusion.rank_constant) is not int:
        raise RequestError(f"RRF's rank constant is a whole number, not {fusion.rank_constant!r:.40}.", "60 is usual.")
    if fusion.method not in ("min_max", "rrf"):
        raise RequestError(f'There is no score fusion "{fusion.method}".', "Use min_max or rrf.")
    weights = (fusion.knn, fusion.keyword)
    if not all(0 <= weight <= 1 for weight in weights) or abs(sum(weights) - 1) > 1e-6:
        raise RequestError(
            f"The weights of score fusion are at least 0 and sum to 1, not {weights[0]:g} + {weights[1]:g}.",
            "Such as 0.7 for k-NN and 0.3 for keywords.",
        )
    if not 1 <= fusion.rank_constant <= 10_000:
        raise RequestError(f"RRF's rank constant is 1 to 10,000, not {fusion.rank_constant}.", "60 is usual.")


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 <= weight <= _MAX_WEIGHT:
        raise RequestError(f'The weight "{text[:20]}" of a schedule is not in 0 to {_MAX_WEIGHT:g}.', _HINT)
    return weight
