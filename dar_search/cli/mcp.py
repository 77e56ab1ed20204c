"""`dar mcp`: a query service as tools for a language model's host, over standard input and output."""

from __future__ import annotations

import importlib.util
from typing import Annotated

import typer

from dar_search.cli.options.shared import CommonOptions, grouped, settings_from
from dar_search.errors import FeatureMissing
from dar_search.settings import secret


@grouped
def mcp(
    common: CommonOptions,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="The query service (dar serve). Default: setting client.url.", show_default=False
        ),
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which index to ask. Default: the one that is served.", show_default=False),
    ] = None,
) -> None:
    """Offer a query service to a language model's host as MCP tools, over standard input and output.

    The tools are search_pictures and next_question. A service that wants a key gets setting client.key, which a host
    passes as DAR_CLIENT__KEY. Nothing but the protocol is written to standard output.

    Example:  dar mcp --url http://127.0.0.1:8950 --index photos
    """
    settings = settings_from(common).client
    if importlib.util.find_spec("mcp") is None:
        raise FeatureMissing("The mcp package is not installed.", 'pip install "dar-search[mcp]"')
    from dar_search.client import DarClient
    from dar_search.integrations.mcp import make_server

    key = secret(settings.key)
    with DarClient(url or settings.url, key=key, index=index or settings.index, timeout=settings.timeout) as client:
        make_server(client).run()
