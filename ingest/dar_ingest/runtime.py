"""Settings -> what workers and the service work with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

from dar_search.bootstrap import hosted_models, open_ledger, open_store, outside
from dar_search.errors import IndexExists, IndexNotFound
from dar_search.ingestion.decoding.limits import limits_of
from dar_search.ingestion.jobs.data import Job
from dar_search.ingestion.jobs.ledger.retention import Retention
from dar_search.ingestion.jobs.ledger_port import Ledger
from dar_search.ingestion.jobs.sweeping import Sweeper
from dar_search.ingestion.pipeline.tuning import put_back_if_possible
from dar_search.ingestion.pipeline.working import Worker
from dar_search.ingestion.sources.allowance import Allowance
from dar_search.ports import Encoder, ImageIndex, Store
from dar_search.settings import Settings

Send = Callable[[str, int], None]


class Runtime:
    """The ledger, the store and the encoder of these settings. Close it at the end.

    Args:
        encoder: None: the settings' own, in a process of its own.
    """

    def __init__(self, settings: Settings, *, encoder: Encoder | None = None) -> None:
        """Raises SettingsError, UnknownModel, StoreError."""
        self._resources = ExitStack()
        self.ledger: Ledger = open_ledger(settings)
        self._resources.callback(self.ledger.close)
        self.store: Store = open_store(settings.store, settings)
        self._resources.callback(self.store.close)
        self.settings = settings
        self.outside = self._resources.enter_context(outside(settings, Allowance.named(settings.ingest.sources)))
        self._encoder = encoder
        self._lock = threading.Lock()

    @property
    def encoder(self) -> Encoder:
        """Its weights load at the first use."""
        with self._lock:
            if self._encoder is None:
                hosted = hosted_models(self.settings.model_copy(update={"imaginer": "none", "reformulator": "rules"}))
                self._resources.callback(hosted.close)
                self._encoder = hosted.encoder
            return self._encoder

    def index(self, name: str) -> ImageIndex:
        """The index of that name, made if it is not there. Raises EncoderMismatch, StoreError, InputError."""
        provenance = self.encoder.provenance
        try:
            return self.store.open(name, provenance)
        except IndexNotFound:
            pass
        try:
            return self.store.create(name, provenance)
        except IndexExists:  # another process was faster
            return self.store.open(name, provenance)

    def takes(self, job: Job) -> bool:
        """Whether a job is for workers with these settings: its pictures go into their store."""
        return job.spec.store == self.store.address

    def worker(self) -> Worker:
        ingest = self.settings.ingest
        return Worker(
            self.ledger,
            lambda job: self.index(job.spec.index),
            self.encoder,
            batch_size=ingest.batch_size,
            limits=limits_of(ingest.decode),
            processes=ingest.decoders,
            outside=self.outside,
            beat_seconds=ingest.beat_seconds,
            load_replicas=ingest.load_replicas,
        )

    def sweeper(self, send: Send) -> Sweeper:
        ingest = self.settings.ingest
        retention = Retention(self.ledger, ingest.keep_jobs_days)

        def upkeep() -> None:
            put_back_if_possible(self.ledger, self.store.address, self.store.open)
            retention.look()

        return Sweeper(
            self.ledger,
            send,
            takes=self.takes,
            lease_seconds=ingest.lease_seconds,
            resend_seconds=ingest.resend_seconds,
            resume_seconds=ingest.resume_seconds,
            interval=ingest.sweep_seconds,
            upkeep=upkeep,
        )

    def close(self) -> None:
        self._resources.close()
