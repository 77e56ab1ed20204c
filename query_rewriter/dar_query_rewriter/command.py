"""`dar serve`: the query service on this machine. Imports nothing heavy: `dar --help` loads this module."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dar_search.cli.options import CommonOptions, EncoderOptions, RewritingOptions, grouped, settings_from
from dar_search.cli.output import note, print_json
from dar_search.errors import FeatureMissing
from dar_search.settings import Settings

_PANEL = "The service"


@grouped
def serve(
    common: CommonOptions,
    encoder: EncoderOptions,
    rewriting: RewritingOptions,
    index: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help='An index to serve; may be repeated, "*" is all. An embedded store serves all by default.',
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="The address to listen on.", rich_help_panel=_PANEL, show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="The port; 0: any.", rich_help_panel=_PANEL, show_default=False),
    ] = None,
    admin_port: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="Of /metrics; 0: none.", rich_help_panel=_PANEL, show_default=False),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(metavar="COUNT", help="Requests answered at once.", rich_help_panel=_PANEL, show_default=False),
    ] = None,
    credentials: Annotated[
        str | None,
        typer.Option(
            metavar="WHOSE",
            help="own: searches run with the settings' credentials, on the served indices; caller: with the "
            "Authorization header of each request.",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Answer dialogues over HTTP, until Ctrl-C or SIGTERM.

    Everything else is settings: [query] and [service] in the TOML file, DAR_QUERY__... and DAR_SERVICE__... in the
    environment.

    Examples:

      dar serve --index photos

      dar serve --store https://search.example:9200 --credentials caller --host 0.0.0.0
    """
    settings = settings_from(common, encoder, rewriting)
    given = {
        "served_indices": None if index is None else tuple(index),
        "host": host,
        "port": port,
        "admin_port": admin_port,
        "threads": threads,
        "credentials": credentials,
    }
    settings = with_query(settings, {name: value for name, value in given.items() if value is not None})
    try:
        from dar_query_rewriter.serving import serve_forever
    except ImportError as error:
        raise FeatureMissing(
            f"The query service needs a package that is not installed ({error.name}).",
            'pip install "dar-search[query-rewriter]"',
        ) from error

    def ready(address: str) -> None:
        query, service = settings.query, settings.service
        metrics = f"http://{service.admin_host}:{query.admin_port}/metrics" if query.admin_port else ""
        if common.json:
            print_json({"address": address, "openapi": f"{address}/_dar/openapi/openapi.json", "metrics": metrics})
            return
        note(f"The query service answers at {address}/_dar/v1/search. Ctrl-C ends it.")
        note(f"OpenAPI: {address}/_dar/openapi/openapi.json; ready: {address}/_dar/ready")
        if metrics:
            note(f"Metrics: {metrics}")

    serve_forever(settings, ready)


def with_query(settings: Settings, changes: dict[str, Any]) -> Settings:
    """The settings with some of the query service's replaced by options, checked. Raises SettingsError."""
    from pydantic import ValidationError

    from dar_search.errors import SettingsError
    from dar_search.service_settings import QuerySettings

    try:
        query = QuerySettings.model_validate(settings.query.model_dump() | changes)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        name = "--" + str(wrong["loc"][0]).replace("_", "-")
        raise SettingsError(f"The option {name}: {wrong['msg']}.", "See: dar serve --help") from None
    return settings.model_copy(update={"query": query})
