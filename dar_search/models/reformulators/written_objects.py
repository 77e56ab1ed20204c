"""The JSON object in what a language model writes: after its thinking, in its prose, in its own idea of JSON.

What a person would read at once is read: line breaks in strings, single quotes, trailing commas, words for keys, an
object in another one or in a string, closing brackets that are missing at the very end. What leaves a doubt is not: a
string that breaks off, an object that holds two texts, prose alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import regex

LONGEST_ANSWER = 16_384
#: Of a wrapped object, and of what is read by `_Reader`.
_DEEPEST = 8
#: Beginnings that are not JSON and are read by `_Reader`: each costs a walk over the answer.
_MOST_BEGINNINGS = 32
#: What is not the answer stands between these, in the words of Qwen, DeepSeek, Gemini, Magistral and others.
_THINKING = regex.compile(
    r"<(?P<close>/)?(?:think|thinking|thought|thoughts|reasoning|analysis)>|\[(?P<close>/)?THINK\]", regex.IGNORECASE
)
#: gpt-oss names the channel of each of its messages; only the last is for the reader.
_FINAL, _CHANNEL = "<|channel|>final", "<|channel|>"
_STRICT = json.JSONDecoder(strict=False)
_SPACE = regex.compile(r"(?:\s|//[^\n]*+\n|/\*.*?\*/)*+", regex.DOTALL)
_STRINGS = {
    quote: regex.compile(rf"(?:[^{end}\\]|\\.|{end}(?!\s*+(?:[,:}}\]]|$)))*+{end}", regex.DOTALL)
    for quote, end in (('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’"))
}
_WORD = regex.compile(r"[-+.\w]++")
_VALUES = {"true": True, "false": False, "null": None, "none": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "", "f": ""}


def object_in(answer: str) -> dict[str, Any] | None:
    """The last whole JSON object with a "text", or None."""
    whole = without_thinking(answer).strip()
    # A cut is no end, which closes what is open.
    said = whole if len(whole) <= LONGEST_ANSWER else whole[:LONGEST_ANSWER] + "\0"
    return _last(said) or _last(_decoded(said))


def without_thinking(answer: str) -> str:
    """What is left for the reader; nothing where the thinking did not end."""
    if _CHANNEL in answer:
        answer = answer.rpartition(_FINAL)[2] if _FINAL in answer else ""
    kept, at, thinking = "", 0, False
    for tag in _THINKING.finditer(answer):
        if tag["close"] is None:
            if not thinking:
                kept, at, thinking = kept + answer[at : tag.start()], tag.start(), True
        else:
            # A template that begins the thinking itself leaves only its end in the answer.
            kept, at, thinking = kept if thinking else "", tag.end(), False
    # An object before a tag that nothing closes: the tag is one of its words.
    return kept + answer[at:] if not thinking or "{" in kept else ""


def _last(said: str) -> dict[str, Any] | None:
    found, at, beginnings = None, said.find("{"), 0
    while at >= 0:
        value, end = None, at + 1
        try:
            value, end = _STRICT.raw_decode(said, at)
        except (ValueError, RecursionError):
            beginnings += 1
            if beginnings <= _MOST_BEGINNINGS:
                value, end = _Reader(said, at).read() or (None, end)
        found = _with_text(value) or found
        at = said.find("{", end)
    return found


def _decoded(said: str) -> str:
    """The text of a JSON string that is the whole answer, in its quotes or without them; or nothing."""
    if '\\"' not in said:
        return ""
    quoted = said if said.startswith('"') else f'"{said}"'
    try:
        return str(json.loads(quoted, strict=False))
    except ValueError:
        return ""


def _with_text(value: Any) -> dict[str, Any] | None:
    """The object with a "text", or the only one inside it that has one; None where there is none, or a choice."""
    if not isinstance(value, dict):
        return None
    named = {str(name).strip().lower(): part for name, part in value.items()} | value
    if "text" not in named:
        inside = list(_inside(value, _DEEPEST))
        return inside[0] if len(inside) == 1 else None
    text = named["text"]
    if isinstance(text, str) and text.strip() and not text.strip(" .…"):
        # The instruction's own example, which some models, and servers that repeat the prompt, have before the answer.
        return None
    again = _with_text(_encoded(text)) if isinstance(text, str) else None
    return again or named


def _inside(value: Any, depth: int) -> Iterator[dict[str, Any]]:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in parts if depth else ():
        part = _encoded(one) if isinstance(one, str) else one
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            yield part
        else:
            yield from _inside(part, depth - 1)


def _encoded(text: str) -> Any:
    """The object that a string is, or None."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


class _Unreadable(Exception):
    pass


class _Reader:
    """Reads one object that is not quite JSON. A quote ends a string only where something may follow the string."""

    def __init__(self, said: str, at: int) -> None:
        self._said, self._at = said, at

    def read(self) -> tuple[dict[str, Any], int] | None:
        """The object and where it ends, or None."""
        try:
            self._at += 1
            return self._object(_DEEPEST), self._at
        except _Unreadable:
            return None

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def member() -> None:
            name = self._string() if self._peek() in _STRINGS else self._word()
            if not self._take(":"):
                raise _Unreadable
            found[name] = self._value(depth - 1)

        self._members("}", member)
        return found

    def _value(self, depth: int) -> Any:
        if not depth:
            raise _Unreadable
        if self._peek() in _STRINGS:
            return self._string()
        if self._take("{"):
            return self._object(depth)
        if self._take("["):
            items: list[Any] = []
            self._members("]", lambda: items.append(self._value(depth - 1)))
            return items
        word = self._word()
        if word.lower() in _VALUES:
            return _VALUES[word.lower()]
        try:
            return float(word)
        except ValueError:
            raise _Unreadable from None

    def _members(self, end: str, member: Callable[[], None]) -> None:
        """Members with commas between, up to `end`; the end of the answer ends all that is open."""
        while not self._take(end):
            member()
            if self._take(end) or not self._peek():
                return
            if not self._take(","):
                raise _Unreadable

    def _string(self) -> str:
        quote = self._peek()
        match = _STRINGS[quote].match(self._said, self._at + 1)
        if match is None:
            raise _Unreadable
        self._at = match.end()
        return regex.sub(r"\\(u[0-9a-fA-F]{4}|.)", self._unescaped, match[0][:-1], flags=regex.DOTALL)

    def _unescaped(self, escape: regex.Match[str]) -> str:
        letter = escape[1]
        return chr(int(letter[1:], 16)) if len(letter) > 1 else _ESCAPES.get(letter, letter)

    def _word(self) -> str:
        match = _WORD.match(self._said, self._at)
        if match is None:
            raise _Unreadable
        self._at = match.end()
        return match[0]

    def _peek(self) -> str:
        """The next letter after white space and comments; "" at the end."""
        match = _SPACE.match(self._said, self._at)
        self._at = match.end() if match else self._at
        return self._said[self._at : self._at + 1]

    def _take(self, letter: str) -> bool:
        if self._peek() != letter:
            return False
        self._at += 1
        return True
