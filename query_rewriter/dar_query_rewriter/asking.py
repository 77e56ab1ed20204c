"""What the routes take: pydantic models with limits, and what they mean to the core."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dar_search.answering.answers import Asked
from dar_search.data import Dialogue, ScoreFusion
from dar_search.errors import RequestError
from dar_search.filters import parse_filter
from dar_search.method.dialogues import MAX_CHARACTERS, MAX_TURNS, parse_dialogue
from dar_search.method.edits import MAX_EDITS, MAX_ID_BYTES, EditWeights, QueryEdits, parse_edits
from dar_search.method.fusion import Schedule
from dar_search.method.questions import MAX_CANDIDATES, MAX_GROUPS, QuestionOptions
from dar_search.method.retrieval import SearchOptions, reaching
from dar_search.method.rewriting import MAX_IMAGINATIONS, ImaginationOptions
from dar_search.ports import MAX_DEPTH
from dar_search.settings import Settings

HitField = Literal["source", "caption", "metadata", "thumbnail"]
DEFAULT_FIELDS: tuple[HitField, ...] = ("source", "caption", "metadata")
_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)

Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_BYTES)]
Ids = Annotated[list[Id], Field(max_length=MAX_EDITS)]
Weight = Annotated[float, Field(ge=0, le=1000)]

DIALOGUE_EXAMPLE: dict[str, Any] = {
    "caption": "a red balloon",
    "turns": [{"question": "where is it?", "answer": "at the beach"}],
}
SEARCH_EXAMPLE: dict[str, Any] = {"index": "photos", "dialogue": DIALOGUE_EXAMPLE, "size": 5, "deadline_ms": 1000}


class TurnIn(BaseModel):
    """A question with its answer; either may be empty, not both."""

    model_config = _STRICT

    question: Text = ""
    answer: Text = ""


class DialogueIn(BaseModel):
    """What was said so far: a caption, then turns. The service keeps none of it: send it all each time."""

    model_config = ConfigDict(**_STRICT, json_schema_extra={"example": DIALOGUE_EXAMPLE})

    caption: Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]
    turns: Annotated[list[TurnIn], Field(max_length=MAX_TURNS)] = []


class ImagineIn(BaseModel):
    """How to imagine. count: of each prompt, 0 for none; steps: of the diffusion; seed: of the first one."""

    model_config = _STRICT

    count: Annotated[int, Field(ge=0, le=MAX_IMAGINATIONS)] | None = None
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None


class VectorWeightsIn(BaseModel):
    """Vector fusion's weights in this round: q = text * t + image * mean(imagined)."""

    model_config = _STRICT

    text: Weight
    image: Weight


class FusionIn(BaseModel):
    """How the k-NN leg and the keyword leg are joined. knn: its weight; the keyword leg has the rest."""

    model_config = _STRICT

    method: Literal["min_max", "rrf"] = "min_max"
    knn: Annotated[float, Field(ge=0, le=1)] = 0.7
    rank_constant: Annotated[int, Field(ge=1, le=10_000)] = 60


class EditsIn(BaseModel):
    """Changes to the query, made from what is known already; nothing is generated again.

    strike: imaginations that no longer count; negative: imaginations of what it is not; more_like, not_this: hits.
    """

    model_config = _STRICT

    strike: Ids = []
    negative: Ids = []
    more_like: Ids = []
    not_this: Ids = []


class DialogueAsked(BaseModel):
    """What every request brings."""

    model_config = _STRICT

    dialogue: DialogueIn | Annotated[list[Text], Field(min_length=1, max_length=MAX_TURNS + 1)] = Field(
        description='A dialogue, or ["caption", "question? answer", ...].'
    )
    index: Annotated[str, Field(min_length=1, max_length=255)] | None = Field(
        None, description="Which index; may be left out where the service serves one."
    )
    filter: dict[str, Any] | None = Field(
        None,
        description='Conditions on metadata: {"city": "Paris"}, {"year": {"gte": 2000}}, {"taken": {"lt": "2024-03"}}, '
        '{"not": {...}}.',
    )
    deadline_ms: Annotated[int, Field(ge=20, le=600_000)] | None = Field(
        None, description="When the answer is wanted; a stream's first event."
    )
    outside_models: bool = Field(
        True, description="false: no word of the dialogue goes to the reformulator's model; the rules write the text."
    )


