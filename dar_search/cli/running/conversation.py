"""The conversation of `dar chat`: lines come in, the search gets better with each."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import replace

import typer
from rich.console import Console
from rich.text import Text

from dar_search.cli.running.searching import Searcher
from dar_search.cli.shown.graphics import Canvas
from dar_search.cli.shown.hits import explanation_table, hits_table, print_hit_pictures, summary
from dar_search.cli.shown.output import busy, plain_text
from dar_search.cli.shown.pictures import print_pictures
from dar_search.cli.shown.sources import local_path, shown_source
from dar_search.data import Dialogue, Hit, RewrittenQuery, SearchResult
from dar_search.errors import DarError, InputError, ModelError, StoreUnavailable
from dar_search.method.dialogues import parse_dialogue, parse_turn

_HELP = (
    ("any text", "at first what the picture shows; then what else you know, or a question? with its answer"),
    ("/more", "the next pictures"),
    ("/undo", "take the last line back"),
    ("/new", "begin again, for another picture"),
    ("/explain N", "where the score of picture N comes from"),
    ("/open N", "open picture N"),
    ("/said", "what was said so far, and what was searched for"),
    ("/help", "this list"),
    ("/quit", "end (also Ctrl-D)"),
)


class Conversation:
    """One person, one index. Everything that was said is in `dialogue`; None before the first line."""

    def __init__(self, console: Console, canvas: Canvas, searcher: Searcher, size: int) -> None:
        self.console, self.canvas, self.searcher, self.size = console, canvas, searcher, size
        self.interactive = sys.stdin.isatty()
        self.dialogue: Dialogue | None = None
        self.query: RewrittenQuery | None = None
        self.hits: tuple[Hit, ...] = ()
        self._commands: dict[str, Callable[[str], None]] = {
            "more": self._more,
            "undo": self._undo,
            "new": self._new,
            "explain": self._explain,
            "open": self._open,
            "said": self._said,
            "help": self._help,
        }

    def hold(self) -> None:
        """Until /quit, Ctrl-D or the end of standard input."""
        self._greet()
        while (line := self._line()) is not None:
            line = line.strip()
            if line in ("/quit", "/exit", "/q"):
                break
            try:
                self._take(line)
            except (InputError, ModelError, StoreUnavailable) as error:
                # Nothing that a line brings up ends the conversation; what is broken for good comes up again.
                self._complain(error)
        if self.interactive:
            self.console.print("Bye.", style="dim")

    def _greet(self) -> None:
        index = self.searcher.index
        if not self.interactive:
            return
        count = index.count(self.searcher.filter)
        self.console.print(
            Text.assemble(
                plain_text(index.name, "bold"), f": {count:,} pictures. What does yours show? ", ("/help", "cyan")
            )
        )

    def _line(self) -> str | None:
        prompt = "> " if self.dialogue is None else f"{self.dialogue.round + 1}> "
        try:
            if self.interactive:
                _load_line_editing()
                return input(prompt)
            line = sys.stdin.readline()
            return line if line else None
        except EOFError:
            self.console.print()
            return None
        except UnicodeDecodeError:
            return ""

    def _take(self, line: str) -> None:
        if not line:
            return
        if not line.startswith("/"):
            self._say(line)
            return
        word, _, rest = line[1:].partition(" ")
        matching = [name for name in self._commands if name.startswith(word)] if word else []
        if len(matching) != 1:
            self.console.print(plain_text(f"There is no command /{word}. /help lists them.", "yellow"))
            return
        self._commands[matching[0]](rest.strip())

    def _say(self, line: str) -> None:
        if self.dialogue is None:
            said = parse_dialogue([line])
        else:
            said = replace(self.dialogue, turns=(*self.dialogue.turns, parse_turn(line)))
        self._search(said)

    def _search(self, said: Dialogue, offset: int = 0) -> None:
        with busy("Looking ..."):
            query = self.searcher.rewriter.rewrite(said)
            drawn = self.canvas.protocol != "none"
            options = replace(self.searcher.options(self.size, offset), explain=True, thumbnails=drawn)
            result = self.searcher.search(query, options)
        self.dialogue, self.query, self.hits = said, query, result.hits
        self._show(query, result)

    def _show(self, query: RewrittenQuery, result: SearchResult) -> None:
        self.console.print(summary(query, result.legs))
        imagined = [one for one in query.imaginations if one.picture]
        if imagined and self.canvas.protocol != "none":
            self.console.print("imagined:", style="dim")
            print_pictures(self.console, self.canvas, [one.picture for one in imagined], [()] * len(imagined))
        if not result.hits:
            self.console.print("Nothing was found." if self.hits == () else "That is all.", style="yellow")
            return
        print_hit_pictures(self.console, self.canvas, result.hits)
        self.console.print(hits_table(result.hits))

    def _more(self, _: str) -> None:
        if self.dialogue is None or not self.hits:
            self._nothing_yet()
            return
        self._search(self.dialogue, offset=self.hits[-1].rank)

    def _undo(self, _: str) -> None:
        if self.dialogue is None:
            self._nothing_yet()
        elif not self.dialogue.turns:
            self._new("")
        else:
            self._search(self.dialogue.at_round(self.dialogue.round - 1))

    def _new(self, _: str) -> None:
        self.dialogue, self.query, self.hits = None, None, ()
        self.console.print("A new conversation. What does the picture show?", style="dim")

    def _explain(self, argument: str) -> None:
        hit = self._hit(argument)
        if hit is not None and self.query is not None:
            self.console.print(explanation_table([hit], self.query))

    def _open(self, argument: str) -> None:
        hit = self._hit(argument)
        if hit is None:
            return
        path = local_path(hit.source)
        if path is not None and not path.exists():
            self.console.print(plain_text(f"{shown_source(hit.source)} is not there any more.", "yellow"))
            return
        self.console.print(plain_text(shown_source(hit.source)))
        # Only files and web pages: a record's source is outside data, and an opener would run other schemes' programs.
        if path is not None or hit.source.startswith(("http://", "https://")):
            typer.launch(str(path) if path is not None else hit.source)

    def _said(self, _: str) -> None:
        if self.dialogue is None or self.query is None:
            self._nothing_yet()
            return
        self.console.print(plain_text(f"caption: {self.dialogue.caption}"))
        for number, turn in enumerate(self.dialogue.turns, 1):
            self.console.print(plain_text(f"{number:>7}: {turn.text}"))
        self.console.print(plain_text(f"searched for: {self.query.reformulation.text}", "dim"))

    def _help(self, _: str) -> None:
        for command, meaning in _HELP:
            self.console.print(Text.assemble((f"  {command:<12}", "cyan"), meaning))

    def _hit(self, argument: str) -> Hit | None:
        try:
            wanted = int(shlex.split(argument)[0])
        except (ValueError, IndexError):
            wanted = 0
        found = next((hit for hit in self.hits if hit.rank == wanted), None)
        if found is None:
            ranks = f"{self.hits[0].rank} to {self.hits[-1].rank}" if self.hits else "none yet"
            self.console.print(plain_text(f"Give the rank of a picture that is shown: {ranks}.", "yellow"))
        return found

    def _nothing_yet(self) -> None:
        self.console.print("Nothing was said yet. What does the picture show?", style="yellow")

    def _complain(self, error: DarError) -> None:
        self.console.print(Text.assemble(plain_text(error.message, "red"), " ", plain_text(error.hint, "dim")))


def _load_line_editing() -> None:
    """Arrow keys and history in `input`, where Python has readline."""
    try:
        import readline  # noqa: F401  # importing it is what switches it on
    except ImportError:
        return
