"""What splits a search's candidates: groups that look alike, and the fields and caption words that tell them apart.

PlugIR (Lee et al., ACL 2024) spreads the candidates into clusters by embedding, and asks what splits those. Here the
same is measured on what is stored beside the pictures. An answer to a question about a field tells apart

    the candidates:  H(answer), in bits (each candidate alike), and
    the groups:      I(answer; group), so that what shows in the pictures counts more than what only stands beside them.

The best split has the greatest sum of the two. Of a picture that lacks the field nothing is learnt, so both count
only those that have it, times their share.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dar_search.data import FloatArray, MetadataValue

SplitKind = Literal["field", "field_value", "field_above", "caption_word"]

#: A question whose answers are more than these is no question that a person likes to be asked.
MOST_VALUES = 12
#: A question that tells less than this is not worth an answer, bits.
LEAST_BITS = 0.05
#: A caption need not say all that a picture shows: that it lacks a word says less than that a field lacks a value.
_CAPTION_TRUST = 0.5
#: An answer by words whose number hides in a range is harder to give.
_RANGE_TRUST = 0.5
_MOST_WORDS = 400
_KMEANS_ROUNDS = 20

#: Words that say nothing of a picture when they stand alone.
_COMMON = frozenset(
    """
    a about above after all along also am an and another any are around as at away back background be been before
    behind below beside between big but by can color colour could day did do does down each either else few for
    foreground from front get go has have he her here him his how i if image in inside into is it its just left like
    look looking looks lot many me more most much my near next no none not of off on one only onto or other our out
    over own part person photo picture right scene see seen several she shot show showing shows side small so some
    something standing sits sitting stands such than that the their them then there these they thing this those three
    through to together top toward towards two under up upon us use using very view was way we well were what when where
    which while who whom whose why will with within without would yes you your
    """.split()  # noqa: SIM905  # a list of quoted words reads worse
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is known of a candidate, beside its score. embedding: (d,) float32, unit length."""

    id: str
    embedding: FloatArray
    caption: str
    metadata: Mapping[str, MetadataValue]


@dataclass(frozen=True, slots=True)
class Split:
    """A question's answers and how they divide the candidates.

    Attributes:
        kind: "field" (which value), "field_value" (is `value` among the field's), "field_above" (is the number at
            least `value`), "caption_word" (does the caption say `value`).
        field: the metadata field; empty for a caption word.
        value: what is asked for; empty for kind "field".
        shares: answer -> share of the candidates; of those that lack the field, under "unknown". Sums to 1.
        bits: H(answer), what the answer tells of the candidate.
        group_bits: I(answer; group).
        score: what the splits are compared by.
    """

    kind: SplitKind
    field: str
    value: str
    shares: Mapping[str, float]
    bits: float
    group_bits: float
    score: float


def group(candidates: Sequence[Candidate], count: int) -> NDArray[np.intp]:
    """Groups that look alike: (n,) group numbers, at most `count` of them, by spherical k-means.

    It starts from the first candidate and then from those farthest from all starts so far: no chance in it.
    """
    rows = np.stack([candidate.embedding for candidate in candidates]).astype(np.float64)
    starts = [0]
    nearest = rows @ rows[0]
    while len(starts) < min(count, len(rows)):
        farthest = int(np.argmin(nearest))
        if nearest[farthest] > 1 - 1e-6:
            break
        starts.append(farthest)
        nearest = np.maximum(nearest, rows @ rows[farthest])
    centres = rows[starts]
    groups = np.argmax(rows @ centres.T, axis=1)
    for _ in range(_KMEANS_ROUNDS):
        sums = np.stack([rows[groups == number].sum(axis=0) for number in range(len(centres))])
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 0, sums / np.maximum(lengths, 1e-12), centres)
        moved = np.argmax(rows @ centres.T, axis=1)
        if np.array_equal(moved, groups):
            break
        groups = moved
    return np.unique(groups, return_inverse=True)[1]


def typical(candidates: Sequence[Candidate], groups: NDArray[np.intp]) -> list[tuple[Candidate, float]]:
    """Of each group, largest first, the candidate nearest to its middle, with the group's share."""
    rows = np.stack([candidate.embedding for candidate in candidates]).astype(np.float64)
    found = []
    for number in np.unique(groups):
        members = np.flatnonzero(groups == number)
        middle = rows[members].mean(axis=0)
        found.append((candidates[int(members[np.argmax(rows[members] @ middle)])], len(members) / len(candidates)))
    return sorted(found, key=lambda one: -one[1])


def splits(
    candidates: Sequence[Candidate], groups: NDArray[np.intp], *, fields: Collection[str] | None = None
) -> list[Split]:
    """All that divide the candidates, best first.

    fields: the metadata fields that may be asked about; None for all.
    """
    found = []
    for kind, field, value, answers in _questions(candidates, fields):
        trust = {"caption_word": _CAPTION_TRUST, "field_above": _RANGE_TRUST}.get(kind, 1.0)
        if (split := _split(kind, field, value, answers, groups, trust)) is not None:
            found.append(split)
    return sorted(found, key=lambda one: (-round(one.score, 9), one.kind, one.field, one.value))


