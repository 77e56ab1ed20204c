"""What an OpenAI-compatible endpoint says: the text of a completion, or why it refuses.

Servers agree on the completion, and on little else: a refusal is an object, a list, FastAPI's `detail`, another
server's refusal as a string inside it, plain text or a web page, and some send it with status 200.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dar_search.models.reformulators import instructions
from dar_search.settings.masking import masked

_LONGEST_WORDS = 300
_MOST_READ = 65_536
#: Where servers keep the sentence for a person, the most telling first. A `raw` is OpenRouter's provider's own.
_SENTENCES = ("raw", "metadata", "message", "msg", "error", "detail", "errors", "error_message", "reason", "title")
_CUT = frozenset({"length", "max_tokens"})
_FILTERED = frozenset({"content_filter", "safety", "recitation", "prohibited_content"})
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an endpoint refuses, as far as it says.

    Attributes:
        words: the server's own, one line; may be empty.
        parameter: what of the request it names as wrong, such as "max_tokens" or "body.temperature"; may be empty.
        codes: its short names for it, such as "insufficient_quota".
        status: the HTTP status that stands in the body; 0: none.
    """

    words: str = ""
    parameter: str = ""
    codes: frozenset[str] = frozenset()
    status: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer. text: what is for the reader; empty: `problem` says why.

    cut: a limit of tokens was reached, its own or that of the server's context.
    tokens: how many it is said to have written; None where it is not said.
    """

    text: str
    problem: str = ""
    cut: bool = False
    tokens: int | None = None


def refusal_in(body: bytes) -> Refusal:
    """What a refusal says, in whichever form; nothing of it is trusted, nor masked yet (see `shown`)."""
    text = body[:_MOST_READ].decode("utf-8", "replace")
    value = _json(text)
    if value is None:
        return Refusal(_page(text))
    parts = list(_objects(value))
    parameter = next(filter(None, map(_parameter, parts)), "")
    codes = frozenset(str(part[name]) for part in parts for name in ("code", "type") if part.get(name))
    status = next((int(code) for code in codes if re.fullmatch(r"[45]\d\d", code)), 0)
    return Refusal(_sentence(value), parameter, codes, status)


def completion_in(body: bytes) -> Completion | Refusal | None:
    """A completion, a refusal in its place, or None for what is neither."""
    value = _json(body.decode("utf-8", "replace"))
    if not isinstance(value, Mapping):
        return Refusal(_page(body[:_MOST_READ].decode("utf-8", "replace"))) if b"<html" in body[:1000].lower() else None
    choices = value.get("choices")
    if not isinstance(choices, list) or not choices:
        if value.get("error"):
            return refusal_in(body)
        return Completion("", "answered without any choice") if choices == [] else None
    choice = choices[0] if isinstance(choices[0], Mapping) else {}
    message = choice.get("message")
    if choice.get("error") and not (isinstance(message, Mapping) and _text(message.get("content")).strip()):
        return refusal_in(json.dumps(choice).encode())
    if not isinstance(message, Mapping):
        return None
    usage = value.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, Mapping) else None
    found = _completion(message, str(choice.get("finish_reason") or "").lower())
    return replace(found, tokens=tokens) if isinstance(tokens, int) else found


def shown(words: str, secrets: Sequence[str] = (), said: Sequence[Any] = ()) -> str:
    """A server's words for a person and a log: one short line, without secrets, and without what was said to it.

    Args:
        secrets: which it may echo, whole or as the beginning or end that it thinks harmless.
        said: the strings of the request, in any JSON: an echo of them is where the words end.
    """
    for secret in filter(None, secrets):
        words = words.replace(secret, "***")
        if len(secret) >= 16:
            words = re.sub(rf"\S*(?:{re.escape(secret[:6])}|{re.escape(secret[-6:])})\S*", "***", words)
        if len(secret) >= 8:  # "the key that ends in abcd"
            words = re.sub(rf"(?<!\w)[^\w\s]*{re.escape(secret[-4:])}(?!\w)", "***", words)
    words = re.sub(r"\S*\*{3,}\S*|\S*•{3,}\S*", "***", words)
    ends = [at for echo in _echoes(said) if (at := words.find(echo)) >= 0]
    line = masked(instructions.plain(words[: min(ends)] + " …" if ends else words))
    return line if len(line) <= _LONGEST_WORDS else line[:_LONGEST_WORDS].rsplit(" ", 1)[0] + " …"


def _completion(message: Mapping[str, Any], finish: str) -> Completion:
    text, cut = _text(message.get("content")), finish in _CUT
    if isinstance(refused := message.get("refusal"), str) and refused and not text:
        return Completion("", f"refused to answer: {refused}")
    if finish in _FILTERED:
        return Completion("", f"was stopped by its content filter (finish_reason {finish})")
    if text:
        return Completion(text, cut=cut)
    thoughts = next((thought for name in _THOUGHTS if (thought := _text(message.get(name)))), "")
    bare = re.sub(r"^```\w*|```$", "", thoughts.strip()).strip()
    # vLLM with a reasoning parser, and thinking switched off, files the answer itself under the thoughts.
    if not cut and bare.startswith("{") and instructions.object_in(bare) is not None:
        return Completion(bare)
    if thoughts:
        return Completion("", "thought, and gave no answer", cut)
    return Completion("", f"answered without text{f' (finish_reason {finish})' if finish else ''}", cut)


def _text(content: Any) -> str:
    """Content is a string, or a list of parts of which the texts are for the reader."""
    if isinstance(content, str):
        return content.strip()
    parts = content if isinstance(content, list) else []
    texts = [
        part.get("text") if isinstance(part, Mapping) and part.get("type") in ("text", "output_text") else part
        for part in parts
    ]
    return "".join(text for text in texts if isinstance(text, str)).strip()


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _objects(value: Any, depth: int = 6) -> Iterator[Mapping[str, Any]]:
    """All objects in it, outermost first, those in strings too."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        value = _json(value)
    if isinstance(value, Mapping):
        yield value
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for part in parts if depth else ():
        yield from _objects(part, depth - 1)


