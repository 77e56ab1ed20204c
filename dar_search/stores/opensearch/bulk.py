"""Bulk requests: a few MB each, several under way, each item's fate known, only what may yet work sent again."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from dar_search.errors import StoreUnavailable
from dar_search.ingestion.jobs.fault_points import reached
from dar_search.stores.opensearch.cluster.calls import WRITE_TIMEOUT, Cluster, patiently
from dar_search.stores.opensearch.cluster.forms import BULK, BulkError, BulkResult
from dar_search.stores.opensearch.refusals import Refused, is_of_the_picture, reason_of, takes_nothing

SUPERSEDED = "version_conflict_engine_exception"  # a later write or delete has been there
_RENAMED: BulkError = {"type": "renamed", "reason": "the index's ingest pipeline gives it another _id"}
_DROPPED: BulkError = {"type": "dropped", "reason": "the index's ingest pipeline drops it"}
_FILTER_PATH = ",".join(f"items.index.{part}" for part in ("status", "error", "result", "_index", "_id"))


@dataclass(frozen=True, slots=True)
class Action:
    """One item of a bulk request, an `index`: its lines, ended by a newline."""

    id: str
    lines: bytes


@dataclass(slots=True)
class Outcome:
    """What became of a bulk write's items.

    Attributes:
        refused: by id.
        doubtful: refused, and it is not clear whether they or the index are to blame.
        superseded: the ids of which the index has seen a later version.
        landed: the indices that took the others, by their own names.
    """

    refused: dict[str, Refused] = field(default_factory=dict)
    doubtful: dict[str, Refused] = field(default_factory=dict)
    superseded: set[str] = field(default_factory=set)
    landed: set[str] = field(default_factory=set)

    def add(self, other: Outcome) -> None:
        self.refused.update(other.refused)
        self.doubtful.update(other.doubtful)
        self.superseded |= other.superseded
        self.landed |= other.landed


class BulkWriter:
    """Sends actions to an index. Safe to use from several threads, which share the requests under way.

    Args:
        request_bytes: a request's body grows until it has so many.
        in_flight: requests under way at once, over all calls.
    """

    def __init__(self, cluster: Cluster, *, request_bytes: int, in_flight: int) -> None:
        self._cluster = cluster
        self._request_bytes = request_bytes
        self._in_flight = in_flight
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def write(self, target: str, actions: Iterable[Action]) -> Outcome:
        """Sends all actions to the alias `target`; ids are unique. What it acknowledges is durable.

        The next body is put together while others are under way. Raises StoreUnavailable if some are still not
        acknowledged when the patience for the cluster is at its end, and what makes all the rest hopeless
        (IndexNotFound, StoreForbidden, an index that takes nothing: see `refusals`). Actions may then have
        been carried out: sending all of them again is harmless.
        """
        outcome = Outcome()
        pending: set[Future[Outcome]] = set()
        try:
            for body in _bodies(actions, self._request_bytes):
                if len(pending) > self._in_flight:
                    pending = _gather(pending, outcome)
                pending.add(self._threads().submit(self._write_body, target, body))
                reached("mid_write")
            while pending:
                pending = _gather(pending, outcome)
        finally:
            for future in pending:
                future.cancel()
            wait(pending)
        if outcome.doubtful:
            if not (outcome.landed or outcome.superseded or outcome.refused):
                raise takes_nothing(target, next(iter(outcome.doubtful.values())))
            outcome.refused |= outcome.doubtful
            outcome.doubtful = {}
        return outcome

    def close(self) -> None:
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._in_flight, thread_name_prefix="dar-bulk")
            return self._pool

    def _write_body(self, target: str, body: Sequence[Action]) -> Outcome:
        outcome = Outcome()
        pending: Sequence[Action] = body
        for attempt in patiently(self._cluster.retry_seconds):
            with attempt:
                pending, error = self._send(target, pending, outcome)
                if error is not None:
                    raise StoreUnavailable(f"{len(pending)} pictures are not written yet. {error.message}", error.hint)
        return outcome

    def _send(
        self, target: str, actions: Sequence[Action], outcome: Outcome
    ) -> tuple[Sequence[Action], StoreUnavailable | None]:
        """Sends once; the actions that may yet work, and why they did not."""
        answer = self._cluster.send(
            "POST",
            f"/{target}/_bulk",
            b"".join(action.lines for action in actions),
            seconds=WRITE_TIMEOUT,
            require_alias="true",
            filter_path=_FILTER_PATH,
        )
        again: list[Action] = []
        why: StoreUnavailable | None = None
        items = BULK.read(answer)["items"]
        BULK.each(items, actions)
        for action, item in zip(actions, items, strict=True):
            result = item["index"]
            error = result.get("error") or _lost(action, result)
            if error is None:
                outcome.landed.add(result.get("_index", ""))
            elif error["type"] == SUPERSEDED:
                outcome.superseded.add(action.id)
            else:
                try:
                    own = is_of_the_picture(target, result["status"], error)
                except StoreUnavailable as unavailable:
                    again.append(action)
                    why = unavailable
                else:
                    (outcome.refused if own else outcome.doubtful)[action.id] = Refused(error["type"], reason_of(error))
        return again, why


def _lost(action: Action, result: BulkResult) -> BulkError | None:
    """What became of an item that the cluster says it took, and that nobody will find."""
    if result.get("result") == "noop":
        return _DROPPED
    return None if result.get("_id") == action.id else _RENAMED


def _bodies(actions: Iterable[Action], limit: int) -> Iterator[list[Action]]:
    body: list[Action] = []
    size = 0
    for action in actions:
        if body and size + len(action.lines) > limit:
            yield body
            body, size = [], 0
        body.append(action)
        size += len(action.lines)
    if body:
        yield body


def _gather(pending: set[Future[Outcome]], outcome: Outcome) -> set[Future[Outcome]]:
    """Waits for at least one; adds what has ended to the outcome. Raises what one raised."""
    done, rest = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        outcome.add(future.result())
    return rest
