"""What to ask next: the question whose answer narrows the current candidates most.

PlugIR's idea (Lee et al., ACL 2024): spread the candidates into groups by embedding, and ask what splits them. The
question comes from what is stored beside the pictures (`candidate_splits`), or in better words from a language model
that is shown the groups' captions. What the model answers is only ever a string, checked to be one short question.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dar_search.data import Dialogue, Leg, RewrittenQuery
from dar_search.errors import FeatureMissing, ModelError, ModelFailed, ModelTimeout, RequestError
from dar_search.filters import Filter
from dar_search.method.candidate_splits import Candidate, Split, group, splits, typical, words
from dar_search.method.retrieval import SearchOptions, describe_legs, search
from dar_search.ports import ImageIndex, QuestionWriter
from dar_search.values.numbers import as_int

MAX_CANDIDATES = 500
MAX_GROUPS = 20
LONGEST_QUESTION = 200
OPEN_QUESTION = "What else is in the picture?"
_NO_MODEL = Leg("off", reason="there is no language model")
_SHOWN_VALUES = 6
_LONGEST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class QuestionOptions:
    """What to ask about.

    Attributes:
        search: how the candidates are found; its size and explain are not used.
        candidates: the best so many hits, 2 to 500.
        groups: that they are spread into, 2 to 20.
        fields: metadata fields that may be asked about; None for all.
    """

    search: SearchOptions = SearchOptions()
    candidates: int = 64
    groups: int = 6
    fields: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("candidates", "groups"):
            number = as_int(getattr(self, name))
            if type(number) is not int:
                raise RequestError(f"The number of {name} of a question is a whole one, not {number!r:.40}.")
            object.__setattr__(self, name, number)
        if not 2 <= self.candidates <= MAX_CANDIDATES:
            raise RequestError(f"A question is about 2 to {MAX_CANDIDATES} candidates, not {self.candidates}.")
        if not 2 <= self.groups <= MAX_GROUPS:
            raise RequestError(f"The candidates are spread into 2 to {MAX_GROUPS} groups, not {self.groups}.")


@dataclass(frozen=True, slots=True)
class Group:
    """Candidates that look alike. example: the caption of the one in the middle; share: of all candidates."""

    example: str
    share: float


@dataclass(frozen=True, slots=True)
class NextQuestion:
    """A question, and why it is asked.

    Attributes:
        text: one question, at most 200 characters.
        source: "metadata", "caption", "language_model", or "open" where nothing that is stored splits the candidates.
        why: the best split that was not yet asked about; None for "open". The language model was shown it, but may
            ask about something else that it saw in the groups.
        groups: of the candidates, largest first.
        candidates: how many were looked at.
        legs: those of the search, and "question": whether a language model wrote it ("off" where there is none).
    """

    text: str
    source: Literal["metadata", "caption", "language_model", "open"]
    why: Split | None
    groups: tuple[Group, ...]
    candidates: int
    legs: Mapping[str, Leg]


@dataclass(frozen=True, slots=True)
class Survey:
    """The candidates of a query, looked over: all that a question can be made from."""

    dialogue: Dialogue
    candidates: tuple[Candidate, ...]
    groups: tuple[Group, ...]
    splits: tuple[Split, ...]
    legs: Mapping[str, Leg]


def next_question(
    query: RewrittenQuery,
    index: ImageIndex,
    options: QuestionOptions = QuestionOptions(),
    *,
    writer: QuestionWriter | None = None,
) -> NextQuestion:
    """The most useful next question. A writer that fails is a leg with a reason, and the stored fields answer.

    A caller with a deadline calls the three steps itself: `survey`, `stored_question`, and `written_question` where
    there is time. Raises what `retrieval.search` raises.
    """
    found = survey(query, index, options)
    return stored_question(found) if writer is None else written_question(found, writer)


def survey(query: RewrittenQuery, index: ImageIndex, options: QuestionOptions = QuestionOptions()) -> Survey:
    """Search, spread the candidates into groups, and measure what splits them. Raises what `search` raises.

    Where the index keeps no vectors there are no candidates, and a leg "groups" says so.
    """
    asked = options.search
    result = search(
        query,
        index,
        SearchOptions(
            filter=asked.filter,
            size=options.candidates,
            depth=max(asked.depth, options.candidates),
            fusion=asked.fusion,
            keyword=asked.keyword,
            exact=asked.exact,
        ),
    )
    try:
        records = index.get([hit.id for hit in result.hits])
    except FeatureMissing as error:  # an index that keeps no vectors to tell its pictures apart by
        legs = {**result.legs, "groups": Leg("failed", reason=error.message)}
        return Survey(query.dialogue, (), (), (), legs)
    candidates = tuple(
        Candidate(hit.id, records[hit.id].embedding, hit.caption, hit.metadata)
        for hit in result.hits
        if hit.id in records
    )
    if len(candidates) < 2:
        return Survey(query.dialogue, candidates, (), (), result.legs)
    numbers = group(candidates, options.groups)
    groups = tuple(Group(example.caption, share) for example, share in typical(candidates, numbers))
    possible = splits(candidates, numbers, fields=options.fields)
    answered = _Answered(query.dialogue, asked.filter, possible)
    return Survey(
        query.dialogue, candidates, groups, tuple(split for split in possible if not answered.by(split)), result.legs
    )


def stored_question(survey: Survey, leg: Leg = _NO_MODEL) -> NextQuestion:
    """From stored fields and captions alone. leg: what became of the language model, as the answer will say it."""
    legs = {**survey.legs, "question": leg}
    if not survey.splits:
        return NextQuestion(OPEN_QUESTION, "open", None, survey.groups, len(survey.candidates), legs)
    best = survey.splits[0]
    source: Literal["metadata", "caption"] = "caption" if best.kind == "caption_word" else "metadata"
    return NextQuestion(worded(best), source, best, survey.groups, len(survey.candidates), legs)


def written_question(survey: Survey, writer: QuestionWriter) -> NextQuestion:
    """In a language model's words; where it fails, `stored_question` with the reason."""
    if len(survey.candidates) < 2:
        return stored_question(survey, Leg("off", reason="there are not two candidates to tell apart"))
    began = time.perf_counter()
    best = survey.splits[0] if survey.splits else None
    try:
        examples = [one.example for one in survey.groups]
        written = writer.write(survey.dialogue, examples, worded(best) if best else "")
        text = checked_question(written, survey.dialogue, writer.name)
    except ModelError as error:
        status: Literal["late", "failed"] = "late" if isinstance(error, ModelTimeout) else "failed"
        return stored_question(survey, Leg(status, (time.perf_counter() - began) * 1000, error.message))
    legs = {**survey.legs, "question": Leg("ok", (time.perf_counter() - began) * 1000)}
    return NextQuestion(text, "language_model", best, survey.groups, len(survey.candidates), legs)


