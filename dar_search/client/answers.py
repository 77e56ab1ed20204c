"""What a query service answers, read: outside data, checked as it comes in."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from dar_search import errors
from dar_search.data import Explanation, Hit, Leg, LegHit
from dar_search.errors import DarError, InputError, ServiceError, ServiceUnreachable
from dar_search.values import exact_json

_FORM = "Is it a dar-search query service of this version?"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a dialogue.

    Attributes:
        hits: by rank.
        text: what the dialogue became.
        legs: what became of each part: "reformulation", "imagination", "knn", "keyword" (and "edits").
        imagined: whether imagined pictures are in the ranking.
        final: whether no better answer follows in this stream.
        request_id: what `choose` names, and what the service's log knows it by.
        raw: all of it, as the service sent it: imaginations with the ids that edits name, moves, weights, times.
    """

    hits: tuple[Hit, ...]
    text: str
    legs: Mapping[str, Leg]
    imagined: bool
    final: bool
    request_id: str
    raw: Mapping[str, Any] = field(repr=False)

    @property
    def missing(self) -> dict[str, str]:
        """The legs that were late or failed, with the reason."""
        return {name: leg.reason for name, leg in self.legs.items() if leg.status in ("late", "failed")}


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask next. source: "metadata", "caption", "language_model" or "open"; why: what splits the candidates."""

    text: str
    source: str
    why: Mapping[str, Any] | None
    candidates: int
    raw: Mapping[str, Any] = field(repr=False)


def _subclasses(kind: type[DarError]) -> Iterator[type[DarError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__ and child is not errors.PictureError:
            yield child
            yield from _subclasses(child)


_BY_CODE = {kind.code: kind for kind in _subclasses(DarError)}


def error_from(problem: Mapping[str, Any], status: int) -> DarError:
    """A problem's JSON as the error that it names; of a code that this version does not know, by its status."""
    code, message = str(problem.get("code", "")), str(problem.get("message", "")) or f"The service answered {status}."
    kind = _BY_CODE.get(code, InputError if 400 <= status < 500 else ServiceError)
    error = kind(message, str(problem.get("hint", "")))
    error.request_id = str(problem.get("request_id", ""))  # type: ignore[attr-defined]  # of errors from a service
    return error


def question_from(found: Mapping[str, Any]) -> Question:
    """Raises ServiceUnreachable for an answer of another form."""
    try:
        return Question(str(found["question"]), str(found["source"]), found["why"], int(found["candidates"]), found)
    except (KeyError, TypeError, ValueError) as error:
        raise ServiceUnreachable("The service answers with no question.", _FORM) from error


def answer_from(found: Mapping[str, Any]) -> Answer:
    """Raises ServiceUnreachable for an answer of another form."""
    try:
        return Answer(
            tuple(_hit(hit) for hit in found["hits"]),
            str(found["reformulation"]["text"]),
            {
                str(name): Leg(leg["status"], float(leg["took_ms"]), str(leg.get("reason", "")))
                for name, leg in found["legs"].items()
            },
            bool(found["imagined"]),
            bool(found["final"]),
            str(found["request_id"]),
            found,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ServiceUnreachable("The service answers in a form that this client does not know.", _FORM) from error


def _hit(found: Mapping[str, Any]) -> Hit:
    metadata = found.get("metadata") or {}
    explanation = found.get("explanation")
    known = {one.name for one in fields(Explanation)}
    return Hit(
        str(found["id"]),
        int(found["rank"]),
        float(found["score"]),
        str(found.get("source", "")),
        str(found.get("caption", "")),
        {str(name): tuple(value) if isinstance(value, list) else value for name, value in metadata.items()},
        {name: LegHit(int(place["rank"]), float(place["score"])) for name, place in (found.get("legs") or {}).items()},
        base64.b64decode(found["thumbnail"]) if found.get("thumbnail") else None,
        Explanation(**{name: value for name, value in explanation.items() if name in known}) if explanation else None,
    )


def object_from(content: bytes) -> dict[str, Any] | None:
    """The JSON object in these bytes; None where there is none."""
    try:
        found = exact_json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
