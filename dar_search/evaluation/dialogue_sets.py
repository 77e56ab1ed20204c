"""Reading what was said: ChatIR files, lists of reformulations, any JSONL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dar_search.data import Dialogue
from dar_search.errors import InputError, SourceError
from dar_search.evaluation.configuration import DialoguesTable
from dar_search.method.dialogues import parse_dialogue

MAX_FILE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Conversation:
    """A dialogue with the picture that it is about.

    Attributes:
        id: its place in the file, or what the file calls it; names its pregenerated pictures.
        target: the picture's name in the gallery.
        dialogue: with all its turns; None where only texts are given.
        texts: a text for each round, used as the reformulation; None where the reformulator writes them.
    """

    id: str
    target: str
    dialogue: Dialogue | None
    texts: tuple[str, ...] | None = None

    @property
    def rounds(self) -> int:
        """Turns beyond the caption."""
        if self.texts is not None:
            return len(self.texts) - 1
        assert self.dialogue is not None  # noqa: S101  # one of the two is given
        return self.dialogue.round


def read_conversations(table: DialoguesTable) -> list[Conversation]:
    """The conversations of a run's [dialogues] file, cut to its count and rounds; shorter ones are refused.

    A JSON list, or JSONL, of `{"img" or "target": ..., "dialog": [caption, "question? answer", ...]}` (ChatIR's
    format), or of `{"target", "caption", "turns": [...]}`. With kind "reformulations" each entry of "dialog" is that
    round's whole text. Raises SourceError, DialogueError.
    """
    assert table.path is not None  # noqa: S101  # checked with the configuration
    found = []
    for number, row in enumerate(_rows(table.path)):
        try:
            conversation = _conversation(number, row, table)
        except InputError as error:
            raise type(error)(f"{table.path.name}, entry {number + 1}: {error.message}", error.hint) from error
        if conversation.rounds < table.rounds:
            raise SourceError(
                f"{table.path.name}, entry {number + 1} has {conversation.rounds} rounds after the caption.",
                f"Set rounds in [dialogues] to at most that; it is {table.rounds}.",
            )
        found.append(conversation)
        if len(found) == table.count:
            break
    if not found:
        raise SourceError(f"{table.path} has no dialogue.")
    return found


def _conversation(number: int, row: Any, table: DialoguesTable) -> Conversation:
    if not isinstance(row, Mapping):
        raise SourceError(f"not an object but {type(row).__name__}.", 'Write {"img": ..., "dialog": [...]}.')
    target = row.get("img", row.get("target"))
    if not isinstance(target, str) or not target:
        raise SourceError("the picture's name is missing.", 'Name it with "img" or "target".')
    name = str(row.get("id", number))
    if table.kind == "reformulations":
        texts = row.get("dialog")
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
            raise SourceError('"dialog" is no list of texts.', "A list of reformulations has a text a round.")
        return Conversation(name, target, None, _joined(texts[: table.rounds + 1], table.join_previous))
    dialogue = parse_dialogue(row)
    return Conversation(name, target, dialogue.at_round(min(dialogue.round, table.rounds)))


def _joined(texts: list[str], separator: str | None) -> tuple[str, ...]:
    # The released evaluation of DAR joins all reformulations so far with the encoder's separator token.
    if separator is None:
        return tuple(texts)
    return tuple(separator.join(texts[: end + 1]) for end in range(len(texts)))


def _rows(path: Path) -> Iterable[Any]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SourceError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB.", "Split it.")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read: {error}.", "Name a JSON or JSONL file of dialogues.") from error
    try:
        if text.lstrip().startswith("["):
            rows: list[Any] = json.loads(text)
            return rows
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f"{path} is neither JSON nor JSONL: {error}.", "Write a list, or an object a line."
        ) from error