def _parameter(part: Mapping[str, Any]) -> str:
    if isinstance(part.get("param"), str):
        return str(part["param"])
    place = part.get("loc")
    return ".".join(map(str, place)) if isinstance(place, list) else ""


def _sentence(value: Any, depth: int = 6) -> str:
    if not depth:
        return ""
    if isinstance(value, str):
        inner = _json(value) if value.lstrip().startswith(("{", "[")) else None
        return value if inner is None else _sentence(inner, depth - 1) or value
    if isinstance(value, list):
        return "; ".join(filter(None, (_sentence(part, depth - 1) for part in value[:3])))
    if not isinstance(value, Mapping):
        return ""
    found = next(filter(None, (_sentence(value.get(name), depth - 1) for name in _SENTENCES)), "")
    place = value.get("loc")
    return f"{'.'.join(map(str, place))}: {found}" if found and isinstance(place, list) else found


def _page(text: str) -> str:
    """A web page's title, or plain text."""
    if "<" not in text:
        return text
    title = re.search(r"<title[^>]*>([^<]*)", text, re.IGNORECASE)
    return html.unescape(title[1] if title else re.sub(r"<[^<>]*>", " ", text))


def _echoes(said: Any) -> Iterator[str]:
    if isinstance(said, str):
        inner = _json(said) if said.startswith("{") else None
        if inner is not None:
            # The beginning of such a message, as itself and as a string in JSON.
            yield from (said[:10], json.dumps(said[:10])[1:-1])
            yield from _echoes(inner)
        elif len(said) >= 12:
            yield said
    elif isinstance(said, Mapping | list | tuple):
        for part in said.values() if isinstance(said, Mapping) else said:
            yield from _echoes(part)
