"""The service without its web framework: what each route does, in one core call."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from dar_query_rewriter.indices import ServedIndices, check_credentials, check_served
from dar_search.answering import probing
from dar_search.answering.answers import Answer, Asked, Models
from dar_search.answering.anytime import AnytimeSearcher
from dar_search.answering.probing import Probe
from dar_search.answering.search_log import LoggedSearch, SearchLog
from dar_search.answering.time_limits import limited, within
from dar_search.data import Dialogue, Leg, RewrittenQuery
from dar_search.errors import (
    DarError,
    ModelFailed,
    ModelTimeout,
    Overloaded,
    PictureError,
    RequestError,
    SettingsError,
    StoreForbidden,
)
from dar_search.ingestion.decoding.decoders import Decoders
from dar_search.ingestion.decoding.jobs import Decoded, Job, Outcome, Undecodable
from dar_search.ingestion.decoding.limits import limits_of
from dar_search.ingestion.decoding.standing import StandingDecoders
from dar_search.ingestion.sources.source import SourceItem
from dar_search.method.questions import NextQuestion, QuestionOptions
from dar_search.ports import ImageIndex, Store
from dar_search.serving.admission import Gate
from dar_search.serving.metrics import Metrics
from dar_search.settings import Settings
from dar_search.settings.cluster_access import access_to
from dar_search.stores.callers import acting_for

_LOG = logging.getLogger(__name__)
_WARM_UP = Dialogue("a picture")
_WARM_UP_SECONDS = 600.0
_PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0)  # between tries to warm up; the last one stays
_SHORTEST = 0.02


class QueryService:
    """Answers dialogues from an index, within limits. Safe for many threads; `close` it at the end.

    Args:
        models: in any process; loaded by `warm_up` in the background.
        store: closed with the service.
    """

    def __init__(self, settings: Settings, models: Models, store: Store, metrics: Metrics | None = None) -> None:
        """Raises SettingsError for limits that do not fit each other, or where nobody says whose rights hold."""
        limits = settings.query
        limits.check()
        check_served(limits, settings.store, access_to(settings.store, settings.opensearch, settings.profiles_file))
        if not limits.outside_models and settings.reformulator.startswith("endpoint:"):
            raise SettingsError(
                "The reformulator is an endpoint, and query.outside_models is false.", "Set reformulator to rules."
            )
        self.settings = settings
        self.metrics = metrics or Metrics()
        self.searcher = AnytimeSearcher(models, at_once=limits.searches + limits.streams)
        self._models, self._store = models, store
        self._indices: ServedIndices | None = None
        self._log = (
            SearchLog(
                limits.search_log.expanduser(),
                max_bytes=limits.search_log_megabytes << 20,
                dialogues=limits.search_log_dialogues,
            )
            if limits.search_log is not None
            else None
        )
        self._gate = Gate("searches", running=limits.searches, waiting=limits.waiting)
        self._text_gate = Gate("searches", running=limits.searches, waiting=0)
        self._stream_gate = Gate("streams", running=limits.streams, waiting=0)
        self._probe = Probe("store")
        self._decoding: StandingDecoders | None = None
        self._decoding_lock = threading.Lock()
        self._warm, self._closed = threading.Event(), threading.Event()
        self._models_state = "loading"
        self._resources = ExitStack()
        self.metrics.searching.set_function(lambda: self._gate.inside + self._text_gate.inside)
        self.metrics.waiting.set_function(lambda: self._gate.at_the_door)

    def warm_up(self, then: Callable[[], object] = lambda: None) -> threading.Thread:
        """Load the models in the background, again and again until they are there.

        then: called with the models there, before the first search.
        """
        thread = threading.Thread(target=self._load, args=(then,), name="dar-warm-up", daemon=True)
        thread.start()
        return thread

    def at_end(self, close: Callable[[], object]) -> None:
        """Call this when the service is closed, after the searches."""
        self._resources.callback(close)

    def close(self) -> None:
        self._closed.set()
        self._probe.close()
        self.searcher.close()
        self._store.close()
        self._resources.close()

    @contextmanager
    def caller(self, authorization: str) -> Iterator[None]:
        """Inside, searches run with these credentials, where the settings say so. Raises Unauthenticated."""
        if self.settings.query.credentials == "own":
            yield
            return
        check_credentials(authorization)
        with acting_for(authorization):
            yield

    @contextmanager
    def answering(self, asked: Asked, authorization: str) -> Iterator[None]:
        """Inside, all that a request asks of the store ends by its deadline and the overtime. As `caller` else."""
        with self.caller(authorization), within(asked.seconds + asked.overtime):
            yield

    def open(self, name: str | None, asked: Asked) -> ImageIndex:
        """The index to search. Raises ModelFailed while the models load, and as ServedIndices and `searcher.ask` do."""
        if not self._warm.is_set():
            raise ModelFailed(f"The models are not there yet: {self._models_state}.", "Wait until /_dar/ready says so.")
        if self._indices is None:
            self._indices = ServedIndices(self._store, self._models.encoder.provenance, self.settings.query)
        indices = self._indices
        return self.searcher.ask(lambda: indices.open(name), asked)

    def with_picture(self, asked: Asked, image: bytes | None) -> Asked:
        """With a picture of the caller's, decoded in a process of its own and embedded. Raises PictureError,
        RequestError, ModelError, ResourceError."""
        if image is None:
            return asked
        if not image:
            raise RequestError("The image has no bytes.", "Send a file's bytes, in base64.")
        outcome = self._decoded(image, asked)
        if not isinstance(outcome, Decoded):
            code, message = (outcome.code, outcome.message) if isinstance(outcome, Undecodable) else ("", "")
            raise PictureError(code or "undecodable", f"The image cannot be used. {message}")
        return replace(asked, pictures={outcome.sha256: self.searcher.embedded(outcome.pixels, asked)})

    def _decoded(self, image: bytes, asked: Asked) -> Outcome:
        with self._decoding_lock:
            if self._decoding is None:
                preparation, limits = self._models.encoder.preparation, limits_of(self.settings.ingest.decode)
                self._decoding = StandingDecoders(lambda: Decoders(preparation, limits, processes=1))
                self._resources.callback(self._decoding.close)
        work = self._decoding.submit(Job(SourceItem("image", "the image", b""), data=image))
        try:
            return work.result(limited(asked.seconds + asked.overtime))
        except TimeoutError:
            work.cancel()
            raise ModelTimeout("The image was not decoded in time.", "Ask again, or raise deadline_ms.") from None

    def search(self, asked: Asked, index: ImageIndex) -> Answer:
        """The best answer by the deadline; waiting for a place counts. Raises Overloaded, and as the searcher does."""
        with self._admitted(asked) as admitted:
            answer = self.searcher.answer(admitted, index)
        self._counted(answer.result.legs)
        return answer

    def stream(self, asked: Asked, index: ImageIndex) -> Generator[Answer, None, None]:
        """As AnytimeSearcher.stream; the iterator's place is taken at its first step. Raises Overloaded."""
        with self._stream_gate.entered(), self.metrics.stream_open():
            for answer in self.searcher.stream(_from_now(asked), index):
                if answer.final:
                    self._counted(answer.result.legs)
                yield answer

    def rewrite(self, asked: Asked, index: ImageIndex | None) -> RewrittenQuery:
        """The query that a search would use. Raises Overloaded, and as the searcher does."""
        with self._admitted(asked) as admitted:
            query = self.searcher.rewrite(admitted, index)
        self._counted(query.legs)
        return query

    def question(self, asked: Asked, index: ImageIndex, options: QuestionOptions) -> NextQuestion:
        """What to ask next. Raises Overloaded, and as the searcher does."""
        with self._admitted(asked) as admitted:
            found = self.searcher.question(admitted, index, options)
        self._counted(found.legs)
        return found

    def kept(self, search: LoggedSearch) -> None:
        """Into the search log, where there is one; that never fails an answer."""
        if self._log is not None:
            self._log.search(search)

    def chosen(self, search_id: str, hit_id: str) -> bool:
        """Into the search log; False where there is none. Raises RequestError for what is no id."""
        if self._log is None:
            return False
        self._log.choice(search_id, hit_id)
        return True

    def readiness(self) -> Mapping[str, str]:
        """Each part, "ok" or what is missing: models, store. Answers within some seconds, whatever hangs."""
        return {"models": "ok" if self._warm.is_set() else self._models_state, "store": self._probed_store()}

    @contextmanager
    def _admitted(self, asked: Asked) -> Iterator[Asked]:
        """Within the limits of what is answered at once; over them what `query.over_limit` says."""
        with ExitStack() as inside:
            try:
                inside.enter_context(self._gate.entered(asked.seconds / 2))
                admitted = _from_now(asked)
            except Overloaded as error:
                if self.settings.query.over_limit == "refuse":
                    raise
                inside.enter_context(self._text_gate.entered())
                admitted = replace(_from_now(asked), without_imagination=error.message)
            yield admitted

    def _counted(self, legs: Mapping[str, Leg]) -> None:
        self.metrics.legs(legs)
        if self.settings.service.otlp_endpoint is not None:
            from dar_search.serving.tracing import leg_spans

            leg_spans(legs)

    def _load(self, then: Callable[[], object]) -> None:
        pauses = list(_PAUSES)
        while not self._closed.is_set():
            try:
                self.searcher.rewrite(Asked(_WARM_UP, seconds=_WARM_UP_SECONDS))
            except DarError as error:
                self._models_state = error.message
                _LOG.warning("The models could not be loaded: %s", error)
            except Exception as error:  # noqa: BLE001  # a thread that dies silently would leave the service unready
                self._models_state = f"{type(error).__name__} while loading"
                _LOG.exception("The models could not be loaded.")
            else:
                then()
                self._models_state = "ok"
                self._warm.set()
                return
            self._closed.wait(pauses.pop(0) if len(pauses) > 1 else pauses[0])

    def _probed_store(self) -> str:
        try:
            with within(probing.PROBE_SECONDS):
                answer = self._probe.ask(self._store.names)
            answer()
        except StoreForbidden:  # the store is there: whom it lets list all indices is another matter
            return "ok"
        except DarError as error:
            return error.message
        return "ok"


def _from_now(asked: Asked) -> Asked:
    """With the deadline as it is now: opening the index and waiting for a place have taken their share."""
    return replace(asked, seconds=max(_SHORTEST, limited(asked.seconds + asked.overtime) - asked.overtime))
