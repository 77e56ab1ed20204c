"""The user edits a rewritten query: pictures struck out or judged. Nothing is reformulated or imagined again.

Relevance feedback by Rocchio's formula (Rocchio 1971; Manning, Raghavan and Schuetze, Introduction to Information
Retrieval, section 9.1.1): the query moves towards the mean of what was found good, and away from the mean of what was
found bad.

    vector = weights.text * text + weights.image * mean(the imaginations that are left)
           + more_like * mean(hits "more like this")
           - not_this  * mean(hits "not this", and imaginations made negative)
           + picture   * mean(pictures that the user brings)

It stays linear in the pictures, so it is still ONE k-NN query, and `retrieval` still splits its scores exactly. The
weights are settings; the book's usual 0.75 and 0.15 by default: what is wanted says more than what is not, since there
are many ways to be wrong. A picture that is brought counts as much as the words (1.0), and alone it is the query.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from dar_search.data import (
    Dialogue,
    Feedback,
    FeedbackKind,
    FloatArray,
    Imagination,
    Leg,
    Reformulation,
    RewrittenQuery,
)
from dar_search.errors import RequestError, StoreError
from dar_search.method.fusion import TEXT_ONLY, fuse_vectors
from dar_search.ports import ImageIndex, ImaginationCache
from dar_search.values.numbers import as_float

MAX_EDITS = 32
MAX_ID_BYTES = 512
MAX_WEIGHT = 10.0
_HINT = 'Write {"strike", "negative"} with lists of imaginations, {"more_like", "not_this"} with lists of hits (ids).'
# Far below what float32 can tell of vectors of about unit length: such a vector would be nothing but rounding.
_NOTHING_LEFT = 1e-6


@dataclass(frozen=True, slots=True)
class QueryEdits:
    """What the user changes. At most MAX_EDITS ids in each, each a string of 1 to 512 bytes. Raises RequestError.

    Attributes:
        strike: imaginations that no longer count.
        negative: imaginations of what the picture is not.
        more_like, not_this: hits that are like what is looked for, and that are not.
    """

    strike: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    more_like: tuple[str, ...] = ()
    not_this: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _checked(field.name, getattr(self, field.name)))
        for one, other in (("strike", "negative"), ("more_like", "not_this")):
            if both := set(getattr(self, one)) & set(getattr(self, other)):
                raise RequestError(f'"{min(both)[:80]}" stands in both "{one}" and "{other}".', "Choose one of them.")

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, slots=True)
class EditWeights:
    """Rocchio's beta and gamma, each 0 to 10; its alpha is 1. picture: of what the user brings. Raises RequestError."""

    more_like: float = 0.75
    not_this: float = 0.15
    picture: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            weight = as_float(getattr(self, field.name))
            if not isinstance(weight, float) or not 0 <= weight <= MAX_WEIGHT:
                raise RequestError(f"The weight {field.name} of edits is a number from 0 to {MAX_WEIGHT:g}.")
            object.__setattr__(self, field.name, weight)


def parse_edits(raw: Any) -> QueryEdits:
    """The JSON form, or None for no edits -> checked edits. Raises RequestError."""
    if raw is None:
        return QueryEdits()
    if not isinstance(raw, Mapping):
        raise RequestError(f"Edits are a JSON object, not {type(raw).__name__}.", _HINT)
    known = [field.name for field in fields(QueryEdits)]
    for name in raw:
        if name not in known:
            raise RequestError(f'"{str(name)[:80]}" is no edit.', _HINT)
    return QueryEdits(**raw)


def edited(
    query: RewrittenQuery,
    edits: QueryEdits,
    index: ImageIndex,
    *,
    weights: EditWeights = EditWeights(),
    cache: ImaginationCache | None = None,
) -> RewrittenQuery:
    """The query with the edits, and a leg "edits".

    Args:
        index: where the named hits are; asked once, and only where hits are named.
        cache: where a negative imagination of an earlier round may still be.

    What is named and no longer there (a picture deleted meanwhile, an imagination of another round) is left out, and
    the leg says so: an edit never turns an answer into an error. Edits add up, and those of different pictures may be
    made in any order. Raises RequestError where nothing is left to search with.
    """
    if not edits:
        return query
    began = time.perf_counter()
    known = {one.id: one.embedding for one in query.imaginations}
    missing = [id for id in edits.strike if id not in known]
    negative, gone = _negatives(edits.negative, query, cache)
    hits, failed = _hits((*edits.more_like, *edits.not_this), index)
    named: dict[tuple[FeedbackKind, str], FloatArray] = {(one.kind, one.id): one.embedding for one in query.feedback}
    named |= {("negative", id): embedding for id, embedding in negative.items()}
    named |= {("more_like", id): hits[id] for id in edits.more_like if id in hits}
    named |= {("not_this", id): hits[id] for id in edits.not_this if id in hits}
    _refuse_contradictions(named)

    dropped = {*edits.strike, *negative}
    left = tuple(one for one in query.imaginations if one.id not in dropped)
    shown = [*missing, *gone, *(id for id in (*edits.more_like, *edits.not_this) if id not in hits)]
    reason = failed or (f"not there any more: {', '.join(id[:80] for id in shown)}" if shown else "")
    leg = Leg("failed" if reason else "ok", (time.perf_counter() - began) * 1000, reason)
    return _assembled(query, left, named, weights, leg)