class QuestionIn(DialogueAsked):
    """A dialogue, and what the next question may be about."""

    model_config = ConfigDict(
        **_STRICT, json_schema_extra={"example": {"index": "photos", "dialogue": DIALOGUE_EXAMPLE, "candidates": 50}}
    )

    candidates: Annotated[int, Field(ge=2, le=MAX_CANDIDATES)] = Field(
        64, description="The best so many hits are told apart."
    )
    groups: Annotated[int, Field(ge=2, le=MAX_GROUPS)] = Field(6, description="That they are spread into.")
    fields: Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=64)] | None = Field(
        None, description="Metadata fields that may be asked about; null: all."
    )


class SearchIn(DialogueAsked):
    """A dialogue and how to answer it. What is left out is as the service's settings have it."""

    model_config = ConfigDict(**_STRICT, json_schema_extra={"example": SEARCH_EXAMPLE})

    dialogue: DialogueIn | Annotated[list[Text], Field(min_length=1, max_length=MAX_TURNS + 1)] | None = Field(  # type: ignore[assignment]
        None,
        description='A dialogue, or ["caption", "question? answer", ...]; may be left out where there is an image.',
    )
    image: Annotated[str, Field(min_length=1, max_length=1 << 26)] | None = Field(
        None,
        description="A picture that what is looked for is like: a file's bytes, base64. It counts as much as the words "
        "(the setting picture_weight); without a dialogue it is the query.",
    )

    size: Annotated[int, Field(ge=1, le=10_000)] = Field(10, description="Hits on a page.")
    offset: Annotated[int, Field(ge=0, le=10_000)] = Field(0, description="Hits before the page.")
    depth: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None,
        description="Candidates of each leg; the same over all pages, at least offset + size. Left out: the service's "
        "own, beyond which pages go on by vector.",
    )
    fields: Annotated[list[HitField], Field(max_length=4)] = Field(
        list(DEFAULT_FIELDS), description="What a hit brings beside id, rank and score."
    )
    schedule: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description='Vector fusion by round: "released", "text-only", "0:0.8/0.2,2:0.5/0.5".'
    )
    weights: VectorWeightsIn | None = Field(None, description="Vector fusion in this round, whatever the schedule.")
    fusion: FusionIn | None = None
    keyword: bool | None = Field(None, description="Search captions by words too.")
    exact: bool = Field(False, description="Compare with every picture instead of the graph.")
    explain: bool = Field(False, description="Say what gave each hit its score.")
    imagine: ImagineIn = ImagineIn()
    edits: EditsIn | None = None
    conversation: Id | None = Field(
        None, description="The same over a conversation's rounds: for the search log, where there is one."
    )


class ChoiceIn(BaseModel):
    """A hit of an earlier answer was chosen. search: that answer's request_id."""

    model_config = ConfigDict(**_STRICT, json_schema_extra={"example": {"search": "0f8fad5bd9cb469f", "hit": "a1"}})

    search: Id
    hit: Id


