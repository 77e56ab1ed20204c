"""What `dar` prints. Standard output carries the answer (with --json: one object), standard error all the rest."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import orjson
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from dar_search.errors import DarError, IndexNotFound, InputError

DONE, COULD_NOT, WRONG_USAGE, DONE_WITH_FAILURES = 0, 1, 2, 3
INTERRUPTED, PIPE_CLOSED = 130, 141
# What a terminal would obey, and marks that turn the reading direction: captions and file names are outside data.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_WIDTH_OF_A_FILE = 160


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        close_pipe()
        raise SystemExit(PIPE_CLOSED)


def answer_console() -> Console:
    """For the answer, on standard output."""
    return _console(stderr=False)


def side_console() -> Console:
    """For everything else, on standard error."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    # In a file or a pipe there is no width; Rich's 80 would break addresses apart.
    width = None if stream.isatty() or "COLUMNS" in os.environ else _WIDTH_OF_A_FILE
    return _Console(stderr=stderr, width=width, highlight=False)


def close_pipe() -> None:
    """After the reader went away: whatever is still written goes nowhere, so that nothing complains at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def plain(text: str) -> str:
    """Outside text, safe to print: one line, nothing in it that a terminal would obey."""
    return _OBEYED.sub("\ufffd", " ".join(text.split()))


def plain_text(text: str, style: str = "") -> Text:
    """The same for Rich, where "[bold]" in a caption is no markup."""
    return Text(plain(text), style=style)


def print_json(value: Mapping[str, Any]) -> None:
    """One object on standard output."""
    text = orjson.dumps(value, default=_encodable, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY).decode()
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        close_pipe()
        raise SystemExit(PIPE_CLOSED) from None


def _encodable(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def note(text: str, style: str = "") -> None:
    """One line on standard error."""
    side_console().print(plain_text(text, style), soft_wrap=True)


def warn(text: str) -> None:
    """One line on standard error, marked."""
    side_console().print(Text.assemble(("warning: ", "yellow"), plain_text(text)), soft_wrap=True)


def print_error(code: str, message: str, hint: str, *, as_json: bool) -> None:
    """One line on standard error and, with --json, one object on standard output."""
    if as_json:
        print_json({"error": {"code": code, "message": message, "hint": hint}})
    line = Text.assemble(("error: ", "bold red"), plain_text(message), " " if hint else "", plain_text(hint, "dim"))
    side_console().print(line, soft_wrap=True)


def status_of(error: DarError) -> int:
    """The exit status: the input was wrong, or it could not be done."""
    return WRONG_USAGE if isinstance(error, InputError | IndexNotFound) else COULD_NOT


@contextmanager
def progress_bar(*, quiet: bool = False) -> Iterator[Progress]:
    """A progress bar on standard error; nothing where standard error is no terminal."""
    console = side_console()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(show_speed=True),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        yield progress


@contextmanager
def busy(text: str, *, quiet: bool = False) -> Iterator[None]:
    """A spinner with a word on standard error, while something takes a moment."""
    console = side_console()
    if quiet or not console.is_terminal:
        yield
        return
    with console.status(plain_text(text)):
        yield


def columns_of(rows: Iterable[tuple[str, str]]) -> str:
    """Labels and values, aligned, one pair a line."""
    listed = list(rows)
    width = max((len(label) for label, _ in listed), default=0)
    return "\n".join(f"{label:<{width}}  {value}" for label, value in listed)
