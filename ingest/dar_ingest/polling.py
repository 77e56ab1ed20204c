"""Workers without a broker: they look into the ledger themselves."""

from __future__ import annotations

import queue
import threading

from dar_ingest.runtime import Runtime


class PollingWorker:
    """Works in the thread that calls `run`, or in one of its own after `start`, until `stop`."""

    def __init__(self, runtime: Runtime) -> None:
        self._worker = runtime.worker()
        self._sweeper = runtime.sweeper(self.send)
        self._wanted: queue.Queue[tuple[str, int] | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self.run, name="dar-ingest-worker", daemon=True)
        self._thread.start()

    def send(self, job: str, shard: int) -> None:
        """Look at this shard, soon."""
        self._wanted.put((job, shard))

    def run(self) -> None:
        """Until `stop`."""
        self._sweeper.start()
        try:
            while (wanted := self._wanted.get()) is not None:
                self._worker.work(*wanted)
        finally:
            self._sweeper.stop()

    def stop(self) -> None:
        """Ends soon: what is in hand is finished, the rest given back."""
        self._worker.stop()
        self._wanted.put(None)
        if self._thread is not None:
            self._thread.join()
