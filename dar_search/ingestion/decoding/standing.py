"""Decoder processes that stay: for a service, which decodes a picture when one comes."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from dar_search.errors import DarError, InternalError, ModelFailed, OutOfResources
from dar_search.ingestion.decoding.decoders import Decoders
from dar_search.ingestion.decoding.jobs import Job, Outcome
from dar_search.ingestion.sources.source import SourceItem

_LOG = logging.getLogger(__name__)
# Seconds after which decoders that failed are tried without a picture: with each failure longer.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
# Whatever it is found to be, the decoders work.
_PROBE = SourceItem("probe", "urn:dar:probe", b"")
_Waiting = tuple[Job, Future[Outcome]]


class StandingDecoders:
    """Decoder processes, and the thread that they live by. Starts with the first picture.

    What goes wrong costs the pictures in hand, and all is begun anew: with the next picture, or soon without one.
    """

    def __init__(self, make: Callable[[], Decoders]) -> None:
        self._make = make
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue()
        self._under_way: dict[int, _Waiting] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._trouble: DarError | None = None
        self._pause = _FIRST_PAUSE
        self._closed = False

    def submit(self, job: Job) -> Future[Outcome]:
        """Raises OutOfResources; ModelFailed after `close`."""
        future: Future[Outcome] = Future()
        with self._lock:
            if self._closed:
                raise _ended()
            self._begin()
            self._waiting.put((job, future))
        return future

    def trouble(self) -> DarError | None:
        """Why no picture can be decoded just now, as far as is known."""
        with self._lock:
            if self._trouble is not None and not self._closed:
                with contextlib.suppress(OutOfResources):  # it is the trouble already
                    self._begin()
        return self._trouble

    def close(self) -> None:
        with self._lock:
            self._closed = True
        self._waiting.put(None)
        if self._thread is not None:
            self._thread.join()

    def _begin(self) -> None:
        if self._thread is not None:
            return
        thread = threading.Thread(target=self._run, name="dar-decoding", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._trouble = OutOfResources.of(error) or InternalError(f"No thread can be started: {error}.")
            raise self._trouble from error
        self._thread = thread

    def _run(self) -> None:
        while not self._closed:
            try:
                for outcome in self._make().decode(self._jobs()):
                    self._works()
                    _, future = self._under_way.pop(id(outcome.job))
                    future.set_result(outcome)
            except DarError as error:
                self._fails(error)
            except Exception as error:  # noqa: BLE001  # a defect costs the pictures in hand, not those that come later
                _LOG.exception("Pictures are decoded anew.")
                self._fails(OutOfResources.of(error) or InternalError(f"Decoding failed: {type(error).__name__}."))
        self._refuse(_ended())

    def _works(self) -> None:
        if self._trouble is not None:
            _LOG.warning("Pictures are decoded again.")
        self._trouble, self._pause = None, _FIRST_PAUSE

    def _fails(self, error: DarError) -> None:
        if self._trouble is None:
            _LOG.warning("Pictures cannot be decoded: %s", error)
        else:
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._trouble = error
        self._refuse(error)

    def _refuse(self, error: DarError) -> None:
        while not self._waiting.empty():
            if (waiting := self._waiting.get()) is not None:
                self._under_way[id(waiting[0])] = waiting
        for _, future in self._under_way.values():
            future.set_exception(type(error)(error.message, error.hint))
        self._under_way.clear()

    def _jobs(self) -> Iterator[Job | None]:
        while True:
            try:
                # With nothing under way this thread may sleep; else the decoders' answers are waited for.
                waiting = self._waiting.get(not self._under_way, None if self._trouble is None else self._pause)
            except queue.Empty:
                if self._under_way:
                    yield None
                    continue
                waiting = Job(_PROBE, data=b"no picture"), Future()
            if waiting is None:
                return
            self._under_way[id(waiting[0])] = waiting
            yield waiting[0]


def _ended() -> ModelFailed:
    return ModelFailed("The service is ending.", "Send it again.")
