"""A worker: looks at a shard when it is told to, and goes on with the job's other shards while there are any."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait

from dar_search.errors import DarError, JobNotFound, OutOfResources, SourceError, SourceNotAllowed, StoreError
from dar_search.ingestion.decoding.decoders import Decoders
from dar_search.ingestion.decoding.limits import DEFAULT_LIMITS, DecodeLimits
from dar_search.ingestion.jobs.data import HEAD, Job
from dar_search.ingestion.jobs.leasing import BEAT_SECONDS, Leases
from dar_search.ingestion.jobs.ledger_port import Ledger
from dar_search.ingestion.jobs.patience import ALONE_SECONDS, PausingPatience
from dar_search.ingestion.jobs.report import Tally
from dar_search.ingestion.pipeline import supply
from dar_search.ingestion.pipeline.agreement import check_vectors
from dar_search.ingestion.pipeline.draining import Bench, MakeWriter, drain, end
from dar_search.ingestion.pipeline.listing import SHARD_SIZE, Lister
from dar_search.ingestion.pipeline.shard_feed import ShardFeed
from dar_search.ingestion.pipeline.tuning import put_back, tune
from dar_search.ingestion.pipeline.writing import Writer
from dar_search.ingestion.sources.opening import open_source
from dar_search.ingestion.sources.outside import Outside
from dar_search.ingestion.sources.source import Source
from dar_search.ports import Encoder, ImageIndex
from dar_search.settings.ingest import BATCH_SIZE

_LOG = logging.getLogger(__name__)
AHEAD = 8
SHARDS_AT_A_TIME = 64
SOURCE_SECONDS = 300.0
_LOOK_SECONDS = 1.0
_OTHERS_SECONDS = 5.0
_CHECK_SECONDS = 0.2


class Worker:
    """Works on the jobs of a ledger, one at a time, in the calling thread. `stop` may be called from any thread.

    Args:
        open_index: a job -> its index, made if it is not there.
        encoder: called from the working thread only.
        open_pictures: a job -> its source.
        processes: decoder processes; None: one for each core.
        outside: where pictures come from that are in no file; None: the web, with the default settings.
        alone_seconds: after which a job whose index takes nothing makes room for others; see `PausingPatience`.
        source_seconds: after which one does whose source is not open, or comes upon nothing, be it a picture or not.
        load_replicas: copies of an index while it is loaded; see `tuning.Tunable.tune`.
        make_writer, shard_size: others are for tests.
    """

    def __init__(
        self,
        ledger: Ledger,
        open_index: Callable[[Job], ImageIndex],
        encoder: Encoder,
        *,
        open_pictures: Callable[[Job], Source] | None = None,
        batch_size: int = BATCH_SIZE,
        limits: DecodeLimits = DEFAULT_LIMITS,
        processes: int | None = None,
        outside: Outside | None = None,
        beat_seconds: float = BEAT_SECONDS,
        first_wait: float = 0.5,
        alone_seconds: float = ALONE_SECONDS,
        source_seconds: float = SOURCE_SECONDS,
        load_replicas: int | None = None,
        make_writer: MakeWriter = Writer,
        shard_size: int = SHARD_SIZE,
    ) -> None:
        self._ledger = ledger
        self._open_index = open_index
        self._encoder = encoder
        self._open_pictures = open_pictures or (lambda job: job_source(job, outside))
        self._batch_size = batch_size
        self._limits = limits
        self._processes = processes
        self._outside = outside
        self._beat_seconds = beat_seconds
        self._first_wait = first_wait
        self._alone_seconds = alone_seconds
        self._source_seconds = source_seconds
        self._left: dict[str, threading.Thread] = {}
        self._refused: set[str] = set()
        self._others, self._others_until = False, 0.0
        self._load_replicas = load_replicas
        self._make_writer = make_writer
        self._shard_size = shard_size
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ends the work soon: what is in hand is finished, the rest given back."""
        self._stopping.set()

    def work(self, job: str, shard: int = HEAD) -> None:
        """Looks at a shard. Nothing happens where it is done, held, or gone.

        An error pauses the job with its reason; a sweeper has it tried again. Where the ledger cannot be used, that is
        in the log alone. A job that this worker may not read is left to others, and says why until one takes it.
        """
        try:
            self._look(job, shard)
        except JobNotFound:
            _LOG.info("There is no job %s any more.", job)
        except StoreError as error:
            _LOG.warning("The ledger cannot be used: %s", error)
        except Exception:  # noqa: BLE001  # a defect of the ledger's: a sweeper has it tried again
            _LOG.exception("Shard %d of job %s was given up.", shard, job)

    def _look(self, job: str, shard: int) -> None:
        found = self._ledger.job(job)
        if found.state != "running" or found.spec.local or self._stopping.is_set():
            return
        try:
            self._work(found, shard)
        except SourceNotAllowed as error:
            self._leave_to_others(found, error)
        except Exception as error:  # noqa: BLE001  # a defect must neither end the worker nor go unseen
            known = error if isinstance(error, DarError) else OutOfResources.of(error)
            if known is None:
                _LOG.exception("Job %s is paused.", job)
            else:
                _LOG.warning("Job %s is paused: %s", job, known)
            reason = f"A defect: {type(error).__name__}: {error}" if known is None else str(known)
            self._ledger.pause(job, reason, automatic=True)

    def _leave_to_others(self, job: Job, error: SourceNotAllowed) -> None:
        if job.id not in self._refused:
            _LOG.warning("Job %s is left to other workers: %s", job.id, error)
        self._refused.add(job.id)
        if job.reason != str(error) and not self._ledger.held(job.id):
            self._ledger.hinder(job.id, str(error))

    def _work(self, job: Job, shard: int) -> None:
        self._others_until = 0.0
        self._check_answers(job)
        watch = _Watch(self._ledger, job.id, self._stopping)
        source = self._opened(job, watch)
        if source is None:
            return
        self._refused.discard(job.id)
        if job.reason:
            self._ledger.hinder(job.id, "")
        if not job.shards:  # before an index is made for what would be refused
            check_vectors(source, self._encoder, self._decoders())
        index = self._open_index(job)
        patience = PausingPatience(
            self._ledger,
            job.id,
            watch.proceed,
            first_wait=self._first_wait,
            others_wait=lambda: self._others_wait(job),
            alone_seconds=self._alone_seconds,
        )
        leases = Leases(self._ledger, beat_seconds=self._beat_seconds)
        try:
            lister = Lister(self._ledger, source, size=self._shard_size)
            feed = ShardFeed(
                self._ledger,
                leases,
                lister,
                job.id,
                first=shard,
                ahead=AHEAD,
                most=SHARDS_AT_A_TIME,
                proceed=watch.proceed,
            )
            bench = Bench(self._ledger, leases, index, self._encoder, self._batch_size, self._make_writer)
            if not job.listed or self._ledger.open_shards(job.id, limit=1):
                tune(self._ledger, job.spec.store, index, self._load_replicas)
            drained = drain(
                bench,
                job.id,
                feed,
                source,
                self._decoders(),
                Tally(),
                patience,
                lambda: watch.proceed() and not self._is_silent(lister, job),
            )
            if drained.waiting is not None:
                self._leave(job, drained.waiting)
            if watch.proceed() and end(bench, job.id, lister, source):
                put_back(self._ledger, job.spec.store, lambda name: index, only=index.name)
        finally:
            leases.close()

    def _opened(self, job: Job, watch: _Watch) -> Source | None:
        """The job's source, opened in a thread of its own. None: neither the job nor the worker is to go on.

        Raises SourceError, also where it is not open when others have waited for long; what else opening raises.
        """
        opened: Future[Source] = Future()

        def open_it() -> None:
            try:
                opened.set_result(self._open_pictures(job))
            except BaseException as error:  # noqa: BLE001  # raised again in the thread that waits for it
                opened.set_exception(error)

        thread = threading.Thread(target=open_it, name="dar-ingest-opening", daemon=True)
        thread.start()
        began, until = time.monotonic(), math.inf
        while not wait([opened], _CHECK_SECONDS).done:
            if until == math.inf and not watch.proceed():
                until = time.monotonic() + supply.STOP_SECONDS
            is_long = time.monotonic() - began >= self._source_seconds
            if time.monotonic() >= until or (is_long and self._others_wait(job)):
                self._leave(job, thread)
                return None
        return opened.result()

    def _leave(self, job: Job, thread: threading.Thread) -> None:
        """Leaves a thread to a source. Raises SourceError, unless the worker ends and it had no time to answer."""
        self._left[job.id] = thread
        if not self._stopping.is_set():
            self._check_answers(job)

    def _decoders(self) -> Decoders:
        return Decoders(self._encoder.preparation, self._limits, processes=self._processes, outside=self._outside)

    def _is_silent(self, lister: Lister, job: Job) -> bool:
        """Whether the source has said nothing for so long that others, who wait, come first."""
        since = lister.silent_since
        return since is not None and time.monotonic() - since >= self._source_seconds and self._others_wait(job)

    def _check_answers(self, job: Job) -> None:
        """Raises SourceError while a thread still waits for what an earlier look asked the source for."""
        self._left = {id: thread for id, thread in self._left.items() if thread.is_alive()}
        if job.id in self._left:
            raise SourceError(f'The source "{job.spec.source}" does not answer.', "Check its disk, or its server.")

    def _others_wait(self, mine: Job) -> bool:
        """Whether there is another job for such workers, and nobody works on it, as it was some seconds ago."""
        if time.monotonic() < self._others_until:
            return self._others
        self._others_until = time.monotonic() + _OTHERS_SECONDS
        try:
            running = [job for job in self._ledger.jobs(running=True, limit=None) if job.state == "running"]
            left = {job.id for job in running if job.spec.store == mine.spec.store and not job.spec.local}
            left -= {mine.id, *self._refused}
            self._others = bool(left) and bool(left - {held.job for held in self._ledger.held()})
        except StoreError:
            self._others = False  # a ledger in trouble holds up every job
        return self._others


class _Watch:
    """Whether to go on with a job, looked up now and then."""

    def __init__(self, ledger: Ledger, job: str, stopping: threading.Event) -> None:
        self._ledger = ledger
        self._job = job
        self._stopping = stopping
        self._looked = time.monotonic()
        self._wanted = True

    def proceed(self) -> bool:
        """False once the worker is to stop, or a person has paused or cancelled the job."""
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._looked = time.monotonic()
            try:
                job = self._ledger.job(self._job)
            except StoreError:
                return not self._stopping.is_set()  # the next claim meets it too
            self._wanted = job.state == "running" or (job.state == "paused" and job.automatic)
        return self._wanted and not self._stopping.is_set()


def job_source(job: Job, outside: Outside | None = None) -> Source:
    """The source that a job names. Raises SourceError."""
    return open_source(job.spec.source, outside=outside, **job.spec.options)
