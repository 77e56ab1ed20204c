"""How a source of pictures is read: the options of `dar ingest` that say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from dar_search.settings import Settings

if TYPE_CHECKING:
    from dar_search.ingestion.sources.source import SourceOptions


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """What of a source is left out, and of an index or a list, which fields are read."""

    follow_links: Annotated[
        bool, typer.Option("--follow-links", metavar="", help="Follow symbolic links out of the folder.")
    ] = False
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="Leave out names that fit, as in a .gitignore file: 'previews/', '*.seg.png'. May be repeated.",
            show_default=False,
        ),
    ] = None
    include_hidden: Annotated[
        bool,
        typer.Option(
            "--include-hidden",
            metavar="",
            help="Also take hidden names, and folders that systems make: @eaDir, #recycle, __MACOSX, ...",
        ),
    ] = False
    field: Annotated[
        str,
        typer.Option(
            metavar="FIELD",
            help="Of opensearch:INDEX or a list: has a picture's URL, path, base64 or bytes.",
            show_default=False,
        ),
    ] = ""
    caption: Annotated[
        str, typer.Option(metavar="FIELD", help="Of opensearch:INDEX or a list: has the caption.", show_default=False)
    ] = ""
    metadata: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD",
            help="Of opensearch:INDEX or a list: becomes metadata; NAME=FIELD under another name. May be repeated.",
            show_default=False,
        ),
    ] = None
    vectors: Annotated[
        str,
        typer.Option(
            metavar="COLUMN",
            help="Of a Parquet list: has vectors that --encoder has made: nothing is encoded.",
            show_default=False,
        ),
    ] = ""
    source_store: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Of opensearch:INDEX: its cluster, if it is not --store's; profile:NAME where it asks who you are.",
            show_default=False,
        ),
    ] = ""


def source_options(reading: ReadingOptions, source: str, settings: Settings) -> SourceOptions:
    """The command line's and the settings' options for a source."""
    from dar_search.ingestion.sources.opening import exclusions
    from dar_search.ingestion.sources.source import SourceOptions

    return SourceOptions(
        reading.follow_links,
        reading.field,
        reading.caption,
        tuple(reading.metadata or ()),
        reading.source_store,
        exclusions(source, settings.ingest.exclude, reading.exclude or ()),
        reading.include_hidden,
        reading.vectors,
    )
