"""The ingest service without its web framework: what each route does, in one core call."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from prometheus_client.core import GaugeMetricFamily

from dar_ingest.runtime import Runtime, Send
from dar_search.answering.probing import Probe
from dar_search.data import Failure, ImageRecord
from dar_search.errors import DarError, RequestError, StoreError
from dar_search.ingestion.decoding.limits import limits_of
from dar_search.ingestion.jobs.data import HEAD, Job, JobFailure, JobSpec
from dar_search.ingestion.jobs.ledger.job_rows import jobs_fields
from dar_search.ingestion.jobs.ledger_port import counted_jobs
from dar_search.ingestion.pipeline.uploads import Upload, Uploads
from dar_search.ingestion.sources.opening import exclusions, open_source
from dar_search.serving.admission import Gate
from dar_search.serving.metrics import Metrics

_LOG = logging.getLogger(__name__)
LOOK_SECONDS = 1.0
_FORBIDDEN = 403
_COUNTED = 100
_PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0)


class IngestService:
    """Safe for many threads; `close` it at the end.

    Args:
        send: takes a hint to the workers.
    """

    def __init__(self, runtime: Runtime, send: Send, metrics: Metrics | None = None) -> None:
        """Raises SettingsError for limits that do not fit each other."""
        runtime.settings.ingest.check()
        self.runtime = runtime
        self.settings = runtime.settings.ingest
        self.metrics = metrics or Metrics()
        self._send = send
        self._lock = threading.Lock()
        self._upload_gate = Gate("uploads", running=self.settings.uploads + self.settings.waiting, waiting=0)
        self._stream_gate = Gate("followed jobs", running=self.settings.streams, waiting=0)
        # One that hangs, or takes long, leaves the others alone.
        self._probes = {name: Probe(name) for name in ("store", "ledger", "jobs", "items")}
        self._uploads: Uploads | None = None
        self._models_state = "loading"
        self._closed, self._ending = threading.Event(), threading.Event()
        self.metrics.registry.register(_JobCounts(self._unfinished))

    def warm_up(self) -> threading.Thread:
        """Loads the encoder in the background, again and again until it is there."""
        thread = threading.Thread(target=self._load, name="dar-warm-up", daemon=True)
        thread.start()
        return thread

    def uploading(self) -> AbstractContextManager[float]:
        """Around a whole upload, its body too: a slow one is an upload that is under way. Raises Overloaded."""
        return self._upload_gate.entered()

    def put(self, index: str, uploads: Sequence[Upload]) -> list[ImageRecord | Failure]:
        """See `Uploads.put`; within `uploading`. Raises RequestError for too many, StoreError, ModelError,
        ResourceError."""
        if not 0 < len(uploads) <= self.settings.upload_pictures:
            raise RequestError(
                f"{len(uploads)} pictures at once.", f"Send 1 to {self.settings.upload_pictures}; for more, make a job."
            )
        return self._writer().put(self.runtime.index(index), uploads)

    def delete(self, index: str, id: str) -> int:
        """Raises IndexNotFound, StoreError."""
        return self._writer().delete(self.runtime.store.open(index), id)

    def create_job(self, index: str, source: str, options: Mapping[str, Any], *, prune: bool) -> Job:
        """Raises SourceNotAllowed, SourceError, RequestError for an option that is none, StoreError."""
        given = options.get("exclude", [])
        given = [given] if isinstance(given, str) else given
        if isinstance(given, list) and (excluded := exclusions(source, self.settings.exclude, given)):
            options = {**options, "exclude": list(excluded)}  # in the job, so that every worker leaves out the same
        try:
            open_source(source, outside=self.runtime.outside, **options)
        except TypeError as error:
            raise RequestError("The source has no such option.", "Leave the options out.") from error
        self.runtime.index(index)  # what is wrong with it is said now, not by a paused job
        spec = JobSpec(index, source, self.runtime.store.address, dict(options), prune=prune)
        job = self.runtime.ledger.create(spec)
        self._hint(job)
        return job

    def jobs(self, *, running: bool, limit: int) -> list[Job]:
        return counted_jobs(self.runtime.ledger, running=running, limit=limit)

    def job(self, job: str) -> Job:
        return self.runtime.ledger.job(job)

    def failures(self, job: str, *, after: str, limit: int) -> list[JobFailure]:
        """Raises RequestError for a place that is none."""
        try:
            return self.runtime.ledger.failures(job, after=after, limit=limit)
        except ValueError as error:
            raise RequestError("No list of failures goes on there.", 'Send an earlier answer\'s "after".') from error

    def retry(self, job: str, codes: Sequence[str] | None) -> tuple[int, Job]:
        number = self.runtime.ledger.retry(job, codes)
        found = self.job(job)
        self._hint(found)
        return number, found

    def pause(self, job: str) -> Job:
        self.runtime.ledger.pause(job, "Paused by a person.")
        return self.job(job)

    def resume(self, job: str) -> Job:
        self._hint(self.runtime.ledger.resume(job))
        return self.job(job)

    def cancel(self, job: str) -> Job:
        self.runtime.ledger.cancel(job, "Cancelled by a person.")
        return self.job(job)

    def forget(self, job: str) -> None:
        """Raises JobEnded for a job that is not ended."""
        self.runtime.ledger.forget(job)

    def watch(self, job: str) -> Iterator[dict[str, Any]]:
        """A job's progress, about once a second, until it ends or the service does; the last one is how it ended.

        Raises Overloaded at its first step, and as `job` does.
        """
        before: tuple[float, int] | None = None
        with self._stream_gate.entered(), self.metrics.stream_open():
            while True:
                found = self.job(job)
                now = time.monotonic()
                rate = None
                if before is not None and now > before[0]:
                    rate = (found.settled - before[1]) / (now - before[0])
                before = (now, found.settled)
                yield progress_fields(found, rate)
                if found.state in ("done", "cancelled") or self._ending.wait(LOOK_SECONDS):
                    return

    def readiness(self) -> Mapping[str, str]:
        """Each part, "ok" or what is missing: encoder, decoders of uploads, store, ledger. Answers within some seconds,
        whatever hangs."""
        trouble = self._uploads.trouble() if self._uploads is not None else None
        parts = {"encoder": self._models_state, "decoders": "ok" if trouble is None else trouble.message}
        looks: dict[str, Callable[[], object]] = {
            "store": self.runtime.store.names,
            "ledger": lambda: self.runtime.ledger.jobs(limit=1),
        }
        answers = {name: self._probes[name].ask(look) for name, look in looks.items()}
        for name, answer in answers.items():
            try:
                answer()
            except DarError as error:
                # A user of the least rights may not list all indices: the store is there, and knows whom it refuses.
                refused = name == "store" and getattr(error.__cause__, "status_code", None) == _FORBIDDEN
                parts[name] = "ok" if refused else error.message
            else:
                parts[name] = "ok"
        return parts

    def end_streams(self) -> None:
        """Jobs are followed no further."""
        self._ending.set()

    def close(self) -> None:
        self._closed.set()
        self._ending.set()
        for probes in self._probes.values():
            probes.close()
        if self._uploads is not None:
            self._uploads.close()

    def _unfinished(self) -> tuple[Callable[[], list[Job]], Callable[[], list[Job]]]:
        """The jobs that are not ended, and the newest of them with their counts, each of which is a look-up: what is
        returned waits for them."""
        ledger = self.runtime.ledger
        return (
            self._probes["jobs"].ask(lambda: ledger.jobs(running=True, limit=None)),
            self._probes["items"].ask(lambda: counted_jobs(ledger, running=True, limit=_COUNTED)),
        )

    def _writer(self) -> Uploads:
        with self._lock:
            if self._uploads is None:
                self._uploads = Uploads(
                    self.runtime.ledger,
                    self.runtime.encoder,
                    lambda url: self.runtime.outside.fetcher.fetch(url),
                    at_once=self.settings.uploads,
                    limits=limits_of(self.settings.decode),
                )
            return self._uploads

    def _hint(self, job: Job) -> None:
        try:
            self._send(job.id, HEAD)
        except Exception as error:  # noqa: BLE001  # a broker's client raises what it likes
            _LOG.warning("No message could be sent (%s). A sweeper sends it later.", type(error).__name__)

    def _load(self) -> None:
        pauses = list(_PAUSES)
        while not self._closed.is_set():
            try:
                encoder = self.runtime.encoder
                height, width = encoder.preparation.height, encoder.preparation.width
                encoder.encode_prepared(np.zeros((1, height, width, 3), np.uint8))
            except DarError as error:
                self._models_state = error.message
                _LOG.warning("The encoder could not be loaded: %s", error)
            except Exception as error:  # noqa: BLE001  # a thread that dies silently would leave the service unready
                self._models_state = f"{type(error).__name__} while loading"
                _LOG.exception("The encoder could not be loaded.")
            else:
                self._models_state = "ok"
                return
            self._closed.wait(pauses.pop(0) if len(pauses) > 1 else pauses[0])


def progress_fields(job: Job, rate: float | None = None) -> dict[str, Any]:
    """A job as JSON, with its rate (items a second) and how many seconds it may still take; None where unknown.

    Without a rate of now, that of the job's whole life, by the clocks of this machine and of the one that made it.
    """
    fields = jobs_fields(job)
    total = fields["total"]
    if rate is None and job.created and job.settled:
        lived = (job.ended or time.time()) - job.created
        rate = job.settled / lived if lived > 0 else None
    running = job.state == "running"
    left = None if total is None or not rate or not running else max(0.0, (total - job.settled) / rate)
    return fields | {
        "done": job.settled,
        "rate": None if rate is None else round(rate, 2),
        "seconds_left": None if left is None else round(left, 1),
    }


class _JobCounts:
    """The jobs that are not ended, and items of theirs, at each look: whatever process works on them."""

    def __init__(self, unfinished: Callable[[], tuple[Callable[[], list[Job]], Callable[[], list[Job]]]]) -> None:
        self._unfinished = unfinished

    def collect(self) -> Iterator[GaugeMetricFamily]:
        jobs = GaugeMetricFamily("dar_jobs", "Jobs that are not ended, by state.", labels=("state",))
        items = GaugeMetricFamily(
            "dar_job_items", f"Items of the newest {_COUNTED} of them, by result.", labels=("result",)
        )
        all_of_them, newest = self._unfinished()
        try:
            found = all_of_them()
            for state in ("running", "paused"):
                jobs.add_metric((state,), sum(job.state == state for job in found))
            yield jobs
            found = newest()
            for result in ("indexed", "unchanged", "failed"):
                items.add_metric((result,), sum(getattr(job, result) for job in found))
            yield items
        except StoreError as error:
            _LOG.warning("The ledger cannot be counted: %s", error.message)