def checked_question(text: str, dialogue: Dialogue, name: str) -> str:
    """One question in one line, not asked before. Raises ModelFailed, naming the writer."""
    marks = sum(text.count(mark) for mark in "?？؟")
    if not text.endswith(("?", "？", "؟")) or marks != 1:
        raise ModelFailed(f"{name} did not write one question.")
    if len(text) > LONGEST_QUESTION:
        raise ModelFailed(f"{name} wrote a question of {len(text)} characters, more than {LONGEST_QUESTION}.")
    if not text.isprintable() or text != " ".join(text.split()):
        raise ModelFailed(f"{name} wrote a question that is not one plain line.")
    if not words(text):
        raise ModelFailed(f"{name} wrote a question without words.")
    if any(words(text) == words(turn.question) for turn in dialogue.turns):
        raise ModelFailed(f"{name} asked what was asked before.")
    return text


def worded(split: Split) -> str:
    """A split as a question, at most 200 characters."""
    name = _short(split.field.replace("_", " ").replace("-", " ").strip() or split.field)
    value = _short(split.value)
    if split.kind == "caption_word":
        return f'Would you say "{value}" of the picture?'
    if split.kind == "field_value":
        return f'Is "{value}" one of its {name}?'
    if split.kind == "field_above":
        return f"Is its {name} {value} or more?"
    answers = [_short(answer) for answer in split.shares if answer != "unknown"]
    if {*answers} <= {"yes", "no"}:
        return f"Is it so: {name}?"
    listed = answers[:_SHOWN_VALUES]
    while len(listed) > 1 and len(", ".join(listed)) > LONGEST_QUESTION - len(name) - 40:
        listed.pop()
    last = "something else" if len(listed) < len(answers) else listed.pop()
    return f"What is its {name}: {', '.join(listed)} or {last}?"


def describe_question(question: NextQuestion) -> dict[str, Any]:
    """A question as plain JSON values."""
    why = None
    if question.why is not None:
        why = {**asdict(question.why), "shares": {name: round(share, 4) for name, share in question.why.shares.items()}}
    return {
        "question": question.text,
        "source": question.source,
        "why": why,
        "groups": [{"example": one.example, "share": round(one.share, 4)} for one in question.groups],
        "candidates": question.candidates,
        "legs": describe_legs(question.legs),
    }


class _Answered:
    """What the dialogue and the filter settle already."""

    def __init__(self, dialogue: Dialogue, filter: Filter, possible: Sequence[Split]) -> None:
        self._asked = [words(turn.question) for turn in dialogue.turns]
        self._told = words(" ".join((dialogue.caption, *(turn.answer for turn in dialogue.turns))))
        self._all = self._told.union(*self._asked)
        self._filtered = {condition.field for condition in filter}

    def by(self, split: Split) -> bool:
        """Whether it was told, asked about (also where nobody knew), or filtered by."""
        if split.field in self._filtered:
            return True
        if split.kind in ("caption_word", "field_value"):
            wanted = words(split.value)
            return not wanted or wanted <= self._all
        name = words(split.field)
        if name and any(name <= asked for asked in self._asked):
            return True
        if split.kind == "field_above":
            return False
        values = [words(value) for value in split.shares if value not in ("unknown", "yes", "no")]
        return any(value and value <= self._told for value in values)


def _short(text: str) -> str:
    """Stored text, as one printable line of a question: without marks that would end it, and not long."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    line = "".join(letter for letter in line if letter not in '?？؟"')
    return line if len(line) <= _LONGEST_SHOWN else line[: _LONGEST_SHOWN - 1] + "…"
