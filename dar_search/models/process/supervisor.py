"""The caller's side of the model process: starts it, feeds it batches, ends and restarts it when it misbehaves."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dar_search.errors import DarError, ModelFailed, OutOfResources
from dar_search.models.process.child import Child, ChildLost, Limits, shut_down
from dar_search.models.process.messages import Start
from dar_search.models.process.tickets import Key, Pending, Queue, Ticket

State = Literal["idle", "starting", "ready", "busy", "broken", "closed"]
log = logging.getLogger(__name__)
# Seconds between two starts, at most; where the machine has nothing to start one with, a try costs nothing.
_LONGEST_WAIT, _SHORT_WAIT = 30.0, 1.0


@dataclass(frozen=True, slots=True)
class Health:
    state: State
    pid: int | None
    restarts: int
    waiting: int
    resident_bytes: int
    last_error: str


class ModelProcess:
    """Models behind a process boundary; safe to call from many threads.

    Args:
        factory: "module:function"; the worker calls it with `arguments` (picklable) once and gets a mapping of
            kind -> function(items, options) -> results, one a item.

    The process starts with the first call (or `warm_up`), never by a fork, and ends with this one. One that ended is
    started again at once, so that the next caller finds it ready.
    """

    def __init__(self, factory: str, arguments: Mapping[str, Any], limits: Limits | None = None) -> None:
        self._factory = factory
        self._arguments = dict(arguments)
        self.limits = limits or Limits()
        self._queue = Queue(self.limits.waiting)
        self._worker: Child | None = None
        self._state: State = "idle"
        self._starts = 0
        self._failed_starts = 0
        self._served = False
        self._not_before = 0.0
        self._load_error: DarError | None = None
        self._last_error: DarError | None = None
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._dispatcher: threading.Thread | None = None
        self._owner = os.getpid()

    def call(
        self,
        kind: str,
        items: Sequence[Any],
        *,
        options: Key = (),
        key: Hashable | None = None,
        timeout: float | None = None,
    ) -> Sequence[Any]:
        """Run `items` and return a result for each.

        Args:
            options: only calls with equal options share a batch.
            key: calls of the same kind, options and key are done once and share the result.
            timeout: seconds; default: what a start and a batch may take together.

        Raises:
            ModelBusy, ModelTimeout, ModelOutOfMemory, ModelFailed, or what the model raised of the error tree.
        """
        return self.submit(kind, items, options=options, key=key, timeout=timeout).outcome()

    def submit(
        self,
        kind: str,
        items: Sequence[Any],
        *,
        options: Key = (),
        key: Hashable | None = None,
        timeout: float | None = None,
        cost: int | None = None,
        room: int | None = None,
    ) -> Pending:
        """As `call`, but returns at once; `outcome()` waits.

        cost, room: what the request counts, and what a batch with it may count in all; by default its items, and the
        process's own limit.
        """
        self._ensure_dispatcher()
        allowed = self.limits.start_s + self.limits.batch_s if timeout is None else timeout
        shared = None if key is None else (kind, options, key)
        deadline = time.monotonic() + allowed
        counted = len(items) if cost is None else cost
        return Pending(self._queue.join(Ticket(kind, items, options, shared, deadline, counted, room)), deadline)

    def warm_up(self, timeout: float | None = None) -> None:
        """Start the process and wait until it is ready. Raises what the loading raised."""
        self.call("ping", [None], timeout=self.limits.start_s if timeout is None else timeout)

    def health(self) -> Health:
        worker = self._worker
        return Health(
            state=self._state,
            pid=worker.pid if worker else None,
            restarts=max(0, self._starts - 1),
            waiting=len(self._queue),
            resident_bytes=worker.resident_bytes() if worker else 0,
            last_error=str(self._last_error or ""),
        )

    def close(self, grace_s: float = 5.0) -> None:
        """Refuse new calls, let the batch in hand end within `grace_s`, then end the process. Safe to repeat."""
        with self._lock:
            self._closing.set()
            dispatcher = self._dispatcher
        with self._queue.changed:
            self._queue.changed.notify_all()
        if dispatcher is not None:
            dispatcher.join(grace_s)
            if dispatcher.is_alive() and (worker := self._worker) is not None:
                worker.kill()
                dispatcher.join()
        self._queue.settle_waiting(shut_down())
        self._state = "closed"

    def __enter__(self) -> ModelProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _ensure_dispatcher(self) -> None:
        with self._lock:
            if self._closing.is_set():
                raise shut_down()
            if self._owner != os.getpid():
                # After a fork the threads are gone and the process belongs to the parent: begin anew.
                self._queue, self._worker, self._dispatcher = Queue(self.limits.waiting), None, None
                self._owner = os.getpid()
            if self._dispatcher is None:
                dispatcher = threading.Thread(target=self._dispatch, name="model-process", daemon=True)
                try:
                    dispatcher.start()
                except RuntimeError as error:
                    raise _cannot_start("The model process's thread", error) from error
                self._dispatcher = dispatcher

    def _dispatch(self) -> None:
        """One thread owns the worker; all else only queues tickets."""
        try:
            while not self._closing.is_set():
                batch = self._queue.take(self.limits.batch_items, wait=0.5)
                if self._worker is not None and not self._worker.alive():
                    self._drop_worker()
                if batch:
                    self._serve_safely(batch)
                elif self._worker is None and self._served:
                    self._restart()
        finally:
            if self._worker is not None:
                self._worker.stop()
                self._worker = None

    def _serve_safely(self, batch: list[Ticket]) -> None:
        try:
            self._serve(batch)
        except Exception as error:
            # A defect here must cost one batch, not the thread that all callers depend on.
            log.exception("the model process's dispatcher failed")
            self._drop_worker()
            failure = ModelFailed(f"Dispatching raised {type(error).__name__}: {error}")
            for ticket in batch:
                self._queue.settle(ticket, error=failure)

    def _serve(self, batch: list[Ticket]) -> None:
        try:
            worker = self._worker or self._start()
            self._state = "busy"
            results = worker.run(batch, self.limits)
        except ChildLost as lost:
            self._drop_worker()
            self._last_error = lost.error
            self._try_again_or_fail(batch, lost)
        except DarError as error:
            self._drop_worker()
            self._last_error = error
            # Nothing that waits can be served either: say why now, rather than let each run into its deadline.
            for ticket in batch:
                self._queue.settle(ticket, error=error)
            self._queue.settle_waiting(error)
        else:
            self._state = "ready"
            for ticket, answer in zip(batch, results, strict=True):
                failure = answer.exception()
                self._queue.settle(ticket, results=None if failure else answer.results or (), error=failure)
            if self.limits.memory_bytes is not None and worker.resident_bytes() > self.limits.memory_bytes:
                # It grew without any one batch's fault: replaced between two of them, nobody gets an error.
                self._drop_worker()

    def _try_again_or_fail(self, batch: list[Ticket], lost: ChildLost) -> None:
        again: list[Ticket] = []
        for ticket in batch:
            ticket.attempts += 1
            # A batch's tickets are tried alone: the one that does the harm is found, the others are served.
            innocent = len(batch) > 1 or lost.blameless
            if innocent and ticket.attempts < self.limits.attempts and not ticket.expired:
                ticket.alone = True
                again.append(ticket)
            else:
                self._queue.settle(ticket, error=lost.error)
        self._queue.put_back(again)

    def _start(self, attempt: int = 1) -> Child:
        if self._load_error is not None and time.monotonic() < self._not_before:
            raise self._load_error
        self._state = "starting"
        self._starts += 1
        try:
            worker = Child(Start(self._factory, self._arguments, tuple(sys.path), os.getpid()))
        except OSError as error:
            problem = _cannot_start("The model process", error)
            self._wait_after(problem, _SHORT_WAIT if OutOfResources.of(error) else _LONGEST_WAIT)
            raise problem from error
        self._worker = worker
        try:
            worker.wait_ready(self.limits.start_s, self._closing)
        except DarError as error:
            worker.kill()
            if worker.killed_by_signal and attempt < self.limits.attempts:
                return self._start(attempt + 1)
            self._wait_after(error, _LONGEST_WAIT)
            raise
        self._load_error = None
        self._failed_starts = 0
        self._served = True
        return worker

    def _wait_after(self, error: DarError, longest: float) -> None:
        """The next start waits, longer each time: missing weights do not come back by loading in a loop."""
        self._load_error = error
        self._failed_starts += 1
        self._not_before = time.monotonic() + min(longest, 0.5 * 2 ** min(self._failed_starts, 10))

    def _restart(self) -> None:
        """Have a process that worked before ready again for the next caller, who need not wait for its loading."""
        try:
            self._start()
            self._state = "ready"
        except DarError as error:
            self._last_error = error  # for the next caller
        except Exception:  # as in `_serve_safely`
            log.exception("the model process could not be started again")
            self._drop_worker()

    def _drop_worker(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None
        self._state = "broken" if self._failed_starts else "idle"


def _cannot_start(what: str, error: Exception) -> ModelFailed:
    short = OutOfResources.of(error)
    return ModelFailed(f"{what} cannot be started: {error}.", "It is tried again." if short is None else short.hint)
