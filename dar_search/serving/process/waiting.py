"""A service whose encoder is not named and not known yet: health answers, and all else says what is missing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing

from dar_search import __version__
from dar_search.bootstrap import open_store, with_encoder_of
from dar_search.errors import DarError, ModelFailed
from dar_search.serving import wsgi
from dar_search.serving.guard import OPEN_PATHS
from dar_search.serving.metrics import Metrics
from dar_search.serving.problems import problem, problem_headers
from dar_search.serving.request_ids import request_id_from
from dar_search.serving.runner import Served
from dar_search.settings import AUTO, Settings

_LOG = logging.getLogger(__name__)
_PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0)  # between looks; the last one stays
Make = Callable[[Settings, Metrics], Served]


def made_when_known(settings: Settings, make: Make) -> Served:
    """What `make` makes, at once where the settings name an encoder, else as soon as the store tells it."""
    metrics = Metrics()
    if settings.encoder != AUTO:
        return make(settings, metrics)
    waiting = _Waiting(settings, lambda known: make(known, metrics))
    return Served(waiting, metrics, waiting.close, waiting.end)


def when_known(settings: Settings, stopped: threading.Event) -> Settings:
    """The settings with an encoder, as soon as the store tells it; as they are where it is stopped before."""
    for trouble in _looks(settings, stopped):
        if isinstance(trouble, Settings):
            return trouble
    return settings


def _looks(settings: Settings, stopped: threading.Event) -> Iterator[Settings | DarError]:
    pauses = list(_PAUSES)
    while not stopped.is_set():
        try:
            with closing(open_store(settings.store, settings)) as store:
                yield with_encoder_of(settings, store)
        except DarError as error:
            if len(pauses) == len(_PAUSES):
                _LOG.warning("The encoder is not known yet: %s", error)
            yield error
        stopped.wait(pauses.pop(0) if len(pauses) > 1 else pauses[0])


class _Waiting:
    def __init__(self, settings: Settings, make: Callable[[Settings], Served]) -> None:
        self._settings, self._make = settings, make
        self._served: Served | None = None
        self._trouble: DarError = ModelFailed("The encoder is not known yet.", "Ask again in a moment.")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._wait, name="dar-encoder", daemon=True)
        self._thread.start()

    def __call__(self, environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
        if (served := self._served) is not None:
            return served.app(environ, start_response)
        health, ready = OPEN_PATHS
        trouble = self._trouble
        path = environ.get("PATH_INFO", "")
        if path == health:
            return wsgi.answer_json(start_response, 200, {"alive": True, "version": __version__})
        if path == ready:
            parts = {"encoder": trouble.message}
            return wsgi.answer_json(start_response, 503, {"ready": False, "parts": parts})
        error = ModelFailed(trouble.message, trouble.hint)
        said = problem(error, request_id_from(""))
        return wsgi.answer_json(start_response, error.status, said, list(problem_headers(error)))

    def _wait(self) -> None:
        for found in _looks(self._settings, self._stopped):
            if isinstance(found, DarError):
                self._trouble = found
                continue
            try:
                self._served = self._make(found)
            except DarError as error:
                _LOG.warning("The service cannot begin: %s", error)
                self._trouble = error
            else:
                return

    def end(self) -> None:
        self._stopped.set()
        if self._served is not None:
            self._served.ending()

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()
        if self._served is not None:
            self._served.close()
