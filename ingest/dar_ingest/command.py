"""`dar ingest-serve` and `dar ingest-work`. Imports nothing heavy: `dar --help` loads this module."""

from __future__ import annotations

import queue
import signal
import threading
from typing import Annotated, Any

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
from dar_search.cli.options.shared import CommonOptions, EncoderOptions, grouped, settings_from, without_login
from dar_search.cli.shown.output import note, warn
from dar_search.settings import Settings

_NAME = "ingest service"
_SOURCE = typer.Option(
    metavar="FOLDER",
    help="What jobs may read: a folder with all below it, or an address such as https://pictures.example/; "
    'may be repeated, "*" is everything.',
    rich_help_panel=PANEL,
    show_default=False,
)
_LEDGER = typer.Option(
    metavar="ADDRESS",
    help="Where jobs are kept: sqlite:PATH, http(s)://host:port (no password in it) or profile:NAME.",
    rich_help_panel=PANEL,
)
_BROKER = typer.Option(
    metavar="ADDRESS",
    help="Celery's broker, such as redis://host:6379/0; one with a password goes into DAR_INGEST__BROKER. Unset: "
    "workers look into the ledger.",
    rich_help_panel=PANEL,
)


@grouped
def ingest_serve(
    common: CommonOptions,
    encoder: EncoderOptions,
    *,
    source: Annotated[list[str] | None, _SOURCE] = None,
    ledger: Annotated[str | None, _LEDGER] = None,
    broker: Annotated[str | None, _BROKER] = None,
    listening: ListeningOptions,
) -> None:
    """Take pictures and ingest jobs over HTTP, until Ctrl-C or SIGTERM.

    Without a broker this process works on the jobs too. With one, `dar ingest-work` does, on any number of machines.

    Everything else is settings: \\[ingest] and \\[service] in the TOML file, DAR_INGEST__... and DAR_SERVICE__... in
    the environment.

    Examples:

      dar ingest-serve --source /srv/photos

      dar ingest-serve --source /srv/photos --ledger http://localhost:9200 --broker redis://localhost:6379/0
    """
    ends_in_order()
    settings = with_service(
        settings_from(common, encoder),
        "ingest",
        "ingest-serve",
        sources=None if source is None else tuple(source),
        ledger=without_login("--ledger", ledger),
        broker=without_login("--broker", broker),
        **listening.given(),
    )
    try:
        from dar_ingest.serving import serve_forever
    except ImportError as error:
        raise package_missing(_NAME, "ingest", error) from error
    metrics = metrics_address(settings, settings.ingest.admin_port)
    serve_forever(settings, say_ready(_NAME, "jobs", metrics, as_json=common.json))


@grouped
def ingest_work(
    common: CommonOptions,
    encoder: EncoderOptions,
    *,
    source: Annotated[list[str] | None, _SOURCE] = None,
    ledger: Annotated[str | None, _LEDGER] = None,
    broker: Annotated[str | None, _BROKER] = None,
) -> None:
    """Work on ingest jobs, until Ctrl-C or SIGTERM: what is in hand then is finished, and the rest given back.

    Killed in any other way, another worker goes on with what it held.

    It reads what its own settings allow (ingest.sources, --source), whoever made the job; others may have the rest.

    Example:

      dar ingest-work --source /srv/photos --broker redis://localhost:6379/0 --ledger http://localhost:9200
    """
    ends_in_order()
    settings = with_service(
        settings_from(common, encoder),
        "ingest",
        "ingest-work",
        sources=None if source is None else tuple(source),
        ledger=without_login("--ledger", ledger),
        broker=without_login("--broker", broker),
    )
    from dar_ingest.runtime import Runtime

    try:
        from dar_search.serving.logs import configure_logs
        from dar_search.serving.process.waiting import when_known

        configure_logs(settings.service)
        settings = when_known(settings, threading.Event())
        runtime = Runtime(settings)
        try:
            if not settings.ingest.sources:
                warn("No job may read anything here: say what, with --source or ingest.sources.")
            note(f"Working on the jobs of {runtime.ledger.address} for {runtime.store.address}. Ctrl-C ends it.")
            _work(runtime, settings)
        finally:
            runtime.close()
    except ImportError as error:
        raise package_missing(_NAME, "ingest", error) from error


def _work(runtime: Any, settings: Settings) -> None:
    if settings.ingest.broker is not None:
        from dar_ingest.tasks import run_worker

        run_worker(runtime)
        return
    from dar_ingest.polling import PollingWorker

    worker = PollingWorker(runtime)
    asked: queue.SimpleQueue[int] = queue.SimpleQueue()  # may be put into wherever a signal interrupts (reentrant)

    def stop_when_asked() -> None:
        asked.get()
        worker.stop()

    threading.Thread(target=stop_when_asked, name="dar-ingest-signals", daemon=True).start()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda number, frame: asked.put(number))
    worker.run()