def with_pictures(
    query: RewrittenQuery, pictures: Mapping[str, FloatArray], weights: EditWeights = EditWeights()
) -> RewrittenQuery:
    """The query with pictures of the user's own. pictures: id -> (d,) float32, unit length."""
    if not pictures:
        return query
    named: dict[tuple[FeedbackKind, str], FloatArray] = {(one.kind, one.id): one.embedding for one in query.feedback}
    named |= {("picture", id): embedding for id, embedding in pictures.items()}
    return _assembled(query, query.imaginations, named, weights, query.legs.get("edits"))


def wordless(dimension: int) -> RewrittenQuery:
    """A query without words, for pictures alone: `with_pictures` makes it one. Captions are not searched."""
    off = Leg("off", reason="there are no words")
    nothing = np.zeros(dimension, np.float32)
    legs = {"reformulation": off, "imagination": off}
    return RewrittenQuery(Dialogue(""), Reformulation("", (), "none"), nothing, (), TEXT_ONLY, nothing, legs)


def _assembled(
    query: RewrittenQuery,
    left: tuple[Imagination, ...],
    named: Mapping[tuple[FeedbackKind, str], FloatArray],
    weights: EditWeights,
    leg: Leg | None,
) -> RewrittenQuery:
    wanted: Mapping[str, float] = {"more_like": weights.more_like, "picture": weights.picture}
    counts = Counter(kind for kind, _ in named)
    unwanted = sum(count for kind, count in counts.items() if kind not in wanted)
    shares = {kind: wanted[kind] / counts[kind] if kind in wanted else -weights.not_this / unwanted for kind in counts}
    # In one order whatever came first, so that the sum is the same to the last bit.
    feedback = tuple(Feedback(kind, id, named[kind, id], shares[kind]) for kind, id in sorted(named))
    fusion = query.weights if left else TEXT_ONLY
    vector = fuse_vectors(query.text_embedding, [one.embedding for one in left], fusion).astype(np.float64)
    for one in feedback:
        vector += one.weight * one.embedding.astype(np.float64)
    if float(np.linalg.norm(vector)) < _NOTHING_LEFT:
        raise RequestError(
            "The edits take away all that the query was.", "Take one of them back, or give pictures a weight."
        )
    legs = {**query.legs} if leg is None else {**query.legs, "edits": leg}
    if query.imaginations and not left:
        legs["imagination"] = replace(query.legs["imagination"], status="off", reason="all was struck out")
    return replace(
        query, imaginations=left, weights=fusion, vector=vector.astype(np.float32), legs=legs, feedback=feedback
    )


def _negatives(
    ids: Sequence[str], query: RewrittenQuery, cache: ImaginationCache | None
) -> tuple[dict[str, FloatArray], list[str]]:
    """(id -> embedding, ids that are nowhere)."""
    known = {one.id: one.embedding for one in query.feedback if one.kind == "negative"}
    known |= {one.id: one.embedding for one in query.imaginations}
    elsewhere = [id for id in ids if id not in known]
    if elsewhere and cache is not None:
        dimension = query.text_embedding.shape
        known |= {id: one.embedding for id, one in cache.get(elsewhere).items() if one.embedding.shape == dimension}
    return {id: known[id] for id in ids if id in known}, [id for id in ids if id not in known]


def _hits(ids: Sequence[str], index: ImageIndex) -> tuple[dict[str, FloatArray], str]:
    """(id -> embedding, why the index cannot say)."""
    if not ids:
        return {}, ""
    try:
        return {id: record.embedding for id, record in index.get(ids).items()}, ""
    except StoreError as error:
        return {}, error.message


def _refuse_contradictions(named: Iterable[tuple[FeedbackKind, str]]) -> None:
    both = {id for kind, id in named if kind == "more_like"} & {id for kind, id in named if kind == "not_this"}
    if both:
        raise RequestError(f'"{min(both)[:80]}" is "more like this" and "not this".', "Choose one of them.")


def _checked(name: str, ids: Any) -> tuple[str, ...]:
    if not isinstance(ids, list | tuple):
        raise RequestError(f'"{name}" is a list of ids, not {type(ids).__name__}.', _HINT)
    if len(ids) > MAX_EDITS:
        raise RequestError(f'"{name}" names {len(ids)} ids; at most {MAX_EDITS} are taken.', "Leave some out.")
    for id in ids:
        if not isinstance(id, str) or not id or not 0 < _length(id) <= MAX_ID_BYTES:
            raise RequestError(f'"{name}" holds what is no id.', f"An id is a string of 1 to {MAX_ID_BYTES} bytes.")
    return tuple(dict.fromkeys(ids))


def _length(id: str) -> float:
    try:
        return len(id.encode())
    except UnicodeEncodeError:  # half of a surrogate pair
        return math.inf
