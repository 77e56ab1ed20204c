"""`dar serve`: the query service on this machine. Imports nothing heavy: `dar --help` loads this module."""

from __future__ import annotations

from typing import Annotated

import typer

from dar_search.cli.options.service import (
    PANEL,
    ListeningOptions,
    ends_in_order,
    metrics_address,
    package_missing,
    say_ready,
    with_service,
)
from dar_search.cli.options.shared import CommonOptions, EncoderOptions, RewritingOptions, grouped, settings_from

_NAME = "query service"


@grouped
def serve(
    common: CommonOptions,
    encoder: EncoderOptions,
    rewriting: RewritingOptions,
    *,
    index: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help='An index to serve; may be repeated, "*" is all. An embedded store serves all by default.',
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None,
    listening: ListeningOptions,
    threads: Annotated[
        int | None,
        typer.Option(metavar="COUNT", help="Requests answered at once.", rich_help_panel=PANEL, show_default=False),
    ] = None,
    credentials: Annotated[
        str | None,
        typer.Option(
            metavar="WHOSE",
            help="own: searches run with the settings' credentials, on the served indices; caller: with the "
            "Authorization header of each request.",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Answer dialogues over HTTP, until Ctrl-C or SIGTERM.

    Everything else is settings: \\[query] and \\[service] in the TOML file, DAR_QUERY__... and DAR_SERVICE__... in the
    environment.

    Examples:

      dar serve --index photos

      dar serve --store https://search.example:9200 --credentials caller --host 0.0.0.0
    """
    ends_in_order()
    settings = with_service(
        settings_from(common, encoder, rewriting),
        "query",
        "serve",
        served_indices=None if index is None else tuple(index),
        threads=threads,
        credentials=credentials,
        **listening.given(),
    )
    try:
        from dar_query_rewriter.serving import serve_forever
    except ImportError as error:
        raise package_missing(_NAME, "query-rewriter", error) from error
    metrics = metrics_address(settings, settings.query.admin_port)
    serve_forever(settings, say_ready(_NAME, "search", metrics, as_json=common.json))