def asked_from(body: SearchIn, settings: Settings) -> Asked:
    """A checked body -> what the core is asked. Raises DialogueError, FilterError, RequestError."""
    limits = settings.query
    if body.size > limits.most_hits:
        raise RequestError(f"A page has at most {limits.most_hits} hits here.", "Ask for fewer, or for another page.")
    if body.dialogue is None and body.image is None:
        raise RequestError("The request has neither a dialogue nor an image.", "Send one of them, or both.")
    if body.weights is not None and body.schedule is not None:
        raise RequestError("weights and schedule exclude each other.", "Send one of them.")
    count = settings.imagine_count if body.imagine.count is None else body.imagine.count
    if count > limits.most_imaginations:
        raise RequestError(f"At most {limits.most_imaginations} imaginations of a prompt are made here.")
    return replace(
        _asked(body, settings),
        schedule=_schedule(body, settings),
        imagination=ImaginationOptions(
            count,
            settings.imagine_seed if body.imagine.seed is None else body.imagine.seed,
            body.imagine.steps or settings.imagine_steps,
        ),
        options=_options(body, settings),
        edits=QueryEdits() if body.edits is None else parse_edits(body.edits.model_dump()),
        edit_weights=EditWeights(settings.more_like_weight, settings.not_this_weight, settings.picture_weight),
    )


def image_from(body: SearchIn) -> bytes | None:
    """The picture's bytes. Raises RequestError."""
    if body.image is None:
        return None
    try:
        return base64.b64decode(body.image, validate=True)
    except ValueError:
        raise RequestError("The image is not base64.", "Send a file's bytes, encoded so.") from None


def question_from(body: QuestionIn, settings: Settings) -> tuple[Asked, QuestionOptions]:
    """A checked body -> what the core is asked. Raises DialogueError, FilterError, RequestError."""
    search = SearchOptions(
        filter=parse_filter(body.filter),
        depth=max(settings.depth, body.candidates),
        fusion=settings.score_fusion,
        keyword=settings.keyword,
    )
    fields = None if body.fields is None else tuple(body.fields)
    return _asked(body, settings), QuestionOptions(search, body.candidates, body.groups, fields)


def _asked(body: DialogueAsked, settings: Settings) -> Asked:
    limits = settings.query
    deadline_ms = body.deadline_ms or limits.deadline_ms
    if deadline_ms > limits.most_deadline_ms:
        raise RequestError(f"The longest deadline here is {limits.most_deadline_ms} ms.")
    return Asked(
        dialogue=Dialogue("") if body.dialogue is None else parse_dialogue(_raw_dialogue(body)),
        seconds=deadline_ms / 1000,
        overtime=limits.overtime_ms / 1000,
        imagined_seconds=limits.most_deadline_ms / 1000,
        schedule=settings.weights,
        imagination=ImaginationOptions(settings.imagine_count, settings.imagine_seed, settings.imagine_steps),
        outside_models=body.outside_models and limits.outside_models,
    )


def _raw_dialogue(body: DialogueAsked) -> Any:
    return body.dialogue.model_dump() if isinstance(body.dialogue, DialogueIn) else body.dialogue


def _schedule(body: SearchIn, settings: Settings) -> Schedule:
    if body.weights is not None:
        return Schedule.parse(f"{body.weights.text:.9f}/{body.weights.image:.9f}")
    return settings.weights if body.schedule is None else Schedule.parse(body.schedule)


def _options(body: SearchIn, settings: Settings) -> SearchOptions:
    fusion = settings.score_fusion
    if body.fusion is not None:
        chosen = body.fusion
        fusion = ScoreFusion(chosen.method, chosen.knn, round(1 - chosen.knn, 12), chosen.rank_constant)
    end = body.offset + body.size
    if body.depth is not None and end > body.depth:
        raise RequestError(
            f"offset + size is {end}, beyond the depth of {body.depth}.",
            "Raise depth, up to 10,000, on all pages; or leave it out: then pages go on beyond the service's own.",
        )
    if end > MAX_DEPTH:
        raise RequestError(f"offset + size is {end}; pages end at {MAX_DEPTH:,}.", "Ask for an earlier page.")
    options = SearchOptions(
        filter=parse_filter(body.filter),
        size=body.size,
        offset=body.offset,
        depth=settings.depth if body.depth is None else body.depth,
        fusion=fusion,
        keyword=settings.keyword if body.keyword is None else body.keyword,
        exact=body.exact,
        explain=body.explain,
        thumbnails="thumbnail" in body.fields,
    )
    return reaching(options)
