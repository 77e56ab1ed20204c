"""What the routes answer: pydantic models for the OpenAPI document, and the core's answers as JSON values."""

from __future__ import annotations

import base64
from collections.abc import Collection
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dar_search.answering.answers import Answer, Move
from dar_search.data import Hit, RewrittenQuery
from dar_search.method.retrieval import describe, describe_hit, describe_legs, describe_reformulation


class Problem(BaseModel):
    """What is wrong. code: stable, for programs; message and hint: for people."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "code": "index_not_found",
                "message": 'There is no index "photo" here.',
                "hint": "There are: photos.",
                "request_id": "0f8fad5bd9cb469fa165709c8d7a1f4b",
            }
        }
    )

    code: str
    message: str
    hint: str
    request_id: str


class LegOut(BaseModel):
    """What became of a part of the answer. reason: why it is not "ok"."""

    status: Literal["ok", "late", "failed", "off"]
    took_ms: float
    reason: str = ""


class ReformulationOut(BaseModel):
    """text: for retrieval; prompts: for the imaginer; note: why it is not what was asked for."""

    text: str
    prompts: list[str]
    reformulator: str
    note: str = ""


class ImaginationOut(BaseModel):
    """An imagined picture. id: what edits name it by; picture: whether it was drawn."""

    id: str
    prompt: str
    seed: int
    picture: bool


class WeightsOut(BaseModel):
    """Vector fusion's weights, as used."""

    text: float
    image: float


class EditOut(BaseModel):
    """A judged picture in the query, with its weight there."""

    kind: str
    id: str
    weight: float


class RewritingOut(BaseModel):
    """What the dialogue became."""

    round: int
    reformulation: ReformulationOut
    imaginations: list[ImaginationOut]
    weights: WeightsOut | None = Field(description="null where the text could not be encoded.")
    edits: list[EditOut]


class HitOut(BaseModel):
    """A found picture. legs: its rank and score in each leg that found it."""

    id: str
    rank: int
    score: float
    source: str = ""
    caption: str = ""
    metadata: dict[str, Any] = {}
    legs: dict[str, dict[str, float]] = {}
    thumbnail: str | None = Field(None, description="A small picture, base64, where it was asked for.")
    explanation: dict[str, Any] | None = None


class MoveOut(BaseModel):
    """A hit whose rank the imagination changed; null: not on the page."""

    id: str
    before: int | None
    after: int | None


_LEGS: dict[str, Any] = {
    "reformulation": {"status": "ok", "took_ms": 0.2},
    "imagination": {"status": "late", "took_ms": 1000.0, "reason": "the imagination was not there in time"},
    "knn": {"status": "ok", "took_ms": 6.1},
    "keyword": {"status": "ok", "took_ms": 6.1},
}
_REWRITING: dict[str, Any] = {
    "round": 1,
    "reformulation": {
        "text": "a red balloon at the beach",
        "prompts": ["a red balloon at the beach"],
        "reformulator": "rules",
        "note": "",
    },
    "imaginations": [],
    "weights": {"text": 1.0, "image": 0.0},
    "edits": [],
}


class SearchOut(RewritingOut):
    """Hits by rank, and how they were found. In a stream, `text` comes first, then `imagined` with what moved."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": _REWRITING
            | {
                "request_id": "0f8fad5bd9cb469fa165709c8d7a1f4b",
                "index": "photos",
                "hits": [{"id": "a1", "rank": 1, "score": 0.93, "caption": "a red balloon over the sea"}],
                "legs": _LEGS,
                "imagined": False,
                "final": True,
                "took_ms": 1002.5,
                "deadline_ms": 1000,
            }
        },
        openapi_extra={  # type: ignore[typeddict-unknown-key]  # flask-openapi3's own
            "content": {"text/event-stream": {"schema": {"type": "string"}}}
        },
    )

    request_id: str
    index: str
    hits: list[HitOut]
    legs: dict[str, LegOut]
    imagined: bool = Field(description="Whether imagined pictures are in the ranking.")
    final: bool = Field(description="false: a better answer follows in this stream.")
    took_ms: float
    deadline_ms: int
    moved: list[MoveOut] = []


class VectorOut(BaseModel):
    """The query vector's size; the vector itself is in the request."""

    dimension: int
    length: float


