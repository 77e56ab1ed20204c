"""Settings -> a running ingest service: the app, its layers, gunicorn, and, without a broker, a worker."""

from __future__ import annotations

from collections.abc import Callable

from dar_ingest.app import create_app
from dar_ingest.polling import PollingWorker
from dar_ingest.runtime import Runtime, Send
from dar_ingest.service import IngestService
from dar_search.ports import Encoder
from dar_search.serving.guard import guarded
from dar_search.serving.metrics import Metrics
from dar_search.serving.process.waiting import made_when_known
from dar_search.serving.runner import Listening, Served, run_service
from dar_search.settings import Settings

SERVICE_NAME = "dar-ingest"
_JSON_BYTES = 16 << 20  # a thousand pictures by their URLs, with captions and metadata


def serve_forever(settings: Settings, on_ready: Callable[[str], None]) -> None:
    """Serve until a signal. Raises SettingsError for what is set wrongly, SystemExit at the end."""
    ingest, service = settings.ingest, settings.service
    listening = Listening(ingest.host, ingest.port, service.admin_host, ingest.admin_port, ingest.threads)
    run_service(lambda: made_when_known(settings, made), listening, service, on_ready=on_ready)


def made(settings: Settings, metrics: Metrics | None = None, *, encoder: Encoder | None = None) -> Served:
    """The service with everything that it needs. encoder: for tests; None: the settings' own, loading."""
    metrics = metrics or Metrics()
    runtime = Runtime(settings, encoder=encoder)
    send, end_sending = _sending(runtime)
    service = IngestService(runtime, send, metrics)
    endings = [end_sending, service.close, runtime.close]
    if settings.service.otlp_endpoint is not None:
        from dar_search.serving.tracing import start_tracing

        endings.append(start_tracing(settings.service.otlp_endpoint, SERVICE_NAME).shutdown)

    def close() -> None:
        for ending in endings:
            ending()

    wrapped = guarded(
        create_app(service).wsgi_app,
        settings.service,
        metrics,
        host=settings.ingest.host,
        max_bytes=settings.ingest.body_megabytes << 20,
        json_bytes=_JSON_BYTES,
    )
    service.warm_up()
    return Served(wrapped, metrics, close, service.end_streams)


def _sending(runtime: Runtime) -> tuple[Send, Callable[[], None]]:
    """How hints reach a worker, and how that ends."""
    if runtime.settings.ingest.broker is None:
        worker = PollingWorker(runtime)
        worker.start()
        return worker.send, worker.stop
    from dar_ingest.tasks import celery_app, sender

    app = celery_app(runtime.settings)
    send = sender(app)
    sweeper = runtime.sweeper(send)
    sweeper.start()

    def end() -> None:
        sweeper.stop()
        app.close()

    return send, end
