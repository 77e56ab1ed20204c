"""Reading dialogues: from JSON values, JSON and JSONL files, and plain text. What comes in is not trusted.

    ["a dog on a beach", "what color is it? brown"]                       ChatIR: the caption, then the turns
    {"img": "17.jpg", "dialog": ["a dog on a beach", ...]}                the same with its target
    {"caption": "a dog", "turns": [{"question": "...", "answer": "..."}]}
    "a dog on a beach"                                                    plain text: a caption line, a line per turn

A file holds one of these, a JSON list of them, or one in each line (JSONL).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from dar_search.data import Dialogue, Turn
from dar_search.errors import DialogueError

MAX_TURNS = 100
#: Of a caption, a question or an answer.
MAX_CHARACTERS = 4_000
MAX_FILE_BYTES = 256 * 2**20
_HINT = 'Write ["caption", "question? answer", ...] or {"caption": "...", "turns": [{"question", "answer"}]}.'
#: The question ends at the last mark with text behind it; a Latin one needs a space after it, if any does.
_SPLITS = (re.compile(r"(.*(?:[?؟]\s|？))\s*([^\s?؟？].*)"), re.compile(r"(.*\?)([^\s?].*)"))
_TARGET_KEYS = ("target", "img")
_LIST_KEYS = ("dialog", "dialogue")


@dataclass(frozen=True, slots=True)
class TargetedDialogue:
    """A dialogue of an evaluation. target: the picture that it is about, as the file names it; "" if it does not."""

    dialogue: Dialogue
    target: str = ""


def parse_turn(value: Any, where: str = "The turn") -> Turn:
    """ "question? answer", {"question", "answer"} or [question, answer] -> a turn. Raises DialogueError.

    A string splits after its last question mark that has text behind it. Without a question mark it is all answer;
    with nothing behind the mark it is all question. No character but white space is lost.
    """
    if isinstance(value, str):
        text = _text(value, where, 2 * MAX_CHARACTERS)
        match = next(filter(None, (pattern.fullmatch(text) for pattern in _SPLITS)), None)
        if match:
            question, answer = match.groups()
        else:
            question, answer = (text, "") if text.endswith(("?", "？", "؟")) else ("", text)
    elif isinstance(value, Mapping):
        question, answer = value.get("question", ""), value.get("answer", "")
    elif isinstance(value, list | tuple) and len(value) == 2:
        question, answer = value
    else:
        raise DialogueError(f"{where} is {_kind(value)}, not a question with its answer.", _HINT)
    turn = Turn(_text(question, f"{where}'s question"), _text(answer, f"{where}'s answer"))
    if not turn.text:
        raise DialogueError(f"{where} is empty.", _HINT)
    return turn


def parse_dialogue(value: Any) -> Dialogue:
    """A JSON value in any of the module's forms -> a dialogue. Raises DialogueError."""
    return parse_targeted(value).dialogue


def parse_targeted(value: Any) -> TargetedDialogue:
    """A JSON value in any of the module's forms -> a dialogue with its target. Raises DialogueError."""
    if isinstance(value, str):
        return TargetedDialogue(_from_lines(value))
    if isinstance(value, list | tuple):
        return TargetedDialogue(_from_list(value))
    if not isinstance(value, Mapping):
        raise DialogueError(f"A dialogue is a list or an object, not {_kind(value)}.", _HINT)
    target = next((value[key] for key in _TARGET_KEYS if key in value), "")
    parts = next((value[key] for key in _LIST_KEYS if key in value), None)
    if isinstance(parts, list | tuple):
        dialogue = _from_list(parts)
    elif parts is not None:
        raise DialogueError(f"A dialogue's strings are a list, not {_kind(parts)}.", _HINT)
    else:
        turns = value.get("turns", [])
        if not isinstance(turns, list | tuple):
            raise DialogueError(f"A dialogue's turns are a list, not {_kind(turns)}.", _HINT)
        dialogue = _from_list([value.get("caption"), *turns])
    return TargetedDialogue(dialogue, _text(target, "The target"))


