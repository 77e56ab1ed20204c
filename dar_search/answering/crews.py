"""Bounded crews of threads, one for each kind of work, so that one kind that hangs leaves the others alone.

The threads are daemons: a model or a cluster that never answers holds up no process that wants to end.
"""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from dar_search.errors import ModelBusy

T = TypeVar("T")


class Crew:
    """`threads` at work at once, `waiting` more in a queue, in their order; what is beyond that is refused.

    Work runs in a copy of the caller's context (its request's id, its trace).
    """

    def __init__(self, name: str, *, threads: int, waiting: int) -> None:
        self._name, self._most = name, threads
        self._places = threading.BoundedSemaphore(threads + waiting)
        self._todo: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._under_way = 0  # waiting or running
        self._lock = threading.Lock()

    @property
    def queued(self) -> int:
        """How much waits for a thread, about."""
        return self._todo.qsize()

    def start(self, work: Callable[[], T]) -> Future[T]:
        """Begin `work`; its result or its error is the future's. Raises ModelBusy where the queue is full, or there is
        no thread for it."""
        if not self._places.acquire(blocking=False):
            raise ModelBusy(f"Too much {self._name} is under way.", "Try again in a moment.")
        future: Future[T] = Future()
        context = contextvars.copy_context()
        with self._lock:
            if self._under_way >= len(self._threads) and len(self._threads) < self._most:
                self._add_thread()
            self._todo.put((future, lambda: context.run(work)))
            self._under_way += 1
        return future

    def _add_thread(self) -> None:
        """Where the system gives none, those that are there do the work."""
        thread = threading.Thread(target=self._work, name=f"dar-{self._name}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            if not self._threads:
                self._places.release()
                raise ModelBusy(f"There is no thread for {self._name} ({error}).", "Try again in a moment.") from error
        else:
            self._threads.append(thread)

    def close(self) -> None:
        """What waits is cancelled, what runs is left to itself."""
        with self._lock:
            while not self._todo.empty():
                item = self._todo.get()
                if item is not None:
                    item[0].cancel()
            for _ in self._threads:
                self._todo.put(None)

    def _work(self) -> None:
        while (item := self._todo.get()) is not None:
            future, work = item
            if future.set_running_or_notify_cancel():
                try:
                    result, error = work(), None
                except BaseException as raised:  # noqa: BLE001  # it is the waiting caller's, whatever it is
                    result, error = None, raised
                self._ended()
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)
            else:
                self._ended()

    def _ended(self) -> None:
        """Before the caller hears of it: whoever asks again at once finds the place free."""
        with self._lock:
            self._under_way -= 1
        self._places.release()
