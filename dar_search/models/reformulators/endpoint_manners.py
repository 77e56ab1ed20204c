"""How an endpoint wants to be asked: which parts of a request it refuses, learned from its refusals.

Not every server takes every parameter of a chat completion: OpenAI's thinking models refuse `max_tokens` and a
temperature, older servers a JSON schema, some chat templates a system message. What is refused is left out, or said in
another way, and the request goes again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from dar_search.models.reformulators import instructions
from dar_search.models.reformulators.chat_completions import Refusal
from dar_search.models.reformulators.endpoint_options import EndpointOptions

#: A part of the request that it is understood without -> how servers name it in a sentence.
_NAMES: Mapping[str, str] = {
    "max_tokens": r"\bmax[_ ]?tokens\b",
    "max_completion_tokens": r"\bmax_completion_tokens\b",
    "temperature": r"\btemperature\b",
    "stream": r"^(body\.)?stream$|['\"`]stream['\"`]",
    "response_format": r"response[_ ]?format|json[_ ]?(schema|mode|object)|structured[_ ]?outputs?|guided|grammar",
    "system": r"\bsystem['\"`]? (role|message|prompt|instruction)|\brole\b.{0,60}\bsystem\b|developer instruction"
    r"|roles must alternate",
}
#: The parameter is known there, and its value too much.
_TOO_MUCH = r"too (large|high|long)|exceed|at (most|least)|less than or equal|context (length|window|size)"
#: What a status alone says too.
_NOTHING = r"((error|\d\d\d)\W*)?((bad|invalid) request|unprocessable (entity|content)|unsupported)?\W*"


def request(
    options: EndpointOptions,
    messages: Sequence[Mapping[str, str]],
    schema: Mapping[str, Any],
    most_tokens: int,
    refused: frozenset[str],
) -> dict[str, Any]:
    """The body of a chat completion, without what the endpoint refuses."""
    body: dict[str, Any] = {
        "model": options.model,
        "messages": instructions.without_system(messages)
        if "system" in refused
        else [dict(message) for message in messages],
        "temperature": 0,
        # The name that OpenAI gave it later is the one that its thinking models take.
        "max_completion_tokens" if "max_tokens" in refused else "max_tokens": most_tokens,
        "stream": False,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": schema},
        },
    }
    if "max_completion_tokens" in options.extra or "max_tokens" in options.extra:
        body.pop("max_tokens", None)
        body.pop("max_completion_tokens", None)
    return {name: value for name, value in body.items() if name not in refused} | dict(options.extra)


def to_leave_out(refusal: Refusal, body: Mapping[str, Any], own: Mapping[str, Any], status: int) -> str:
    """The part of the request that the endpoint refuses and that it can go without; "": none.

    Args:
        own: what the user wants in it, which is not given up.
    """
    if status not in (400, 404, 405, 422, 500, 501):
        return ""
    parts = [name for name in body if name in _NAMES or name in own]
    if any(message["role"] == "system" for message in body["messages"]):
        parts.append("system")
    named = _first_named(refusal.parameter, parts) or _first_named(refusal.words, parts)
    too_much = named.endswith("_tokens") and re.search(_TOO_MUCH, refusal.words, re.IGNORECASE)
    if named:
        return "" if named in own or too_much else named
    if status not in (400, 422):
        return ""
    # Who names nothing may still not know schemas; the answer is checked here in any case. Who says nothing at all may
    # refuse anything.
    silent = re.fullmatch(_NOTHING, refusal.words.strip(), re.IGNORECASE)
    order = (
        ("response_format", "temperature", "max_tokens", "max_completion_tokens") if silent else ("response_format",)
    )
    return next((part for part in order if part in parts and part not in own), "")


def _first_named(text: str, parts: Sequence[str]) -> str:
    patterns = {part: _NAMES.get(part, rf"\b{re.escape(part)}\b") for part in parts}
    found = {part: re.search(pattern, text, re.IGNORECASE) for part, pattern in patterns.items()}
    places = {part: match.start() for part, match in found.items() if match}
    return min(places, key=places.__getitem__, default="")