class RequestOut(BaseModel):
    """What would be sent to the store, word for word."""

    model_config = ConfigDict(extra="allow")


class RewriteOut(RewritingOut):
    """What a search would send; nothing is searched."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": _REWRITING
            | {
                "request_id": "0f8fad5bd9cb469fa165709c8d7a1f4b",
                "legs": {name: leg for name, leg in _LEGS.items() if name in ("reformulation", "imagination")},
                "vector": {"dimension": 512, "length": 1.0},
                "request": {"method": "POST", "path": "/photos/_search", "body": {"query": {"hybrid": {}}}},
                "took_ms": 7.5,
                "deadline_ms": 1000,
            }
        }
    )

    request_id: str
    legs: dict[str, LegOut]
    vector: VectorOut
    request: RequestOut
    took_ms: float
    deadline_ms: int


class GroupOut(BaseModel):
    """Candidates that look alike. example: a caption of theirs; share: of all candidates."""

    example: str
    share: float


class QuestionOut(BaseModel):
    """What to ask next, and why. source: whether a field, a caption or a language model gave the words."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "request_id": "0f8fad5bd9cb469fa165709c8d7a1f4b",
                "question": "What is its season: summer, winter or something else?",
                "source": "metadata",
                "why": {"kind": "field", "field": "season", "shares": {"summer": 0.5, "winter": 0.5}},
                "groups": [{"example": "a red balloon over the sea", "share": 0.5}],
                "candidates": 64,
                "legs": _LEGS | {"question": {"status": "off", "took_ms": 0.0, "reason": "no language model"}},
                "deadline_ms": 1000,
            }
        }
    )

    request_id: str
    question: str
    source: Literal["metadata", "caption", "language_model", "open"]
    why: dict[str, Any] | None
    groups: list[GroupOut]
    candidates: int
    legs: dict[str, LegOut]
    deadline_ms: int


class ChoiceOut(BaseModel):
    """logged: false where the service keeps no search log."""

    request_id: str
    logged: bool


class HealthOut(BaseModel):
    """The process is alive."""

    alive: Literal[True] = True
    version: str


class ReadyOut(BaseModel):
    """Whether it can answer now: each part is "ok", or says what is missing."""

    ready: bool
    parts: dict[str, str]


def rewriting_out(query: RewrittenQuery) -> dict[str, Any]:
    """As RewritingOut."""
    described = describe(query)
    return {name: described[name] for name in ("round", "reformulation", "imaginations", "weights", "edits")}


def search_out(
    answer: Answer, index: str, fields: Collection[str], *, request_id: str, deadline_ms: int, moved: tuple[Move, ...]
) -> dict[str, Any]:
    """As SearchOut."""
    rewriting: dict[str, Any] = (
        rewriting_out(answer.query)
        if answer.query is not None
        else {
            "round": answer.dialogue.round,
            "reformulation": describe_reformulation(answer.reformulation),
            "imaginations": [],
            "weights": None,
            "edits": [],
        }
    )
    return {
        "request_id": request_id,
        "index": index,
        **rewriting,
        "hits": [hit_out(hit, fields) for hit in answer.result.hits],
        "legs": describe_legs(answer.result.legs),
        "imagined": answer.imagined,
        "final": answer.final,
        "took_ms": round(answer.took_ms, 3),
        "deadline_ms": deadline_ms,
        "moved": [{"id": move.id, "before": move.before, "after": move.after} for move in moved],
    }


def hit_out(hit: Hit, fields: Collection[str]) -> dict[str, Any]:
    """As HitOut, with the fields that were asked for."""
    described = describe_hit(hit)
    for name in ("source", "caption", "metadata"):
        if name not in fields:
            del described[name]
    if "thumbnail" in fields and hit.thumbnail is not None:
        described["thumbnail"] = base64.b64encode(hit.thumbnail).decode()
    return described
