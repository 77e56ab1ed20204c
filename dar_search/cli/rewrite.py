"""`dar rewrite`: what a dialogue becomes, without searching."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from dar_search.bootstrap import with_encoder_of
from dar_search.cli.options.dialogue import DialogueOptions, dialogue_from
from dar_search.cli.options.shared import (
    CommonOptions,
    EncoderOptions,
    RankingOptions,
    RewritingOptions,
    grouped,
    settings_from,
)
from dar_search.cli.running.choosing import with_encoder
from dar_search.cli.running.opening import opened_index, opened_store
from dar_search.cli.running.request_body import abbreviated, request_shown
from dar_search.cli.running.searching import opened_rewriter, search_options
from dar_search.cli.shown.graphics import find_canvas
from dar_search.cli.shown.output import answer_console, busy, plain_text, print_json
from dar_search.cli.shown.pictures import print_pictures
from dar_search.data import RewrittenQuery
from dar_search.filters import parse_expressions
from dar_search.method.retrieval import describe
from dar_search.settings import AUTO, Settings


@grouped
def rewrite(
    dialogue: DialogueOptions,
    common: CommonOptions,
    encoder: EncoderOptions,
    rewriting: RewritingOptions,
    ranking: RankingOptions,
    index: Annotated[
        str | None, typer.Option(metavar="NAME", help="The index that would be searched.", show_default=False)
    ] = None,
    size: Annotated[int, typer.Option(metavar="NUMBER", min=1, max=10_000, help="How many pictures.")] = 10,
    offset: Annotated[int, typer.Option(metavar="NUMBER", min=0, help="How many to skip.")] = 0,
) -> None:
    """Show what a dialogue becomes, without searching.

    The text that it is reformulated to, the prompts, the imaginations, the weights, and the request to the store.

    Examples:

      dar rewrite --caption "a dog" --turn "what colour is it? brown"
      dar rewrite --dialogue talk.json --store http://localhost:9200 --index photos --json
    """
    said = dialogue_from(dialogue)
    settings = settings_from(common, encoder, rewriting, ranking)
    conditions = parse_expressions(ranking.filter or ())
    if settings.encoder == AUTO:
        settings = _with_encoder(settings, index)
    with opened_rewriter(settings) as rewriter, busy("Rewriting ...", quiet=common.json):
        query = rewriter.rewrite(said, dialogue.image or ())
    options = search_options(settings, conditions, size=size, offset=offset, exact=ranking.exact)
    shown = {**describe(query), "request": request_shown(query, options, settings, index)}
    if common.json:
        print_json(shown)
    else:
        _print(answer_console(), query, shown)


def _with_encoder(settings: Settings, index: str | None) -> Settings:
    """That of the index; without one, that of all indices."""
    with opened_store(settings) as store:
        if index is None:
            return with_encoder_of(settings, store)
        return with_encoder(settings, opened_index(store, index).provenance)


def _print(console: Console, query: RewrittenQuery, shown: dict[str, Any]) -> None:
    import orjson

    reformulation, weights = query.reformulation, query.weights
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("said", plain_text(query.dialogue.text))
    table.add_row("round", str(query.dialogue.round))
    table.add_row("reformulation", plain_text(f"{reformulation.text}  [{reformulation.reformulator}]"))
    for prompt in reformulation.prompts:
        table.add_row("prompt", plain_text(prompt))
    table.add_row("weights", f"text {weights.text:g}, imagination {weights.image:g}")
    for name, leg in query.legs.items():
        table.add_row(
            name, plain_text(f"{leg.status}, {leg.took_ms:.0f} ms" + (f": {leg.reason}" if leg.reason else ""))
        )
    for one in query.imaginations:
        table.add_row("imagined", plain_text(f"{one.id}  seed {one.seed}"))
    console.print(table)
    pictures = [one.picture for one in query.imaginations if one.picture]
    if pictures:
        print_pictures(console, find_canvas(console), pictures, [(f"seed {one.seed}",) for one in query.imaginations])
    console.print("\n[bold]request[/bold]")
    request = orjson.dumps(abbreviated(shown["request"]), option=orjson.OPT_INDENT_2).decode()
    console.print(request, markup=False, soft_wrap=True)
