"""The dialogue of a command: from a file, from standard input, or from the options --caption and --turn."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from dar_search.cli.shown.output import note
from dar_search.data import Dialogue
from dar_search.errors import DialogueError
from dar_search.method.dialogues import MAX_FILE_BYTES, load_dialogues, parse_dialogue, parse_turn, read_dialogue

PANEL = "The dialogue"
_HINT = 'Give --caption "a dog on a beach" --turn "what colour is it? brown", or --dialogue FILE, or --dialogue -'


@dataclass(frozen=True, slots=True)
class DialogueOptions:
    """What was said."""

    caption: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="What the picture shows, in a sentence.",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None
    turn: Annotated[
        list[str] | None,
        typer.Option(
            metavar='"QUESTION? ANSWER"',
            help="A question with its answer; repeat it for each turn.",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None
    dialogue: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|-",
            help='A file with the dialogue (- reads standard input): lines of text, ["caption", "question? answer", '
            '...] or {"caption": ..., "turns": [{"question": ..., "answer": ...}]}.',
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None
    image: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A picture that what you look for is like; beside words, or alone. May be repeated.",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None


def dialogue_from(options: DialogueOptions) -> Dialogue:
    """The dialogue that the options give; one without words where there are only pictures. Raises DialogueError."""
    if options.dialogue is not None:
        if options.caption is not None:
            raise DialogueError("Both --dialogue and --caption are given.", "Give one of them.")
        start = _read(options.dialogue)
    elif options.caption is not None:
        start = parse_dialogue([options.caption])
    elif options.image and not options.turn:
        return Dialogue("")
    else:
        raise DialogueError("There is no dialogue.", _HINT)
    turns = tuple(parse_turn(text, f"Turn {number}") for number, text in enumerate(options.turn or (), 1))
    return Dialogue(start.caption, start.turns + turns)


def _read(name: str) -> Dialogue:
    if name == "-":
        if sys.stdin.isatty():
            note("Type the caption, then a line for each turn; end with Ctrl-D.", "dim")
        content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise DialogueError("Standard input is too large for a dialogue.", "Give one dialogue.")
        try:
            return read_dialogue(content.decode())
        except UnicodeDecodeError:
            raise DialogueError("Standard input is not UTF-8 text.", "Give the dialogue as UTF-8.") from None
    dialogues = load_dialogues(Path(name).expanduser())
    if len(dialogues) > 1:
        raise DialogueError(f"{name} holds {len(dialogues)} dialogues where one is wanted.", "Give one of them.")
    return dialogues[0].dialogue
