"""Hits for a person: a table, small pictures, and where a score came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dar_search.cli.shown.graphics import Canvas
from dar_search.cli.shown.output import plain_text
from dar_search.cli.shown.pictures import print_pictures
from dar_search.cli.shown.sources import shown_source
from dar_search.data import Hit, Leg, RewrittenQuery

_CAPTION_LENGTH = 60
_TROUBLE = ("late", "failed")


def hits_table(hits: Sequence[Hit]) -> Table:
    """rank, score, caption, where the picture is."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    with_captions = any(hit.caption for hit in hits)
    if with_captions:
        table.add_column("caption", overflow="ellipsis", max_width=_CAPTION_LENGTH)
    table.add_column("picture", overflow="fold")
    for hit in hits:
        cells = [Text(str(hit.rank)), Text(f"{hit.score:.4f}")]
        if with_captions:
            cells.append(plain_text(hit.caption))
        table.add_row(*cells, plain_text(shown_source(hit.source) or hit.id))
    return table


def print_hit_pictures(console: Console, canvas: Canvas, hits: Sequence[Hit]) -> None:
    """The hits' thumbnails side by side, with rank, score and file name."""
    labels = [(f"{hit.rank}  {hit.score:.3f}", PurePath(shown_source(hit.source)).name or hit.id) for hit in hits]
    print_pictures(console, canvas, [hit.thumbnail for hit in hits], labels)


def explanation_table(hits: Sequence[Hit], query: RewrittenQuery) -> Table:
    """What each part gave to each hit's score. See `data.Explanation`."""
    table = Table(
        box=None, pad_edge=False, header_style="bold", title="where the scores come from", title_justify="left"
    )
    edited = ["+ edits"] if query.feedback else []
    for heading in ("rank", "score", "= text", "+ imagined", *edited, "+ captions", "+ offset"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("its rank")
    for hit in hits:
        parts = hit.explanation
        if parts is None:
            table.add_row(str(hit.rank), f"{hit.score:.4f}", *[""] * (4 + len(edited)), "gone meanwhile")
            continue
        ranks = f"by vector {parts.knn_rank or '-'}, by captions {parts.keyword_rank or '-'}"
        if parts.text is None or parts.images is None:  # ranks were joined: they do not split further
            cells = [f"vector {parts.knn:.4f}", "", *[""] * len(edited), f"{parts.keyword:.4f}", ""]
        else:
            imagined = f"{sum(parts.images.values()):.4f}" if query.imaginations else "-"
            judged = [f"{sum((parts.edits or {}).values()):.4f}"] * len(edited)
            cells = [f"{parts.text:.4f}", imagined, *judged, f"{parts.keyword:.4f}", f"{parts.offset or 0.0:.4f}"]
        table.add_row(str(hit.rank), f"{hit.score:.4f}", *cells, ranks)
    return table


def summary(query: RewrittenQuery, legs: Mapping[str, Leg]) -> Text:
    """What was searched for, and what is missing from the answer and why."""
    pictures = sum(one.kind == "picture" for one in query.feedback)
    words = plain_text(query.reformulation.text or "what looks like")
    lines = [Text.assemble(("searched for: ", "dim"), words)]
    if pictures:
        lines[0].append(f"{' +' if query.reformulation.text else ''} {pictures} picture{'s' if pictures > 1 else ''}")
    if query.imaginations:
        count, weights = len(query.imaginations), query.weights
        what = f"{count} imagination{'s' if count > 1 else ''}"
        lines[0].append(f"  (text {weights.text:g}, {what} {weights.image:g})", "dim")
    for name, leg in legs.items():
        if leg.status in _TROUBLE:
            lines.append(Text.assemble((f"without {name}: ", "yellow"), plain_text(leg.reason)))
    return Text("\n").join(lines)
