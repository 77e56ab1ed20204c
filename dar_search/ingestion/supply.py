"""The first stage: lists a source, looks up what the index has of it, and has the rest decoded."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

from dar_search.data import Failure
from dar_search.errors import SourceError
from dar_search.ingestion.decoders import Decoders
from dar_search.ingestion.jobs import Job, Outcome
from dar_search.ingestion.pruning import Seen
from dar_search.ingestion.report import Tally
from dar_search.ingestion.sources import BadItem, Source, SourceItem
from dar_search.ports import ImageIndex

LOOKUP_SIZE = 256
_CHECK_SECONDS = 0.2


class Supply:
    """Runs the first stage in a thread of its own; a bounded queue leads out of it.

    Args:
        seen: gets the id of every item that the source lists.
        capacity: how many outcomes may wait to be taken.
    """

    def __init__(self, source: Source, index: ImageIndex, decoders: Decoders, seen: Seen, capacity: int) -> None:
        self._source = source
        self._index = index
        self._decoders = decoders
        self._seen = seen
        self._ready: queue.Queue[Outcome | BadItem | BaseException | None] = queue.Queue(capacity)
        self._stopping = threading.Event()
        # Decoder processes end with the thread that starts them, so they are started in this one.
        self._thread = threading.Thread(target=self._run, name="dar-ingest-supply", daemon=True)

    def outcomes(self, on_wait: Callable[[], None]) -> Iterator[Outcome | BadItem]:
        """One for each item of the source. `on_wait` is called now and then while nothing is ready.

        Raises what went wrong in the stage: SourceError, StoreError, DarError.
        """
        self._thread.start()
        while True:
            try:
                ready = self._ready.get(timeout=_CHECK_SECONDS)
            except queue.Empty:
                on_wait()
                continue
            if ready is None:
                return
            if isinstance(ready, BaseException):
                raise ready
            yield ready

    def stop(self) -> None:
        """Returns when the thread and the decoder processes have ended."""
        self._stopping.set()
        self._decoders.stop()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            for outcome in self._decoders.decode(self._jobs()):
                self._put(outcome)
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that takes the outcomes
            self._put(error)
        else:
            self._put(None)

    def _put(self, ready: Outcome | BadItem | BaseException | None) -> None:
        while not self._stopping.is_set():
            try:
                return self._ready.put(ready, timeout=_CHECK_SECONDS)
            except queue.Full:
                continue
        return None

    def _jobs(self) -> Iterator[Job]:
        for items in _parts(self._listed(), LOOKUP_SIZE):
            stored = self._index.digests([item.id for item in items])
            for item in items:
                yield Job(item, stored.get(item.id, ""))

    def _listed(self) -> Iterator[SourceItem]:
        """The items that can be decoded; the others go past the decoders."""
        for listed in self._source.items():
            if self._stopping.is_set():
                return
            if listed.id is None:
                self._seen.complete = False
            is_new = listed.id is None or self._seen.add(listed.id)
            if isinstance(listed, BadItem):
                self._put(listed)
            elif is_new:
                yield listed
            else:
                self._put(BadItem(_duplicate(listed), listed.id))


class Counter:
    """Counts a source in the background, for the tally's total."""

    def __init__(self, source: Source, tally: Tally) -> None:
        self._source = source
        self._tally = tally
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="dar-ingest-counter", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._thread.join()

    def _run(self) -> None:
        try:
            for counted in self._source.count():
                if self._stopping:
                    return
                total = counted
        except SourceError:
            return  # the first stage meets it too, and reports it
        self._tally.total = total


def _duplicate(item: SourceItem) -> Failure:
    return Failure(item.place or item.key, "duplicate_id", f'An earlier row has the id "{item.id}". Keep one of them.')


def _parts(items: Iterator[SourceItem], size: int) -> Iterator[list[SourceItem]]:
    part: list[SourceItem] = []
    for item in items:
        part.append(item)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
