"""`dar ingest-serve` and `dar ingest-work`. Imports nothing heavy: `dar --help` loads this module."""

from __future__ import annotations

import signal
from typing import Annotated, Any

import typer

from dar_search.cli.options import CommonOptions, EncoderOptions, grouped, settings_from
from dar_search.cli.output import note, print_json
from dar_search.errors import FeatureMissing, SettingsError
from dar_search.ingest_settings import IngestSettings
from dar_search.settings import Settings

_PANEL = "The service"
_LEDGER = typer.Option(
    metavar="ADDRESS", help="Where jobs are kept: sqlite:PATH or http(s)://host:port.", rich_help_panel=_PANEL
)
_BROKER = typer.Option(
    metavar="ADDRESS",
    help="Celery's broker, such as redis://host:6379/0. Unset: workers look into the ledger.",
    rich_help_panel=_PANEL,
)


@grouped
def ingest_serve(
    common: CommonOptions,
    encoder: EncoderOptions,
    source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER",
            help='What jobs may read, with all below it; may be repeated, "*" is everything.',
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = None,
    ledger: Annotated[str | None, _LEDGER] = None,
    broker: Annotated[str | None, _BROKER] = None,
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
) -> None:
    """Take pictures and ingest jobs over HTTP, until Ctrl-C or SIGTERM.

    Without a broker this process works on the jobs too. With one, `dar ingest-work` does, on any number of machines.

    Everything else is settings: [ingest] and [service] in the TOML file, DAR_INGEST__... and DAR_SERVICE__... in the
    environment.

    Examples:

      dar ingest-serve --source /srv/photos

      dar ingest-serve --ledger http://localhost:9200 --broker redis://localhost:6379/0
    """
    settings = with_ingest(
        settings_from(common, encoder),
        sources=None if source is None else tuple(source),
        ledger=ledger,
        broker=broker,
        host=host,
        port=port,
        admin_port=admin_port,
    )
    try:
        from dar_ingest.serving import serve_forever
    except ImportError as error:
        raise _missing(error) from error

    def ready(address: str) -> None:
        service, ingest = settings.service, settings.ingest
        metrics = f"http://{service.admin_host}:{ingest.admin_port}/metrics" if ingest.admin_port else ""
        if common.json:
            print_json({"address": address, "openapi": f"{address}/_dar/openapi/openapi.json", "metrics": metrics})
            return
        note(f"The ingest service answers at {address}/_dar/v1/jobs. Ctrl-C ends it.")
        note(f"OpenAPI: {address}/_dar/openapi/openapi.json; ready: {address}/_dar/ready")

    serve_forever(settings, ready)


@grouped
def ingest_work(
    common: CommonOptions,
    encoder: EncoderOptions,
    ledger: Annotated[str | None, _LEDGER] = None,
    broker: Annotated[str | None, _BROKER] = None,
) -> None:
    """Work on ingest jobs, until Ctrl-C or SIGTERM: what is in hand then is finished, and the rest given back.

    Killed in any other way, another worker goes on with what it held.

    Example:  dar ingest-work --broker redis://localhost:6379/0 --ledger http://localhost:9200
    """
    settings = with_ingest(settings_from(common, encoder), ledger=ledger, broker=broker)
    from dar_ingest.runtime import Runtime

    try:
        from dar_search.serving.logs import configure_logs

        configure_logs(settings.service)
        runtime = Runtime(settings)
        try:
            note(f"Working on the jobs of {runtime.ledger.address} for {runtime.store.address}. Ctrl-C ends it.")
            _work(runtime, settings)
        finally:
            runtime.close()
    except ImportError as error:
        raise _missing(error) from error


def _work(runtime: Any, settings: Settings) -> None:
    if settings.ingest.broker is not None:
        from dar_ingest.tasks import run_worker

        run_worker(runtime)
        return
    from dar_ingest.polling import PollingWorker

    worker = PollingWorker(runtime)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda number, frame: worker.stop())
    worker.run()


def with_ingest(settings: Settings, **given: Any) -> Settings:
    """The settings with some of ingestion's replaced by options, checked; None: not given. Raises SettingsError."""
    from pydantic import ValidationError

    changes = {name: value for name, value in given.items() if value is not None}
    try:
        ingest = IngestSettings.model_validate(settings.ingest.model_dump() | changes)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        name = "--" + str(wrong["loc"][0]).replace("_", "-")
        raise SettingsError(f"The option {name}: {wrong['msg']}.", "See: dar ingest-serve --help") from None
    return settings.model_copy(update={"ingest": ingest})


def _missing(error: ImportError) -> FeatureMissing:
    return FeatureMissing(
        f"The ingest service needs a package that is not installed ({error.name}).", 'pip install "dar-search[ingest]"'
    )
