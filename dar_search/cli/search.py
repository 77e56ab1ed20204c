"""`dar search`: one dialogue, one page of pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console

from dar_search.cli.options.dialogue import DialogueOptions, dialogue_from
from dar_search.cli.options.shared import (
    CommonOptions,
    EncoderOptions,
    RankingOptions,
    RewritingOptions,
    grouped,
)
from dar_search.cli.running.searching import opened_searcher
from dar_search.cli.shown.graphics import find_canvas
from dar_search.cli.shown.hits import explanation_table, hits_table, print_hit_pictures, summary
from dar_search.cli.shown.output import answer_console, busy, note, print_json, side_console
from dar_search.data import RewrittenQuery, SearchResult
from dar_search.method.retrieval import describe_result


@grouped
def search(
    index: Annotated[str, typer.Option(metavar="NAME", help="The index to search.", show_default=False)],
    dialogue: DialogueOptions,
    common: CommonOptions,
    encoder: EncoderOptions,
    rewriting: RewritingOptions,
    ranking: RankingOptions,
    size: Annotated[int, typer.Option(metavar="NUMBER", min=1, max=10_000, help="How many pictures.")] = 10,
    offset: Annotated[int, typer.Option(metavar="NUMBER", min=0, help="How many to skip: the next page.")] = 0,
    explain: Annotated[
        bool, typer.Option("--explain", metavar="", help="Say what text, imagination and captions gave each picture.")
    ] = False,
    show: Annotated[bool, typer.Option("--show", metavar="", help="Show the pictures in the terminal.")] = False,
) -> None:
    """Find pictures by a dialogue.

    The dialogue is a caption and any number of turns (a question with its answer). It becomes text and imagined
    pictures, and one query finds what is nearest. With --image a picture of yours counts as much as the words (setting
    picture_weight); without words it is the query.

    Examples:

      dar search --index photos --caption "a dog on a beach"
      dar search --index photos --caption "a dog" --turn "what colour is it? brown" --turn "is it wet? yes"
      dar search --index photos --dialogue talk.json --size 20 --filter city=Paris --explain
      dar search --index photos --image dog.jpg
      dar search --index photos --image dog.jpg --caption "the same dog in the snow"
      echo "a dog on a beach" | dar search --index photos --dialogue - --json
    """
    said = dialogue_from(dialogue)
    canvas = find_canvas(answer_console()) if show and not common.json else None
    searching = busy("Searching ...", quiet=common.json)
    with opened_searcher(index, common, encoder, rewriting, ranking) as searcher, searching:
        query = searcher.rewriter.rewrite(said, dialogue.image or ())
        options = replace(searcher.options(size, offset), explain=explain, thumbnails=show)
        result = searcher.search(query, options)
    if common.json:
        print_json(describe_result(result))
        return
    console = answer_console()
    if canvas is not None:
        print_hit_pictures(console, canvas, result.hits)
    _print(console, query, result, explain=explain)


def _print(console: Console, query: RewrittenQuery, result: SearchResult, *, explain: bool) -> None:
    side_console().print(summary(query, result.legs), soft_wrap=True)
    if not result.hits:
        note("Nothing was found.")
        return
    console.print(hits_table(result.hits))
    if explain:
        console.print(explanation_table(result.hits, query))
