"""The leases that this process holds, and the thread that keeps them alive."""

from __future__ import annotations

import logging
import threading
import uuid

from dar_search.errors import LeaseLost, StoreError
from dar_search.ingestion.jobs.data import Lease
from dar_search.ingestion.jobs.ledger_port import Ledger
from dar_search.ingestion.jobs.said_once import SaidOnce

BEAT_SECONDS = 5.0
_LOG = logging.getLogger(__name__)


class Leases:
    """Claims, beats and gives back. Safe to use from several threads.

    Args:
        beat_seconds: between two beats of each lease; a sweeper must wait for several of them.

    Attributes:
        holder: a name that no other process has, nor this one in another life.
    """

    def __init__(self, ledger: Ledger, *, beat_seconds: float = BEAT_SECONDS, name: str = "") -> None:
        self.holder = f"{name}{uuid.uuid4().hex}"
        self._ledger = ledger
        self._seconds = beat_seconds
        self._lock = threading.Lock()
        self._held: set[Lease] = set()
        self._ended = threading.Event()
        self._said = SaidOnce(_LOG, "A lease was not renewed")
        self._thread = threading.Thread(target=self._beat, name="dar-ingest-leases", daemon=True)
        self._thread.start()

    def claim(self, job: str, shard: int) -> Lease | None:
        """See `jobs.ledger_port.Ledger.claim`; a lease is kept alive until it is over. None after `close`, too."""
        if self._ended.is_set():
            return None
        lease = self._ledger.claim(job, shard, self.holder)
        if lease is not None:
            with self._lock:
                self._held.add(lease)
            if self._ended.is_set():  # meanwhile: nobody would keep it alive
                self.release(lease)
                return None
        return lease

    def holds(self, lease: Lease) -> bool:
        """Whether the lease is not over, as far as is known here."""
        with self._lock:
            return lease in self._held

    def over(self, lease: Lease) -> None:
        """The shard is done, or somebody else's."""
        with self._lock:
            self._held.discard(lease)

    def release(self, lease: Lease) -> None:
        """Gives the shard back."""
        self.over(lease)
        self._ledger.release(lease)

    def close(self) -> None:
        """Gives everything back; where the ledger is away, the leases expire."""
        self._ended.set()
        self._thread.join()
        with self._lock:
            held = list(self._held)
        for lease in held:
            try:
                self.release(lease)
            except StoreError as error:
                _LOG.warning("A lease is left to expire: %s", error.message)

    def _beat(self) -> None:
        while not self._ended.wait(self._seconds):
            with self._lock:
                held = list(self._held)
            for lease in held:
                with self._said:  # whatever it is: without beats, all that is held would be lost
                    self._renew(lease)

    def _renew(self, lease: Lease) -> None:
        try:
            self._ledger.beat(lease)
        except LeaseLost:
            if self.holds(lease):  # else the shard was done meanwhile, and the lease over in good order
                _LOG.warning("Lost the lease of shard %d of job %s.", lease.shard, lease.job)
                self.over(lease)
