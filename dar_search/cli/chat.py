"""`dar chat`: find a picture in a conversation."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from dar_search.cli.options.shared import (
    CommonOptions,
    EncoderOptions,
    RankingOptions,
    RewritingOptions,
    grouped,
)
from dar_search.cli.running.conversation import Conversation
from dar_search.cli.running.searching import opened_searcher
from dar_search.cli.shown.graphics import find_canvas
from dar_search.cli.shown.output import answer_console
from dar_search.errors import RequestError

Way = Literal["auto", "kitty", "iterm2", "sixel", "blocks", "none"]


@grouped
def chat(
    index: Annotated[str, typer.Option(metavar="NAME", help="The index to search.", show_default=False)],
    common: CommonOptions,
    encoder: EncoderOptions,
    rewriting: RewritingOptions,
    ranking: RankingOptions,
    size: Annotated[int, typer.Option(metavar="NUMBER", min=1, max=100, help="How many pictures to show.")] = 5,
    pictures: Annotated[
        Way, typer.Option(metavar="WAY", help="How to draw: auto, kitty, iterm2, sixel, blocks or none.")
    ] = "auto",
    no_pictures: Annotated[
        bool, typer.Option("--no-pictures", metavar="", help="Draw none; the same as --pictures none.")
    ] = False,
) -> None:
    """Find a picture in a conversation.

    Say what the picture shows. Then go on: a question with its answer ("is it night? yes"), or simply what else you
    know ("it has a red roof"). Each line makes the search better. /help lists the commands.

    Examples:

      dar chat --index photos
      dar chat --index photos --filter city=Paris --size 8
      dar chat --index photos --no-pictures < lines.txt
    """
    if common.json:
        raise RequestError("A conversation has no JSON form.", "Use: dar search --json")
    console = answer_console()
    canvas = find_canvas(console, "none" if no_pictures else pictures)
    with opened_searcher(index, common, encoder, rewriting, ranking) as searcher:
        searcher.rewriter.warm_up()
        Conversation(console, canvas, searcher, size).hold()