def words(text: str) -> set[str]:
    """A text's words as they are compared: lower case, without a plural's s."""
    return {_stem(word) for word in re.findall(r"[^\W_]+", text.lower())}


def answer_of(candidate: Candidate, split: Split) -> str:
    """What is true of this candidate, as `Split.shares` names it."""
    if split.kind == "caption_word":
        return "yes" if _stem(split.value) in words(candidate.caption) else "no"
    value = candidate.metadata.get(split.field)
    if value is None:
        return "unknown"
    if split.kind == "field":
        return shown(value)
    if split.kind == "field_value":
        return "yes" if split.value in map(shown, value if isinstance(value, tuple) else (value,)) else "no"
    return "yes" if _is_number(value) and float(value) >= float(split.value) else "no"  # type: ignore[arg-type]


def shown(value: MetadataValue) -> str:
    """A value as a person reads it: "12", not "12.0"; "yes", not "True"."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.10g}"
    return str(value) if isinstance(value, str | int) else ", ".join(map(shown, value))


_Question = tuple[SplitKind, str, str, list[str]]


def _questions(candidates: Sequence[Candidate], fields: Collection[str] | None) -> Iterator[_Question]:
    """Everything that could be asked, with each candidate's answer."""
    names = sorted({name for candidate in candidates for name in candidate.metadata})
    for name in names:
        if fields is None or name in fields:
            yield from _about_field(name, [candidate.metadata.get(name) for candidate in candidates])
    yield from _about_captions(candidates)


def _about_field(name: str, values: Sequence[MetadataValue | None]) -> Iterator[_Question]:
    there = [value for value in values if value is not None]
    if any(isinstance(value, tuple) for value in there):
        lists = [None if value is None else value if isinstance(value, tuple) else (value,) for value in values]
        counts = Counter(shown(one) for some in lists if some is not None for one in set(some))
        for value, count in counts.most_common(_MOST_WORDS):
            if 1 < count < len(there):
                told = [None if some is None else set(map(shown, some)) for some in lists]
                yield (
                    "field_value",
                    name,
                    value,
                    ["unknown" if some is None else "yes" if value in some else "no" for some in told],
                )
        return
    distinct = {shown(value) for value in there}
    # Values that hardly repeat are names of pictures, not properties of them.
    if 2 <= len(distinct) <= MOST_VALUES and len(there) >= 2 * len(distinct):
        yield "field", name, "", ["unknown" if value is None else shown(value) for value in values]
    elif len(distinct) > MOST_VALUES and all(map(_is_number, there)):
        middle = float(np.median([float(value) for value in there]))  # type: ignore[arg-type]
        yield (
            "field_above",
            name,
            shown(middle),
            [
                "unknown" if value is None else "yes" if float(value) >= float(shown(middle)) else "no"  # type: ignore[arg-type]
                for value in values
            ],
        )


def _about_captions(candidates: Sequence[Candidate]) -> Iterator[_Question]:
    said = [words(candidate.caption) for candidate in candidates]
    counts = Counter(word for some in said for word in some)
    spelled: dict[str, Counter[str]] = defaultdict(Counter)
    for candidate in candidates:
        for word in re.findall(r"[^\W\d_]{3,}", candidate.caption.lower()):
            spelled[_stem(word)][word] += 1
    asked = [word for word, count in counts.most_common(_MOST_WORDS) if 1 < count < len(said)]
    for word in asked:
        if word in spelled and not {word, *spelled[word]} & _COMMON:
            usual = min(spelled[word].items(), key=lambda item: (-item[1], item[0]))[0]
            yield "caption_word", "", usual, ["yes" if word in some else "no" for some in said]


def _split(
    kind: SplitKind, field: str, value: str, answers: list[str], groups: NDArray[np.intp], trust: float
) -> Split | None:
    counts = Counter(answers)
    known = [at for at, answer in enumerate(answers) if answer != "unknown"]
    share = len(known) / len(answers)
    bits = share * _entropy([answers[at] for at in known])
    if bits < LEAST_BITS:
        return None
    within = 0.0
    for number in set(groups[known].tolist()):
        members = [answers[at] for at in known if groups[at] == number]
        within += len(members) / len(known) * _entropy(members)
    group_bits = max(0.0, bits - share * within)
    shares = {
        answer: count / len(answers) for answer, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    }
    return Split(kind, field, value, shares, bits, group_bits, trust * (bits + group_bits))


def _entropy(answers: Sequence[str]) -> float:
    return -sum(count / len(answers) * math.log2(count / len(answers)) for count in Counter(answers).values())


def _is_number(value: MetadataValue) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