def read_dialogues(text: str) -> list[TargetedDialogue]:
    """The content of a file or of standard input -> its dialogues, at least one. Raises DialogueError."""
    text = text.removeprefix("\ufeff").strip()
    if not text:
        raise DialogueError("There is no dialogue: the input is empty.", _HINT)
    if text[0] not in "[{":
        return [TargetedDialogue(_from_lines(text))]
    try:
        value = orjson.loads(text)
    except ValueError as error:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        if len(lines) == 1 or not _is_json(lines[0][1]):
            raise DialogueError(f"The dialogue is not valid JSON: {error}.", _HINT) from None
        return [_numbered(f"Line {number}", _json_line(number, line)) for number, line in lines]
    if isinstance(value, list) and value and not isinstance(value[0], str):
        return [_numbered(f"Dialogue {number}", item) for number, item in enumerate(value, 1)]
    return [parse_targeted(value)]


def read_dialogue(text: str) -> Dialogue:
    """The content of a file or of standard input that holds one dialogue. Raises DialogueError."""
    dialogues = read_dialogues(text)
    if len(dialogues) > 1:
        raise DialogueError(f"There are {len(dialogues)} dialogues where one is wanted.", "Give one of them.")
    return dialogues[0].dialogue


def load_dialogues(path: Path) -> list[TargetedDialogue]:
    """A file -> its dialogues, at least one. Raises DialogueError, naming the file."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DialogueError(f"{path} is larger than {MAX_FILE_BYTES // 2**20} MiB.", "Split it.")
        return read_dialogues(path.read_text("utf-8"))
    except OSError as error:
        raise DialogueError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    except UnicodeDecodeError:
        raise DialogueError(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from None
    except DialogueError as error:
        raise error if str(path) in error.message else DialogueError(f"{path}: {error.message}", error.hint) from None


def as_json(dialogue: Dialogue) -> dict[str, Any]:
    """A dialogue -> the form that `parse_dialogue` reads back as the same dialogue."""
    return {
        "caption": dialogue.caption,
        "turns": [{"question": turn.question, "answer": turn.answer} for turn in dialogue.turns],
    }


def _numbered(where: str, item: Any) -> TargetedDialogue:
    try:
        return parse_targeted(item)
    except DialogueError as error:
        raise DialogueError(f"{where}: {error.message}", error.hint) from None


def _from_lines(text: str) -> Dialogue:
    return _from_list([line for line in text.splitlines() if line.strip()])


def _from_list(parts: list[Any] | tuple[Any, ...]) -> Dialogue:
    if not parts:
        raise DialogueError("The dialogue is empty: it has no caption.", _HINT)
    if len(parts) > MAX_TURNS + 1:
        raise DialogueError(f"The dialogue has {len(parts) - 1} turns; at most {MAX_TURNS} are read.", "Shorten it.")
    caption = _text("" if parts[0] is None else parts[0], "The caption")
    if not caption:
        raise DialogueError("The dialogue has no caption: it must begin with one.", _HINT)
    return Dialogue(caption, tuple(parse_turn(part, f"Turn {number}") for number, part in enumerate(parts[1:], 1)))


def _text(value: Any, what: str, limit: int = MAX_CHARACTERS) -> str:
    """A checked string, its white space collapsed."""
    if not isinstance(value, str):
        raise DialogueError(f"{what} is {_kind(value)}, not a string.", _HINT)
    if len(value) > limit:
        raise DialogueError(f"{what} has {len(value):,} characters; at most {limit:,} are read.", "Shorten it.")
    text = " ".join(value.split())
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs"):
            raise DialogueError(f"{what} has the control character U+{ord(character):04X} in it.", "Remove it.")
    return text


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")


def _json_line(number: int, line: str) -> Any:
    try:
        return orjson.loads(line)
    except ValueError as error:
        raise DialogueError(f"Line {number} is not valid JSON: {error}.", _HINT) from None


def _is_json(line: str) -> bool:
    try:
        orjson.loads(line)
    except ValueError:
        return False
    return True
