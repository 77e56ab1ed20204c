"""Settings -> a running query service: models in their own processes, the store, the app, its layers, gunicorn."""

from __future__ import annotations

import gc
from collections.abc import Callable

from dar_query_rewriter.app import create_app
from dar_query_rewriter.counted_cache import CountedCache
from dar_query_rewriter.indices import check_served
from dar_query_rewriter.service import QueryService
from dar_search.answering.answers import Models
from dar_search.bootstrap import hosted_models, load_imagination_cache, open_store
from dar_search.errors import SettingsError
from dar_search.models.imaginers.imagination_cache import CachedImaginer
from dar_search.models.reformulators.question_writer import question_writer
from dar_search.models.reformulators.rules import RulesReformulator
from dar_search.ports import KeyedImaginer
from dar_search.serving.guard import guarded
from dar_search.serving.metrics import Metrics
from dar_search.serving.process.waiting import made_when_known
from dar_search.serving.runner import Listening, Served, run_service
from dar_search.settings import AUTO, Settings

SERVICE_NAME = "dar-query"


def serve_forever(settings: Settings, on_ready: Callable[[str], None]) -> None:
    """Serve until a signal. Raises SettingsError for what is set wrongly, SystemExit at the end.

    on_ready: called with the address when it is open; the models may still be loading.
    """
    query, service = settings.query, settings.service
    query.check()
    check_served(query, settings.store)
    listening = Listening(query.host, query.port, service.admin_host, query.admin_port, query.threads)
    if query.credentials == "caller" and settings.encoder == AUTO:
        raise SettingsError("The service may not look at indices to learn their encoder.", "Name it: DAR_ENCODER.")
    run_service(lambda: made_when_known(settings, made), listening, service, on_ready=on_ready)


def made(settings: Settings, metrics: Metrics) -> Served:
    """The service with everything that it needs, its models loading. Raises SettingsError, UnknownModel, ..."""
    store = open_store(settings.store, settings)
    # The cache stands before the imaginer here, not in `hosted_models`: edits look into it too, and it is counted.
    hosted = hosted_models(settings.model_copy(update={"imagination_cache": "none"}))
    cache = load_imagination_cache(settings)
    imaginer = hosted.imaginer
    if cache is not None and isinstance(imaginer, KeyedImaginer):
        imaginer = CachedImaginer(imaginer, CountedCache(cache, metrics))
    rules = RulesReformulator()
    # Without a model to ask, the reformulator is the fallback, which is then asked without a thread of its own.
    reformulator = rules if settings.reformulator == "rules" else hosted.reformulator
    models = Models(hosted.encoder, reformulator, rules, imaginer, cache, question_writer(hosted.reformulator))
    service = QueryService(settings, models, store, metrics)
    service.at_end(hosted.close)
    if (close := getattr(cache, "close", None)) is not None:
        service.at_end(close)
    if settings.service.otlp_endpoint is not None:
        from dar_search.serving.tracing import start_tracing

        service.at_end(start_tracing(settings.service.otlp_endpoint, SERVICE_NAME).shutdown)
    return served(service)


def served(service: QueryService) -> Served:
    """The service's app behind its layers, its models loading from now on."""
    settings, metrics = service.settings, service.metrics
    app = create_app(service)
    wrapped = guarded(
        app.wsgi_app, settings.service, metrics, host=settings.query.host, max_bytes=settings.query.body_bytes
    )
    service.warm_up(then=_keep_what_is_loaded)
    return Served(wrapped, metrics, service.close)


def _keep_what_is_loaded() -> None:
    """The garbage collector need not look through it again and again, which would hold up answers."""
    gc.collect()
    gc.freeze()
